"""The C library's memory, as a training loop on a CPU wants it."""

from __future__ import annotations

import ctypes
import ctypes.util
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of mallopt(3)


def keep_freed_memory() -> bool:
    """Ask glibc to keep freed memory for the next step; False where there is no glibc.

    By default it returns large blocks to the kernel at once and asks for them anew: each step
    then faults in every activation again, a fifth of the time of the compact network's step
    (docs/benchmarks.md). Blocks of up to 32 MiB, glibc's largest threshold, are kept.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(ctypes.util.find_library("c")), "mallopt", None)
    if mallopt is None:  # another C library
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, 32 * 2**20) and mallopt(_M_TRIM_THRESHOLD, 2**31 - 1))
