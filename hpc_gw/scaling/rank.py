"""One rank of a measured generation or evaluation: ``python -m hpc_gw.scaling.rank ORDER.json``.

It does what ``hpc-gw generate`` or ``hpc-gw evaluate`` does on that rank: once on a few rows to
warm up, then on what is to be measured, and writes down how long it took and how long of that it
waited for others.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hpc_gw.allocator import keep_freed_memory
from hpc_gw.assess import evaluate
from hpc_gw.distributed import MpiWorld, abort_ranks, detect_launch, mpi_world
from hpc_gw.errors import HpcGwError
from hpc_gw.files import read_json, write_json
from hpc_gw.job import load_job
from hpc_gw.stages import generate_sets


def measure(order: dict[str, Any]) -> dict[str, float]:
    """Warm up, work, and report seconds: ``wall_s``, ``exchanging_s`` and ``idle_s``.

    Args:
        order: ``what``, the job's ``config``, ``assignments`` of the warm-up (``warm``) and of
            the work, and ``bind``: keep to one core.
    """
    launch = detect_launch()
    if order["bind"]:
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[launch.local_rank % len(cores)]})
    world = mpi_world()
    for assignments in (order["warm"], order["work"]):
        job = load_job(order["config"], assignments)
        world.barrier()
        with waits() as found:
            start = time.perf_counter()
            if order["what"] == "generate":
                generate_sets(job, ("train",))
            else:
                evaluate(job, world)
            wall = time.perf_counter() - start
    return {"wall_s": wall, **found}


@contextlib.contextmanager
def waits() -> Iterator[dict[str, float]]:
    """Count what MPI ranks spend in exchanges, and idly: in barriers, and with nothing left."""
    found = {"exchanging_s": 0.0, "idle_s": 0.0}
    barrier, total, deal = MpiWorld.barrier, MpiWorld.sum, MpiWorld.deal

    def timed(part: str, call: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        try:
            return call()
        finally:
            found[part] += time.perf_counter() - start

    def dealt(self: MpiWorld, count: int) -> Iterator[int]:
        numbers = deal(self, count)
        while True:
            start = time.perf_counter()
            number = next(numbers, None)
            found["idle_s" if number is None else "exchanging_s"] += time.perf_counter() - start
            if number is None:
                return
            yield number

    changed: dict[str, Any] = {
        "barrier": lambda self: timed("idle_s", lambda: barrier(self)),
        "sum": lambda self, value: timed("exchanging_s", lambda: total(self, value)),
        "deal": dealt,
    }
    try:
        for name, method in changed.items():
            setattr(MpiWorld, name, method)
        yield found
    finally:
        for name, method in (("barrier", barrier), ("sum", total), ("deal", deal)):
            setattr(MpiWorld, name, method)


def main(path: str) -> int:
    """Carry out an order and write this rank's report beside it."""
    keep_freed_memory()
    try:
        order = read_json(path)
        report = Path(path).parent / f"rank-{detect_launch().rank}.json"
        write_json(report, measure(order))
    except HpcGwError as error:
        print(f"hpc-gw: {error}", file=sys.stderr, flush=True)
        abort_ranks(error.exit_code)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
