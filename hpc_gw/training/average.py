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
        def towards(averaged: Any, current: Any, _: Tensor | int) -> None:
            share = 1 - min(decay, (1 + self._steps) / (10 + self._steps))
            if averaged[0].is_floating_point():
                torch._foreach_lerp_(averaged, current, share)
            else:
                torch._foreach_copy_(averaged, current)

        self._averaged = AveragedModel(model, multi_avg_fn=towards, use_buffers=True)
        self._steps = 0  # as ``n_averaged``, which may lie on a GPU

    @property
    def model(self) -> WaveNet:
        """The network with averaged weights."""
        found = self._averaged.module
        assert isinstance(found, WaveNet)
        return found

    def update(self, model: WaveNet) -> None:
        """Take the weights after a step in."""
        self._averaged.update_parameters(model)
        self._steps += 1

    def state(self) -> dict[str, int]:
        """What a resumed run needs besides the averaged weights."""
        return {"steps": self._steps}

    def resume(self, state: dict[str, int]) -> None:
        """Go on after so many steps; the averaged weights are put into ``model``."""
        self._steps = state["steps"]
        self._averaged.n_averaged.fill_(self._steps)
