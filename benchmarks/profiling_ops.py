"""Counts and times torch's operations, stage by stage, and says what each must cost at least.

An operation's bytes are those of its inputs and outputs, each counted once, its FLOPs those of
matrix products, convolutions and FFTs, its transcendental values those of its name. None of them
are guesses about the code: whatever is run is counted, in forward and in backward.

The floor of an operation is the largest of bytes / bandwidth, FLOPs / rate and values x cost, for
they overlap; that of a stage is the sum over its operations, for these do not.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from profiling_ceilings import Ceilings
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

PACKAGE = "hpc_gw"

VALUES = {
    # operation: how many transcendental values an element of its output costs, and like which
    "exp": (1, "exp"), "exp2": (1, "exp2"), "log": (1, "log"), "log1p": (1, "log"),
    "log2": (1, "log"), "cos": (1, "cos"), "sin": (1, "cos"), "tanh": (1, "tanh"),
    "sigmoid": (1, "sigmoid"), "pow": (2, "log"), "acos": (1, "log"), "atan2": (1, "log"),
    "angle": (1, "log"), "polar": (2, "cos"), "sinc": (1, "cos"), "special_i0": (2, "exp"),
    "gelu": (1, "tanh"), "silu": (1, "sigmoid"), "softplus": (2, "exp"),
}  # fmt: skip


@dataclasses.dataclass
class Count:
    """What operations did, and their floor."""

    calls: int = 0
    seconds: float = 0.0
    bytes: float = 0.0
    flops: float = 0.0
    values: float = 0.0
    memory_s: float = 0.0
    flops_s: float = 0.0
    values_s: float = 0.0
    floor_s: float = 0.0

    def add(self, other: Count) -> None:
        """Count another's, too."""
        for field in dataclasses.fields(self):
            total = getattr(self, field.name) + getattr(other, field.name)
            setattr(self, field.name, total)

    def bound(self, dispatch: float) -> str:
        """What most of the floor is made of."""
        costs = {
            "memory": self.memory_s,
            "FLOPs": self.flops_s,
            "functions": self.values_s,
            "dispatch": self.calls * dispatch,
        }
        return max(costs, key=lambda name: costs[name])


class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the operations of all calls inside of it by stage.

    A stage is what ``stage`` names, else the innermost function of the package that is running;
    a name that ends in a colon is followed by that function.
    """

    def __init__(self, ceilings: Ceilings) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._ceilings = ceilings
        self._named: list[str] = []
        self.stages: dict[str, Count] = {}
        self.operations: dict[str, Count] = {}

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Operations inside are of the stage ``name``."""
        self._named.append(name)
        try:
            yield
        finally:
            self._named.pop()

    def enter(self, name: str) -> None:
        """As ``stage``, for hooks."""
        self._named.append(name)

    def leave(self) -> None:
        """End what ``enter`` began."""
        self._named.pop()

    def go_on_with(self, name: str) -> None:
        """Another stage in the place of the one that was begun last."""
        self._named[-1:] = [name]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation, and count it."""
        kwargs = kwargs or {}
        start = time.perf_counter()
        out = func(*args, **kwargs)
        spent = time.perf_counter() - start
        count, what = self._count(func, args, kwargs, out)
        count.seconds = spent
        stage = self._named[-1] if self._named else ":"
        if stage[-1] == ":":
            stage = f"{stage} {_caller()}".lstrip(": ")
        self.stages.setdefault(stage, Count()).add(count)
        if what:
            self.operations.setdefault(what, Count()).add(count)
        return out

    def _count(self, func: Any, args: Any, kwargs: Any, out: Any) -> tuple[Count, str]:
        """What an operation costs, and its name with shapes; no name where it moves nothing."""
        inputs = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
        outputs = [x for x in tree_leaves(out) if isinstance(x, torch.Tensor)]
        storages = {x.untyped_storage().data_ptr() for x in inputs}
        fresh = [x for x in outputs if x.untyped_storage().data_ptr() not in storages]
        writes = func._schema.is_mutable
        name = func._overloadpacket.__name__
        if name in ("empty", "empty_strided", "empty_like", "new_empty") or not (fresh or writes):
            return Count(calls=1), ""
        moved = sum({_key(x): _touched(x) for x in [*inputs, *outputs]}.values())
        if writes and name[-1] == "_" and name not in ("copy_", "fill_", "zero_"):
            moved += _touched(inputs[0])  # read and written
        dtype = outputs[0].dtype if outputs else inputs[0].dtype
        double = dtype in (torch.float64, torch.complex128)
        flops = _flops(func, name, args, kwargs, out)
        each, like = VALUES.get(name.rstrip("_"), (0, ""))
        if name.startswith("pow") and args[1] in (-1, 0.5, 2, 3):  # arithmetic
            each = 0
        values = each * (outputs[0].numel() if outputs else 0)
        c = self._ceilings
        rate = c.product["float64" if double else "float32"]
        cost = c.function.get(f"{like} float64" if double else f"{like} float32", 0.0)
        cost = cost or c.function.get(f"{like} float64", 0.0)
        times = moved / c.bytes_per_s(int(moved)), flops / rate, values * cost
        shapes = " ".join("x".join(map(str, x.shape)) or "1" for x in inputs[:2])
        kind = str(dtype).removeprefix("torch.")
        count = Count(1, 0.0, moved, flops, values, *times, max(times))
        return count, f"{name} {shapes} {kind}"


def _key(x: torch.Tensor) -> tuple[Any, ...]:
    return x.data_ptr(), tuple(x.shape), x.stride()


def _touched(x: torch.Tensor) -> int:
    """Bytes of a tensor, each counted once: none again along an axis that is expanded."""
    sizes = [n for n, step in zip(x.shape, x.stride(), strict=True) if step]
    return min(math.prod(sizes), x.untyped_storage().nbytes() // x.itemsize) * x.itemsize


def _flops(func: Any, name: str, args: Any, kwargs: Any, out: Any) -> float:
    if name.startswith("_fft"):
        n = out.shape[args[1][-1]] if name != "_fft_c2r" else args[3]
        transforms = max(args[0].numel(), out.numel()) / n
        return float(5 * n * math.log2(max(n, 2)) * transforms)
    formula = flop_registry.get(func._overloadpacket)
    if formula is None:
        return 0.0
    kwargs = {k: v for k, v in kwargs.items() if k != "out"}
    real = 4 if isinstance(out, torch.Tensor) and out.is_complex() else 1
    return float(real * formula(*args, **kwargs, out_val=out))


def _caller() -> str:
    """Module and function of the package that runs at the innermost."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if PACKAGE in path.parts:
            return f"{path.stem}.{frame.f_code.co_name}"
        frame = frame.f_back
    return "elsewhere"
