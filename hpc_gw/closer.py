"""A closer look at one waveform: the fit from a network's answer on, and what it cannot tell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hpc_gw.constants import DT, QUANTITIES, T_MAX, T_MIN
from hpc_gw.errors import ConfigError
from hpc_gw.evaluation.degeneracy import valleys
from hpc_gw.evaluation.quadrature import Quadrature, Target
from hpc_gw.evaluation.refine import fit
from hpc_gw.manifold.physics import with_effective_spins
from hpc_gw.waveforms.columns import Columns
from hpc_gw.waveforms.engines import EngineConfig, surrogate_path
from hpc_gw.waveforms.surrogate_file import read_surrogate


@dataclass(frozen=True)
class Closest:
    """The waveform of the surrogate that fits best."""

    values: dict[str, float]
    """(q, s1, s2, sigma_eff, s_eff) by name."""

    overlap: float
    converged: bool
    """Whether the fit came to a maximum of at least ``refine.GOAL``."""


def quadrature(engine: EngineConfig, t_min: float, t_max: float, dt: float) -> Quadrature:
    """What fits and valleys are found with, for the overlaps on a uniform grid [M].

    Raises:
        ConfigError: the engine is no surrogate, whose derivatives are known.
    """
    if engine.kind != "surrogate":
        raise ConfigError(
            f"--engine {engine.kind}: --refine and --valleys need the derivatives of a "
            f"surrogate; leave them out, or --engine"
        )
    return Quadrature(read_surrogate(surrogate_path(engine.file)), t_min, t_max, dt)


class CloserLook:
    """Fits over the common span of one waveform and the paper's grid.

    Args:
        engine: whose waveforms are fitted.
        start, end: of the waveform, its peak at 0 [M].

    Raises:
        ConfigError: the engine is no surrogate, whose derivatives are known.
    """

    def __init__(self, engine: EngineConfig, start: float = T_MIN, end: float = T_MAX) -> None:
        first = T_MIN + DT * np.ceil(max(start - T_MIN, 0.0) / DT - 1e-9)
        self._quadrature = quadrature(engine, float(first), min(end, T_MAX), DT)

    def fit(self, given: Columns | np.ndarray, start: np.ndarray) -> Closest:
        """The best fit of a waveform, or of that at a point (1, 3), from ``start`` (1, 3) on."""
        best = fit(self._quadrature, self._target(given), start)
        row = with_effective_spins(best.parameters[:1].numpy())[0].tolist()
        values = dict(zip(QUANTITIES, row, strict=True))
        return Closest(values, float(best.overlap[0]), bool(best.converged[0]))

    def reach(self, point: np.ndarray) -> np.ndarray:
        """How far q, s1, s2 can move from a point (1, 3) with overlap at least 0.999, (3,)."""
        return np.asarray(valleys(self._quadrature, np.zeros(1, dtype=np.int64), point).reach[0])

    def _target(self, given: Columns | np.ndarray) -> Target:
        if isinstance(given, np.ndarray):
            return self._quadrature.target(given)
        return self._quadrature.target_of(given.times, given.h22)
