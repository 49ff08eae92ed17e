"""Ranks: how this process was launched and how it talks to the others.

The only room that knows launcher variables, mpi4py, torch.distributed and Horovod. Data and
evaluation use the world of MPI (``mpi_world``), training a ``parallel`` engine; a single process
needs neither.
"""

from __future__ import annotations

from hpc_gw.distributed.join import any_world, parallel
from hpc_gw.distributed.launch import Launch, detect_launch, gpus, leave, leave_at_exit
from hpc_gw.distributed.parallel import Parallel, ParallelConfig, lost_ranks
from hpc_gw.distributed.worlds import (
    MpiWorld,
    SerialWorld,
    World,
    abort_ranks,
    mpi_world,
)

__all__ = [
    "Launch",
    "MpiWorld",
    "Parallel",
    "ParallelConfig",
    "SerialWorld",
    "World",
    "abort_ranks",
    "any_world",
    "detect_launch",
    "gpus",
    "leave",
    "leave_at_exit",
    "lost_ranks",
    "mpi_world",
    "parallel",
]
