"""From five outputs to quantities that agree with one another."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hpc_gw.manifold import physics
from hpc_gw.models.physics_head import (
    DAMPING,
    FLOOR_WIDTH,
    floor_q,
    manifold_moments,
    quantities,
    solve_spins,
)

SPINS = st.floats(-1, 1)


def row(q, s1, s2):
    values = [q, s1, s2, physics.sigma_eff(q, s1, s2), physics.s_eff(q, s1, s2)]
    return torch.tensor([values], dtype=torch.float64)


def test_moments_are_those_of_uniform_draws():
    rng = np.random.default_rng(0)
    n = 400_000
    q, s1, s2 = rng.uniform(1, 8, n), rng.uniform(-0.8, 0.8, n), rng.uniform(-0.8, 0.8, n)
    draws = np.stack([q, s1, s2, physics.sigma_eff(q, s1, s2), physics.s_eff(q, s1, s2)])
    mean, spread = manifold_moments((1.0, 8.0), 0.8)
    np.testing.assert_allclose(draws.std(axis=1), spread, rtol=5e-3)  # 400,000 draws: ~1e-3
    np.testing.assert_allclose(draws.mean(axis=1), mean, atol=0.02)


@given(q=st.floats(-50, 50))
def test_floored_q_is_at_least_one_and_exact_away_from_it(q):
    floored = float(floor_q(torch.tensor(q, dtype=torch.float64)))
    assert floored >= 1
    if q >= 1 + FLOOR_WIDTH:
        assert floored == pytest.approx(q, abs=1e-14)
    if q >= 1:
        assert 0 <= floored - q + 1e-14 <= FLOOR_WIDTH / 4 + 2e-14


@pytest.mark.parametrize("q", [1 - FLOOR_WIDTH, 1.0, 1 + FLOOR_WIDTH])
def test_floor_has_a_continuous_derivative(q):
    def slope(at):
        x = torch.tensor(at, dtype=torch.float64, requires_grad=True)
        floor_q(x).backward()
        return float(x.grad)

    assert slope(q - 1e-9) == pytest.approx(slope(q), abs=1e-6)
    assert slope(q + 1e-9) == pytest.approx(slope(q), abs=1e-6)


def test_direct_leaves_the_outputs_alone():
    outputs = torch.randn(4, 5)
    assert quantities(outputs, "direct") is outputs


@given(q=st.floats(1.02, 10), s1=SPINS, s2=SPINS)
def test_physics_recovers_the_spins_from_the_other_three(q, s1, s2):
    truth = row(q, s1, s2)
    outputs = truth.clone()
    outputs[:, 1:3] = float("nan")  # not looked at
    g = (1 + 0.75 / q) / q - (1 + 0.75 * q)
    undamped = quantities(outputs, "physics", damping=1e-9)
    torch.testing.assert_close(undamped, truth, rtol=0, atol=1e-6)
    # with damping: sigma_eff as told, and the part that it does not see shrunk as documented
    _, t1, t2, sigma, _ = quantities(outputs, "physics", damping=DAMPING)[0].tolist()
    assert physics.sigma_eff(q, t1, t2) == pytest.approx(sigma, abs=1e-12)
    unseen = s1 - s2
    assert t1 - t2 == pytest.approx(unseen * g * g / (g * g + DAMPING**2), abs=1e-9)


@given(q=st.sampled_from([-3.0, 0.0, 0.99, 1.0, 1.001, 4.0]), values=st.tuples(*[SPINS] * 4))
def test_physics_answers_agree_with_one_another_even_for_absurd_outputs(q, values):
    answer = quantities(torch.tensor([[q, *values]], dtype=torch.float64), "physics")[0].tolist()
    assert answer[0] >= 1
    assert np.isfinite(answer).all()
    assert physics.sigma_eff(*answer[:3]) == pytest.approx(answer[3], abs=1e-12)


def test_solving_twice_is_solving_once():
    outputs = torch.tensor([[2.5, 0.0, 0.0, 0.3, 1.1], [1.02, 0.9, 0.9, -0.2, -0.8]]).double()
    once = solve_spins(outputs)
    torch.testing.assert_close(solve_spins(once), once)


def test_solve_has_correct_gradients_at_and_around_equal_masses():
    q = torch.tensor([1.0, 1.004, 0.997, 1.08, 6.0], dtype=torch.float64)
    outputs = torch.cat((q[:, None], torch.rand(5, 4, dtype=torch.float64) - 0.5), dim=1)
    assert torch.autograd.gradcheck(solve_spins, outputs.requires_grad_())
