"""Any configuration of the network: what reaches its outputs, and what it refuses."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hpc_gw.errors import ConfigError
from hpc_gw.models.config import ModelConfig, cone, receptive_field, total_steps
from hpc_gw.models.physics_head import manifold_moments
from hpc_gw.models.wavenet import WaveNet

SMALL = ModelConfig(
    input_steps=64,
    stacks=1,
    dilations=(1, 2, 4),
    residual_channels=3,
    gate_channels=4,
    root_channels=5,
    root_steps=12,
    leaf_width=6,
)


@st.composite
def configs(draw):
    stride = draw(st.integers(1, 4))
    steps = draw(st.integers(20, 90))
    return dataclasses.replace(
        SMALL,
        input_steps=steps,
        stem_stride=stride,
        stem_kernel=stride + draw(st.integers(0, 3)),
        stem_channels=draw(st.integers(1, 3)),
        stacks=draw(st.integers(1, 2)),
        dilations=tuple(draw(st.lists(st.sampled_from([1, 2, 3, 4, 5]), min_size=1, max_size=3))),
        kernel=draw(st.integers(2, 4)),
        root_outputs=draw(st.integers(1, 3)),
        root_steps=draw(st.integers(1, -(-steps // stride))),
        norm=draw(st.sampled_from(["batch", "layer", "none"])),
        standardize=draw(st.booleans()),
    )


def scrambled(config):
    """A network in float64 and evaluation mode, with nothing at its start value."""
    torch.manual_seed(0)
    model = WaveNet(config).double().eval()
    for name, value in model.state_dict().items():
        if name.endswith("running_var"):
            value.uniform_(0.5, 2.0)
        elif value.is_floating_point() and name not in ("mean", "spread"):
            value.normal_(0.2, 0.5)
    return model


@settings(max_examples=60)
@given(config=configs(), extra=st.integers(0, 30))
def test_cropping_to_the_cone_or_more_changes_nothing(config, extra):
    model = scrambled(config)
    x = torch.randn(2, config.input_steps, dtype=torch.float64)
    samples = min(cone(config) + extra, config.input_steps)
    with torch.no_grad():
        cropped = model(x[:, -samples:])
        model.cone = config.input_steps  # it drops nothing by itself
        torch.testing.assert_close(cropped, model(x), rtol=1e-10, atol=1e-10)


@settings(max_examples=60)
@given(config=configs())
def test_no_sample_outside_the_cone_reaches_the_outputs(config):
    model = scrambled(config)
    model.cone = config.input_steps  # it drops nothing by itself
    x = torch.randn(1, config.input_steps, dtype=torch.float64, requires_grad=True)
    model(x).sum().backward()
    assert not x.grad[0, : config.input_steps - cone(config)].any()


@settings(max_examples=40)
@given(config=configs())
def test_receptive_field_is_what_reaches_one_step(config):
    """Measured on a line of positive weights, where every tap that exists leaves its mark."""
    config = dataclasses.replace(config, norm="none", input_steps=400, root_steps=1)
    model = WaveNet(config).double().eval()
    with torch.no_grad():
        for p in model.parameters():
            p.fill_(0.1)
    x = torch.ones(1, 1, 400, dtype=torch.float64, requires_grad=True)
    y = model.stem(x)
    skips = 0.0
    for block in model.blocks:
        y, skip = block(y)
        skips = skips + skip
    step = total_steps(config) // 2
    skips[0, :, step].sum().backward()
    reached = np.flatnonzero(x.grad[0, 0].numpy())
    own = 399 - (total_steps(config) - 1 - step) * config.stem_stride
    left, right = receptive_field(config)
    assert (own - reached.min(), reached.max() - own) == (left, right)


def test_the_cone_of_a_stem_by_hand():
    # 3 kept steps, 2 to their left (dilation 4, kernel 2), stride 8, kernel 16:
    # 4 strides from the first step to the last, and 16 samples for the first
    config = dataclasses.replace(
        SMALL, input_steps=96, stem_kernel=16, stem_stride=8, dilations=(4,), root_steps=3
    )
    assert cone(config) == 4 * 8 + 16
    assert receptive_field(config) == (2 * 8 + 15, 2 * 8)


def test_outputs_have_five_columns_and_finite_gradients_in_training():
    model = WaveNet(SMALL).train()
    outputs = model(torch.randn(4, 64))
    assert outputs.shape == (4, 5)
    outputs.square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


def test_the_first_leaf_answers_q_alone_and_the_second_the_rest():
    model = WaveNet(SMALL).eval()
    for column, (own, other) in enumerate(
        [(model.leaf_q, model.leaf_spins)] + 4 * [(model.leaf_spins, model.leaf_q)]
    ):
        model.zero_grad()
        model(torch.randn(4, 64))[:, column].sum().backward()
        assert own[0].weight.grad.any()
        assert not other[0].weight.grad.any()


def test_standardized_outputs_are_the_leaves_in_units_of_the_manifold():
    plain, scaled = (
        scrambled(dataclasses.replace(SMALL, standardize=flag)) for flag in (False, True)
    )
    x = torch.randn(3, 64, dtype=torch.float64)
    mean, spread = map(torch.tensor, manifold_moments())
    torch.testing.assert_close(scaled(x), mean + spread * plain(x), rtol=1e-6, atol=1e-6)
    assert not any(name in ("mean", "spread") for name, _ in scaled.named_parameters())


@pytest.mark.parametrize("shape", [(2, 65), (2, 14), (64,), (2, 1, 64)])
def test_an_input_that_does_not_fit_is_refused_with_the_rule(shape):
    assert cone(SMALL) == 15
    with pytest.raises(ConfigError, match=r"from 15 .* to 64 samples"):
        WaveNet(SMALL)(torch.zeros(shape))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("stem_stride", 8, "use stem_kernel >= 8"),
        ("root_steps", 65, "keep at most"),
        ("kernel", 1, "at least 2 taps"),
        ("dilations", (), "at least one"),
        ("dilations", (1, 0), "positive integer"),
        ("gate_channels", 0, "gate_channels = 0: must be a positive integer"),
        ("dropout", 1.0, r"probability in \[0, 1\)"),
        ("norm_momentum", 0.0, "norm_momentum = 0.0"),
        ("norm", "group", "'batch', 'layer' or 'none'"),
        ("leaf_with", 3, "Unexpected keyword"),
    ],
)
def test_an_impossible_configuration_says_what_to_change(field, value, message):
    fields = {f.name: getattr(SMALL, f.name) for f in dataclasses.fields(SMALL)}
    with pytest.raises(ValueError, match=message):
        ModelConfig(**{**fields, field: value})


CHANGES = {
    "input_steps": 65,
    "stem_kernel": 3,
    "stacks": 2,
    "dilations": (1, 2),
    "kernel": 3,
    "residual_channels": 4,
    "gate_channels": 5,
    "root_channels": 6,
    "root_outputs": 2,
    "root_steps": 11,
    "leaf_width": 7,
    "dropout": 0.5,
    "norm": "none",
    "norm_momentum": 0.5,
    "standardize": True,
}


@pytest.mark.parametrize("field", [*CHANGES, "stem_stride", "stem_channels"])
def test_every_field_changes_the_network(field):
    base = dataclasses.replace(SMALL, stem_kernel=3) if field.startswith("stem_") else SMALL
    change = {**CHANGES, "stem_kernel": 4, "stem_stride": 2, "stem_channels": 5}[field]
    changed = dataclasses.replace(base, **{field: change})
    assert fingerprint(base) != fingerprint(changed)


def fingerprint(config):
    """What a network of this configuration is and does."""
    torch.manual_seed(0)
    model = WaveNet(config)
    torch.manual_seed(1)
    x = torch.randn(4, 64)
    trained = model(x).tolist()
    return config.input_steps, cone(config), trained, model.eval()(x).tolist()
