"""h22 of SEOBNRv5HM by pyseobnr, for the engine and for the builder of the embedded surrogate.

pyseobnr is GPL-3 and heavy: it is imported when a waveform is asked for. The builder works
without torch, so this file does.

Reference: Pompili et al., Phys. Rev. D 108, 124035 (2023), arXiv:2303.18039.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from hpc_gw.constants import DT, MTSUN_SI
from hpc_gw.errors import MissingDependencyError

INSTALL = 'pip install "hpc_gw[nr]"'

TOTAL_MASS = 50.0
"""[solar masses]; cancels out in geometric units, pyseobnr just needs one."""

SETTINGS: dict[str, Any] = {
    "return_modes": [(2, 2)],
    "dt": DT * TOTAL_MASS * MTSUN_SI,
    "M": TOTAL_MASS,
    "postadiabatic": True,  # an ODE from the start leaves eccentricity wiggles of 4e-4 rad
    "rtol_ode": 1e-13,  # tight: the attachment time jitters 3-4 times less
    "atol_ode": 1e-14,
    "convention_t0_set_to_0_at_coprecessing_amplitude22_peak": True,
}
"""What pyseobnr is asked for; t = 0 at the attachment, which is the peak of (2,2)."""


def import_pyseobnr() -> Any:
    """The package pyseobnr; ``MissingDependencyError`` with the install line if absent."""
    try:
        importlib.import_module("pyseobnr.generate_waveform")
    except ImportError as error:
        raise MissingDependencyError("pyseobnr", "SEOBNRv5HM", INSTALL) from error
    return importlib.import_module("pyseobnr")


def seob_h22(q: float, s1: float, s2: float, omega: float) -> tuple[np.ndarray, np.ndarray]:
    """Times in M, every ``DT``, and h22 = A exp(-i phi), from the orbital frequency ``omega``."""
    _, modes, model = import_pyseobnr().generate_waveform.generate_modes_opt(
        q, s1, s2, omega, approximant="SEOBNRv5HM", debug=True, settings=dict(SETTINGS)
    )
    whole = np.abs(modes["2,2"]) > 0  # trailing samples are exactly 0
    return model.t[whole], modes["2,2"][whole]
