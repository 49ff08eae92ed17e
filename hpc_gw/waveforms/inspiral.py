"""How early an inspiral must be begun."""

from __future__ import annotations

import numpy as np
from scipy.optimize import brentq

from hpc_gw.manifold.physics import eta

DURATION = 14_000.0
"""Length asked for at 1.5PN accuracy [M]: reaches -10,900 M everywhere in q <= 8, |s| <= 0.8."""


def starting_frequency(q: float, s1: float, s2: float, duration: float = DURATION) -> float:
    """Orbital frequency M omega from which the 1.5PN inspiral lasts ``duration`` (in M).

    tau = 5/(256 eta) v^-8 [1 + (743/252 + 11 eta/3) v^2 - (8/5)(4 pi - beta) v^3], v^3 = M omega
    (Poisson & Will, Phys. Rev. D 52, 848 (1995)).
    """
    nu = float(eta(q))
    masses = np.array([q, 1.0]) / (1 + q)
    beta = float(((113 * masses**2 + 75 * nu) * np.array([s1, s2])).sum()) / 12

    def excess(v: float) -> float:
        series = 1 + (743 / 252 + 11 * nu / 3) * v**2 - 1.6 * (4 * np.pi - beta) * v**3
        return float(5 / (256 * nu) * v**-8 * series) - duration

    return float(brentq(excess, 0.05, 0.35)) ** 3
