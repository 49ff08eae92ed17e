"""The training engines behind one interface: one process, torch.distributed, Horovod.

A step of the training loop, the same for all::

    module, optimizer = ranks.wrap(model, optimizer, accumulate=len(micro_batches))
    optimizer.zero_grad()
    for i, batch in enumerate(micro_batches, start=1):
        with ranks.micro_step(module, last=i == len(micro_batches)):
            loss = objective(module(batch)) / len(micro_batches)
            torch.autograd.backward(loss)
    ranks.finish(optimizer)  # .grad: summed over micro-batches, averaged over ranks
    clip(model.parameters())
    ranks.step(optimizer)
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any, Literal, Protocol

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn
from torch.optim import Optimizer

from hpc_gw.config import STRICT
from hpc_gw.distributed.worlds import SerialWorld, World
from hpc_gw.errors import ConfigError, RanksLostError


@dataclass(frozen=True, config=STRICT)
class ParallelConfig:
    """How training ranks work together; a single process uses none of it.

    Attributes:
        engine: ``auto``: Horovod where horovodrun started the ranks, else torch.distributed.
        backend: of torch.distributed; ``auto``: NCCL where there are GPUs, else gloo. With gloo
            several ranks may share a GPU. Horovod brings its own.
        compression: of gradients on their way. ``fp16``, ``bf16``: half the bytes, rounded;
            ``powersgd``: matrices as products of two thin ones, with error feedback. Horovod
            has ``fp16`` only.
        powersgd_rank: columns of the thin matrices.
        powersgd_start: steps with whole gradients before PowerSGD begins, also after a resume.
        bucket_mb: gradients are sent in portions of this size (torch.distributed), in MiB.
        timeout_s: for how long a silent rank is waited for, when joining and in every step. One
            whose process has died is noticed at once.
    """

    engine: Literal["auto", "torch", "horovod"] = "auto"
    backend: Literal["auto", "nccl", "gloo"] = "auto"
    compression: Literal["none", "fp16", "bf16", "powersgd"] = "none"
    powersgd_rank: int = Field(default=4, ge=1)
    powersgd_start: int = Field(default=10, ge=2)
    bucket_mb: float = Field(default=25.0, gt=0)
    timeout_s: float = Field(default=600.0, gt=0)

    def __post_init__(self) -> None:
        """Raises ValueError with the value, the rule and the remedy."""
        if self.engine == "horovod":
            require_horovods(self.compression)


def require_horovods(compression: str) -> None:
    """Raises ConfigError (a ValueError) for a compression that Horovod does not have."""
    if compression not in ("none", "fp16"):
        raise ConfigError(
            f"compression = {compression}: Horovod has none and fp16 only; choose one of these, "
            f"or engine: torch"
        )


class Parallel(Protocol):
    """The ranks of a training run; the module's docstring shows a step.

    Attributes:
        name: serial, torch or horovod.
        world: the ranks.
        device: of this rank.
    """

    name: str
    world: World
    device: torch.device

    @property
    def wire_bytes(self) -> int:
        """Bytes that this rank handed to all-reduces in the last step.

        Gradients, after compression, and what went through ``sum``; a step lasts from its first
        ``micro_step`` to ``finish``.
        """
        ...

    @property
    def exposed_s(self) -> float:
        """Seconds of the last step spent waiting for communication.

        From the moment when the last gradient was ready to that when all were averaged, and all
        of ``sum``. On a GPU reading it waits for that step.
        """
        ...

    def wrap(
        self, model: nn.Module, optimizer: Optimizer, accumulate: int = 1
    ) -> tuple[nn.Module, Optimizer]:
        """What to call and to step instead of ``model`` and ``optimizer``, which they share.

        All ranks start from rank 0's parameters and buffers. ``accumulate``: micro-batches of a
        step. State may be loaded into the optimizer before or after.
        """
        ...

    def micro_step(self, module: nn.Module, *, last: bool) -> AbstractContextManager[None]:
        """Around the forward and backward pass of a micro-batch, and nothing after it.

        Only the ``last`` one of a step communicates gradients.
        """
        ...

    def finish(self, optimizer: Optimizer) -> None:
        """Complete a step's communication: each .grad is now the average over the ranks."""
        ...

    def step(self, optimizer: Optimizer) -> None:
        """``optimizer.step()``, after ``finish``, without communicating again."""
        ...

    def discard(self) -> None:
        """Forget what compression kept of a step whose gradient was not finite; on every rank."""
        ...

    def sum(self, tensor: Tensor) -> Tensor:
        """Sum a tensor over the ranks, in place; every rank must call it, in the same order."""
        ...

    def broadcast(self, module: nn.Module) -> None:
        """Give every rank rank 0's parameters and buffers."""
        ...


class SerialParallel:
    """A single process: nothing to communicate."""

    name = "serial"
    wire_bytes = 0
    exposed_s = 0.0

    def __init__(self, device: torch.device) -> None:
        self.world: World = SerialWorld()
        self.device = device

    def wrap(
        self, model: nn.Module, optimizer: Optimizer, accumulate: int = 1
    ) -> tuple[nn.Module, Optimizer]:
        """Both as they are."""
        return model, optimizer

    def micro_step(self, module: nn.Module, *, last: bool) -> AbstractContextManager[None]:
        """Nothing around it."""
        return contextlib.nullcontext()

    def finish(self, optimizer: Optimizer) -> None:
        """Nothing to wait for."""

    def step(self, optimizer: Optimizer) -> None:
        """The optimizer's own."""
        optimizer.step()

    def discard(self) -> None:
        """Nothing is kept."""

    def sum(self, tensor: Tensor) -> Tensor:
        """The tensor itself."""
        return tensor

    def broadcast(self, module: nn.Module) -> None:
        """Nobody to tell."""


@contextlib.contextmanager
def lost_ranks() -> Iterator[None]:
    """Turn what engines raise when another rank is gone into one clear line.

    With gloo a rank that dies closes its connections, and the others' next collective fails at
    once. NCCL may see it only after the timeout, and then ends the process by itself.

    Raises:
        RanksLostError: exit code 75, as the last checkpoint is there to go on from.
    """
    try:
        yield
    except RuntimeError as error:
        if (sign := sign_of_loss(error)) is None:
            raise
        raise RanksLostError(
            f"another training rank is gone ({sign}): the others stop; the same command goes on "
            f"from the last checkpoint"
        ) from error


def sign_of_loss(error: BaseException) -> str | None:
    """What in an error says that another rank is gone; None if nothing does."""
    text = " ".join(str(error).split())
    if found := _SIGNS.search(text):
        return found.group(0)
    if type(error).__name__ == "HorovodInternalError":
        return text[:120] or "Horovod's collective failed"
    if isinstance(error, torch.distributed.DistError):
        return text[:120]
    return None


_SIGNS = re.compile(
    r"Connection (closed|reset|refused)( by peer)?|Broken pipe|Socket closed"
    r"|Timed out waiting \d+ms|Application timeout|NCCL communicator was aborted"
)


class Traffic:
    """What a step's communication costs: bytes handed over, and time spent waiting.

    The time is the host's or, on a GPU, its stream's. A step is what lies between ``begin``, of
    which repeated calls do nothing, and ``end``.
    """

    def __init__(self, device: torch.device) -> None:
        self.wire_bytes = 0
        self._cuda = device.type == "cuda"
        self._open = False
        self._bytes = 0
        self._waits: list[tuple[Any, Any]] = []
        self._last: list[tuple[Any, Any]] = []

    def begin(self) -> None:
        """A step begins, unless it has begun; what was counted since the last one is dropped."""
        if not self._open:
            self._open, self._bytes, self._waits = True, 0, []

    def end(self) -> None:
        """The step ends: its numbers can be read."""
        self._open = False
        self.wire_bytes, self._last = self._bytes, self._waits

    def mark(self) -> Any:
        """This moment: seconds, or an event in the current stream."""
        if not self._cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event

    def waited(self, start: Any) -> None:
        """Count the time from ``start`` to this moment."""
        self._waits.append((start, self.mark()))

    def sent(self, size: int) -> None:
        """Count bytes."""
        self._bytes += size

    @property
    def exposed_s(self) -> float:
        """Seconds spent waiting in the last step."""
        if not self._cuda:
            return float(sum(end - start for start, end in self._last))
        for _, end in self._last:
            end.synchronize()
        return float(sum(start.elapsed_time(end) for start, end in self._last)) / 1e3


class Metered:
    """What engines of several ranks have in common: a world, a device, and their traffic."""

    def __init__(self, world: World, device: torch.device) -> None:
        self.world = world
        self.device = device
        self._traffic = Traffic(device)

    @property
    def wire_bytes(self) -> int:
        """Bytes that this rank handed to all-reduces in the last step."""
        return self._traffic.wire_bytes

    @property
    def exposed_s(self) -> float:
        """Seconds of the last step spent waiting for communication."""
        return self._traffic.exposed_s


def size_of(tensor: Tensor) -> int:
    """Bytes of a tensor's numbers."""
    return tensor.numel() * tensor.element_size()
