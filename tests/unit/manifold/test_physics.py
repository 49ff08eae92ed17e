"""Effective spins, their inverse, and the validation of parameters."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hpc_gw.errors import ParameterError
from hpc_gw.manifold.physics import (
    check_parameters,
    determinant,
    eta,
    s_eff,
    sigma_eff,
    spins_from_effective,
)

spins = st.floats(-1, 1)


def test_hand_derived_values_at_q_3():
    # q = 3, s1 = 0.4, s2 = -0.2: eta = 3/16; sigma_eff = (1.2 - 0.2)/4;
    # S_eff = 1.25 * 0.4 - 3.25 * 0.2
    assert eta(3.0) == pytest.approx(0.1875)
    assert sigma_eff(3.0, 0.4, -0.2) == pytest.approx(0.25)
    assert s_eff(3.0, 0.4, -0.2) == pytest.approx(-0.15)


@given(st.floats(1.01, 10), spins, spins)
def test_solving_the_effective_spins_gives_the_spins_back(q, s1, s2):
    solved = spins_from_effective(q, sigma_eff(q, s1, s2), s_eff(q, s1, s2))
    assert np.allclose(solved, (s1, s2), atol=1e-9)


@given(st.floats(1.001, 10))
def test_the_determinant_is_that_of_the_linear_system(q):
    matrix = np.array([[sigma_eff(q, 1, 0), sigma_eff(q, 0, 1)], [s_eff(q, 1, 0), s_eff(q, 0, 1)]])
    assert determinant(q) == pytest.approx(np.linalg.det(matrix), rel=1e-9)


@given(spins, spins)
def test_at_equal_masses_the_solve_gives_the_equal_spins(s1, s2):
    solved = spins_from_effective(1.0, sigma_eff(1.0, s1, s2), s_eff(1.0, s1, s2))
    assert np.allclose(solved, [(s1 + s2) / 2] * 2, atol=1e-12)


@given(st.floats(1, 10), st.floats(-1, 1), st.floats(-5, 5), st.floats(1e-3, 1))
def test_damping_keeps_sigma_eff_exact_and_bounds_the_spins(q, sigma, seff, damping):
    s1, s2 = spins_from_effective(q, sigma, seff, damping=damping)
    assert sigma_eff(q, s1, s2) == pytest.approx(sigma, abs=1e-10)
    assert abs(s2 - sigma) <= abs(seff - s_eff(q, sigma, sigma)) / (2 * damping) + 1e-12


def test_near_equal_masses_an_error_of_s_eff_is_not_amplified_without_bound():
    q, error = 1.0 + 1e-6, 0.01
    s1, s2 = spins_from_effective(q, 0.2, s_eff(q, 0.2, 0.2) + error, damping=0.05)
    assert abs(s1 - 0.2) < 1e-3 and abs(s2 - 0.2) < 1e-3


def test_gradients_are_finite_at_equal_masses():
    rows = torch.tensor([[1.0, 0.3, 0.9]], dtype=torch.float64, requires_grad=True)
    s1, s2 = spins_from_effective(*rows.unbind(-1), damping=0.05)
    (s1 + 2 * s2).sum().backward()
    assert torch.isfinite(rows.grad).all()


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ((0.5, 0, 0), "swap the bodies"),
        ((float("nan"), 0, 0), "finite"),
        ((2, 1.2, 0), "[-1, 1]"),
        ((2, 0, float("inf")), "finite"),
    ],
)
def test_unphysical_parameters_are_refused_with_value_and_rule(row, words):
    with pytest.raises(ParameterError) as caught:
        check_parameters(np.array([row]))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert f"{row[0]:g}" in str(caught.value)
