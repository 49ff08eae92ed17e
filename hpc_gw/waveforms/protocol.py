"""The one call that every waveform engine answers."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
import torch


@runtime_checkable
class Engine(Protocol):
    """Parameters (B, 3) to complex h22 (B, T) on the time grid that the engine was built for.

    Sign and phase: h22 = A exp(-i phi), phi growing in time; phi = 0 at ``times[0]``
    (what gwsurrogate gives for ``times=`` with ``f_low=0``); |h22| peaks at t = 0.

    An engine may offer more calls on the same parameters, which a caller looks for with
    ``hasattr`` and can do without:

    - ``h22_real``: Re h22, float32 (B, T), bit for bit ``h22(parameters).real`` but faster.
    - ``h22_double``: complex128 h22 (B, T), the engine's finest.
    - ``h22_real_double``: its real part, float64 (B, T).
    """

    times: np.ndarray
    """The time grid, float64 (T,), in M."""

    name: str
    """What a reader calls it, for instance ``NRHybSur3dq8 (embedded)``."""

    checksum: str
    """SHA-256 of the data behind it, or a version string where there is no file."""

    def h22(self, parameters: np.ndarray | torch.Tensor) -> torch.Tensor:
        """Complex64 h22, shape (B, T), for rows (q, s1, s2) of shape (B, 3), float64."""
        ...
