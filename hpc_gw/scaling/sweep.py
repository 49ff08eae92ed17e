"""Weak and strong sweeps over ranks, of generation, training and evaluation.

Every point is a run of its own through the launcher. Points take turns: all numbers of ranks
once, then all again, so that a load on the machine falls on all of them alike. The file is
published after each point, and a stopped sweep goes on where it was.
"""

from __future__ import annotations

import itertools
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from hpc_gw.config import first_difference
from hpc_gw.distributed import detect_launch
from hpc_gw.errors import ConfigError, DataError, LaunchError
from hpc_gw.files import make_folder
from hpc_gw.job import load_job
from hpc_gw.provenance import recipe
from hpc_gw.scaling.bench import Bench, SweepConfig
from hpc_gw.scaling.points import Sweep, machine, read_sweep
from hpc_gw.scaling.rows import rows_point
from hpc_gw.scaling.training import training_point

_SHAPING = ("ranks", "steps", "rows", "launcher", "options", "bind", "threads", "job")


def sweep(path: Path, config: SweepConfig, output: Path, assignments: Sequence[str] = ()) -> Sweep:
    """Measure what ``output`` lacks; it is published after each point.

    Args:
        path: the job's YAML file.
        config: what to measure.
        output: the sweep's JSON file; runs go to ``<output>.work``, removed at the end.
        assignments: that change the job.

    Raises:
        ConfigError: the job cannot be run on so many ranks, or ``output`` is another sweep.
        StepError: a run failed, with its exit code.
        LaunchError: this command itself was started on several ranks.
    """
    if detect_launch().size > 1:
        raise LaunchError("hpc-gw scaling run starts its ranks itself: start it once")
    job = load_job(path, assignments)
    work = output.with_name(f"{output.name}.work")
    bench = Bench(job, path.resolve(), tuple(assignments), config, work.resolve())
    _check(bench)
    found = _begin(output, bench)
    done = {point.key for point in found.points}
    missing = [key for key in _keys(config) if key not in done]
    make_folder(bench.work)
    for number, key in enumerate(missing, start=1):
        what, kind, ranks, turn = key
        print(f"{number}/{len(missing)}: {what}, {kind}, {ranks} ranks, turn {turn + 1}",
              file=sys.stderr, flush=True)  # fmt: skip
        measured = (training_point if what == "train" else rows_point)(bench, key)
        found.points.append(measured)
        found.write(output)
    shutil.rmtree(bench.work, ignore_errors=True)
    return found


def _keys(config: SweepConfig) -> Iterator[tuple[str, str, int, int]]:
    """Points in the order in which they are measured: repeats in turns."""
    for turn, what, kind, ranks in itertools.product(
        range(config.repeats), config.what, config.kinds, config.ranks
    ):
        yield what, kind, ranks, turn


def _check(bench: Bench) -> None:
    """Refuse before anything is run what will not divide."""
    most, train = max(bench.config.ranks), bench.job.train
    if "train" in bench.config.what and "strong" in bench.config.kinds:
        for ranks in bench.config.ranks:
            if train.batch % (ranks * train.accumulate):
                raise ConfigError(
                    f"--ranks {ranks}: train.batch = {train.batch} does not divide evenly over "
                    f"them and {train.accumulate} micro-batches; --set train.batch=..., or "
                    f"--kind weak"
                )
    cores = len(os.sched_getaffinity(0))
    if bench.config.launcher == "local" and most > cores:
        print(f"hpc-gw: {most} ranks share {cores} cores: efficiency is at most "
              f"{cores / most:.2f} there, and says nothing of the program",
              file=sys.stderr)  # fmt: skip


def _begin(output: Path, bench: Bench) -> Sweep:
    """The sweep in ``output``, if it is this one, or a new one."""
    settings = bench.settings()
    if not output.exists():
        shutil.rmtree(bench.work, ignore_errors=True)  # of a sweep whose file is gone
        return Sweep(settings, recipe(config=settings), machine(), [])
    found = read_sweep(output)
    if key := first_difference(found.settings, {k: settings[k] for k in _SHAPING}):
        shown = "another job" if key == "job" else f"{key}: {found.settings.get(key)}"
        raise DataError(
            f"{output}: holds another sweep ({shown}); choose another file with -o, or remove it"
        )
    found.settings |= {key: settings[key] for key in ("what", "kinds", "repeats")}
    return found
