"""Worlds: how the ranks of one job talk to each other.

Data and evaluation use the world of MPI (``mpi_world``), training that of its engine
(``hpc_gw.distributed.parallel``); a single process needs neither.
"""

from __future__ import annotations

import itertools
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any, Protocol

import torch

from hpc_gw.distributed.launch import detect_launch
from hpc_gw.errors import LaunchError, MissingDependencyError


class World(Protocol):
    """The ranks that work on one job."""

    rank: int
    size: int

    def barrier(self) -> None:
        """Wait until every rank is here."""
        ...

    def sum(self, value: float) -> float:
        """Sum of a number over the ranks, on every rank."""
        ...

    def deal(self, count: int) -> Iterator[int]:
        """Numbers 0 ... count - 1, each to one rank, the next to whoever is free first.

        Every rank must exhaust it.
        """
        ...


class SerialWorld:
    """A single process."""

    rank = 0
    size = 1

    def barrier(self) -> None:
        """Nobody to wait for."""

    def sum(self, value: float) -> float:
        """The value itself."""
        return value

    def deal(self, count: int) -> Iterator[int]:
        """All numbers."""
        return iter(range(count))


class MpiWorld:
    """The ranks of an MPI communicator."""

    def __init__(self, communicator: Any) -> None:
        self._communicator = communicator
        self.rank = int(communicator.Get_rank())
        self.size = int(communicator.Get_size())

    def barrier(self) -> None:
        """Wait until every rank is here."""
        self._communicator.Barrier()

    def sum(self, value: float) -> float:
        """Sum of a number over the ranks, on every rank."""
        return float(self._communicator.allreduce(value))

    def deal(self, count: int) -> Iterator[int]:
        """Numbers 0 ... count - 1, each to one rank: a thread of rank 0 hands them out.

        Where MPI lets only one thread of a process talk, each rank takes every ``size``-th.
        """
        mpi = sys.modules["mpi4py.MPI"]
        if mpi.Query_thread() < mpi.THREAD_MULTIPLE:
            yield from range(self.rank, count, self.size)
            return
        channel = self._communicator.Dup()
        if self.rank == 0:
            numbers = _Numbers()
            thread = threading.Thread(target=_serve, args=(channel, numbers, count), daemon=True)
            thread.start()
            while (number := numbers.next()) < count:
                yield number
            thread.join()
        else:
            while (number := channel.sendrecv(None, dest=0, source=0)) < count:
                yield number
        channel.Free()


class _Numbers:
    """0, 1, 2, ... for several threads."""

    def __init__(self) -> None:
        self._numbers, self._lock = itertools.count(), threading.Lock()

    def next(self) -> int:
        """The next number."""
        with self._lock:
            return next(self._numbers)


def _serve(channel: Any, numbers: _Numbers, count: int) -> None:
    """Answer the other ranks until each has been told that nothing is left.

    It looks for requests every millisecond: a blocking receive would keep a core busy.
    """
    working = channel.Get_size() - 1
    status = sys.modules["mpi4py.MPI"].Status()
    while working:
        if not channel.iprobe(status=status):
            time.sleep(1e-3)
            continue
        source = status.Get_source()
        channel.recv(source=source)
        number = numbers.next()
        channel.send(number, dest=source)
        working -= number >= count


class TorchWorld:
    """The ranks of torch.distributed's default process group."""

    def __init__(self, device: torch.device) -> None:
        self.rank = torch.distributed.get_rank()
        self.size = torch.distributed.get_world_size()
        self._device = device

    def barrier(self) -> None:
        """Wait until every rank is here."""
        self.sum(0.0)

    def sum(self, value: float) -> float:
        """Sum of a number over the ranks, on every rank."""
        tensor = torch.tensor(value, dtype=torch.float64, device=self._device)
        torch.distributed.all_reduce(tensor)
        return float(tensor)

    def deal(self, count: int) -> Iterator[int]:
        """Numbers 0 ... count - 1, every ``size``-th to each rank."""
        return iter(range(self.rank, count, self.size))


class HorovodWorld:
    """The ranks of Horovod.

    Args:
        hvd: the module ``horovod.torch``, initialised.
        device: of this rank.
    """

    def __init__(self, hvd: Any, device: torch.device) -> None:
        self._hvd, self._device = hvd, device
        self.rank = int(hvd.rank())
        self.size = int(hvd.size())

    def barrier(self) -> None:
        """Wait until every rank is here."""
        self.sum(0.0)

    def sum(self, value: float) -> float:
        """Sum of a number over the ranks, on every rank."""
        tensor = torch.tensor([value], dtype=torch.float64, device=self._device)
        return float(self._hvd.allreduce_(tensor, op=self._hvd.Sum, name="world.sum"))

    def deal(self, count: int) -> Iterator[int]:
        """Numbers 0 ... count - 1, every ``size``-th to each rank."""
        return iter(range(self.rank, count, self.size))


def mpi_world() -> World:
    """The world of MPI, or a single process where no launcher started more.

    Raises:
        LaunchError: a launcher started N ranks, of which each sees itself alone.
        MissingDependencyError: N ranks without mpi4py.
    """
    launch = detect_launch()
    if launch.size == 1:
        return SerialWorld()
    try:
        from mpi4py import MPI  # noqa: PLC0415
    except ImportError as error:
        raise MissingDependencyError(
            "mpi4py",
            f"{launch.launcher} started {launch.size} ranks; sharing the work between them",
            'pip install "hpc_gw[mpi]", or start one process',
        ) from error
    world = MpiWorld(MPI.COMM_WORLD)
    if world.size != launch.size:
        raise LaunchError(
            f"{launch.launcher} started {launch.size} ranks, but MPI sees {world.size}: each "
            f"would do the whole job; start with the mpiexec of the MPI that mpi4py uses "
            f"({_mpi_library(MPI)}), or with srun --mpi=pmi2"
        )
    return world


def abort_ranks(code: int) -> None:
    """End the other MPI ranks: they would wait for this one for ever in their next barrier."""
    if (mpi := sys.modules.get("mpi4py.MPI")) is not None and mpi.COMM_WORLD.Get_size() > 1:
        sys.stderr.flush()
        time.sleep(0.5)  # mpiexec drops what it has not passed on when it is told to abort
        mpi.COMM_WORLD.Abort(code)


def _mpi_library(mpi: Any) -> str:
    return str(mpi.Get_library_version()).splitlines()[0].strip("\x00 ")
