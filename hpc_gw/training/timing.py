"""Where the time of training goes: data, compute, communication, and the slowest rank."""

from __future__ import annotations

import time

import torch
from torch import Tensor

from hpc_gw.distributed import Parallel

PARTS = ("data_s", "compute_s", "communication_s")


class StepTimer:
    """Seconds a step of this rank spends on each part, since the last report.

    Exact on a CPU. On a GPU, kernels run behind the host, which waits for them once a step, when
    it looks at the gradients' norm: what is measured between two such moments is the GPU's time.
    """

    def __init__(self) -> None:
        self._seconds = dict.fromkeys(PARTS, 0.0)
        self._steps = 0
        self.begin()

    def begin(self) -> None:
        """The next batch is asked for; what was done since the last step belongs to none.

        Records, checkpoints, and agreements of the ranks, in which a fast one waits for a slow one.
        """
        self._mark = time.perf_counter()

    def data_arrived(self) -> None:
        """The loop has its batch: it waited since it asked for it."""
        now = time.perf_counter()
        self._seconds["data_s"] += now - self._mark
        self._mark = now

    def step_done(self, communication_s: float) -> None:
        """The weights have moved; of that time so much was spent waiting for other ranks."""
        now = time.perf_counter()
        hidden = min(communication_s, now - self._mark)
        self._seconds["communication_s"] += hidden
        self._seconds["compute_s"] += now - self._mark - hidden
        self._mark = now
        self._steps += 1

    def report(self, parallel: Parallel, values: dict[str, Tensor]) -> dict[str, float]:
        """Means over the ranks of ``values`` and of the seconds a step, with the slowest rank.

        Every rank must call it; one small message is exchanged.
        """
        world, count = parallel.world, max(self._steps, 1)
        own = [self._seconds[name] / count for name in PARTS]
        times = torch.zeros(world.size, len(own), dtype=torch.float64)
        times[world.rank] = torch.tensor(own, dtype=torch.float64)
        means = torch.stack([value.detach().double().cpu() for value in values.values()])
        message = torch.cat([means, times.flatten()]).to(parallel.device)
        parallel.sum(message)
        message = message.cpu()
        times = message[len(values) :].view(world.size, -1)
        found = dict(zip(values, (message[: len(values)] / world.size).tolist(), strict=True))
        found |= dict(zip(PARTS, times.mean(0).tolist(), strict=True))
        if world.size > 1:
            busy = times[:, :2].sum(1)
            found |= {"slowest_rank": float(busy.argmax()), "slowest_s": float(busy.max())}
        self._seconds, self._steps = dict.fromkeys(PARTS, 0.0), 0
        self.begin()
        return found
