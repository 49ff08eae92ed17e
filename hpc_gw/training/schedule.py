"""Learning rates: a pure function of the step, or the published halving on a plateau."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from hpc_gw.config import STRICT


@dataclass(frozen=True, config=STRICT)
class ScheduleConfig:
    """How the learning rate changes.

    Attributes:
        kind: ``plateau``: multiplied by ``factor`` when the validation loss has not improved
            for ``patience`` epochs (as published: 0.5 and 3). ``cosine``: from the peak to
            ``final`` times the peak at the last step. ``constant``.
        warmup: share of all steps over which the rate first rises linearly from 0.
        factor, patience: of ``plateau``.
        final: of ``cosine``.
        stop_after: end the training after so many epochs without improvement (published: 7);
            0 never does.
    """

    kind: Literal["plateau", "cosine", "constant"] = "plateau"
    warmup: float = Field(default=0.0, ge=0, lt=1)
    factor: float = Field(default=0.5, gt=0, lt=1)
    patience: int = Field(default=3, ge=0)
    final: float = Field(default=0.0, ge=0, le=1)
    stop_after: int = Field(default=7, ge=0)


@dataclasses.dataclass
class Plateau:
    """Memory of the validation losses: the best, and how long ago it was.

    Attributes:
        best: lowest validation loss so far.
        stale: epochs since then, for early stopping.
        waited: epochs since then or since the last cut of the rate.
        scale: product of all cuts.
    """

    best: float = math.inf
    stale: int = 0
    waited: int = 0
    scale: float = 1.0

    def update(self, loss: float, config: ScheduleConfig) -> bool:
        """Take in an epoch's validation loss; True where it is the best so far."""
        if loss < self.best:
            self.best, self.stale, self.waited = loss, 0, 0
            return True
        self.stale += 1
        self.waited += 1
        if config.kind == "plateau" and self.waited > config.patience:
            self.scale *= config.factor
            self.waited = 0
        return False

    def exhausted(self, config: ScheduleConfig) -> bool:
        """Whether training should end early."""
        return bool(config.stop_after) and self.stale >= config.stop_after


def rate(config: ScheduleConfig, step: int, total: int, plateau: Plateau) -> float:
    """Learning rate of ``step`` (0 ... total - 1) as a share of the configured peak."""
    warm = config.warmup * total
    if step < warm:
        return (step + 1) / math.ceil(warm)
    if config.kind == "cosine":
        done = (step - warm) / max(total - warm, 1)
        return config.final + (1 - config.final) * 0.5 * (1 + math.cos(math.pi * done))
    return plateau.scale
