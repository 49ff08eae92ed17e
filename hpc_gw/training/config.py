"""Configuration of a training run."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from hpc_gw.config import STRICT
from hpc_gw.data.sampler import ShuffleConfig
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
        optimizer, schedule, loss, augment: see there.
        checkpoint_steps: steps between checkpoints; there is one at the end of each epoch too.
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
    checkpoint_steps: int = Field(default=1000, ge=1)
    log_steps: int = Field(default=20, ge=1)
    verify: bool = True
    local: str = ""
    threads: int = Field(default=0, ge=0, le=4096)
    tensorboard: bool = True
