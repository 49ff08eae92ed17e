"""Points of training: short runs of ``hpc-gw train``, as their logs tell them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hpc_gw.config import build
from hpc_gw.errors import DataError
from hpc_gw.files import make_folder
from hpc_gw.scaling.bench import WARM_ROWS, Bench, hpc_gw, run, sets
from hpc_gw.scaling.points import Point, split
from hpc_gw.training.checkpoints import BEST
from hpc_gw.training.log import LOG, read_log


def training_point(bench: Bench, key: tuple[str, str, int, int]) -> Point:
    """Train a few steps and measure them."""
    _, kind, ranks, turn = key
    load = os.getloadavg()[0]
    batch = bench.batch(kind, ranks)
    folder = _train(bench, ranks, batch)
    records = [r for r in read_log(folder / LOG) if "val_loss" not in r]
    numbers = training_numbers(records, batch)
    point = {"what": "train", "kind": kind, "ranks": ranks, "turn": turn, "load": load}
    return build(Point, {**point, **numbers}, where="train")


def trained(bench: Bench) -> Path:
    """A checkpoint of the job's network: its own, else one that a short training left.

    Judging takes longer where the answers are far off.
    """
    if (own := bench.job.folder / BEST).exists():
        return own
    path = bench.work / "training" / BEST
    if not path.exists():
        ranks = min(bench.config.ranks)
        _train(bench, ranks, bench.batch(bench.config.kinds[0], ranks))
    return path


def _train(bench: Bench, ranks: int, batch: int) -> Path:
    """Run a training; the folder that it leaves stays until the next."""
    folder = bench.work / "training"
    changes = [*_training(bench, ranks, batch), f"output={folder}"]
    data = _training_data(bench)
    shutil.rmtree(folder, ignore_errors=True)
    make_folder(folder)
    (folder / "data").symlink_to(data / "data")
    run(bench, hpc_gw(bench, "train", changes), ranks, mpi=False)
    return folder


def training_numbers(records: Sequence[Mapping[str, Any]], batch: int) -> dict[str, Any]:
    """A point's numbers from a training's log, without its first quarter.

    Raises:
        DataError: fewer than four records.
    """
    if len(records) < 4:
        raise DataError(
            f"the training left {len(records)} records in its log; four are needed: raise --steps"
        )
    first, kept = records[len(records) // 4 - 1], records[len(records) // 4 :]
    count = kept[-1]["step"] - first["step"]
    wall = max(kept[-1]["seconds"] - first["seconds"], 1e-3) / count

    def mean(name: str) -> float:
        return float(sum(r[name] for r in kept) / len(kept))

    busy = [r.get("slowest_s", r["data_s"] + r["compute_s"]) for r in kept]
    parts = split(
        wall, mean("data_s"), mean("compute_s"), sum(busy) / len(busy), mean("communication_s")
    )
    return {
        "items": batch * count,
        "wall_s": wall,
        "rate": batch / wall,
        **parts,
        "busy_s": tuple(busy),
        "wire_bytes": float(kept[-1].get("wire_bytes", 0.0)),
    }


def _training(bench: Bench, ranks: int, batch: int) -> list[str]:
    """Changes that make the job's training short, and log every few steps."""
    config = bench.config
    most = max(bench.batch(kind, n) for kind in config.kinds for n in config.ranks)
    return [
        *sets(most * config.steps, max(WARM_ROWS, *config.ranks), WARM_ROWS),
        f"ranks.train={ranks}", f"train.batch={batch}", f"train.steps={config.steps}",
        "train.epochs=1", f"train.log_steps={1 if ranks == 1 else 2}",
        f"train.threads={config.threads}", "train.verify=false", "train.tensorboard=false",
        "train.checkpoint_steps=1000000000",
    ]  # fmt: skip


def _training_data(bench: Bench) -> Path:
    """The sets of all trainings; made at the first one."""
    folder = bench.work / "data-train"
    if not (folder / "ready").exists():
        sets = ["train"] if bench.job.train.source == "shards" else []
        changes = [*_training(bench, 1, bench.job.train.batch), f"output={folder}"]
        words = hpc_gw(bench, "generate", changes, "--sets", *sets, "validation")
        run(bench, words, 1, mpi=True)
        (folder / "ready").touch()
    return folder
