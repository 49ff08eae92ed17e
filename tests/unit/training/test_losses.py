"""What is minimised, and that its gradients are finite where the spins are degenerate."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hpc_gw.constants import QUANTITIES
from hpc_gw.errors import ConfigError
from hpc_gw.manifold import physics as formulas
from hpc_gw.models.physics_head import manifold_moments
from hpc_gw.training.losses import LossConfig, direct, loss, physics

KINDS = ("direct", "physics")
SPIN = st.floats(-0.9, 0.9)


def rows(q, s1, s2):
    q, s1, s2 = (torch.as_tensor(x, dtype=torch.float64) for x in (q, s1, s2))
    columns = (q, s1, s2, formulas.sigma_eff(q, s1, s2), formulas.s_eff(q, s1, s2))
    return torch.stack(torch.broadcast_tensors(*columns), dim=-1)


def batch():
    generator = torch.Generator().manual_seed(0)
    u = torch.rand(3, 32, generator=generator, dtype=torch.float64)
    return rows(1 + 7 * u[0], 1.6 * u[1] - 0.8, 1.6 * u[2] - 0.8)


def test_direct_is_the_published_sum_of_two_mean_squared_errors():
    truth = batch()
    outputs = truth + torch.randn(truth.shape, dtype=torch.float64)
    total, parts = direct(outputs, truth)
    error = (outputs - truth).numpy() ** 2
    assert float(total) == pytest.approx(error[:, 0].mean() + error[:, 1:].mean())
    assert list(parts) == list(QUANTITIES)
    np.testing.assert_allclose([float(p) for p in parts.values()], error.mean(axis=0))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("standardize", [False, True])
def test_weights_and_scaling_enter_as_documented(kind, standardize):
    truth = batch()
    outputs = truth + 0.1 * torch.randn(truth.shape, dtype=torch.float64)
    weights = (2.0, 0.5, 0.0, 3.0, 0.25)
    _, plain = loss(outputs, truth, LossConfig(kind=kind))
    config = LossConfig(kind=kind, weights=weights, standardize=standardize)
    total, parts = loss(outputs, truth, config)
    spread = manifold_moments()[1] if standardize else np.ones(5)
    mse = np.array([float(plain[name]) for name in QUANTITIES]) / spread**2
    np.testing.assert_allclose([float(parts[name]) for name in QUANTITIES], mse)
    weighted = weights * mse
    assert float(total) == pytest.approx(weighted[0] + weighted[1:].mean())


def test_standardized_loss_of_the_mean_answer_is_two():
    u = np.random.default_rng(0).uniform(size=(3, 200_000))
    truth = rows(1 + 7 * u[0], 1.6 * u[1] - 0.8, 1.6 * u[2] - 0.8)
    mean = torch.tensor(manifold_moments()[0]).expand_as(truth)
    total, _ = direct(mean, truth, LossConfig(standardize=True))
    assert float(total) == pytest.approx(2.0, rel=1e-2)


@pytest.mark.parametrize("kind", KINDS)
def test_loss_vanishes_at_the_truth_and_nowhere_near(kind):
    config = LossConfig(kind=kind)
    truth = torch.cat((batch(), rows(1.0, 0.7, -0.7)[None]))
    assert float(loss(truth, truth, config)[0]) < 1e-24
    for column in (0, 3, 4):
        wrong = truth.clone()
        wrong[:, column] += 0.01
        assert float(loss(wrong, truth, config)[0]) > 1e-6


def test_physics_does_not_look_at_the_spin_outputs():
    truth = batch()
    outputs = (truth + 0.1).requires_grad_()
    physics(outputs, truth)[0].backward()
    assert not outputs.grad[:, 1:3].any()
    assert outputs.grad[:, [0, 3, 4]].all()


def test_physics_pulls_q_up_from_below_one():
    truth = rows(1.0, 0.3, 0.1)[None]
    outputs = truth.clone()
    outputs[:, 0] = 0.5
    outputs.requires_grad_()
    physics(outputs, truth)[0].backward()
    assert outputs.grad[0, 0] == pytest.approx(2 * (0.5 - 1.0))


@given(
    q=st.sampled_from([1.0, 1.0 + 1e-12, 1.0 - 1e-12, 0.0, -2.0, 1.04]),
    true_q=st.sampled_from([1.0, 1.04, 8.0]),
    effective=st.tuples(st.floats(-5, 5), st.floats(-20, 20)),
    spins=st.tuples(SPIN, SPIN),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_physics_gradients_are_finite_at_equal_masses(q, true_q, effective, spins, dtype):
    outputs = torch.tensor([[q, 0.0, 0.0, *effective]], dtype=dtype, requires_grad=True)
    truth = rows(true_q, *spins)[None].to(dtype)
    total, _ = physics(outputs, truth)
    total.backward()
    assert torch.isfinite(total)
    assert torch.isfinite(outputs.grad).all()
    # the damping bounds the solve's gain from S_eff, 1 / (2 damping) in s1 and s2 each, q = 1
    assert outputs.grad.abs().max() < 1e7


@settings(max_examples=20)
@given(spins=st.tuples(SPIN, SPIN), offset=st.tuples(SPIN, SPIN, SPIN))
def test_physics_gradients_at_equal_masses_are_those_of_finite_differences(spins, offset):
    truth = rows(1.0, *spins)[None]
    outputs = truth.clone()
    outputs[0, 3] += offset[0]
    outputs[0, 4] += offset[1]
    outputs[0, 1] += offset[2]
    assert torch.autograd.gradcheck(
        lambda x: physics(x, truth)[0], outputs.requires_grad_(), atol=1e-4
    )


def test_damping_changes_the_physics_loss_near_equal_masses():
    truth = rows([1.04], [0.5], [-0.5])
    outputs = truth + torch.tensor([[0.0, 0.0, 0.0, 0.0, 0.1]], dtype=torch.float64)
    strong, weak = (physics(outputs, truth, LossConfig(damping=d))[0] for d in (0.5, 0.01))
    assert strong < weak


@pytest.mark.parametrize("kind", KINDS)
def test_nan_outputs_make_a_nan_loss(kind):
    truth = batch()
    outputs = truth.clone()
    outputs[3, 0] = float("nan")
    assert torch.isnan(loss(outputs, truth, LossConfig(kind=kind))[0])


def test_parts_hold_no_graph():
    outputs = batch().requires_grad_()
    total, parts = direct(outputs, batch())
    assert total.requires_grad
    assert not any(part.requires_grad for part in parts.values())


@pytest.mark.parametrize("shapes", [((4, 5), (4, 3)), ((4, 5), (1, 5)), ((4, 4), (4, 4))])
def test_shapes_that_would_broadcast_are_refused(shapes):
    with pytest.raises(ConfigError, match=r"both must be \(B, 5\)"):
        loss(*(torch.zeros(shape) for shape in shapes), LossConfig())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"damping": 0.0}, "must be > 0"),
        ({"weights": (0, 0, 0, 0, 0)}, "at least one above 0"),
        ({"weights": (1, 1, -1, 1, 1)}, "numbers >= 0"),
        ({"weights": (1, 1)}, "weights"),
        ({"mismatch_weight": -1.0}, "mismatch_weight = -1.0"),
        ({"mismatch_scale": 0.0}, "mismatch_scale = 0.0"),
        ({"kind": "pinn"}, "'direct' or 'physics'"),
    ],
)
def test_an_impossible_loss_says_what_to_change(fields, message):
    with pytest.raises(ValueError, match=message):
        LossConfig(**fields)
