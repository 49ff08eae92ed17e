"""What an evaluation finds, row by row: predictions, overlaps, refined answers, valleys.

Plain arrays, brought to their dtype and checked; ``results`` keeps them in files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hpc_gw.constants import QUANTITIES
from hpc_gw.errors import DataError

Schema = Mapping[str, tuple[Any, tuple[int, ...]]]

PREDICTIONS: Schema = {
    "row": (np.int64, ()),
    "truth": (np.float64, (len(QUANTITIES),)),
    "prediction": (np.float64, (len(QUANTITIES),)),
}
OVERLAPS: Schema = {
    "row": (np.int64, ()),
    "overlap": (np.float64, ()),
    "bound": (np.float64, ()),
    "t_c": (np.float64, ()),
    "phi_c": (np.float64, ()),
    "clipped": (np.bool_, ()),
}
REFINED: Schema = {
    "row": (np.int64, ()),
    "parameters": (np.float64, (3,)),
    "overlap": (np.float64, ()),
    "steps": (np.int32, ()),
    "converged": (np.bool_, ()),
}
VALLEYS: Schema = {
    "row": (np.int64, ()),
    "fisher": (np.float64, (3, 3)),
    "direction": (np.float64, (3,)),
    "extent": (np.float64, (2,)),
    "reach": (np.float64, (3,)),
}


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a network said about N test waveforms."""

    row: np.ndarray
    """Row ids, int64 (N,)."""

    truth: np.ndarray
    """True (q, s1, s2, sigma_eff, s_eff), float64 (N, 5)."""

    prediction: np.ndarray
    """Predicted (q, s1, s2, sigma_eff, s_eff), float64 (N, 5)."""

    recipe: Mapping[str, Any] = field(default_factory=dict)
    """How they were made; filled by ``read_predictions``."""

    def __post_init__(self) -> None:
        _check(self, PREDICTIONS)

    def __len__(self) -> int:
        return len(self.row)


@dataclass(frozen=True, eq=False)
class Overlaps:
    """Overlaps of the waveforms at truth and prediction, row by row."""

    row: np.ndarray
    """Row ids, int64 (N,)."""

    overlap: np.ndarray
    """O in [0, 1], float64 (N,); NaN where the prediction or its waveform is not finite."""

    bound: np.ndarray
    """Bound on the error of ``overlap``, float64 (N,), NaN where that is NaN."""

    t_c: np.ndarray
    """Time in M by which the predicted waveform comes later than the truth, float64 (N,)."""

    phi_c: np.ndarray
    """h_truth(t) ~ h_prediction(t + t_c) exp(-i phi_c), rad, float64 (N,)."""

    clipped: np.ndarray
    """Predictions that were moved into the engine's domain first, bool (N,)."""

    def __post_init__(self) -> None:
        _check(self, OVERLAPS)

    def __len__(self) -> int:
        return len(self.row)


@dataclass(frozen=True, eq=False)
class Refined:
    """Answers after a fit of the waveform, which starts at the network's; never mixed with those.

    (q, s1, s2) are those of the best waveform found, whether the fit converged or not.
    """

    row: np.ndarray
    """Row ids, int64 (N,)."""

    parameters: np.ndarray
    """(q, s1, s2), float64 (N, 3); NaN where the prediction is not finite."""

    overlap: np.ndarray
    """O of the waveform at ``parameters`` with the truth, float64 (N,)."""

    steps: np.ndarray
    """Evaluations of the waveform that the fit took, int32 (N,)."""

    converged: np.ndarray
    """Whether the fit came to a maximum with overlap at least 0.99999, bool (N,)."""

    def __post_init__(self) -> None:
        _check(self, REFINED)

    def __len__(self) -> int:
        return len(self.row)


@dataclass(frozen=True, eq=False)
class Valleys:
    """How far each prediction's parameters can move without the waveform showing it.

    With d = (dq, ds1, ds2) in the parameters' own units, 1 - O = d F d / 2 to second order.
    """

    row: np.ndarray
    """Row ids, int64 (N,)."""

    fisher: np.ndarray
    """F, float64 (N, 3, 3): Fisher matrix of unit signal, with time, phase, amplitude free."""

    direction: np.ndarray
    """Unit vector of F's smallest eigenvalue, float64 (N, 3), with ds1 >= 0."""

    extent: np.ndarray
    """How far one can go along -direction and +direction before the overlap with the start
    falls below 0.999 or the domain ends, float64 (N, 2), both >= 0."""

    reach: np.ndarray
    """Largest |dq|, |ds1|, |ds2| anywhere in the valley, float64 (N, 3)."""

    def __post_init__(self) -> None:
        _check(self, VALLEYS)

    def __len__(self) -> int:
        return len(self.row)


@dataclass(frozen=True, eq=False)
class Results:
    """Everything that is known of a network's answers for one test set, in one file."""

    predictions: Predictions
    overlaps: Overlaps
    refined: Refined | None = None
    valleys: Valleys | None = None
    engine: str = ""
    """Name of the engine that made both waveforms."""

    recipe: Mapping[str, Any] = field(default_factory=dict)
    """How they were made; filled by ``read_results``."""

    def __post_init__(self) -> None:
        for part in (self.overlaps, self.refined, self.valleys):
            if part is not None and not np.array_equal(part.row, self.predictions.row):
                raise DataError(
                    f"{type(part).__name__} of {len(part)} rows do not belong to these "
                    f"predictions of {len(self.predictions)} rows: compute them again"
                )

    def __len__(self) -> int:
        return len(self.predictions)


def _check(result: Any, schema: Schema) -> None:
    """Bring every column to its dtype, and refuse columns of another shape."""
    n = np.size(result.row)
    for name, (dtype, tail) in schema.items():
        try:
            column = np.asarray(getattr(result, name)).astype(dtype, copy=False)
        except (ValueError, TypeError) as error:
            raise DataError(f"{type(result).__name__}.{name}: no numbers ({error})") from error
        if column.shape != (n, *tail):
            raise DataError(
                f"{type(result).__name__}.{name} has shape {column.shape}: "
                f"need {(n, *tail)}, as there are {n} rows"
            )
        object.__setattr__(result, name, column)
