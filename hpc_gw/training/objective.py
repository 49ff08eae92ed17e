"""From a loss' configuration to the function that the loop minimises."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from hpc_gw.models.physics_head import quantities
from hpc_gw.training.losses import LossConfig, Parts, loss
from hpc_gw.training.metric import FisherMismatch
from hpc_gw.training.mismatch import PhaseMismatch
from hpc_gw.waveforms.engines import EngineConfig, surrogate_path
from hpc_gw.waveforms.surrogate_file import read_surrogate
from hpc_gw.waveforms.timegrid import TimeGrid

Objective = Callable[[Tensor, Tensor], tuple[Tensor, Parts]]
"""(outputs (B, 5), truth (B, 5)) -> (what is minimised, its parts for the log)."""


def make_objective(
    config: LossConfig, engine: EngineConfig, grid: TimeGrid, device: torch.device | str
) -> Objective:
    """The configured loss; with ``mismatch_weight``, the waveforms' mismatch is added.

    loss + mismatch_weight * mean log(1 + mismatch / mismatch_scale): above the scale the
    logarithm makes a thousandfold mismatch count a few times as much, so that the waveforms
    which are many cycles off do not drown the rest.
    """
    if not config.mismatch_weight:
        return lambda outputs, truth: loss(outputs, truth, config)
    data = read_surrogate(surrogate_path(engine.file))
    kind = PhaseMismatch if config.mismatch == "phase" else FisherMismatch
    mismatch = kind(data, grid.t_min, grid.t_max, device)

    def objective(outputs: Tensor, truth: Tensor) -> tuple[Tensor, Parts]:
        errors, parts = loss(outputs, truth, config)
        answer = quantities(outputs, config.head, damping=config.damping)
        waveforms = mismatch(answer[:, :3], truth[:, :3].double())
        penalty = torch.log1p(waveforms / config.mismatch_scale).mean().to(errors.dtype)
        total = errors + config.mismatch_weight * penalty
        return total, {**parts, "mismatch": waveforms.detach().median()}

    return objective
