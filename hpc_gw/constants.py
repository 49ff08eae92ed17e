"""Numbers with their unit and source. Geometric units (G = c = 1), times in total mass M."""

from __future__ import annotations

T_MIN = -10_000.0
"""First sample of the paper's time grid [M] (arXiv:2004.09524, section II A)."""

T_MAX = 130.0
"""End of the paper's time grid, exclusive [M]."""

DT = 0.1
"""Sampling interval of the paper's time grid [M]."""

N_TIMES = 101_300
"""Samples of the paper's time grid: ``arange(T_MIN, T_MAX, DT)``."""

Q_MIN, Q_MAX = 1.0, 8.0
"""Mass ratio m1/m2 covered by NRHybSur3dq8's training (arXiv:1812.07865)."""

SPIN_MAX = 0.8
"""Largest dimensionless |spin| covered by NRHybSur3dq8's training (arXiv:1812.07865)."""

MTSUN_SI = 4.925490947641267e-06
"""Solar mass in seconds, G M_sun / c^3 (IAU 2015 nominal values)."""

QUANTITIES = ("q", "s1", "s2", "sigma_eff", "s_eff")
"""Order of a row of truths or predictions everywhere in the package."""
