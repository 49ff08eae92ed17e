"""Joining the other training ranks, by the engine that the configuration or the launcher says."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager

from hpc_gw.distributed.launch import Launch, choose_device, detect_launch, mark_joined
from hpc_gw.distributed.parallel import (
    Parallel,
    ParallelConfig,
    SerialParallel,
    lost_ranks,
    require_horovods,
)
from hpc_gw.distributed.worlds import World, mpi_world


@contextlib.contextmanager
def parallel(config: ParallelConfig | None = None) -> Iterator[Parallel]:
    """Join the other training ranks, if a launcher started some; leave them at the end.

    Raises:
        LaunchError: the ranks were started in a way that cannot work.
        MissingDependencyError: Horovod is asked for, and not installed.
        ConfigError: a compression that the engine does not have.
        RanksLostError: another rank died, or fell silent.
    """
    config = config or ParallelConfig()
    launch = detect_launch()
    if launch.size == 1:
        yield SerialParallel(choose_device(launch))
        return
    with _joined(config, launch) as ranks:
        mark_joined(launch)
        with lost_ranks():
            yield ranks


def _joined(config: ParallelConfig, launch: Launch) -> AbstractContextManager[Parallel]:
    if config.engine == "horovod" or (config.engine == "auto" and launch.launcher == "horovodrun"):
        from hpc_gw.distributed.horovod_engine import horovod_ranks  # noqa: PLC0415

        require_horovods(config.compression)
        return horovod_ranks(config, launch)
    from hpc_gw.distributed.torch_engine import torch_ranks  # noqa: PLC0415

    return torch_ranks(config, launch)


@contextlib.contextmanager
def any_world() -> Iterator[World]:
    """The ranks of whatever launcher started them: MPI's, or those of torchrun and horovodrun.

    For work that needs nothing but to be divided.

    Raises:
        LaunchError: the ranks were started in a way that cannot work.
        MissingDependencyError: N ranks of MPI without mpi4py, of Horovod without Horovod.
        RanksLostError: another rank of torchrun died, or fell silent.
    """
    if detect_launch().launcher in ("torchrun", "horovodrun"):
        # On the CPU, whose ranks may be more than GPUs; one may take hours longer than another.
        with parallel(ParallelConfig(backend="gloo", timeout_s=86_400)) as ranks:
            yield ranks.world
    else:
        yield mpi_world()
