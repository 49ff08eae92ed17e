"""Mass ratio, spins and the effective spins that the network predicts.

Conventions: q = m1/m2 >= 1; s1, s2 are the dimensionless spins along the orbital
angular momentum. Every function takes floats, NumPy arrays or torch tensors, works
elementwise with broadcasting, and keeps the dtype.

References:
    S_eff: Damour, Phys. Rev. D 64, 124013 (2001); sigma_eff and the use of both:
    Khan, Huerta & Das, arXiv:2004.09524, section II.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hpc_gw.errors import ParameterError

Array = Any
"""A float, a NumPy array or a torch tensor."""


def eta(q: Array) -> Array:
    """Symmetric mass ratio q / (1 + q)^2, at most 1/4."""
    return q / (1 + q) ** 2


def sigma_eff(q: Array, s1: Array, s2: Array) -> Array:
    """Mass-weighted effective spin (q s1 + s2) / (1 + q), also called chi_eff."""
    return (q * s1 + s2) / (1 + q)


def s_eff(q: Array, s1: Array, s2: Array) -> Array:
    """Effective spin of the EOB Hamiltonian, (1 + 3/(4q)) s1 + (1 + 3q/4) s2 (Damour 2001)."""
    return (1 + 0.75 / q) * s1 + (1 + 0.75 * q) * s2


def with_effective_spins(points: np.ndarray) -> np.ndarray:
    """Rows (q, s1, s2), (N, 3), with sigma_eff and S_eff: (N, 5), ordered as ``QUANTITIES``."""
    q, s1, s2 = np.asarray(points).T
    return np.stack([q, s1, s2, sigma_eff(q, s1, s2), s_eff(q, s1, s2)], axis=1)


def determinant(q: Array) -> Array:
    """Determinant of (s1, s2) -> (sigma_eff, S_eff): zero at q = 1, positive above.

    [q (1 + 3q/4) - (1 + 3/(4q))] / (1 + q) = (q - 1) [1 + 3 (1 + q + q^2) / (4q)] / (1 + q).
    """
    return (q - 1) * (1 + 0.75 * (1 + q + q * q) / q) / (1 + q)


def spins_from_effective(
    q: Array, sigma: Array, seff: Array, *, damping: float = 0.0
) -> tuple[Array, Array]:
    """Solve (q, sigma_eff, S_eff) for (s1, s2).

    Written in the well-conditioned variable ``d``, the part of the spins that sigma_eff
    does not see: s1 = sigma + d/q, s2 = sigma - d. Then S_eff - S_eff(sigma, sigma) =
    d [(1 + 3/(4q))/q - (1 + 3q/4)] = d g(q), where g(1) = 0: at q = 1 both effective spins
    see only s1 + s2, and ``d`` cannot be known from them. ``damping`` regularises the
    division, d = g r / (g^2 + damping^2), whose limit at q = 1 is d = 0, the equal-spin
    solution; ``sigma_eff`` of the answer is exact for any damping.

    Args:
        q, sigma, seff: mass ratio, sigma_eff and S_eff; broadcastable.
        damping: 0 solves exactly (undefined at q = 1 where the residual is not zero,
            d = 0 there); positive bounds the gain to 1 / (2 damping), so gradients are
            finite everywhere.

    Returns:
        (s1, s2)
    """
    g = (1 + 0.75 / q) / q - (1 + 0.75 * q)
    residual = seff - s_eff(q, sigma, sigma)
    power = g * g + damping * damping
    power = power + (power == 0) * 1.0  # 0/0 at q = 1 without damping: take d = 0
    d = g * residual / power
    return sigma + d / q, sigma - d


def check_parameters(parameters: np.ndarray, *, q_max: float = np.inf) -> np.ndarray:
    """Validate rows (q, s1, s2) and return them as float64 of shape (B, 3).

    Raises:
        ParameterError: a value that is not finite, q < 1, q > ``q_max`` or \\|s\\| > 1.
    """
    rows = np.atleast_2d(np.asarray(parameters, dtype=np.float64))
    if rows.ndim != 2 or rows.shape[1] != 3:
        raise ParameterError(f"parameters of shape {rows.shape}: need rows (q, s1, s2), (B, 3)")
    rules = (
        (~np.isfinite(rows).all(axis=1), "every one of q, s1, s2 must be a finite number"),
        (rows[:, 0] < 1, "q = m1/m2 must be >= 1: swap the bodies, and their spins, if it is not"),
        (rows[:, 0] > q_max, f"q must be <= {q_max:g}, the end of this model's domain"),
        (np.abs(rows[:, 1:]).max(axis=1, initial=0) > 1, "spins must lie in [-1, 1]"),
    )
    for bad, rule in rules:
        if bad.any():
            q, s1, s2 = rows[np.flatnonzero(bad)[0]]
            raise ParameterError(f"(q, s1, s2) = ({q:g}, {s1:g}, {s2:g}): {rule}")
    return rows
