"""Configuration of a training run."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from hpc_gw.config import STRICT
from hpc_gw.data.sampler import ShuffleConfig
from hpc_gw.distributed import ParallelConfig
from hpc_gw.training.augment import AugmentConfig
from hpc_gw.training.lamb import OptimizerConfig
from hpc_gw.training.losses import LossConfig
from hpc_gw.training.schedule import ScheduleConfig


@dataclass(frozen=True, config=STRICT)
class TrainConfig:
    """How a network is trained.

    Attributes:
        source: batches from ``shards`` on disk, or ``on_the_fly`` from the engine; the same
            batch for the same (seed, epoch, step) from either.
        batch: waveforms of a global batch, over all ranks (published: 64 for each GPU).
        epochs: at most so many (published: 100).
        steps: batches in an epoch; 0 means the whole set.
        seed: of the initial weights, the order of samples, dropout and augmentation.
        shuffle: how the rows of the set are mixed.
        optimizer, schedule, loss, augment, parallel: see there.
        accumulate: micro-batches that a global batch is cut into, so that large ones fit into
            memory; their gradients are added up before the weights move.
        precision: of the network's convolutions and products; ``bf16`` by torch's autocast, with
            weights, losses and the optimizer in float32; ``tf32`` on GPUs that have it, elsewhere
            the same as ``float32``.
        average: decay of a moving average of the weights, which is what is validated and kept;
            0.999 remembers a thousand steps, 0 keeps the weights themselves.
        sync_norm: BatchNorm sees the (micro-)batch of all ranks; otherwise each rank its own part.
        crop: the network sees only the samples that can reach its kept outputs. Without, BatchNorm
            takes its statistics from the whole waveform, as the published network did.
        compile: let torch.compile fuse the network; rounding differs then.
        kernels: what computes the residual blocks on a GPU: ``torch``, or the fused ones in
            ``triton``; elsewhere, and compiled or in bf16, always torch's.
        recompute: keep no activations of the blocks, but make them again for the gradients:
            less memory, a third more work.
        on_nan: what a gradient that is not finite does: ``stop`` the run, or ``skip`` the step.
            Either way the batch's rows are written to nonfinite.jsonl.
        max_skips: steps skipped in a row that stop the run, too.
        checkpoint_steps: steps between checkpoints; there is one at the end of each epoch too.
        keep: how many of the newest checkpoints stay.
        log_steps: steps between records of the log.
        verify: check the shards' checksums before the first step.
        local: folder on each node's own storage that shards are copied to first, and read from;
            variables such as $TMPDIR are filled in. Empty: read where they are.
        threads: of torch in each process on a CPU; 0 leaves the choice to torch.
        tensorboard: write TensorBoard curves.
    """

    source: Literal["shards", "on_the_fly"] = "shards"
    batch: int = Field(default=64, ge=1)
    epochs: int = Field(default=100, ge=1)
    steps: int = Field(default=0, ge=0)
    seed: int = Field(default=0, ge=0, lt=2**63)
    shuffle: ShuffleConfig = ShuffleConfig()
    optimizer: OptimizerConfig = Field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = Field(default_factory=ScheduleConfig)
    loss: LossConfig = Field(default_factory=LossConfig)
    augment: AugmentConfig = Field(default_factory=AugmentConfig)
    parallel: ParallelConfig = Field(default_factory=ParallelConfig)
    accumulate: int = Field(default=1, ge=1)
    precision: Literal["float32", "tf32", "bf16"] = "float32"
    average: float = Field(default=0.0, ge=0, lt=1)
    sync_norm: bool = True
    crop: bool = True
    compile: bool = False
    kernels: Literal["torch", "triton"] = "torch"
    recompute: bool = False
    on_nan: Literal["stop", "skip"] = "stop"
    max_skips: int = Field(default=10, ge=1)
    checkpoint_steps: int = Field(default=1000, ge=1)
    keep: int = Field(default=3, ge=1)
    log_steps: int = Field(default=20, ge=1)
    verify: bool = True
    local: str = ""
    threads: int = Field(default=0, ge=0, le=4096)
    tensorboard: bool = True
