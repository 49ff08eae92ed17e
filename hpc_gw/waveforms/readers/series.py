"""What every reader gives, and what may be asked of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from hpc_gw.errors import ConfigError, DataError

ORDERS = ("N4", "N3", "N2", "outermost")
"""Extrapolations to infinity that SXS files have, the best for an inspiral first."""

IN_PLANE, ECCENTRICITY = 0.02, 0.002
"""Up to these a spin counts as aligned, and an orbit as circular: at 0.003 the brackets of q hold
0.8 of the truths instead of 0.9 for waveforms that begin at -5000 M, and 0.6 at -3000 M."""


@dataclass(frozen=True)
class ReadOptions:
    """How to read a waveform.

    Attributes:
        order: one of ``ORDERS``; by default the first that the file has.
        total_mass: redshifted (detector-frame) total mass [solar masses]: times are in seconds.
        distance: luminosity distance [Mpc]: values are strain.
    """

    order: str | None = None
    total_mass: float | None = None
    distance: float | None = None

    def __post_init__(self) -> None:
        if self.order is not None and self.order not in ORDERS:
            raise ConfigError(f"--order {self.order}: choose from {', '.join(ORDERS)}")
        for option, value, unit in (
            ("--total-mass", self.total_mass, "solar masses"),
            ("--distance", self.distance, "Mpc"),
        ):
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ConfigError(f"{option} {value:g}: must be a positive number of {unit}")
        if self.distance is not None and self.total_mass is None:
            raise ConfigError(
                f"--distance {self.distance:g}: needs --total-mass too, as r h / M has both"
            )


@dataclass(frozen=True, eq=False)
class Series:
    """A waveform as a file has it.

    Attributes:
        times: float64 (T,), in M, or in seconds.
        values: complex (T,), h22; or real (T,), h+.
        geometric: the format itself says that times are in M and values r h / M.
        notes, doubts, claims: as of ``columns.Columns``.
    """

    times: np.ndarray
    values: np.ndarray
    geometric: bool = False
    notes: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    claims: Mapping[str, float] = field(default_factory=dict)


def series_of_table(table: np.ndarray, where: str) -> Series:
    """Columns t, Re h22, Im h22, real (T, 3), or t, h+, real (T, 2), as a series.

    Raises:
        DataError: it is no such table.
    """
    if table.ndim != 2 or table.dtype.kind not in "fiu":
        raise DataError(
            f"{where}: holds {table.dtype} of shape {table.shape}; need real columns t/M, Re(h22), "
            f"Im(h22), or t/M, h+"
        )
    table = table.astype(np.float64)
    if table.shape[1] == 2:
        return Series(table[:, 0], table[:, 1])
    if table.shape[1] == 3:
        return Series(table[:, 0], table[:, 1] + 1j * table[:, 2])
    raise DataError(
        f"{where}: {table.shape[1]} columns; need 3, t/M, Re(h22), Im(h22), or 2, t/M, h+"
    )


@dataclass(frozen=True, eq=False)
class Binary:
    """What a catalogue says of the two bodies, as far as it says anything.

    Attributes:
        masses: (m1, m2) in one unit.
        spins: dimensionless spin vectors of both, (2, 3).
        axis: direction of the orbital angular momentum, (3,).
        eccentricity: at the same time as the spins.
    """

    masses: tuple[float, float] | None = None
    spins: np.ndarray | None = None
    axis: np.ndarray | None = None
    eccentricity: float | None = None

    def claims(self) -> dict[str, float]:
        """q >= 1, s1 and s2, where s1 belongs to the heavier body and spins are along the axis."""
        if self.masses is None or not min(self.masses) > 0:
            return {}
        m1, m2 = self.masses
        found = {"q": max(m1, m2) / min(m1, m2)}
        if self.spins is not None:
            along = self.spins @ self._unit_axis()
            heavier = 0 if m1 >= m2 else 1
            found |= {"s1": float(along[heavier]), "s2": float(along[1 - heavier])}
        return found

    def doubts(self) -> tuple[str, ...]:
        """Why this is not a quasi-circular binary with aligned spins."""
        found = []
        if self.spins is not None:
            axis = self._unit_axis()
            aside = self.spins - np.outer(self.spins @ axis, axis)
            largest = float(np.linalg.norm(aside, axis=1).max())
            if largest > IN_PLANE:
                found.append(
                    f"the file says a spin of {largest:.3f} in the orbital plane: the orbit "
                    f"precesses, and the network knows aligned spins only"
                )
        if self.eccentricity is not None and self.eccentricity > ECCENTRICITY:
            found.append(
                f"the file says an eccentricity of {self.eccentricity:.3g}: the network knows "
                f"quasi-circular orbits only"
            )
        return tuple(found)

    def _unit_axis(self) -> np.ndarray:
        axis = np.array([0.0, 0.0, 1.0]) if self.axis is None else self.axis
        size = float(np.linalg.norm(axis))
        return np.asarray(axis / size) if size > 0 else np.array([0.0, 0.0, 1.0])
