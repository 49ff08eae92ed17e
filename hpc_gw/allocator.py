"""The C library's memory, as long work on a CPU wants it."""

from __future__ import annotations

import ctypes
import ctypes.util
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of mallopt(3)


def keep_freed_memory() -> bool:
    """Ask glibc to keep freed memory for the next use; False where there is no glibc.

    By default it returns large blocks to the kernel at once and asks for them anew. Each batch
    of waveforms, each activation of a training step is then faulted in page by page again: half
    of the time of a waveform, a fifth of a step of the network `strided` (docs/benchmarks.md).
    Blocks of up to 32 MiB, glibc's largest threshold, are kept. The command ``hpc-gw`` calls
    this; a library must leave its host's memory alone.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(ctypes.util.find_library("c")), "mallopt", None)
    if mallopt is None:  # another C library
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, 32 * 2**20) and mallopt(_M_TRIM_THRESHOLD, 2**31 - 1))
