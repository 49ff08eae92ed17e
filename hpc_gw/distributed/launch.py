"""How this process was launched: its rank, its device, and where the ranks meet.

The only file that knows launcher variables.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn

import torch

from hpc_gw.errors import LaunchError

_LAUNCHERS = {
    # name: variables with the number of ranks, the rank, the rank on its node
    "torchrun": ("WORLD_SIZE", "RANK", "LOCAL_RANK"),
    "horovodrun": ("HOROVOD_SIZE", "HOROVOD_RANK", "HOROVOD_LOCAL_RANK"),
    # Before Open MPI, whose variables jsrun sets as well.
    "jsrun": ("JSM_NAMESPACE_SIZE", "JSM_NAMESPACE_RANK", "JSM_NAMESPACE_LOCAL_RANK"),
    "Open MPI": ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_RANK"),
    "mpiexec": ("PMI_SIZE", "PMI_RANK", "MPI_LOCALRANKID"),
    "srun": ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID", "SLURM_LOCALID"),
}


_joined: list[Launch] = []  # training worlds that this process was in


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
    # Who tells the rank on its node comes first: srun --mpi=pmi2 sets variables of MPI without it.
    known = sorted(_LAUNCHERS.items(), key=lambda launcher: launcher[1][2] not in os.environ)
    for name, (size, rank, local) in known:
        if size in os.environ and rank in os.environ:
            try:
                count, number = int(os.environ[size]), int(os.environ[rank])
                yield Launch(name, count, number, int(os.environ.get(local, number)))
            except ValueError as error:
                raise LaunchError(
                    f"{size}={os.environ[size]}, {rank}={os.environ[rank]}: not numbers; unset "
                    f"them, or start through {name}"
                ) from error


def gpus() -> int:
    """GPUs of this machine that torch can use."""
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def choose_device(launch: Launch, *, shared: bool = False) -> torch.device:
    """The GPU of this rank, or the CPU where there is none.

    Args:
        launch: of this process.
        shared: let several ranks use one GPU (gloo can, NCCL cannot).

    Raises:
        LaunchError: more ranks than GPUs on this node.
    """
    count, index = gpus(), launch.local_rank
    if count == 0:
        return torch.device("cpu")
    if count == 1 and launch.launcher in ("srun", "jsrun"):
        index = 0  # each rank is shown a GPU of its own
    if shared:
        index %= count
    if index >= count:
        raise LaunchError(
            f"local rank {index} on a node with {count} GPUs: start at most one rank for each GPU"
        )
    device = torch.device("cuda", index)
    torch.cuda.set_device(device)
    return device


def meet(launch: Launch, timeout_s: float) -> None:
    """See to it that the ranks can meet at MASTER_ADDR and MASTER_PORT.

    torchrun sets both; for ranks on one node it is this machine; horovodrun tells where it runs
    itself. Rank 0 then finds out whether it can listen there, the others wait until it does.

    Raises:
        LaunchError: no address, one that is not rank 0's, a port in use, or nobody there.
    """
    if "MASTER_ADDR" in os.environ:
        os.environ.setdefault("MASTER_PORT", "29500")
    else:
        _set_rendezvous(launch)
    address, port = os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"]
    if not port.isdigit() or not 0 < int(port) < 2**16:
        raise LaunchError(f"MASTER_PORT={port}: a port is a number from 1 to 65535; export another")
    if launch.rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        _require_free(int(port))
    elif launch.rank > 0:
        _await_listener(launch, address, int(port), timeout_s)


def _set_rendezvous(launch: Launch) -> None:
    """MASTER_ADDR and MASTER_PORT where the launcher's variables tell them."""
    # Ranks of one job share their parent's id or the job's: two jobs on a node do not meet.
    job = os.environ.get("SLURM_JOB_ID") or os.environ.get("LSB_JOBID") or os.getppid()
    if launch.launcher == "horovodrun":
        local_size = os.environ.get("HOROVOD_LOCAL_SIZE")
        # Its ranks have no common parent, but a server, whose own port must not be ours.
        job = int(os.environ.get("HOROVOD_GLOO_RENDEZVOUS_PORT", job)) + 1
    else:
        local_size = (
            os.environ.get("JSM_NAMESPACE_LOCAL_SIZE")
            or os.environ.get("OMPI_COMM_WORLD_LOCAL_SIZE")
            or os.environ.get("MPI_LOCALNRANKS")
            or (os.environ.get("SLURM_NTASKS") if os.environ.get("SLURM_NNODES") == "1" else None)
        )
    if local_size is not None and int(local_size) == launch.size:
        address = "127.0.0.1"
    else:
        address = os.environ.get("HOROVOD_GLOO_RENDEZVOUS_ADDR", "")
        if not address or (launch.rank == 0 and not _is_mine(address)):
            raise LaunchError(
                f"{launch.launcher} started {launch.size} ranks, but MASTER_ADDR is not set: start "
                f"with torchrun, or export MASTER_ADDR=<host of rank 0> and MASTER_PORT"
            )
    os.environ["MASTER_ADDR"] = address
    os.environ["MASTER_PORT"] = str(20_000 + int(job) % 20_000)


def _is_mine(address: str) -> bool:
    with contextlib.suppress(OSError), socket.socket() as probe:
        probe.bind((address, 0))
        return True
    return False


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError as error:
            raise LaunchError(
                f"MASTER_PORT={port}: rank 0 cannot listen there ({error.strerror}); another run "
                f"may use it, or its leftover: export MASTER_PORT=<another> for all ranks"
            ) from error


def _await_listener(launch: Launch, address: str, port: int, timeout_s: float) -> None:
    """torch would wait, too, but print a page of stack frames when it gives up."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            with socket.create_connection((address, port), timeout=min(timeout_s, 30)):
                return
        except OSError as error:
            if time.monotonic() > deadline:
                raise LaunchError(
                    f"MASTER_ADDR={address}, MASTER_PORT={port}: rank {launch.rank} reached nobody "
                    f"there within {timeout_s:g} s ({error}); both must name the host of rank 0, "
                    f"and rank 0 must be running"
                ) from error
        time.sleep(0.1)


def mark_joined(launch: Launch) -> None:
    """Note that this process joined a training world; see ``leave``."""
    _joined.append(launch)


def leave_at_exit() -> None:
    """Have this process end as by ``leave(0)``, but when all else is done."""
    if _joined:
        atexit.register(leave, 0)


def leave(code: int) -> NoReturn:
    """End this process with an exit code, its work being done.

    A process that joined torch.distributed or Horovod ends without their static destructors:
    under torchrun about one in fifteen aborted in them ("terminate called without an active
    exception", torch 2.13), after all results were written, and the launcher called it a
    failure.
    """
    if not _joined:
        sys.exit(code)
    mpi = sys.modules.get("mpi4py.MPI")
    if code == 0 and mpi is not None and mpi.Is_initialized() and not mpi.Is_finalized():
        mpi.Finalize()  # mpiexec calls a rank that leaves without it a failure
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
