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
from hpc_gw.waveforms.lowpass import QUIET_NOISE, lowpassed
from hpc_gw.waveforms.surrogate_file import SurrogateData, read_surrogate
from hpc_gw.waveforms.timegrid import TimeGrid

FIT_SNR = 8000.0
"""Signal-to-noise ratio of white noise that a fit needs. A target is looked at where the chirp's
phase has 768 samples: their noise, filtered, costs an overlap of 6e-6 at 10,000, 3.5e-4 at 1000
(measured), and a fit has converged above 0.99999 only. At 100 fits end anywhere."""

_ROOM = 50.0  # M before the paper's grid that a filter may look at


@dataclass(frozen=True)
class Closest:
    """The waveform of the surrogate that fits best."""

    values: dict[str, float]
    """(q, s1, s2, sigma_eff, s_eff) by name."""

    overlap: float
    converged: bool
    """Whether the fit came to a maximum of at least ``refine.GOAL``."""


def quadrature(
    engine: EngineConfig, t_min: float, t_max: float, dt: float, data: SurrogateData | None = None
) -> Quadrature:
    """What fits and valleys are found with, for the overlaps on a uniform grid [M].

    ``data`` is the engine's, if it was read already.

    Raises:
        ConfigError: the engine is no surrogate, whose derivatives are known.
    """
    if engine.kind != "surrogate":
        raise ConfigError(
            f"--engine {engine.kind}: --refine and --valleys need the derivatives of a "
            f"surrogate; leave them out, or --engine"
        )
    return Quadrature(data or read_surrogate(surrogate_path(engine.file)), t_min, t_max, dt)


class CloserLook:
    """Fits over the common span of one waveform and the paper's grid.

    Args:
        engine: whose waveforms are fitted.
        start, end: of the waveform, its peak at 0 [M].
        data: the engine's, if it was read already.

    Raises:
        ConfigError: the engine is no surrogate, whose derivatives are known.
    """

    def __init__(
        self,
        engine: EngineConfig,
        start: float = T_MIN,
        end: float = T_MAX,
        data: SurrogateData | None = None,
    ) -> None:
        first = T_MIN + DT * np.ceil(max(start - T_MIN, 0.0) / DT - 1e-9)
        self._quadrature = quadrature(engine, float(first), min(end, T_MAX), DT, data)

    def fit(self, given: Columns | np.ndarray, start: np.ndarray) -> Closest:
        """The best fit of a waveform, or of that at a point (1, 3), from ``start`` (1, 3) on.

        A noisy waveform is filtered first; see ``FIT_SNR``.
        """
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
        if given.noise is QUIET_NOISE:
            return self._quadrature.target_of(given.times, given.h22)
        start, end = float(given.times[0]), float(given.times[-1])
        grid = TimeGrid(kind="chirp", t_min=max(start, T_MIN - _ROOM), t_max=end).times()
        return self._quadrature.target_of(grid, lowpassed(given.times, given.h22, grid))
