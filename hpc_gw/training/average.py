"""An average of the weights over the steps, which is judged and kept in place of the last ones."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from hpc_gw.models.wavenet import WaveNet


class Average:
    """Exponential moving average: after each step, w' <- d w' + (1 - d) w.

    d is ``decay``, but (1 + n) / (10 + n) after n steps if that is less, so that the first weights
    are soon forgotten; w' begins as those after the first step. BatchNorm's running statistics are
    averaged like weights.

    Args:
        model: copied.
        decay: of a step, in (0, 1): it remembers about 1 / (1 - decay) steps.
    """

    def __init__(self, model: WaveNet, decay: float) -> None:
        def towards(averaged: Any, current: Any, steps: Tensor | int) -> None:
            share = 1 - min(decay, (1 + int(steps)) / (10 + int(steps)))
            for old, new in zip(averaged, current, strict=True):
                if old.is_floating_point():
                    old.lerp_(new, share)
                else:
                    old.copy_(new)

        self._averaged = AveragedModel(model, multi_avg_fn=towards, use_buffers=True)

    @property
    def model(self) -> WaveNet:
        """The network with averaged weights."""
        found = self._averaged.module
        assert isinstance(found, WaveNet)
        return found

    def update(self, model: WaveNet) -> None:
        """Take the weights after a step in."""
        self._averaged.update_parameters(model)

    def state(self) -> dict[str, Tensor]:
        """What a resumed run needs besides the averaged weights."""
        return {"steps": self._averaged.n_averaged}

    def resume(self, state: dict[str, Tensor]) -> None:
        """Go on after so many steps; the averaged weights are put into ``model``."""
        with torch.no_grad():
            self._averaged.n_averaged.copy_(state["steps"])
