"""Waveform models of lalsimulation as engines: IMRPhenomT and SEOBNRv4, which need no data files.

lalsimulation gives the polarizations of a binary seen at (iota, phi) = (0, pi/2 - phi_ref),
h+ - i hx = sum over m of h_2m Y_2m(iota, phi), spin weight -2, for models of the modes (2, 2) and
(2, -2) alone. At iota = 0, Y_2-2 = 0 and Y_22 = sqrt(5 / (4 pi)) exp(2 i phi): h22 up to a
constant phase, which ``direct_engine`` sets. Its sign is ours, h22 = A exp(-i phi).

References:
    IMRPhenomT: Estelles et al., arXiv:2004.08302 and arXiv:2012.11923 (its mode (2, 2)).
    SEOBNRv4: Bohe et al., arXiv:1611.03703; ``SEOBNRv4_opt`` is the same model, faster.
    Conventions: lalsimulation's LALSimInspiral.c.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from hpc_gw.constants import DT
from hpc_gw.errors import MissingDependencyError, ParameterError
from hpc_gw.waveforms.direct_engine import DirectEngine

INSTALL = 'pip install "hpc_gw[lal]"'

APPROXIMANTS = {"phenomt": "IMRPhenomT", "seobnrv4": "SEOBNRv4_opt"}
"""lalsimulation's names by ours."""

TOTAL_MASS = 50.0
"""[solar masses]; cancels out in geometric units, lalsimulation just needs one."""


def import_lal() -> tuple[Any, Any]:
    """lal and lalsimulation; ``MissingDependencyError`` with the install line if absent."""
    try:
        return importlib.import_module("lal"), importlib.import_module("lalsimulation")
    except ImportError as error:
        raise MissingDependencyError("lalsuite", "this engine", INSTALL) from error


class LalEngine(DirectEngine):
    """A model of lalsimulation; see ``DirectEngine``.

    Args:
        kind: one of ``APPROXIMANTS``.
    """

    def __init__(self, kind: str, times: np.ndarray, *, phase_zero: float | None = None) -> None:
        super().__init__(times, phase_zero=phase_zero)
        self._lal, self._simulation = import_lal()
        self._approximant = APPROXIMANTS[kind]
        self.name = f"{self._approximant}, by lalsimulation"
        self.checksum = f"lalsimulation {self._simulation.__version__} {self._approximant}"

    def generate(
        self, q: float, s1: float, s2: float, omega: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """See ``DirectEngine``; every ``DT``."""
        lal, simulation = self._lal, self._simulation
        second, distance = TOTAL_MASS * lal.MTSUN_SI, 1e6 * lal.PC_SI
        start = omega / (np.pi * second)  # [Hz] of h22: twice the orbital frequency
        total = TOTAL_MASS * lal.MSUN_SI
        masses = total * q / (1 + q), total / (1 + q)
        spins = 0.0, 0.0, s1, 0.0, 0.0, s2
        angles = 0.0, 0.0, 0.0, 0.0, 0.0  # inclination, phi_ref, node, eccentricity, anomaly
        model = simulation.GetApproximantFromString(self._approximant)
        try:
            plus, cross = simulation.SimInspiralChooseTDWaveform(
                *masses, *spins, distance, *angles, DT * second, start, start, None, model
            )
        except RuntimeError as error:
            raise ParameterError(
                f"{self.name} has no waveform at (q, s1, s2) = ({q:g}, {s1:g}, {s2:g}): {error}"
            ) from error
        scale = distance / (TOTAL_MASS * lal.MRSUN_SI) / np.sqrt(5 / (4 * np.pi))
        h22 = scale * (plus.data.data - 1j * cross.data.data)
        times = float(plus.epoch) / second + DT * np.arange(h22.size)
        last = int(np.flatnonzero(h22)[-1]) + 1  # zeros follow SEOBNRv4's ringdown
        return times[:last], h22[:last]
