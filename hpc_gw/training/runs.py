"""What a folder says of the training in it: its state, and the runs found below a folder."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import os
import platform
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hpc_gw.distributed import World
from hpc_gw.errors import DataError, StorageError
from hpc_gw.files import read_json, write_json
from hpc_gw.locks import is_held
from hpc_gw.training.checkpoints import BEST, FOLDER, paths
from hpc_gw.training.health import NONFINITE
from hpc_gw.training.log import LOG, read_log

STATE, LOCK = "run.json", ".training"
FORMAT = "hpc_gw run 1"


@contextlib.contextmanager
def recorded(
    folder: Path, world: World, about: Callable[[], dict[str, Any]], stopped: type[BaseException]
) -> Iterator[None]:
    """Keep ``run.json`` up to date.

    Args:
        folder: the run's folder, whose ``LOCK`` is held.
        world: the ranks; rank 0 writes.
        about: what is known of the run: step, total, ranks, recipe, ...; asked at both ends.
        stopped: what is raised where the run was asked to stop; all else is a failure.

    Raises:
        StorageError: the folder cannot be written.
    """

    def publish(state: str, reason: str = "") -> None:
        if world.rank == 0:
            host = {"host": platform.node(), "pid": os.getpid()}
            content = {"format": FORMAT, "state": state, "reason": reason, **host, **about()}
            write_json(folder / STATE, content)

    publish("running")
    try:
        yield
    except BaseException as error:
        state = "stopped" if isinstance(error, stopped) else "failed"
        with contextlib.suppress(StorageError):  # the first error tells more
            publish(state, str(error) or type(error).__name__)
        raise
    publish("finished")


def remove_leftovers(folder: Path) -> None:
    """Remove what a killed training left half-written; the folder's ``LOCK`` must be held."""
    stale = [folder.glob(f".{name}.*.tmp") for name in (BEST, STATE, LOG)]
    for path in itertools.chain(*stale, (folder / FOLDER).glob(".step-*.tmp")):
        path.unlink(missing_ok=True)


@dataclasses.dataclass(frozen=True)
class RunSummary:
    """A training run as its files tell it.

    Attributes:
        folder: of the run.
        state: running, finished, stopped, failed, or dead: it ended without saying so.
        step, total: done, and of the whole run.
        val_loss, best_val_loss: the last and the lowest; None before the first epoch's end.
        samples_per_s: waveforms a second, of the last record.
        checkpoints: how many there are beside the best.
        nonfinite: steps whose gradient was not finite.
        about: everything else in ``run.json``.
    """

    folder: Path
    state: str
    step: int
    total: int
    val_loss: float | None
    best_val_loss: float | None
    samples_per_s: float | None
    checkpoints: int
    nonfinite: int
    about: dict[str, Any]


def find_runs(roots: list[Path]) -> Iterator[Path]:
    """Folders with a ``run.json`` in and below ``roots``, in order; links are not followed."""
    for root in roots:
        for folder, below, files in os.walk(root):
            below.sort()
            if STATE in files:
                yield Path(folder)


def read_run(folder: Path) -> RunSummary:
    """Summarise a run.

    Raises:
        DataError: the folder holds none, or its ``run.json`` is damaged.
    """
    path = folder / STATE
    if not path.exists():
        raise DataError(f"{folder}: holds no training run (no {STATE}); train first")
    about = read_json(path)
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise DataError(f"{path}: not of this version ('{FORMAT}'); start the training again")
    records = read_log(folder / LOG)
    losses = [r["val_loss"] for r in records if r.get("val_loss") is not None]
    state = about.get("state", "dead")
    if state == "running" and is_held(folder / LOCK) is False:
        state = "dead"
    bad = folder / NONFINITE
    return RunSummary(
        folder=folder,
        state=state,
        step=max([about.get("step", 0), *(r["step"] for r in records[-1:])]),
        total=about.get("total", 0),
        val_loss=losses[-1] if losses else None,
        best_val_loss=min(losses, default=None),
        samples_per_s=records[-1].get("samples_per_s") if records else None,
        checkpoints=len(paths(folder)),
        nonfinite=len(bad.read_text().splitlines()) if bad.exists() else 0,
        about=about,
    )


def table(runs: list[RunSummary]) -> str:
    """Runs, one a line."""
    lines = [f"{'run':40s} {'state':9s} {'step':>17s} {'val_loss':>10s} {'best':>10s} {'1/s':>8s}"]
    for run in runs:
        losses = [_number(x, 10) for x in (run.val_loss, run.best_val_loss)]
        step = f"{run.step:,}/{run.total:,}"
        rate = _number(run.samples_per_s, 8)
        lines.append(f"{run.folder!s:40s} {run.state:9s} {step:>17s} {' '.join(losses)} {rate}")
    return "\n".join(lines)


def describe(run: RunSummary) -> str:
    """A run in some lines."""
    about, share = run.about, 100 * run.step / run.total if run.total else 0.0
    lines = [
        f"{run.folder}: {run.state}" + (f" ({about['reason']})" if about.get("reason") else ""),
        f"step {run.step:,} of {run.total:,} ({share:.1f} %)",
        f"ranks: {about.get('ranks')}, {about.get('parallel')}, on {about.get('device')}; "
        f"host {about.get('host')}, process {about.get('pid')}",
        f"network: {about.get('parameters', 0):,} trainable parameters",
        f"validation loss: last {_number(run.val_loss)}, lowest {_number(run.best_val_loss)}",
        f"samples a second: {_number(run.samples_per_s)}",
        f"checkpoints: {run.checkpoints}" + (f" and {BEST}" if run.val_loss is not None else ""),
    ]
    if run.nonfinite:
        lines.append(f"steps that were not finite: {run.nonfinite} ({NONFINITE})")
    recipe = about.get("recipe", {})
    lines.append(f"started {recipe.get('created')}, commit {recipe.get('commit') or 'unknown'}")
    return "\n".join(lines)


def to_json(runs: list[RunSummary]) -> str:
    """Runs as JSON."""
    return json.dumps([{**dataclasses.asdict(r), "folder": str(r.folder)} for r in runs], indent=1)


def _number(value: float | None, width: int = 0) -> str:
    return f"{'-' if value is None else format(value, '.4g'):>{width}s}"
