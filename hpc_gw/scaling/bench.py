"""A job under measurement: what is asked for, how much work a point is, how a run is started."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field
from pydantic.dataclasses import dataclass

from hpc_gw.config import STRICT, to_dict
from hpc_gw.files import make_folder
from hpc_gw.job import JobConfig
from hpc_gw.pipeline import StepError, run_processes
from hpc_gw.scaling.launchers import commands
from hpc_gw.scaling.points import KINDS, WHAT

WARM_ROWS = 64
"""Rows of a warm-up, and of sets that are there because a job must have them."""

SHARDS = 8
"""Shards of each rank's rows in a generation: enough to be shared."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class SweepConfig:
    """What is measured.

    Attributes:
        what, kinds: generate, train, evaluate; weak, strong.
        ranks: numbers of processes; the least is what speed-ups are against.
        repeats: turns.
        steps: of each training.
        rows: waveforms of a rank, of generation and evaluation.
        launcher, options: local, srun or jsrun, and more words for these.
        bind: keep each rank to one core.
        threads: of each rank.
    """

    what: tuple[str, ...] = WHAT
    kinds: tuple[str, ...] = ("weak",)
    ranks: tuple[int, ...] = (1, 2)
    repeats: int = Field(default=3, ge=1)
    steps: int = Field(default=64, ge=8)
    rows: int = Field(default=1024, ge=SHARDS)
    launcher: str = "local"
    options: str = ""
    bind: bool = True
    threads: int = Field(default=1, ge=1)

    def __post_init__(self) -> None:
        """Raises ValueError with the value, the rule and the remedy."""
        for name, valid in (("what", WHAT), ("kinds", KINDS)):
            for value in getattr(self, name):
                if value not in valid:
                    raise ValueError(f"{name}: {value}: choose from {', '.join(valid)}")
        if not self.ranks or min(self.ranks) < 1:
            raise ValueError(f"ranks = {self.ranks}: positive numbers of processes are needed")


@dataclasses.dataclass(frozen=True)
class Bench:
    """A job file to be measured, and where its runs go."""

    job: JobConfig
    path: Path
    assignments: tuple[str, ...]
    config: SweepConfig
    work: Path

    def total(self, kind: str, ranks: int, each: int) -> int:
        """Work of a point: ``each`` for a rank, or always that of the most ranks."""
        return each * (ranks if kind == "weak" else max(self.config.ranks))

    def batch(self, kind: str, ranks: int) -> int:
        """Of a training's step: the job's for each rank, or for all together."""
        return self.job.train.batch * (ranks if kind == "weak" else 1)

    def settings(self) -> dict[str, Any]:
        """Everything that shapes a point, for the file."""
        return {**to_dict(self.config), "job": to_dict(self.job)}


def run(bench: Bench, words: Sequence[str], ranks: int, *, mpi: bool) -> None:
    """Run ``python WORDS`` on ``ranks`` ranks, quietly.

    Raises:
        StepError: it failed.
    """
    config = bench.config
    threads = {name: str(config.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    started = commands(
        config.launcher, words, ranks, mpi=mpi, bind=config.bind, options=config.options
    )
    log = make_folder(bench.work) / "log.txt"
    log.unlink(missing_ok=True)
    # Their bars would cover one another: what they say is kept, and shown if one fails.
    quiet = ["sh", "-c", 'exec "$@" >>"$0" 2>&1', str(log)]
    runs = [([*quiet, *command], {**own, **threads}) for command, own in started]
    if code := run_processes(runs):
        print(*_last_words(log), sep="\n", file=sys.stderr, flush=True)
        raise StepError(
            f"{' '.join(words[:3])} on {ranks} ranks ended with exit code {code}; mend what it "
            f"says above and give the same command again: finished points are kept",
            code if code in (2, 75) else 1,
        )


def _last_words(log: Path, count: int = 20) -> list[str]:
    """Lines at the end of a log, without progress bars."""
    text = log.read_text(errors="replace") if log.exists() else ""
    return [line for line in text.splitlines() if line.strip() and "%|" not in line][-count:]


def hpc_gw(bench: Bench, verb: str, assignments: Sequence[str], *more: str) -> list[str]:
    """Words for Python that run a command on the bench's job, changed."""
    changes = [*bench.assignments, *assignments]
    options = [word for text in changes for word in ("--set", text)]
    return ["-m", "hpc_gw", verb, str(bench.path), *options, *more]


def sets(train: int, validation: int, test: int) -> list[str]:
    """Populations of so many draws: what the points are does not change the time they take."""
    counts = {"train": train, "validation": validation, "test": test}
    return [
        f"sets.{name}={{kind: draws, count: {count}, seed: {seed}}}"
        for seed, (name, count) in enumerate(counts.items(), start=1)
    ]
