"""Step time, efficiency and time to train on many GPUs, with a band, from what one GPU takes.

A step on N GPUs lasts::

    max(slowest + exposed + small, input)

slowest: the expected largest of N compute times; exposed: what of the gradients' all-reduces
backward cannot hide; small: all-reduces in the middle of a pass; input: reading a batch, which
happens beside the step before. Efficiency is one GPU's step time over that of N GPUs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from hpc_gw.errors import ConfigError
from hpc_gw.scaling.machines import Machine
from hpc_gw.scaling.stragglers import expected_slowest
from hpc_gw.scaling.workload import BACKWARD, Bucket, Compression, Workload, buckets

BAND = (5.0, 95.0)
"""Percentiles of a forecast's band."""

_SMALL = 1024.0


class Step(NamedTuple):
    """Seconds of a step and where they go; ``input_s`` runs beside the rest."""

    compute_s: float
    straggling_s: float
    exposed_s: float
    small_s: float
    input_s: float

    @property
    def total_s(self) -> float:
        """Of the step."""
        return max(self.compute_s + self.waiting_s, self.input_s)

    @property
    def waiting_s(self) -> float:
        """Beyond computing."""
        return self.straggling_s + self.exposed_s + self.small_s

    @property
    def limit(self) -> str:
        """What costs most beyond computing."""
        if self.input_s > self.compute_s + self.waiting_s:
            return "input"
        parts = {
            "stragglers": self.straggling_s,
            "gradients": self.exposed_s,
            "small messages": self.small_s,
        }
        name = max(parts, key=lambda key: parts[key])
        return name if parts[name] > 0 else "nothing"


def exposed(
    portions: Sequence[Bucket],
    compression: Compression,
    backward_s: float,
    allreduce: Callable[[float], float],
    *,
    overlap: bool,
) -> float:
    """Seconds from the end of backward until the last gradients are averaged.

    A bucket leaves when it is ready and the one before has arrived.
    """
    clock = 0.0 if overlap else backward_s
    for bucket in portions:
        if overlap:
            clock = max(clock, bucket.ready * backward_s)
        clock += sum(allreduce(size) for size in compression.messages(bucket.gradients))
    return max(clock - backward_s, 0.0)


def step(
    work: Workload,
    machine: Machine,
    gpus: int,
    compression: Compression,
    *,
    compute_s: float | None = None,
    spread: np.ndarray | None = None,
    slower: tuple[float, float] = (1.0, 1.0),
) -> Step:
    """A step on ``gpus`` GPUs.

    Args:
        work, machine, gpus, compression: what is done where.
        compute_s: seconds of a step that is neither fast nor slow; the measurements' median.
        spread: times of steps over that; the measured ones.
        slower: factors on the links' latencies and times a byte.
    """
    middle = float(np.median(work.compute_s)) if compute_s is None else compute_s
    shares = np.array(work.spread) if spread is None else spread
    turns = max(1.0, gpus / machine.gpus)  # of ranks that share a GPU or a core
    mean = turns * middle * float(np.mean(shares))
    slowest = turns * middle * expected_slowest(shares, gpus)

    def allreduce(size: float) -> float:
        return machine.allreduce(gpus, size, slower)

    late = exposed(
        buckets(work.gradients, work.bucket_mb),
        compression,
        BACKWARD * mean,
        allreduce,
        overlap=machine.overlap,
    )
    return Step(
        compute_s=mean,
        straggling_s=slowest - mean,
        exposed_s=late,
        small_s=work.small_messages * allreduce(_SMALL),
        input_s=machine.read_s(gpus, work.input_bytes * work.batch),
    )


def forecast(
    work: Workload,
    machine: Machine,
    gpus: Sequence[int],
    compressions: Sequence[Compression],
    *,
    draws: int = 300,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """A row for each number of GPUs and compression, with medians and bands.

    The band comes from a bootstrap: measured step times and their spread are drawn again with
    replacement, and latencies and bandwidths by the machine's own ``spread``.

    Raises:
        ConfigError: more GPUs than the machine has, or none.
    """
    for count in gpus:
        if count < 1 or (count > machine.gpus and not machine.shared):
            raise ConfigError(
                f"--gpus {count}: {machine.name} has {machine.gpus:,}; choose 1 to {machine.gpus}"
            )
    worlds = [None, *_worlds(work, machine, draws, seed)]
    rows = []
    for compression in compressions:
        for count in gpus:
            found = [_pair(work, machine, count, compression, world) for world in worlds]
            here, rest = found[0], found[1:] or found
            seconds = [many.total_s for _, many in rest]
            share = [one.total_s / many.total_s for one, many in rest]
            steps = work.epochs * work.rows / (work.batch * count)
            one, many = here
            rows.append(
                {
                    "gpus": count,
                    "compression": _name(compression),
                    "global_batch": work.batch * count,
                    "steps_an_epoch": work.rows / (work.batch * count),
                    **many._asdict(),
                    "limit": many.limit,
                    "step_s": many.total_s,
                    "step_s_band": _band(seconds),
                    "efficiency": one.total_s / many.total_s,
                    "efficiency_band": _band(share),
                    "hours": steps * many.total_s / 3600,
                    "hours_band": _band([steps * s / 3600 for s in seconds]),
                }
            )
    return rows


_World = tuple[float, np.ndarray, tuple[float, float]]


def _worlds(work: Workload, machine: Machine, draws: int, seed: int) -> list[_World]:
    """Step times, their spread and links, as they might have been."""
    rng = np.random.default_rng(seed)
    times, shares = np.array(work.compute_s), np.array(work.spread)
    return [
        (
            float(np.median(rng.choice(times, times.size))),
            rng.choice(shares, shares.size),
            (float(np.exp(machine.spread * a)), float(np.exp(machine.spread * b))),
        )
        for a, b in rng.standard_normal((draws, 2))
    ]


def _pair(
    work: Workload, machine: Machine, gpus: int, compression: Compression, world: _World | None
) -> tuple[Step, Step]:
    """A step on one GPU and on ``gpus``."""
    compute_s, spread, slower = world or (None, None, (1.0, 1.0))
    one, many = (
        step(work, machine, n, compression, compute_s=compute_s, spread=spread, slower=slower)
        for n in (1, gpus)
    )
    return one, many


def _band(values: Sequence[float]) -> list[float]:
    low, high = np.percentile(np.array(values), BAND)
    return [float(low), float(high)]


def _name(compression: Compression) -> str:
    return f"powersgd-{compression.rank}" if compression.rank else compression.kind
