"""Training ranks under torch.distributed: DistributedDataParallel, timed and compressed."""

from __future__ import annotations

import contextlib
import datetime
import warnings
from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks
from torch.distributed.algorithms.ddp_comm_hooks.powerSGD_hook import (
    PowerSGDState,
    powerSGD_hook,
)
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from hpc_gw.distributed.launch import Launch, choose_device, gpus, meet
from hpc_gw.distributed.parallel import Metered, ParallelConfig, size_of
from hpc_gw.distributed.worlds import TorchWorld
from hpc_gw.errors import ConfigError, LaunchError

_HALVES = {
    # compression: torch's hook, and bytes for each of float32's
    "none": (default_hooks.allreduce_hook, 1.0),
    "fp16": (default_hooks.fp16_compress_hook, 0.5),
    "bf16": (default_hooks.bf16_compress_hook, 0.5),
}


@contextlib.contextmanager
def torch_ranks(config: ParallelConfig, launch: Launch) -> Iterator[TorchParallel]:
    """Join torch.distributed's default process group, and leave it at the end.

    Raises:
        LaunchError: no address to meet at, nobody there, or more ranks than GPUs.
        ConfigError: NCCL without a GPU.
    """
    backend = config.backend
    if backend == "auto":
        backend = "nccl" if gpus() else "gloo"
    if backend == "nccl" and not gpus():
        raise ConfigError("backend = nccl: there is no GPU that torch can use; choose gloo")
    device = choose_device(launch, shared=backend == "gloo")
    meet(launch, config.timeout_s)
    try:
        dist.init_process_group(
            backend=backend,
            rank=launch.rank,
            world_size=launch.size,
            timeout=datetime.timedelta(seconds=config.timeout_s),
        )
    except (dist.DistError, RuntimeError, ValueError) as error:
        raise LaunchError(
            f"rank {launch.rank} of {launch.size}: the ranks did not meet within "
            f"{config.timeout_s:g} s ({str(error).splitlines()[0]}); see whether all of them run"
        ) from error
    try:
        yield TorchParallel(config, device)
    finally:
        dist.destroy_process_group()


class TorchParallel(Metered):
    """The ranks of torch.distributed's default process group.

    With PowerSGD each run, a resumed one too, begins with ``powersgd_start`` steps of whole
    gradients: the warm start and the error feedback are not in checkpoints, as they belong to
    DDP's buckets, which it lays out anew. A resume so loses the part of the gradients that
    PowerSGD had put off to the next step, and its losses differ from those of a run that was
    never stopped as much as PowerSGD's own differ from whole gradients'.
    """

    name = "torch"

    def __init__(self, config: ParallelConfig, device: torch.device) -> None:
        super().__init__(TorchWorld(device), device)
        self._config = config
        self._group = dist.distributed_c10d._get_default_group()
        self._power: PowerSGDState | None = None
        self._ready: Any = None  # when the newest bucket of gradients was

    def wrap(
        self, model: nn.Module, optimizer: Optimizer, accumulate: int = 1
    ) -> tuple[nn.Module, Optimizer]:
        """The model in DistributedDataParallel, and the optimizer as it is.

        Buffers are shared here, not in every forward pass: BatchNorm's must be of the global
        batch, or be shared by ``broadcast``.
        """
        self.broadcast(model)
        with warnings.catch_warnings():
            # torch 2.13 has another word for it, which 2.4 does not know.
            warnings.filterwarnings("ignore", "`broadcast_buffers`", FutureWarning)
            module = DistributedDataParallel(
                model,
                bucket_cap_mb=self._config.bucket_mb,
                broadcast_buffers=False,
                gradient_as_bucket_view=True,
            )
        state: PowerSGDState | None = None
        if self._config.compression == "powersgd":
            state = PowerSGDState(
                None,
                matrix_approximation_rank=self._config.powersgd_rank,
                start_powerSGD_iter=self._config.powersgd_start,
                orthogonalization_epsilon=1e-8,  # a gradient may be 0: ReLU, frozen parts
            )
        self._power = state
        module.register_comm_hook(state, self._hook)
        return module, optimizer

    # No annotations: torch refuses them as strings.
    def _hook(self, state, bucket):  # type: ignore[no-untyped-def]
        return self._reduce(state, bucket)

    def _reduce(self, state: PowerSGDState | None, bucket: Any) -> torch.futures.Future[Tensor]:
        """Average a ``dist.GradBucket`` of gradients over the ranks."""
        self._ready = self._traffic.mark()
        size = size_of(bucket.buffer())
        if state is None:
            hook, share = _HALVES[self._config.compression]
            self._traffic.sent(int(size * share))
            return hook(self._group, bucket)
        before = state.total_numel_after_compression
        whole = state.iter < state.start_powerSGD_iter
        future = powerSGD_hook(state, bucket)
        sent = (state.total_numel_after_compression - before) * bucket.buffer().element_size()
        self._traffic.sent(size if whole else sent)
        if torch.distributed.get_backend() == "gloo":
            # Its second and third all-reduce start when the one before is done, in a thread of
            # gloo's: beside others they would come in another order on each rank.
            future.wait()
            self._traffic.waited(self._ready)
            self._ready = self._traffic.mark()
        return future

    def discard(self) -> None:
        """Forget PowerSGD's error feedback and its matrices."""
        if self._power is not None:
            for kept in (
                self._power.error_dict, self._power.p_memory_dict, self._power.q_memory_dict
            ):  # fmt: skip
                kept.clear()

    @contextlib.contextmanager
    def micro_step(self, module: nn.Module, *, last: bool) -> Iterator[None]:
        """Around the forward and backward pass of a micro-batch, and nothing after it."""
        assert isinstance(module, DistributedDataParallel), "module: what wrap returned"
        self._traffic.begin()
        if not last:
            with module.no_sync():
                yield
            return
        self._ready = None
        yield
        if self._ready is not None:
            self._traffic.waited(self._ready)

    def finish(self, optimizer: Optimizer) -> None:
        """Gradients are averaged already, when backward ends."""
        self._traffic.end()

    def step(self, optimizer: Optimizer) -> None:
        """The optimizer's own."""
        optimizer.step()

    def sum(self, tensor: Tensor) -> Tensor:
        """Sum a tensor over the ranks, in place."""
        start = self._traffic.mark()
        dist.all_reduce(tensor)
        self._traffic.waited(start)
        self._traffic.sent(size_of(tensor))
        return tensor

    def broadcast(self, module: nn.Module) -> None:
        """Give every rank rank 0's parameters and buffers."""
        for tensor in module.state_dict().values():
            dist.broadcast(tensor, 0)
