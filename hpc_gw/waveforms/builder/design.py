"""Where the builder asks for waveforms: training points and held-out points in (q, s1, s2)."""

from __future__ import annotations

import itertools

import numpy as np
from scipy.stats import qmc

from hpc_gw.constants import Q_MAX, Q_MIN, SPIN_MAX

TRAINING_BOX = ((1.0, 8.05), (-0.81, 0.81), (-0.81, 0.81))
"""(min, max) of q, s1, s2 for training: a little wider than the domain that is served, so that
its faces are interpolated."""

LOBATTO = 6
"""Chebyshev-Lobatto points per axis on the faces of the box: 6^3 - 4^3 = 152 points."""


def training_points(points: int, seed: int) -> np.ndarray:
    """Training parameters, nested: fewer points are a prefix of more.

    First the surface of the box (corners, then edges, then faces, on Chebyshev-Lobatto
    points), then scrambled Sobol points, in turn with Chebyshev and with uniform density.
    Densities are uniform in (ln q, s1, s2).

    Args:
        points: how many.
        seed: seed of the Sobol scrambling.

    Returns:
        float64 (points, 3), rows (q, s1, s2).
    """
    surface = _surface()
    inner = max(points - len(surface), 0)
    unit = qmc.Sobol(3, scramble=True, rng=np.random.default_rng(seed)).random_base2(
        int(np.ceil(np.log2(max(inner, 2))))
    )[:inner]
    chebyshev = np.arange(inner)[:, None] % 2 == 0
    cube = np.where(chebyshev, -np.cos(np.pi * unit), 2 * unit - 1)
    return _from_cube(np.concatenate([surface, cube])[:points])


def held_out_points(points: int, seed: int) -> np.ndarray:
    """Held-out parameters, uniform in q in [1, 8] and in both spins in [-0.8, 0.8].

    Returns:
        float64 (points, 3), rows (q, s1, s2).
    """
    # a stream of its own: the same seed must not tie held-out points to training points
    random = np.random.default_rng([seed, 1])
    low = (Q_MIN, -SPIN_MAX, -SPIN_MAX)
    high = (Q_MAX, SPIN_MAX, SPIN_MAX)
    return random.uniform(low, high, size=(points, 3))


def _surface() -> np.ndarray:
    """Chebyshev-Lobatto points on the surface of [-1, 1]^3: corners, edges, faces."""
    nodes = -np.cos(np.pi * np.arange(LOBATTO) / (LOBATTO - 1))
    nodes[0], nodes[-1] = -1.0, 1.0
    grid = np.array(list(itertools.product(nodes, repeat=3)))
    at_end = (np.abs(grid) == 1.0).sum(axis=1)
    return np.concatenate([grid[at_end == ends] for ends in (3, 2, 1)])


def _from_cube(cube: np.ndarray) -> np.ndarray:
    """[-1, 1]^3 to (q, s1, s2) in the training box, uniform in ln q."""
    box = np.array(TRAINING_BOX)
    box[0] = np.log(box[0])
    rows = box[:, 0] + (cube + 1) / 2 * (box[:, 1] - box[:, 0])
    rows[:, 0] = np.exp(rows[:, 0])
    return np.asarray(np.clip(rows, *np.array(TRAINING_BOX).T))
