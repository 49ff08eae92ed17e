"""What this machine can do at most, measured: the ceilings that ``profiling.py`` compares with.

Rates are of torch's own operations on one or more threads: bandwidth of the caches and of the
memory, page faults, matrix products, transcendental functions, and the cost of an operation that
does nothing.
"""

from __future__ import annotations

import dataclasses
import mmap
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

FUNCTIONS = {
    "exp float64": (torch.exp_, torch.float64),
    "exp2 float64": (torch.exp2_, torch.float64),
    "log float64": (torch.log_, torch.float64),
    "cos float64": (torch.cos_, torch.float64),
    "exp float32": (torch.exp_, torch.float32),
    "cos float32": (torch.cos_, torch.float32),
    "sin float32": (torch.sin_, torch.float32),
    "tanh float32": (torch.tanh_, torch.float32),
    "sigmoid float32": (torch.sigmoid_, torch.float32),
}


@dataclasses.dataclass(frozen=True)
class Ceilings:
    """Rates on ``threads`` threads; bytes, FLOPs and seconds.

    Attributes:
        bandwidth: bytes a second by the largest working set [bytes] that it holds for.
        triad, first_touch: bytes a second of a = b + 2 c in memory, and of fresh memory.
        product: FLOP/s of large square matrix products by dtype.
        function: seconds an element of transcendental functions in the cache.
        dispatch: seconds of an operation on one number, called from Python.
    """

    threads: int
    bandwidth: dict[int, float]
    triad: float
    first_touch: float
    product: dict[str, float]
    function: dict[str, float]
    dispatch: float

    def bytes_per_s(self, size: int) -> float:
        """Bandwidth for an operation that moves ``size`` bytes."""
        return next((rate for most, rate in self.bandwidth.items() if size <= most), self._memory)

    @property
    def _memory(self) -> float:
        return self.bandwidth[max(self.bandwidth)]


def seconds(call: Callable[[], Any], spend: float, *, least: int = 5) -> float:
    """Least seconds of a warm call, over at least ``least`` calls and about ``spend`` seconds."""
    return min(durations(call, spend, least=least))


def durations(call: Callable[[], Any], spend: float, *, least: int = 5) -> list[float]:
    """Seconds of each of some warm calls; see ``seconds``."""
    for _ in range(2):
        call()
    times: list[float] = []
    while len(times) < least or sum(times) < spend:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return times


def measure(threads: int, *, tiny: bool = False) -> Ceilings:
    """All ceilings on ``threads`` threads, in about 4 seconds."""
    torch.set_num_threads(threads)
    spend = 0.002 if tiny else 0.15
    dispatch = _dispatch(spend)
    bandwidth = {
        # An operation's bytes, half of them read and half written, in a core's own cache, in the
        # shared one and past it.
        size: size / (seconds(_copy(size), spend) - min(dispatch, 1e-6))
        for size in (1 << 19, 1 << 23, 1 << 23 if tiny else 1 << 29)
    }
    return Ceilings(
        threads,
        bandwidth,
        _triad(1 << 20 if tiny else 1 << 25, spend),
        _first_touch(1 << 22 if tiny else 1 << 27),
        {str(t)[6:]: _product(64 if tiny else 1024, t, spend) for t in _PRODUCTS},
        {name: _function(*what, spend) for name, what in FUNCTIONS.items()},
        dispatch,
    )


_PRODUCTS = (torch.float32, torch.float64)


def _dispatch(spend: float) -> float:
    x = torch.zeros(1)
    return seconds(lambda: [x.add_(x) for _ in range(100)], spend) / 100


def _copy(size: int) -> Callable[[], torch.Tensor]:
    a, b = (torch.zeros(size // 8) for _ in range(2))
    return lambda: b.copy_(a)


def _triad(count: int, spend: float) -> float:
    a, b, c = (torch.zeros(count) for _ in range(3))
    return 12 * count / seconds(lambda: torch.add(b, c, alpha=2, out=a), spend)


def _first_touch(size: int) -> float:
    """Bytes a second of one thread that writes one byte in each page of fresh memory."""
    rates = []
    for _ in range(3):
        with mmap.mmap(-1, size) as memory:
            view = np.frombuffer(memory, dtype=np.uint8)
            start = time.perf_counter()
            view[:: mmap.PAGESIZE] = 1
            rates.append(size / (time.perf_counter() - start))
            del view
    return max(rates)


def _product(size: int, dtype: torch.dtype, spend: float) -> float:
    a, b = (torch.randn(size, size, dtype=dtype) for _ in range(2))
    out = torch.empty_like(a)
    return 2 * size**3 / seconds(lambda: torch.mm(a, b, out=out), spend)


def _function(call: Callable[[torch.Tensor], Any], dtype: torch.dtype, spend: float) -> float:
    start = torch.rand(1 << 15, dtype=dtype) + 0.5
    x = start.clone()

    def again() -> None:
        x.copy_(start)  # in the cache: a hundredth of the functions' time
        call(x)

    return seconds(again, spend) / x.numel()


def show(found: Ceilings) -> None:
    """Print one table."""
    print(f"\nceilings, {found.threads} thread{'s' * (found.threads > 1)}")
    names = ("copy in a core's cache", "copy in the shared cache", "copy in memory")
    rows = [(n, v / 1e9, "GB/s") for n, v in zip(names, found.bandwidth.values(), strict=False)]
    rows += [("triad in memory", found.triad / 1e9, "GB/s"),
             ("first touch of pages", found.first_touch / 1e9, "GB/s")]  # fmt: skip
    rows += [(f"product {k}", v / 1e9, "GFLOP/s") for k, v in found.product.items()]
    rows += [(k, v * 1e9, "ns an element") for k, v in found.function.items()]
    rows += [("empty operation", found.dispatch * 1e6, "us")]
    for name, value, unit in rows:
        print(f"  {name:26s} {value:9.2f} {unit}")
