"""Files as catalogues of numerical relativity publish them, written from given waveforms.

The layouts follow the public descriptions: SXS, arXiv:1904.04831; LVCNR, arXiv:1703.01076,
with the reduced-order splines of arXiv:1611.07529.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import h5py
import numpy as np
from scipy.interpolate import CubicSpline, UnivariateSpline

from hpc_gw.waveforms.columns import Columns

POINT = (3.0, 0.4, -0.2)
"""(q, s1, s2) of the waveforms in these files."""

TIMES = np.arange(-10400.0, 135.0, 0.5)

DEGREE = 5
TOLERANCE = 1e-6


def eccentric(times: np.ndarray, h22: np.ndarray, eccentricity: float, at: float) -> np.ndarray:
    """``h22`` with the wobble that an eccentricity at time ``at`` [M] makes, which then decays.

    To first order: 1.5 e cos l in amplitude and 4 e sin l in phase, l the mean anomaly, whose rate
    is behind the orbital one by the periastron's advance at second post-Newtonian order (q = 3),
    and e as the 19/18-th power of the orbital period (Peters 1964).
    """
    orbital = np.abs(np.gradient(-np.unwrap(np.angle(h22)), times)) / 2
    x = np.minimum(orbital ** (2 / 3), 0.15)
    rate = orbital / (1 + 3 * x + (27 / 2 - 7 * 3 / 16) * x**2)
    anomaly = np.cumsum(rate * np.gradient(times))
    begin = orbital[np.searchsorted(times, at)]
    seen = eccentricity * (begin / np.maximum(orbital, 1e-3)) ** (19 / 18)
    size, turn = 1 + 1.5 * seen * np.cos(anomaly), np.exp(-4j * seen * np.sin(anomaly))
    wobbling: np.ndarray = h22 * size * turn
    return wobbling


def write_sxs(
    path: Path,
    times: np.ndarray,
    h22: np.ndarray,
    *,
    orders: tuple[str, ...] = (
        "Extrapolated_N2.dir",
        "Extrapolated_N3.dir",
        "Extrapolated_N4.dir",
        "OutermostExtraction.dir",
    ),
    start: float = 0.0,
) -> Path:
    """An SXS file: each order is the same waveform, turned by a phase of its own (0.1 rad a place).

    Without orders, the mode is at the file's top. Times are moved to begin at ``start``.
    """
    with h5py.File(path, "w") as file:
        for place, order in enumerate(orders or ("",)):
            turned = h22 * np.exp(0.1j * place)
            table = np.column_stack([times - times[0] + start, turned.real, turned.imag])
            group = file.require_group(order) if order else file
            group["Y_l2_m2.dat"] = table
            group["Y_l2_m1.dat"] = table * 1e-3
    return path


def write_metadata(folder: Path, kind: str = "txt", **values: object) -> Path:
    """``metadata.txt`` or ``metadata.json`` of an SXS run; names are given with underscores."""
    path = folder / f"metadata.{kind}"
    if kind == "json":
        path.write_text(json.dumps(values))
        return path
    lines = ["# Metadata", "simulation-name = made/Lev5"]
    for name, value in values.items():
        shown = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
        lines.append(f"{name.replace('_', '-'):<40}= {shown}")
    path.write_text("\n".join(lines) + "\n")
    return path


def reduced_knots(times: np.ndarray, values: np.ndarray, tolerance: float) -> np.ndarray:
    """Places (n,) of the knots of a reduced-order spline, greedily: the worst sample comes in next.

    Worst samples of sixteen stretches come in together, which is faster and keeps a few knots more.
    """
    places = np.unique(np.linspace(0, times.size - 1, DEGREE + 1).astype(int))
    while True:
        spline = UnivariateSpline(times[places], values[places], k=DEGREE, s=0)
        error = np.abs(spline(times) - values)
        if error.max() <= tolerance:
            return places
        edges = np.linspace(0, times.size, 17).astype(int)
        worst = [a + int(np.argmax(error[a:b])) for a, b in itertools.pairwise(edges)]
        places = np.union1d(places, [i for i in worst if error[i] > tolerance])


def write_lvcnr(
    path: Path,
    times: np.ndarray,
    h22: np.ndarray,
    point: tuple[float, float, float],
    *,
    tolerance: float = TOLERANCE,
    **attributes: object,
) -> Path:
    """An LVCNR file, format 1, of a waveform with parameters (q, s1, s2)."""
    q, s1, s2 = point
    with h5py.File(path, "w") as file:
        for name, values in (
            ("amp_l2_m2", np.abs(h22)),
            ("phase_l2_m2", np.unwrap(np.angle(h22))),
        ):
            knots = reduced_knots(times, values, tolerance)
            group = file.create_group(name)
            group["X"], group["Y"] = times[knots], values[knots]
            group["deg"], group["tol"] = DEGREE, tolerance
            group["errors"] = np.zeros(knots.size)
        frequency = abs(np.diff(np.unwrap(np.angle(h22[:3])))[0]) / np.diff(times[:3])[0]
        file.attrs.update(
            {
                "Format": 1,
                "type": "NRinjection",
                "name": "made:0001",
                "mass1": q / (1 + q),
                "mass2": 1 / (1 + q),
                "eta": q / (1 + q) ** 2,
                "spin1x": 0.0,
                "spin1y": 0.0,
                "spin1z": s1,
                "spin2x": 0.0,
                "spin2y": 0.0,
                "spin2z": s2,
                "LNhatx": 0.0,
                "LNhaty": 0.0,
                "LNhatz": 1.0,
                "nhatx": 1.0,
                "nhaty": 0.0,
                "nhatz": 0.0,
                "eccentricity": 1e-4,
                "Lmax": 2,
                "coa_phase": 0.0,
                "f_lower_at_1MSUN": frequency / (2 * np.pi * 4.925490947641267e-06),
                **attributes,
            }
        )
    return path


def difference(found: Columns, plain: Columns) -> float:
    """Largest |difference| of two waveforms, a phase apart, on the times that both have."""
    inside = (plain.times > found.times[0]) & (plain.times < found.times[-1])
    one = plain.h22[inside]
    other = CubicSpline(found.times, found.h22)(plain.times[inside])
    product = np.vdot(other, one)
    return float(np.abs(other * product / abs(product) - one).max())
