"""Training ranks under Horovod: its DistributedOptimizer around ours.

Reference: Sergeev & Del Balso, Horovod, arXiv:1802.05799.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from hpc_gw.distributed.launch import Launch, choose_device
from hpc_gw.distributed.parallel import Metered, ParallelConfig, size_of
from hpc_gw.distributed.worlds import HorovodWorld
from hpc_gw.errors import LaunchError, MissingDependencyError


@contextlib.contextmanager
def horovod_ranks(config: ParallelConfig, launch: Launch) -> Iterator[HorovodParallel]:
    """Join Horovod's ranks, and leave them at the end.

    Raises:
        MissingDependencyError: Horovod is not installed.
        LaunchError: the ranks do not find one another, or are more than the node's GPUs.
    """
    if importlib.util.find_spec("horovod") is None:
        raise MissingDependencyError(
            "horovod",
            "engine: horovod",
            "make horovod (it builds it for this torch), or choose engine: torch",
        )
    device = choose_device(launch)
    _set_timeouts(config.timeout_s)
    if importlib.util.find_spec("mpi4py") is not None:
        importlib.import_module("mpi4py.MPI")  # it finds the libmpi that Horovod needs
    try:
        hvd = importlib.import_module("horovod.torch")
        hvd.init()
        size = int(hvd.size())
    except (ImportError, RuntimeError, ValueError) as error:
        raise LaunchError(
            f"rank {launch.rank} of {launch.size}: Horovod does not start "
            f"({str(error).splitlines()[0]}); build it for this torch with make horovod, and start "
            f"with horovodrun, or with the mpiexec of the MPI that it was built for"
        ) from error
    if size != launch.size:
        raise LaunchError(
            f"{launch.launcher} started {launch.size} ranks, but Horovod sees {size}: each would "
            f"do the whole job; start with horovodrun (--gloo where it does not know the MPI), or "
            f"with the mpiexec of the MPI that Horovod was built for"
        )
    try:
        yield HorovodParallel(config, hvd, device)
    finally:
        hvd.shutdown()


def _set_timeouts(timeout_s: float) -> None:
    """Horovod's own names for how long a silent rank is waited for."""
    seconds = max(1, round(timeout_s))
    os.environ.setdefault("HOROVOD_GLOO_TIMEOUT_SECONDS", str(seconds))
    os.environ.setdefault("HOROVOD_STALL_CHECK_TIME_SECONDS", str(min(60, max(1, seconds // 2))))
    os.environ.setdefault("HOROVOD_STALL_SHUTDOWN_TIME_SECONDS", str(seconds))


class HorovodParallel(Metered):
    """The ranks of Horovod."""

    name = "horovod"

    def __init__(self, config: ParallelConfig, hvd: Any, device: torch.device) -> None:
        super().__init__(HorovodWorld(hvd, device), device)
        self._hvd, self._half = hvd, config.compression == "fp16"

    def wrap(
        self, model: nn.Module, optimizer: Optimizer, accumulate: int = 1
    ) -> tuple[nn.Module, Optimizer]:
        """The model as it is, and the optimizer in Horovod's DistributedOptimizer."""
        self.broadcast(model)
        compression = self._hvd.Compression
        wrapped: Optimizer = self._hvd.DistributedOptimizer(
            optimizer,
            named_parameters=model.named_parameters(),
            compression=compression.fp16 if self._half else compression.none,
            backward_passes_per_step=accumulate,
        )
        # Horovod makes the optimizer anew from its groups; what is beside them (LAMB's bound on
        # the global norm, moments) it leaves behind.
        wrapped.defaults = optimizer.defaults
        wrapped.state.update(optimizer.state)
        return model, wrapped

    def micro_step(self, module: nn.Module, *, last: bool) -> AbstractContextManager[None]:
        """Nothing to do around it: Horovod counts backward passes by itself."""
        self._traffic.begin()
        return contextlib.nullcontext()

    def finish(self, optimizer: Any) -> None:
        """Wait for the averages of all gradients."""
        start = self._traffic.mark()
        optimizer.synchronize()
        self._traffic.waited(start)
        trained = [p for group in optimizer.param_groups for p in group["params"]]
        gradients = sum(size_of(p) for p in trained if p.requires_grad)
        self._traffic.sent(gradients // 2 if self._half else gradients)
        self._traffic.end()

    def step(self, optimizer: Any) -> None:
        """The optimizer's own step, on the averages that ``finish`` brought."""
        with optimizer.skip_synchronize():
            optimizer.step()

    def discard(self) -> None:
        """Nothing is kept."""

    def sum(self, tensor: Tensor) -> Tensor:
        """Sum a tensor over the ranks, in place."""
        start = self._traffic.mark()
        name = f"sum.{tensor.dtype}.{tuple(tensor.shape)}"  # Horovod pairs ranks by names
        self._hvd.allreduce_(tensor, op=self._hvd.Sum, name=name)
        self._traffic.waited(start)
        self._traffic.sent(size_of(tensor))
        return tensor

    def broadcast(self, module: nn.Module) -> None:
        """Give every rank rank 0's parameters and buffers."""
        self._hvd.broadcast_parameters(module.state_dict(), root_rank=0)
