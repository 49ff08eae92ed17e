"""Sets of rows (q, s1, s2): regular grids and random draws. Row id <-> parameters is arithmetic.

Nothing here is ever stored: a row's parameters follow from its id, on any machine.

References:
    Khan, Huerta & Das, arXiv:2004.09524, section II A: the training grid, and the
    validation and test grids on the midpoints of the training intervals.
"""

from __future__ import annotations

from typing import Annotated, Literal, Protocol

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from hpc_gw.config import STRICT
from hpc_gw.constants import Q_MAX, Q_MIN, SPIN_MAX
from hpc_gw.errors import ParameterError


class Population(Protocol):
    """Rows numbered 0 ... size - 1, each with its parameters."""

    @property
    def size(self) -> int:
        """Number of rows."""
        ...

    @property
    def box(self) -> tuple[tuple[float, float], ...]:
        """Lowest and highest q, s1 and s2."""
        ...

    def parameters(self, rows: np.ndarray) -> np.ndarray:
        """Parameters (q, s1, s2) of rows (B,), float64 (B, 3)."""
        ...


@dataclass(frozen=True, config=STRICT)
class Axis:
    """Equally spaced values start + step * i, i = 0 ... count - 1."""

    start: float
    step: float
    count: int = Field(ge=1)

    def __post_init__(self) -> None:
        if self.count > 1 and not self.step > 0:
            raise ValueError(f"step {self.step:g}: must be positive on an axis of {self.count}")

    def values(self) -> np.ndarray:
        """The axis as float64, shape (count,)."""
        return self.start + self.step * np.arange(self.count)

    def index(self, values: np.ndarray) -> np.ndarray:
        """Indices of values that lie on the axis (to 1e-6 of a step), int64."""
        index = np.rint((values - self.start) / (self.step or 1.0)).astype(np.int64)
        on_axis = np.abs(self.start + self.step * index - values) <= 1e-6 * (self.step or 1.0)
        bad = ~(on_axis & (index >= 0) & (index < self.count))
        if bad.any():
            value = np.asarray(values)[bad].flat[0]
            raise ParameterError(
                f"{value:.12g} is no point of the axis {self.start:g} + {self.step:g} i, "
                f"i = 0 ... {self.count - 1}"
            )
        return index

    def every(self, stride: int) -> Axis:
        """The axis with every ``stride``-th point, from the middle of the first stride."""
        offset = min((stride - 1) // 2, (self.count - 1) % stride if stride > 1 else 0)
        return Axis(
            start=self.start + self.step * offset,
            step=self.step * stride,
            count=(self.count - 1 - offset) // stride + 1,
        )


_PAPER_AXES = {
    "train": (Axis(1.0, 0.08, 88), Axis(-0.8, 0.012, 134)),
    "test": (Axis(1.04, 0.16, 44), Axis(-0.794, 0.024, 67)),
    # The other midpoints; the last ones lie inside the training grid: 43 in q, 66 in spin.
    "validation": (Axis(1.12, 0.16, 43), Axis(-0.782, 0.024, 66)),
}


@dataclass(frozen=True, config=STRICT)
class GridConfig:
    """A regular grid over (q, s1, s2): one of the paper's, coarser, or your own axes.

    Attributes:
        split: ``train`` (88 x 134 x 134 = 1,580,128 rows), ``test`` (44 x 67 x 67 = 197,516),
            ``validation`` (the other midpoints, 43 x 66 x 66 = 187,308), or ``custom``.
        stride: keep every n-th point of (q, s1, s2); 1 keeps the split whole.
        q, s1, s2: the axes of a ``custom`` grid.
    """

    split: Literal["train", "validation", "test", "custom"]
    kind: Literal["grid"] = "grid"
    stride: tuple[int, int, int] = (1, 1, 1)
    q: Axis | None = None
    s1: Axis | None = None
    s2: Axis | None = None

    def __post_init__(self) -> None:
        custom = [self.q, self.s1, self.s2]
        if (self.split == "custom") != all(axis is not None for axis in custom) or (
            self.split != "custom" and any(axis is not None for axis in custom)
        ):
            raise ValueError(
                f"split '{self.split}': axes q, s1 and s2 go with split 'custom', and only with it"
            )
        if min(self.stride) < 1:
            raise ValueError(f"stride {self.stride}: each must be >= 1")

    @property
    def axes(self) -> tuple[Axis, Axis, Axis]:
        """The axes of q, s1 and s2, with the stride applied."""
        if self.q is not None and self.s1 is not None and self.s2 is not None:
            axes = (self.q, self.s1, self.s2)
        else:
            q, spin = _PAPER_AXES[self.split]
            axes = (q, spin, spin)
        q, s1, s2 = (axis.every(n) for axis, n in zip(axes, self.stride, strict=True))
        return q, s1, s2

    @property
    def shape(self) -> tuple[int, int, int]:
        """Points along q, s1, s2."""
        q, s1, s2 = self.axes
        return q.count, s1.count, s2.count

    @property
    def size(self) -> int:
        """Number of rows; q varies slowest, s2 fastest."""
        return int(np.prod(self.shape))

    @property
    def box(self) -> tuple[tuple[float, float], ...]:
        """Lowest and highest q, s1 and s2."""
        return tuple((float(a.values()[0]), float(a.values()[-1])) for a in self.axes)

    def parameters(self, rows: np.ndarray) -> np.ndarray:
        """Parameters (q, s1, s2) of rows (B,), float64 (B, 3)."""
        rows = _checked_rows(rows, self.size)
        indices = np.unravel_index(rows, self.shape)
        columns = [axis.start + axis.step * i for axis, i in zip(self.axes, indices, strict=True)]
        return np.stack(columns, axis=-1)

    def rows(self, parameters: np.ndarray) -> np.ndarray:
        """Rows (B,) int64 of parameters (B, 3); ``ParameterError`` for a point off the grid."""
        points = np.asarray(parameters, dtype=np.float64)
        indices = [axis.index(points[:, k]) for k, axis in enumerate(self.axes)]
        return np.ravel_multi_index(indices, self.shape).astype(np.int64)


@dataclass(frozen=True, config=STRICT)
class DrawsConfig:
    """Random points, uniform in (q, s1, s2), each a function of (seed, row id) alone.

    Any part of the sequence is drawn on any rank without drawing the rest: the numbers of row r
    are outputs 3r, 3r + 1, 3r + 2 of the generator SplitMix64, which is a hash of a counter.

    Attributes:
        count: number of rows.
        seed: key of the generator.
        q, s1, s2: ranges (low, high).
    """

    kind: Literal["draws"] = "draws"
    count: int = Field(default=100_000, ge=1)
    seed: int = Field(default=0, ge=0, lt=2**63)
    q: tuple[float, float] = (Q_MIN, Q_MAX)
    s1: tuple[float, float] = (-SPIN_MAX, SPIN_MAX)
    s2: tuple[float, float] = (-SPIN_MAX, SPIN_MAX)

    def __post_init__(self) -> None:
        for name, (low, high) in (("q", self.q), ("s1", self.s1), ("s2", self.s2)):
            floor, ceiling = (1.0, np.inf) if name == "q" else (-1.0, 1.0)
            if not floor <= low <= high <= ceiling:
                raise ValueError(
                    f"{name} = ({low:g}, {high:g}): need {floor:g} <= low <= high <= {ceiling:g}"
                )

    @property
    def size(self) -> int:
        """Number of rows."""
        return self.count

    @property
    def box(self) -> tuple[tuple[float, float], ...]:
        """Lowest and highest q, s1 and s2."""
        return self.q, self.s1, self.s2

    def parameters(self, rows: np.ndarray) -> np.ndarray:
        """Parameters (q, s1, s2) of rows (B,), float64 (B, 3)."""
        rows = _checked_rows(rows, self.count)
        unit = _uniform(self.seed, rows)
        low, high = np.array([self.q, self.s1, self.s2]).T
        return np.asarray(low + (high - low) * unit)


PopulationConfig = Annotated[GridConfig | DrawsConfig, Field(discriminator="kind")]
"""Either, as a field of a configuration: ``kind`` says which."""


_SAME = 1e-9  # values of q or a spin this near one another make one point


def shared_point(a: PopulationConfig, b: PopulationConfig) -> tuple[float, float, float] | None:
    """A point (q, s1, s2) that both populations hold (to 1e-9), or None.

    Exact for grids, and for draws whose three ranges are single values. Draws of one seed over
    the same ranges have equal rows, so row 0 is shared, whatever their counts. All other draws
    are taken to share nothing with anything, which is true but for chance: their values are
    random numbers of 53 bits, and each meets a given value with a probability of about 2^-53,
    in each of its ranges with a width. Draws of one seed over different ranges are no
    exception: a row's numbers are the same in both, but stretched to different values.
    """
    one_seed = isinstance(a, DrawsConfig) and isinstance(b, DrawsConfig) and a.seed == b.seed
    if one_seed and np.abs(np.subtract(a.box, b.box)).max() <= _SAME:
        q, s1, s2 = a.parameters(np.zeros(1))[0].tolist()
        return q, s1, s2
    common: list[float] = []
    for values, others in zip(_axis_values(a), _axis_values(b), strict=True):
        first = np.searchsorted(others, values - _SAME)
        last = np.searchsorted(others, values + _SAME, side="right")
        found = values[first < last]
        if not found.size:
            return None
        common.append(float(found[0]))
    q, s1, s2 = common
    return q, s1, s2


def _axis_values(population: PopulationConfig) -> list[np.ndarray]:
    """Values of q, s1 and s2 that a population takes, ascending; none where they are random."""
    if isinstance(population, GridConfig):
        return [axis.values() for axis in population.axes]
    return [np.array([low] if high - low <= _SAME else []) for low, high in population.box]


_GAMMA = np.uint64(0x9E3779B97F4A7C15)


def _mix(state: np.ndarray) -> np.ndarray:
    """The output function of SplitMix64 (Steele, Lea & Flood, OOPSLA 2014), modulo 2^64."""
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(state ^ (state >> np.uint64(31)))


def _uniform(seed: int, rows: np.ndarray) -> np.ndarray:
    """Three uniform numbers in [0, 1) for each row, float64 (B, 3)."""
    with np.errstate(over="ignore"):
        key = _mix(np.array([seed], dtype=np.uint64) + _GAMMA)
        counters = 3 * rows.astype(np.uint64)[:, None] + np.arange(1, 4, dtype=np.uint64)
        words = _mix(key + counters * _GAMMA)
    return np.asarray((words >> np.uint64(11)) * 2.0**-53)


def _checked_rows(rows: np.ndarray, size: int) -> np.ndarray:
    rows = np.atleast_1d(np.asarray(rows, dtype=np.int64))
    if rows.size and (rows.min() < 0 or rows.max() >= size):
        bad = rows[(rows < 0) | (rows >= size)][0]
        raise ParameterError(f"row {bad}: this set has rows 0 ... {size - 1}")
    return rows
