"""What a training run is made of, and how it ends before its end."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from hpc_gw.data.sources import Source
from hpc_gw.errors import HpcGwError
from hpc_gw.models.config import ModelConfig
from hpc_gw.training.config import TrainConfig
from hpc_gw.training.objective import Objective


class Interrupted(HpcGwError):
    """Training was asked to stop; its checkpoint is written."""

    exit_code = 75  # EX_TEMPFAIL: try again, as batch systems understand it


@dataclasses.dataclass(frozen=True)
class Run:
    """What a training run is made of.

    Attributes:
        model: configuration of the network.
        config: of the training.
        train, validation: where samples come from.
        objective: what is minimised.
        folder: where checkpoints and log go.
        context: kept in every checkpoint, for those who use the network later.
    """

    model: ModelConfig
    config: TrainConfig
    train: Source
    validation: Source
    objective: Objective
    folder: Path
    context: dict[str, Any]
