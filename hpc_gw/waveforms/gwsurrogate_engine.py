"""gwsurrogate itself as an engine: one waveform at a time, the reference for our evaluator."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hpc_gw.errors import MissingDependencyError, SurrogateError
from hpc_gw.waveforms.surrogate import check_rows
from hpc_gw.waveforms.surrogate_file import read_surrogate

INSTALL = 'pip install "hpc_gw[nr]"'


def import_gwsurrogate() -> Any:
    """The package gwsurrogate; ``MissingDependencyError`` with the install line if absent."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of optional plotting packages
            import gwsurrogate  # noqa: PLC0415
    except ImportError as error:
        raise MissingDependencyError("gwsurrogate", "this engine", INSTALL) from error
    return gwsurrogate


class GwsurrogateEngine:
    """NRHybSur3dq8 evaluated by gwsurrogate; answers the ``Engine`` protocol."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        times: np.ndarray,
        *,
        phase_zero: float | None = None,
    ) -> None:
        data = read_surrogate(Path(path))  # for the checks, the bounds and the checksum
        self.times = np.ascontiguousarray(times, dtype=np.float64)
        # gwsurrogate sets the phase to 0 at the first time that it is asked for.
        lead = [] if phase_zero is None or phase_zero == self.times[0] else [phase_zero]
        self._asked = np.concatenate([lead, self.times])
        self.name = f"{data.label}, by gwsurrogate"
        self.checksum = data.checksum
        self.bounds = np.asarray(data.bounds, dtype=np.float64)
        gwsurrogate = import_gwsurrogate()
        try:
            # Not LoadSurrogate: it chooses the class by the file's name.
            self._surrogate = gwsurrogate.surrogate.NRHybSur3dq8(os.fspath(path))
        except Exception as error:
            raise SurrogateError(f"{path}: gwsurrogate cannot load it ({error})") from error

    def h22_double(self, parameters: np.ndarray | Tensor) -> Tensor:
        """Complex128 h22, shape (B, T), for rows (q, s1, s2)."""
        rows = check_rows(np.asarray(parameters), self.bounds, self.name)
        waveforms = [self._evaluate(*row) for row in rows]
        return torch.from_numpy(np.array(waveforms))

    def h22(self, parameters: np.ndarray | Tensor) -> Tensor:
        """Complex64 h22, shape (B, T), for rows (q, s1, s2)."""
        return self.h22_double(parameters).to(torch.complex64)

    def _evaluate(self, q: float, s1: float, s2: float) -> np.ndarray:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # soft limits: ``bounds`` is the rule here
            _, modes, _ = self._surrogate(
                q, [0, 0, s1], [0, 0, s2], times=self._asked, f_low=0, mode_list=[(2, 2)]
            )
        return np.asarray(modes[(2, 2)])[-self.times.size :]
