"""The loss over a whole set, shared by the ranks."""

from __future__ import annotations

import numpy as np
import torch

from hpc_gw.data.sources import Source, truths
from hpc_gw.distributed import Parallel
from hpc_gw.training.objective import Objective


@torch.no_grad()
def mean_loss(
    source: Source, objective: Objective, batch: int, parallel: Parallel
) -> tuple[float, dict[str, float]]:
    """Mean over the rows of ``source`` of the loss and of its parts, the same on every rank.

    Args:
        source: of the waveforms; each rank reads its own share.
        objective: of (waveforms (b, samples) real, truth (b, 5)).
        batch: waveforms at a time.
        parallel: the ranks, and the device.
    """
    world, device = parallel.world, parallel.device
    rows = np.setdiff1d(np.arange(source.spec.population.size), source.excluded)
    mine = np.array_split(rows, world.size)[world.rank]
    sums: dict[str, float] = {}
    for first in range(0, mine.size, batch):
        part = mine[first : first + batch]
        truth = torch.from_numpy(truths(source.spec, part)).float().to(device)
        waveforms = source.load(part).to(device)
        inputs = waveforms.real if waveforms.is_complex() else waveforms
        loss, parts = objective(inputs, truth)
        for name, value in {"loss": loss, **parts}.items():
            sums[name] = sums.get(name, 0.0) + float(value) * part.size
    means = {name: world.sum(sums[name]) / rows.size for name in sorted(sums)}
    return means.pop("loss"), means
