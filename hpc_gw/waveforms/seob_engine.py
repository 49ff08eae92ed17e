"""SEOBNRv5HM by pyseobnr as an engine: the model that the embedded surrogate is trained on.

Reference: Pompili et al., Phys. Rev. D 108, 124035 (2023), arXiv:2303.18039.
"""

from __future__ import annotations

import numpy as np

from hpc_gw.waveforms.direct_engine import DirectEngine
from hpc_gw.waveforms.pyseobnr_h22 import import_pyseobnr, seob_h22


class SeobEngine(DirectEngine):
    """SEOBNRv5HM's (2, 2) mode; see ``DirectEngine``."""

    def __init__(self, times: np.ndarray, *, phase_zero: float | None = None) -> None:
        super().__init__(times, phase_zero=phase_zero)
        version = import_pyseobnr().__version__
        self.name = "SEOBNRv5HM, by pyseobnr"
        self.checksum = f"pyseobnr {version} SEOBNRv5HM"

    def generate(
        self, q: float, s1: float, s2: float, omega: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """See ``DirectEngine``; every ``DT``."""
        return seob_h22(q, s1, s2, omega)
