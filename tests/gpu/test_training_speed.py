"""What makes training cheaper on a GPU gives the same numbers; skipped where there is none."""

import copy
import dataclasses

import pytest
import torch

from hpc_gw.models.presets import PRESETS
from hpc_gw.models.quadrature import QuadratureStem
from hpc_gw.models.wavenet import WaveNet

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.fixture(params=PRESETS)
def case(request, chirps):
    """A network's name, the network, and what it reads."""
    torch.manual_seed(0)
    model = WaveNet(dataclasses.replace(PRESETS[request.param], dropout=0.0))
    x = torch.randn(8, model.cone)
    if isinstance(model.stem, QuadratureStem):
        model.stem.calibrate(chirps)
        x = chirps[:8]
    return request.param, model.cuda().train(), x.cuda()


def step(model, call, x, *, bf16=False):
    """Outputs and all gradients of one step, and its peak memory."""
    model.zero_grad()
    torch.cuda.reset_peak_memory_stats()
    with torch.autocast("cuda", torch.bfloat16, enabled=bf16):
        outputs = call(x)
    outputs.square().mean().backward()
    gradients = torch.cat([p.grad.flatten() for p in model.parameters()])
    return outputs.detach(), gradients, torch.cuda.max_memory_allocated()


def distance(one, other):
    return float((one - other).norm() / other.norm())


def test_recomputation_gives_the_same_with_less_memory(case):
    name, model, x = case
    outputs, gradients, memory = step(model, model, x)
    model.checkpoint = True
    again, found, less = step(model, model, x)
    # Sums are taken in no fixed order, and batch statistics magnify any rounding.
    assert distance(again, outputs) < 1e-3
    assert distance(found, gradients) < 1e-2
    if name == "khan2020":
        assert less < memory


def test_bfloat16_answers_float32_near_the_exact(case):
    _, model, x = case
    model.eval()  # batch statistics magnify any rounding: see the unit tests
    outputs, gradients, _ = step(model, model, x)
    rounded, found, _ = step(model, model, x, bf16=True)
    assert rounded.dtype == torch.float32
    assert distance(rounded, outputs) < 0.05
    assert distance(found, gradients) < 0.2


def test_a_compiled_network_is_the_eager_one(case):
    _, model, x = case
    other = copy.deepcopy(model.eval())
    outputs, gradients, _ = step(model, model, x)
    compiled, found, _ = step(other, torch.compile(other), x)
    assert distance(compiled, outputs) < 1e-4
    assert distance(found, gradients) < 1e-2
