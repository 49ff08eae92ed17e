"""LVCNR HDF5, format 1 and later (Schmidt, Harry & Pfeiffer, arXiv:1703.01076).

Amplitude and phase of h22 = A exp(i phase), r h / M against t / M, are reduced-order splines
(Galley & Schmidt, arXiv:1611.07529): the groups ``amp_l2_m2`` and ``phase_l2_m2`` keep knots
``X``, values ``Y`` and a degree ``deg``. The interpolating spline of that degree has the tolerance
that the file states; a cubic one, as LALSimulation takes, is worse where knots are far apart.
"""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
from scipy.interpolate import UnivariateSpline

from hpc_gw.constants import DT
from hpc_gw.errors import DataError
from hpc_gw.waveforms.readers.series import Binary, Series

AMPLITUDE, PHASE = "amp_l2_m2", "phase_l2_m2"

LONGEST = 30_000.0
"""Only so much [M] before the end is evaluated: hybrids may have a million."""


def is_lvcnr(file: h5py.File) -> bool:
    """Whether a file has the groups of this format."""
    return AMPLITUDE in file or PHASE in file


def read_lvcnr(file: h5py.File, path: Path) -> Series:
    """h22 in steps of 0.1 M, with what the attributes say of the bodies.

    Raises:
        DataError: a spline is missing or damaged.
    """
    amplitude, phase = (_spline(file, name, path) for name in (AMPLITUDE, PHASE))
    first = max(amplitude.get_knots()[0], phase.get_knots()[0])
    last = min(amplitude.get_knots()[-1], phase.get_knots()[-1])
    if not last > first:
        raise DataError(f"{path}: its amplitude and its phase have no times in common; get it anew")
    first = max(first, last - LONGEST)
    times = first + DT * np.arange(int((last - first) / DT + 1e-6) + 1)
    binary = _binary(file)
    return Series(
        times,
        amplitude(times) * np.exp(1j * phase(times)),
        geometric=True,
        doubts=binary.doubts(),
        claims=binary.claims(),
    )


def _spline(file: h5py.File, name: str, path: Path) -> UnivariateSpline:
    group = file.get(name)
    if not isinstance(group, h5py.Group) or not {"X", "Y"} <= {*group}:
        has = ", ".join(group) if isinstance(group, h5py.Group) else "no such group"
        raise DataError(
            f"{path}: {name} has {has or 'nothing'}; an LVCNR file has datasets X and Y there, "
            f"knots and values of a spline"
        )
    knots, values = np.asarray(group["X"][()]), np.asarray(group["Y"][()])
    degree = int(np.asarray(group["deg"][()]).item()) if "deg" in group else 5
    if knots.ndim != 1 or knots.shape != values.shape or not 1 <= degree <= 5:
        raise DataError(
            f"{path}: {name} has X of shape {knots.shape}, Y of shape {values.shape} and degree "
            f"{degree}; a spline needs two series of one length, and a degree from 1 to 5"
        )
    whole = bool(np.isfinite(knots).all() and np.isfinite(values).all())
    if knots.size <= degree or not whole or not (np.diff(knots) > 0).all():
        raise DataError(
            f"{path}: {name} has {knots.size} knots, which must be more than its degree {degree}, "
            f"finite and increasing; get the file anew"
        )
    return UnivariateSpline(knots, values, k=degree, s=0)


def _binary(file: h5py.File) -> Binary:
    masses = _numbers(file, ("mass1", "mass2"))
    spins = _numbers(file, tuple(f"spin{body}{axis}" for body in "12" for axis in "xyz"))
    eccentricity = _numbers(file, ("eccentricity",))
    return Binary(
        masses=None if masses is None else (float(masses[0]), float(masses[1])),
        spins=None if spins is None else spins.reshape(2, 3),
        axis=_numbers(file, ("LNhatx", "LNhaty", "LNhatz")),
        eccentricity=None if eccentricity is None else float(eccentricity[0]),
    )


def _numbers(file: h5py.File, names: tuple[str, ...]) -> np.ndarray | None:
    """Finite attributes, float64; None if one is missing or no number."""
    try:
        found = np.array([float(np.asarray(file.attrs[name]).item()) for name in names])
    except (KeyError, ValueError, TypeError):
        return None
    return found if np.isfinite(found).all() else None
