"""Points of generation and evaluation: ranks of ``hpc_gw.scaling.rank`` and their reports."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

from hpc_gw.config import build
from hpc_gw.evaluation.blocks import BLOCK
from hpc_gw.files import read_json, write_json
from hpc_gw.scaling.bench import SHARDS, WARM_ROWS, Bench, hpc_gw, run, sets
from hpc_gw.scaling.points import Point, split
from hpc_gw.scaling.training import trained
from hpc_gw.training.checkpoints import BEST


def rows_point(bench: Bench, key: tuple[str, str, int, int]) -> Point:
    """Generate or evaluate some rows on ranks that tell how busy they were."""
    what, kind, ranks, turn = key
    count = bench.total(kind, ranks, bench.config.rows)
    if what == "generate":
        count = max(count, bench.job.train.batch)  # a training set holds at least a batch
    else:
        count = -(-count // (BLOCK * ranks)) * BLOCK * ranks  # ranks share blocks of rows
    if what == "generate":
        warm, work = (_generation(bench, n) for n in (WARM_ROWS, count))
    else:
        warm, work = (_evaluation(bench, n) for n in (WARM_ROWS, count))
    folder = bench.work / "reports"
    shutil.rmtree(folder, ignore_errors=True)
    order = {
        "what": what,
        "config": str(bench.path),
        "warm": [*bench.assignments, *warm],
        "work": [*bench.assignments, *work],
        "bind": bench.config.bind and bench.config.launcher == "local",
    }
    write_json(folder / "order.json", order)
    load = os.getloadavg()[0]
    words = ["-m", "hpc_gw.scaling.rank", str(folder / "order.json")]
    run(bench, words, ranks, mpi=True)
    reports = [read_json(folder / f"rank-{rank}.json") for rank in range(ranks)]
    for name in ("made-warm", "made"):
        shutil.rmtree(bench.work / name, ignore_errors=True)
    numbers = rows_numbers(reports, count)
    point = {"what": what, "kind": kind, "ranks": ranks, "turn": turn, "load": load}
    return build(Point, {**point, **numbers}, where=what)


def rows_numbers(reports: Sequence[Mapping[str, float]], count: int) -> dict[str, Any]:
    """A point's numbers from the ranks' reports; reading is part of computing here."""
    wall = max(report["wall_s"] for report in reports)
    busy = [r["wall_s"] - r["exchanging_s"] - r["idle_s"] for r in reports]
    slowest = max(range(len(busy)), key=lambda rank: busy[rank])
    mean = sum(busy) / len(busy)
    # Of the slowest rank, which waits for none: the others' exchanges may be waiting for it.
    exchanging = reports[slowest]["exchanging_s"] + busy[slowest] - mean
    parts = split(wall, 0.0, mean, busy[slowest], exchanging)
    return {"items": count, "wall_s": wall, "rate": count / wall, **parts}


def _generation(bench: Bench, count: int) -> list[str]:
    """Changes that make the training set ``count`` rows, in enough shards to be shared."""
    name = "made-warm" if count == WARM_ROWS else "made"
    shutil.rmtree(bench.work / name, ignore_errors=True)
    job = bench.job
    row = math.prod(job.storage.shape(1, job.samples)) * job.storage.numpy_dtype.itemsize
    shard = min(job.storage.shard_bytes, max(row * bench.config.rows // SHARDS, row))
    return [
        *sets(max(count, job.train.batch), WARM_ROWS, WARM_ROWS),
        f"storage.shard_bytes={shard}",
        f"output={bench.work / name}",
    ]


def _evaluation(bench: Bench, count: int) -> list[str]:
    """Changes that judge a network on a test set of ``count`` rows, which is made if needed."""
    folder = bench.work / f"test-{count}"
    changes = [
        *sets(bench.job.train.batch, WARM_ROWS, count),
        f"output={folder}",
    ]
    if not (folder / "ready").exists():
        shutil.rmtree(folder, ignore_errors=True)
        run(bench, hpc_gw(bench, "generate", changes, "--sets", "test"), 1, mpi=True)
        shutil.copy(trained(bench), folder / BEST)
        (folder / "ready").touch()
    return changes
