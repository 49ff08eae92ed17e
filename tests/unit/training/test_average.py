"""The average of weights over the steps."""

import pytest
import torch

from hpc_gw.models.wavenet import WaveNet
from hpc_gw.training.average import Average
from tests.unit.training.conftest import MODEL


def with_value(model, value):
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.fill_(value)
    return model


def value_of(model, name):
    value = model.state_dict()[name]
    assert (value == value.flatten()[0]).all()
    return value.flatten()[0].item()


def test_it_forgets_the_first_weights_soon_and_then_by_its_decay():
    model = WaveNet(MODEL)
    average = Average(model, decay=0.5)
    name = next(name for name, _ in model.named_parameters())
    statistics = next(name for name, _ in model.named_buffers() if "running" in name)
    expected, seen = None, [3.0, 1.0, -2.0, 5.0, 0.0, 1.0, 1.0, 4.0, 2.0, -7.0, 8.0]
    for n, value in enumerate(seen):
        average.update(with_value(model, value))
        decay = min(0.5, (1 + n) / (10 + n))
        expected = value if n == 0 else decay * expected + (1 - decay) * value
        assert value_of(average.model, name) == pytest.approx(expected, abs=1e-5)
        assert value_of(average.model, statistics) == pytest.approx(expected, abs=1e-5)
        assert value_of(model, name) == value  # what trains is left alone
    assert decay == 0.5


def test_it_goes_on_where_it_was():
    model = WaveNet(MODEL)
    whole, first, second = (Average(model, 0.9) for _ in range(3))
    values = [1.0, 2.0, -3.0, 0.5]
    for n, value in enumerate(values):
        whole.update(with_value(model, value))
        part = first if n < 2 else second
        part.update(with_value(model, value))
        if n == 1:
            second.model.load_state_dict(first.model.state_dict())
            second.resume(first.state())
    wanted, found = whole.model.state_dict(), second.model.state_dict()
    assert all(torch.equal(found[name], value) for name, value in wanted.items())
