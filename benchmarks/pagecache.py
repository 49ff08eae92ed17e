"""What the operating system holds in memory: files in its cache, and pages that it can hand out.

Both decide what a write or a read costs, so the benchmarks set them alike before each turn.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

_DROP = Path("/proc/sys/vm/drop_caches")
_BUFFER = 16 << 20


class Reservoir:
    """Memory kept at hand between turns, and given to the system just before one is timed.

    A virtual machine's host takes free memory back within seconds; the first touch of a page
    after that costs up to a hundred times what it costs otherwise (measured: 4 GB touched in
    0.3 s and in 18 s), whoever is unlucky. Work that runs for long recycles its pages.
    """

    def __init__(self, size: int) -> None:
        self._map = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)

    def hold(self) -> None:
        """Touch every page."""
        np.frombuffer(self._map, dtype=np.uint8)[:: mmap.PAGESIZE] = 1

    def release(self) -> None:
        """Free the pages; the next that anybody asks for are these."""
        self._map.madvise(mmap.MADV_DONTNEED)


def make_cold(paths: Iterable[Path]) -> str:
    """Drop ``paths`` from the page cache; returns how: ``drop_caches`` or ``fadvise``."""
    os.sync()
    try:
        _DROP.write_text("3")
        return "drop_caches"
    except OSError:
        for path in paths:
            with path.open("rb") as stream:
                os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        return "fadvise"


def read_through(paths: Iterable[Path], copy: bool = False) -> None:
    """Read files from end to end into one buffer of 16 MiB; ``copy``: and that to new tensors."""
    buffer = np.empty(_BUFFER, dtype=np.uint8)
    for path in paths:
        handle = os.open(path, os.O_RDONLY)
        position = 0
        while count := os.preadv(handle, [buffer.data], position):
            position += count
            if copy:
                _new_tensor(buffer[:count])
        os.close(handle)


def _new_tensor(values: np.ndarray) -> None:
    import torch  # noqa: PLC0415  (whoever only writes starts faster without)

    torch.from_numpy(values).clone()
