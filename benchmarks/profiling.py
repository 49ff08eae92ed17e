"""What bounds waveforms, training steps and overlaps on a CPU, and how far they are from that.

    python benchmarks/profiling.py [--only ceilings generation training overlaps]
        [--threads 1 2] [--job jobs/compact.yaml] [--json FILE]
    python benchmarks/profiling.py --tiny        # only to see that it works

First the machine's ceilings are measured (``profiling_ceilings``). Each workload is then timed as
it is, and run again with every operation of torch counted and timed (``profiling_ops``), by stages:
functions of the package, parts of the network in forward and in backward. The floor is what those
bytes, FLOPs and transcendental values cost at the ceilings, and the operations at the price of one
that does nothing; it takes the operations as they are, so a way with fewer may be below it.

Timing the operations slows them by a quarter where they are short: the recording itself uses the
caches. Shares are therefore of the operations' sum where it is the longer. Of all times the least
is taken, of ceilings as of workloads, for neighbours can only make them longer; more threads than
idle cores measure nothing but the neighbours. The JSON has the workloads' medians, too.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from profiling_ceilings import Ceilings, durations, measure, show
from profiling_ops import Count, Recorder
from profiling_workloads import Workload, generation, overlaps, training

from hpc_gw.allocator import keep_freed_memory
from hpc_gw.files import write_json
from hpc_gw.provenance import recipe

PARTS = ("ceilings", "generation", "training", "overlaps")
JOB = Path(__file__).resolve().parents[1] / "jobs/compact.yaml"
RECORDED = 5
"""Recorded runs, of whose times each stage's least is taken."""


def main() -> None:
    """Measure, print tables, and write them as JSON where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--job", type=Path, default=JOB, help="whose training step is timed")
    parser.add_argument("--tiny", action="store_true", help="sizes that take seconds")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    keep_freed_memory()  # as the command hpc-gw does
    print(f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}, torch {torch.__version__}")
    result: dict[str, Any] = {"load": os.getloadavg()[0], "threads": {}}
    for threads in arguments.threads:
        found = measure(threads, tiny=arguments.tiny)
        show(found)
        rows: dict[str, Any] = {"ceilings": dataclasses.asdict(found)}
        for name, work in workloads(arguments.only, arguments.tiny, arguments.job):
            rows[name] = profile(name, work, found, arguments.tiny)
        result["threads"][threads] = rows
    if arguments.json:
        chosen = {"only": list(arguments.only), "tiny": arguments.tiny, "job": arguments.job.name}
        write_json(arguments.json, {**result, "recipe": recipe(config=chosen)})


def workloads(only: list[str], tiny: bool, job: Path) -> Iterator[tuple[str, Workload]]:
    """What is asked for, one after the other."""
    if "generation" in only:
        yield from generation(tiny)
    if "training" in only:
        yield from training(tiny, job)
    if "overlaps" in only:
        yield from overlaps(tiny)


def profile(name: str, work: Workload, ceilings: Ceilings, tiny: bool) -> dict[str, Any]:
    """Time a workload, count its operations, and print both."""
    spend = 0.01 if tiny else 1.0
    times = durations(lambda: work.run(lambda _: contextlib.nullcontext()), spend, least=3)
    plain = min(times)
    recorders = []
    warnings.filterwarnings("ignore", message="Full backward hook is firing")  # of the first part
    for _ in range(2 if tiny else RECORDED):
        recorder = Recorder(ceilings)
        with work.watch(recorder), recorder:
            work.run(recorder.stage)
        recorders.append(recorder)
    stages = _least([r.stages for r in recorders])
    operations = _least([r.operations for r in recorders])
    whole = Count()
    for count in stages.values():
        whole.add(count)
    floor = whole.floor_s + whole.calls * ceilings.dispatch
    result: dict[str, Any] = {
        "seconds": plain, "median_s": statistics.median(times), "count": work.count,
        "unit": work.unit, "operations_s": whole.seconds, "calls": whole.calls,
        "floor_s": floor, "bound": whole.bound(ceilings.dispatch),
        "stages": {k: dataclasses.asdict(v) for k, v in stages.items()},
        "operations": {k: dataclasses.asdict(v) for k, v in operations.items()},
    }  # fmt: skip
    if work.written:
        result["plain_write_s"] = _plain_write(work.written)
    _show_stages(name, work, result, stages, whole, ceilings)
    _show_operations(operations, plain, ceilings)
    return result


def _least(runs: list[dict[str, Count]]) -> dict[str, Count]:
    """The last run's counts with the runs' least seconds, longest first."""
    found = {
        name: dataclasses.replace(
            count, seconds=min(run[name].seconds for run in runs if name in run)
        )
        for name, count in runs[-1].items()
    }
    return dict(sorted(found.items(), key=lambda item: -item[1].seconds))


def _show_stages(
    name: str,
    work: Workload,
    result: dict[str, Any],
    stages: dict[str, Count],
    whole: Count,
    ceilings: Ceilings,
) -> None:
    plain = result["seconds"]
    whole_s = max(plain, whole.seconds)
    each = 1e6 / work.count
    print(f"\n{name}, {ceilings.threads} thread(s): {plain * each:.1f} us a {work.unit}, "
          f"floor {result['floor_s'] * each:.1f} ({plain / result['floor_s']:.1f} x), most of it "
          f"{result['bound']}; microseconds a {work.unit}:")  # fmt: skip
    print(f"  {'stage':40s} {'time':>8s} {'share':>6s} {'memory':>8s} {'FLOPs':>8s} "
          f"{'funct.':>8s} {'disp.':>8s} {'floor':>8s} {'x':>6s}  bound")  # fmt: skip
    for stage, count in stages.items():
        if count.seconds < 0.01 * whole_s:
            continue
        own = count.floor_s + count.calls * ceilings.dispatch
        parts = (count.memory_s, count.flops_s, count.values_s, count.calls * ceilings.dispatch)
        print(f"  {stage[:40]:40s} {count.seconds * each:8.2f} {count.seconds / whole_s:6.0%} "
              + " ".join(f"{p * each:8.2f}" for p in (*parts, own))
              + f" {count.seconds / own:6.1f}  {count.bound(ceilings.dispatch)}")  # fmt: skip
    print(f"  {'all operations as recorded':40s} {whole.seconds * each:8.2f}")
    if plain > whole.seconds:
        rest = plain - whole.seconds
        print(f"  {'outside of them':40s} {rest * each:8.2f} {rest / plain:6.0%}")
    if work.written:
        print(f"  {'plain write of the bytes, with fsync':40s} "
              f"{result['plain_write_s'] * each:8.2f}")  # fmt: skip


def _show_operations(operations: dict[str, Count], plain: float, ceilings: Ceilings) -> None:
    """The operations that take longest, with the rates that they reach."""
    print(f"  {'operation and its first two shapes':56s} {'share':>6s} {'calls':>6s} "
          f"{'GB/s':>7s} {'GFLOP/s':>8s} {'x floor':>8s}")  # fmt: skip
    for name, count in list(operations.items())[:8]:
        if count.seconds < 0.01 * plain:
            continue
        floor = count.floor_s + count.calls * ceilings.dispatch
        print(f"  {name[:56]:56s} {count.seconds / plain:6.0%} {count.calls:6d} "
              f"{count.bytes / count.seconds / 1e9:7.1f} {count.flops / count.seconds / 1e9:8.1f} "
              f"{count.seconds / floor:8.1f}")  # fmt: skip


def _plain_write(size: int) -> float:
    """Seconds to write ``size`` bytes to a file and to the disk."""
    block = memoryview(bytearray(1 << 22))
    with tempfile.NamedTemporaryFile(buffering=0) as stream:
        start = time.perf_counter()
        for first in range(0, size, len(block)):
            stream.write(block[: size - first])
        os.fsync(stream.fileno())
        return time.perf_counter() - start


if __name__ == "__main__":
    main()
