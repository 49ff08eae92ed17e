"""From the network's five outputs to physical quantities that agree with one another.

Rows are in the order of ``constants.QUANTITIES``: (q, s1, s2, sigma_eff, S_eff).
"""

from __future__ import annotations

import functools
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from hpc_gw.constants import Q_MAX, Q_MIN, SPIN_MAX
from hpc_gw.manifold import physics

Head = Literal["direct", "physics"]

DAMPING = 0.05
"""Default damping of the spin solve: the error expected of S_eff (0.016, half the paper's
quartiles' half-width) over the spread of the part of the spins that the solve finds (0.33 at
q = 1), the Tikhonov optimum. It shrinks that part by 4 % at q = 1.08 and 0.08 % at q = 2."""

FLOOR_WIDTH = 0.01
"""Half-width in q of the smooth bend of ``floor_q``, below the paper's quartiles of the q error."""


@functools.cache
def manifold_moments(
    q_range: tuple[float, float] = (Q_MIN, Q_MAX), spin_max: float = SPIN_MAX
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of the five quantities, each (5,) float64; not to be written to.

    Over q uniform in ``q_range`` and s1, s2 uniform in [-``spin_max``, ``spin_max``],
    independently. The spins' means vanish, so the effective spins' do, and their variances are
    var(s) times the mean over q of the sum of the squared coefficients of s1 and s2, by
    Gauss-Legendre quadrature in q.
    """
    low, high = q_range
    nodes, weights = np.polynomial.legendre.leggauss(32)
    q = 0.5 * (low + high) + 0.5 * (high - low) * nodes
    spin = spin_max / np.sqrt(3.0)

    def spread(of: object) -> float:
        square = of(q, 1.0, 0.0) ** 2 + of(q, 0.0, 1.0) ** 2  # type: ignore[operator]
        return float(spin * np.sqrt(np.sum(weights * square) / 2))

    q_spread = (high - low) / np.sqrt(12.0)
    mean = np.array([0.5 * (low + high), 0.0, 0.0, 0.0, 0.0])
    spreads = np.array([q_spread, spin, spin, spread(physics.sigma_eff), spread(physics.s_eff)])
    mean.flags.writeable = spreads.flags.writeable = False
    return mean, spreads


def difference_moments() -> tuple[np.ndarray, np.ndarray]:
    """The same of (ln q, sigma_eff, s1 - s2), each (3,) float64, over the paper's manifold."""
    low, high = Q_MIN, Q_MAX
    nodes, weights = np.polynomial.legendre.leggauss(32)
    ln_q = np.log(0.5 * (low + high) + 0.5 * (high - low) * nodes)
    middle = float(np.sum(weights * ln_q) / 2)
    ln_q_spread = float(np.sqrt(np.sum(weights * (ln_q - middle) ** 2) / 2))
    _, spread = manifold_moments()
    return np.array([middle, 0.0, 0.0]), np.array([ln_q_spread, spread[3], spread[1] * np.sqrt(2)])


def from_difference(answers: Tensor) -> Tensor:
    """All five quantities from (ln q, sigma_eff, d = s1 - s2); (B, 3) -> (B, 5).

    s1 = sigma_eff + d / (1 + q) and s2 = sigma_eff - q d / (1 + q): unlike the solve of sigma_eff
    and S_eff it is as well conditioned at q = 1 as anywhere. q is kept finite whatever ln q is.
    """
    ln_q, sigma, difference = answers.unbind(-1)  # (B,) each
    q = torch.exp(ln_q.clamp(-5.0, 5.0))
    s1 = sigma + difference / (1 + q)
    s2 = sigma - q * difference / (1 + q)
    return torch.stack((q, s1, s2, sigma, physics.s_eff(q, s1, s2)), dim=-1)


def floor_q(q: Tensor, width: float = FLOOR_WIDTH) -> Tensor:
    """q kept at 1 or above, with a continuous derivative.

    The identity above 1 + ``width``, 1 below 1 - ``width``, and a parabola between: at q = 1 it
    answers 1 + ``width`` / 4, the most that it ever adds to a q >= 1. A softplus of the same bias
    would reach far above q = 1, and a hard clamp has no derivative where many true q lie.
    """
    bend = (q - 1 + width).clamp(0, 2 * width)
    return 1 + bend * bend / (4 * width) + F.relu(q - 1 - width)


def solve_spins(outputs: Tensor, *, damping: float = DAMPING) -> Tensor:
    """Rows whose spins follow from q, sigma_eff and S_eff; (B, 5) -> (B, 5).

    s1 and s2 of ``outputs`` are not looked at. q is floored (``floor_q``); the three others
    stay as they are. Gradients are finite everywhere if ``damping`` > 0.
    """
    q, _, _, sigma, seff = outputs.unbind(-1)  # (B,) each
    q = floor_q(q)
    s1, s2 = physics.spins_from_effective(q, sigma, seff, damping=damping)
    return torch.stack((q, s1, s2, sigma, seff), dim=-1)


def quantities(outputs: Tensor, head: Head, *, damping: float = DAMPING) -> Tensor:
    """The network's answer as physical quantities; (B, 5) -> (B, 5).

    Args:
        outputs: of ``WaveNet``.
        head: ``direct``: the outputs as they are, as published (q < 1 and |s| > 1 included);
            ``physics``: q >= 1, and the spins solved from (q, sigma_eff, S_eff).
        damping: of the solve, see ``manifold.physics.spins_from_effective``.
    """
    return outputs if head == "direct" else solve_spins(outputs, damping=damping)
