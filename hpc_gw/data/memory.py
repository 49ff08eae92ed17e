"""Memory that is used again: new pages cost a reader as much time as reading into them."""

from __future__ import annotations

import math
import sys
import threading
from typing import Any

import numpy as np

_KEPT = 3  # arrays: in use, read ahead, and being let go
_SMALL = 1 << 25  # bytes that the C library may keep by itself (hpc_gw.allocator)


class Memory:
    """Hands out arrays that nobody refers to any more; threads may share it.

    An array is free again when no tensor or view of it is left, wherever it went. It may be
    pickled, and starts empty then.
    """

    def __init__(self) -> None:
        self._arrays: list[np.ndarray] = []
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._arrays, self._lock = [], threading.Lock()

    def take(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
        """An array of undefined content, contiguous."""
        size = math.prod(shape) * dtype.itemsize
        if size < _SMALL:
            return np.empty(shape, dtype)
        with self._lock:
            for i in range(len(self._arrays)):
                # Referred to by the list, and by the argument of getrefcount.
                if self._arrays[i].nbytes >= size and sys.getrefcount(self._arrays[i]) <= 2:
                    return _view(self._arrays[i], shape, dtype)
            fresh = np.empty(size, np.uint8)
            self._arrays = [*self._arrays[-(_KEPT - 1) :], fresh]
            return _view(fresh, shape, dtype)


def _view(array: np.ndarray, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
    return array[: math.prod(shape) * dtype.itemsize].view(dtype).reshape(shape)
