"""What a training run is made of, and how it ends before its end."""

from __future__ import annotations

import dataclasses
import signal
from pathlib import Path
from types import FrameType, TracebackType
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


class StopSignals:
    """Within its context, SIGTERM, SIGINT, SIGUSR1 and SIGUSR2 only ask to stop."""

    asked = False

    def __enter__(self) -> StopSignals:
        self._before = {number: signal.signal(number, self._ask) for number in _STOPPING}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True


_STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)
