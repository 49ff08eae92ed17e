"""What a sweep measured: points, their file, and medians with intervals."""

from __future__ import annotations

import dataclasses
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from hpc_gw.config import STRICT, build, to_dict
from hpc_gw.errors import ConfigError, DataError
from hpc_gw.files import read_json, write_json

FORMAT = "hpc_gw scaling 1"
WHAT = ("generate", "train", "evaluate")
KINDS = ("weak", "strong")
PARTS = ("data_s", "compute_s", "waiting_s", "communication_s", "idle_s")

_DRAWS, _INTERVAL = 2000, (2.5, 97.5)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Point:
    """One run, its first part left out.

    Attributes:
        what: generate, train or evaluate.
        kind: ``weak``: the work of a rank stays the same; ``strong``: that of all together.
        ranks: processes.
        turn: which repeat.
        items: waveforms in the measured time.
        wall_s: measured seconds; of training, of one step.
        rate: waveforms a second, of all ranks.
        data_s, compute_s: mean over the ranks of the seconds spent on each.
        waiting_s: the slowest rank's data and compute beyond that mean.
        communication_s: exchanging, less that waiting.
        idle_s: the rest of ``wall_s``.
        slowest_s: data and compute of the slowest rank.
        busy_s: of single records, the slowest rank's: how steps spread.
        wire_bytes: that a rank hands to all-reduces in a step.
        load: of the machine, as the run began.
    """

    what: Literal["generate", "train", "evaluate"]
    kind: Literal["weak", "strong"]
    ranks: int = Field(ge=1)
    turn: int = Field(ge=0)
    items: int = Field(ge=1)
    wall_s: float = Field(gt=0)
    rate: float = Field(gt=0)
    data_s: float
    compute_s: float
    waiting_s: float
    communication_s: float
    idle_s: float
    slowest_s: float
    busy_s: tuple[float, ...] = ()
    wire_bytes: float = 0.0
    load: float = 0.0

    @property
    def key(self) -> tuple[str, str, int, int]:
        """What no other point of a sweep shares."""
        return self.what, self.kind, self.ranks, self.turn


def split(
    wall_s: float, data_s: float, compute_s: float, slowest_s: float, exchanging_s: float
) -> dict[str, float]:
    """The parts of ``wall_s``, which they add up to.

    Args:
        wall_s: seconds in all.
        data_s, compute_s: means over the ranks.
        slowest_s: both, of the slowest rank.
        exchanging_s: mean over the ranks of what they spent in exchanges, in which fast ranks
            wait for slow ones, too.
    """
    waiting = max(slowest_s - data_s - compute_s, 0.0)
    communication = max(exchanging_s - waiting, 0.0)
    return {
        "data_s": data_s,
        "compute_s": compute_s,
        "waiting_s": waiting,
        "communication_s": communication,
        "idle_s": max(wall_s - data_s - compute_s - waiting - communication, 0.0),
        "slowest_s": slowest_s,
    }


@dataclasses.dataclass
class Sweep:
    """A sweep's file: settings, recipe, machine, and the points so far."""

    settings: dict[str, Any]
    recipe: dict[str, Any]
    machine: dict[str, Any]
    points: list[Point]

    def write(self, path: Path) -> None:
        """Publish it, with the summary."""
        write_json(
            path,
            {
                "format": FORMAT,
                "settings": self.settings,
                "recipe": self.recipe,
                "machine": self.machine,
                "points": [to_dict(point) for point in self.points],
                "summary": summarise(self.points),
            },
        )


def read_sweep(path: Path) -> Sweep:
    """A sweep's file.

    Raises:
        DataError: it is missing, damaged, or no sweep's.
    """
    content = read_json(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise DataError(f"{path}: is no sweep ('{FORMAT}'); make one with hpc-gw scaling run")
    try:
        points = [build(Point, point, where=str(path)) for point in content["points"]]
        return Sweep(content["settings"], content["recipe"], content["machine"], points)
    except (ConfigError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: damaged ({error}); measure again into another file") from error


def machine() -> dict[str, Any]:
    """What a measurement's numbers depend on besides the program."""
    from hpc_gw.distributed import gpus  # noqa: PLC0415

    names = []
    if gpus():
        import torch  # noqa: PLC0415

        names = [torch.cuda.get_device_name(i) for i in range(gpus())]
    return {
        "host": platform.node(),
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "load": os.getloadavg()[0],
        "gpus": names,
    }


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    named = {key.strip(): value.strip() for key, value in fields.items()}
    return named.get("model name") or platform.processor() or platform.machine()


def summarise(points: Sequence[Point], seed: int = 0) -> list[dict[str, Any]]:
    """A row for each what, kind and number of ranks: medians, and 95 % intervals of a bootstrap.

    Speed-up and efficiency are taken turn by turn, against the fewest ranks of the same turn, so
    that a load which lasts for a turn falls on both.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for what, kind in dict.fromkeys((p.what, p.kind) for p in points):
        mine = [p for p in points if (p.what, p.kind) == (what, kind)]
        base = min(p.ranks for p in mine)
        first = {p.turn: p.rate for p in mine if p.ranks == base}
        for ranks in sorted({p.ranks for p in mine}):
            here = [p for p in mine if p.ranks == ranks]
            rates = [p.rate for p in here]
            gains = [base * p.rate / first[p.turn] for p in here if p.turn in first]
            row: dict[str, Any] = {"what": what, "kind": kind, "ranks": ranks, "turns": len(here)}
            row |= _interval("rate", rates, rng)
            if gains:
                row |= _interval("speed_up", gains, rng)
                row |= _interval("efficiency", [gain / ranks for gain in gains], rng)
            walls = [p.wall_s for p in here]
            row["wall_s"] = float(np.median(walls))
            for part in PARTS:
                shares = [getattr(p, part) / p.wall_s for p in here]
                row[part.replace("_s", "_share")] = float(np.median(shares))
            rows.append(row)
    return rows


def _interval(name: str, values: list[float], rng: np.random.Generator) -> dict[str, Any]:
    """The median, and how far medians of values drawn again with replacement scatter."""
    drawn = np.median(rng.choice(values, (_DRAWS, len(values))), axis=1)
    low, high = np.percentile(drawn, _INTERVAL)
    return {name: float(np.median(values)), f"{name}_interval": [float(low), float(high)]}


def speed_ups(path: Path) -> dict[str, list[tuple[int, float]]]:
    """Median speed-ups (ranks, gain) of each part of a sweep, for figure 7.

    Raises:
        DataError: the file is missing, or no sweep.
    """
    found: dict[str, list[tuple[int, float]]] = {}
    for row in summarise(read_sweep(path).points):
        if "speed_up" in row:
            point = int(row["ranks"]), float(row["speed_up"])
            found.setdefault(f"{row['what']}, {row['kind']}", []).append(point)
    return found
