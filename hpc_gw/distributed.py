"""Ranks: how this process was launched and how it talks to the others.

The only file that knows launcher variables, mpi4py and torch.distributed. Data and evaluation
use the world of MPI (``mpi_world``), training that of torch.distributed (``torch_world``);
a single process needs neither.
"""

from __future__ import annotations

import contextlib
import datetime
import itertools
import os
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

import torch

from hpc_gw.errors import LaunchError, MissingDependencyError

_LAUNCHERS = {
    # name: variables with the number of ranks, the rank, the rank on its node
    "torchrun": ("WORLD_SIZE", "RANK", "LOCAL_RANK"),
    "Open MPI": ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_RANK"),
    "mpiexec": ("PMI_SIZE", "PMI_RANK", "MPI_LOCALRANKID"),
    "jsrun": ("JSM_NAMESPACE_SIZE", "JSM_NAMESPACE_RANK", "JSM_NAMESPACE_LOCAL_RANK"),
    "srun": ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID", "SLURM_LOCALID"),
}


_joined: list[Launch] = []  # process groups of torch.distributed that this process was in


@dataclass(frozen=True)
class Launch:
    """What the launcher's variables say of this process."""

    launcher: str
    size: int
    rank: int
    local_rank: int


def detect_launch() -> Launch:
    """Read the launchers' variables; without any, a single process.

    Where several launchers left theirs (torchrun inside a Slurm job), the one that started most
    ranks counts: a leftover WORLD_SIZE=1 does not hide mpiexec's.
    """
    found = [Launch("none", 1, 0, 0), *_launches()]
    return max(found, key=lambda launch: launch.size)


def _launches() -> Iterator[Launch]:
    for name, (size, rank, local) in _LAUNCHERS.items():
        if size in os.environ and rank in os.environ:
            try:
                count, number = int(os.environ[size]), int(os.environ[rank])
                yield Launch(name, count, number, int(os.environ.get(local, number)))
            except ValueError as error:
                raise LaunchError(
                    f"{size}={os.environ[size]}, {rank}={os.environ[rank]}: not numbers; unset "
                    f"them, or start through {name}"
                ) from error


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


@contextlib.contextmanager
def torch_world(timeout_s: float = 600.0) -> Iterator[tuple[World, torch.device]]:
    """Join torch.distributed if a launcher started several ranks; yield the world and a device.

    NCCL where each rank of the node has a GPU, gloo otherwise.

    Raises:
        LaunchError: more ranks than GPUs on a node, or no address to meet at.
    """
    launch = detect_launch()
    device = _device(launch)
    if launch.size == 1:
        yield SerialWorld(), device
        return
    _set_rendezvous(launch)
    torch.distributed.init_process_group(
        backend="nccl" if device.type == "cuda" else "gloo",
        rank=launch.rank,
        world_size=launch.size,
        timeout=datetime.timedelta(seconds=timeout_s),
    )
    _joined.append(launch)
    try:
        yield TorchWorld(device), device
    finally:
        torch.distributed.destroy_process_group()


def leave(code: int) -> NoReturn:
    """End this process with an exit code, its work being done.

    A process that joined torch.distributed ends without torch's static destructors: under
    torchrun about one in fifteen aborted in them ("terminate called without an active
    exception", torch 2.13), after all results were written, and the launcher called it a
    failure.
    """
    if not _joined:
        sys.exit(code)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def share_buffers(module: torch.nn.Module, world: World) -> None:
    """Give every training rank rank 0's buffers (BatchNorm's running statistics)."""
    if world.size > 1:
        for buffer in module.buffers():
            torch.distributed.broadcast(buffer, 0)


def gpus() -> int:
    """GPUs of this machine that torch can use."""
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def _device(launch: Launch) -> torch.device:
    if not torch.cuda.is_available():
        return torch.device("cpu")
    count, index = torch.cuda.device_count(), launch.local_rank
    if count == 1 and launch.launcher in ("srun", "jsrun"):
        index = 0  # each rank is shown a GPU of its own
    if index >= count:
        raise LaunchError(
            f"local rank {index} on a node with {count} GPUs: start at most one rank for each GPU"
        )
    device = torch.device("cuda", index)
    torch.cuda.set_device(device)
    return device


def _set_rendezvous(launch: Launch) -> None:
    """torchrun sets the address; for ranks on one node it is this machine, else it is missing."""
    if "MASTER_ADDR" in os.environ:
        os.environ.setdefault("MASTER_PORT", "29500")
        return
    local_size = (
        os.environ.get("OMPI_COMM_WORLD_LOCAL_SIZE")
        or os.environ.get("MPI_LOCALNRANKS")
        or (os.environ.get("SLURM_NTASKS") if os.environ.get("SLURM_NNODES") == "1" else None)
    )
    if local_size is None or int(local_size) != launch.size:
        raise LaunchError(
            f"{launch.launcher} started {launch.size} ranks, but MASTER_ADDR is not set: start "
            f"with torchrun, or export MASTER_ADDR=<host of rank 0> and MASTER_PORT"
        )
    os.environ["MASTER_ADDR"] = "127.0.0.1"
    # Ranks of one job share their parent's id or the job's: two jobs on a node do not meet.
    job = os.environ.get("SLURM_JOB_ID") or os.getppid()
    os.environ["MASTER_PORT"] = str(20_000 + int(job) % 20_000)
