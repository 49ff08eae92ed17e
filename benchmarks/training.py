"""Training steps: the published way against ours, precisions, weak scaling, bytes on the wire.

    python benchmarks/training.py [--quick] [--turns N] [--only steps scaling wire] [--json FILE]

A step is forward, loss (``direct``), backward and Adam, timed as the training loop does it. Each
case runs in a fresh process on one thread unless it says otherwise, for its peak memory; the
cases take turns, so that other load on the machine falls on all of them, and medians are
reported. Weak scaling runs the real loop through the command line, one thread a rank.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

PUBLISHED = 101_300
PARTS = ("steps", "scaling", "wire")
STEPS: dict[str, dict[str, Any]] = {
    # name: model, samples of the input (0: the cone), batch, and options
    "khan2020, whole, batch 2": {"model": "khan2020", "samples": PUBLISHED, "batch": 2},
    "khan2020, cone, batch 2": {"model": "khan2020", "batch": 2},
    "khan2020, cone, batch 4": {"model": "khan2020", "batch": 4},
    "khan2020, cone, batch 4, recompute": {"model": "khan2020", "batch": 4, "recompute": True},
    "khan2020, cone, batch 4, bf16": {"model": "khan2020", "batch": 4, "bf16": True},
    "strided, batch 64": {"model": "strided", "batch": 64},
    "strided, batch 64, bf16": {"model": "strided", "batch": 64, "bf16": True},
    "strided, batch 64, compiled": {"model": "strided", "batch": 64, "compile": True},
    "strided, batch 64, 2 threads": {"model": "strided", "batch": 64, "threads": 2},
}
BASES = {"khan2020": "khan2020, whole, batch 2", "strided": "strided, batch 64"}
QUICK = [name for name in STEPS if "compile" not in name and "batch 2" in name]
QUICK += ["strided, batch 64", "strided, batch 64, bf16"]


def main() -> None:
    """Measure what is asked for, print tables, and write them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="less of everything, in a minute")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument(
        "--only", nargs="+", choices=PARTS, help="default: all; --quick: no scaling"
    )
    parser.add_argument("--json", type=Path)
    parser.add_argument("--case", help=argparse.SUPPRESS)  # what a fresh process runs
    arguments = parser.parse_args()
    if arguments.case:
        print(json.dumps(time_case(json.loads(arguments.case))))
        return
    turns = 1 if arguments.quick else arguments.turns
    parts = arguments.only or (PARTS[::2] if arguments.quick else PARTS)
    result: dict[str, Any] = {"load": os.getloadavg()[0]}
    print(f"{os.cpu_count()} CPUs, load {result['load']:.1f} before, {turns} turns")
    if "steps" in parts:
        result["same_answers"] = compare_answers()
        result["steps"] = steps(turns, QUICK if arguments.quick else list(STEPS))
    if "scaling" in parts:
        samples = 2_560 if arguments.quick else 32_768
        result["scaling"] = {batch: weak_scaling(turns, samples, batch) for batch in (64, 256)}
    if "wire" in parts:
        result["wire"] = wire()
    if arguments.json:
        from hpc_gw.files import write_json  # noqa: PLC0415
        from hpc_gw.provenance import recipe  # noqa: PLC0415

        config = {"turns": turns, "quick": arguments.quick, "cases": STEPS}
        write_json(arguments.json, {**result, "recipe": recipe(config=config)})


# --- steps -------------------------------------------------------------------------------------


def time_case(case: dict[str, Any]) -> dict[str, float]:
    """Seconds of a step (wall and CPU, medians) and peak memory of this process, in MiB."""
    import torch  # noqa: PLC0415

    from hpc_gw.allocator import keep_freed_memory  # noqa: PLC0415
    from hpc_gw.models.presets import PRESETS  # noqa: PLC0415
    from hpc_gw.models.wavenet import WaveNet  # noqa: PLC0415
    from hpc_gw.training.losses import direct  # noqa: PLC0415

    keep_freed_memory()  # as the command hpc-gw does
    torch.set_num_threads(case.get("threads", 1))
    torch.manual_seed(0)
    model = WaveNet(PRESETS[case["model"]]).train()
    model.checkpoint = case.get("recompute", False)
    x = torch.randn(case["batch"], case.get("samples") or model.cone)
    truth = torch.randn(case["batch"], 5)
    optimizer = torch.optim.Adam(model.parameters(), 5e-4, fused=True)
    before = _peak()
    start = time.perf_counter()
    if case.get("compile"):
        model.compile()

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=case.get("bf16", False)):
            outputs = model(x)
        loss, _ = direct(outputs, truth)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()

    step()
    first = time.perf_counter() - start
    wall: list[float] = []
    cpu: list[float] = []
    while len(wall) < 2 or sum(wall) < case.get("seconds", 1.0):
        w, c = time.perf_counter(), time.process_time()
        step()
        wall.append(time.perf_counter() - w)
        cpu.append(time.process_time() - c)
    return {
        "wall_s": statistics.median(wall),
        "cpu_s": statistics.median(cpu),
        "first_s": first,
        "peak_mib": _peak(),
        "activations_mib": _peak() - before,
    }


def _peak() -> float:
    # Not ru_maxrss: a process starts with that of the one that started it.
    status = Path("/proc/self/status").read_text()
    return float(status.partition("VmHWM:")[2].split()[0]) / 1024  # of kB


def compare_answers() -> float:
    """Largest difference of the answers from the whole input and from the cone, in evaluation."""
    import torch  # noqa: PLC0415

    from hpc_gw.models.presets import PRESETS  # noqa: PLC0415
    from hpc_gw.models.wavenet import WaveNet  # noqa: PLC0415

    torch.manual_seed(0)
    model = WaveNet(PRESETS["khan2020"]).eval()
    cone, x = model.cone, torch.randn(2, PUBLISHED)
    with torch.no_grad():
        ours = model(x[:, -cone:])
        model.cone = PUBLISHED  # it drops nothing by itself
        off = float((ours - model(x)).abs().max())
    print(
        f"\nkhan2020, evaluation: answers from {PUBLISHED:,} samples and from {cone:,} differ by "
        f"{off:.1e} at most (largest answer {float(ours.abs().max()):.2f}).\nIn training, "
        "BatchNorm's statistics are of the samples given: those of the cone are others."
    )
    return off


def steps(turns: int, names: list[str]) -> dict[str, Any]:
    """Time each case, in turns of fresh processes; print a table."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for _ in range(turns):
        for name in names:
            command = [sys.executable, __file__, "--case", json.dumps(STEPS[name])]
            environment = {**os.environ, "OMP_NUM_THREADS": str(STEPS[name].get("threads", 1))}
            ran = subprocess.run(command, stdout=subprocess.PIPE, check=True, env=environment)
            found[name].append(json.loads(ran.stdout.splitlines()[-1]))
            print(f"{name}: {found[name][-1]['cpu_s']:.3f} CPU s a step", file=sys.stderr)
    table = {}
    for name in names:
        medians = {k: statistics.median(r[k] for r in found[name]) for k in found[name][0]}
        batch = STEPS[name]["batch"]
        rates = {"per_s": batch / medians["wall_s"], "per_cpu_s": batch / medians["cpu_s"]}
        table[name] = {**medians, **rates}
    print(f"\n{'training step':36s} {'samples/s':>10s} {'x':>6s} {'/CPU s':>9s} {'x':>6s} "
          f"{'peak MiB':>9s} {'first s':>8s}")  # fmt: skip
    for name, row in table.items():
        base = table[BASES[STEPS[name]["model"]]]
        ratios = row["per_s"] / base["per_s"], row["per_cpu_s"] / base["per_cpu_s"]
        print(f"{name:36s} {row['per_s']:10.2f} {ratios[0]:6.2f} {row['per_cpu_s']:9.2f} "
              f"{ratios[1]:6.2f} {row['peak_mib']:9.0f} {row['first_s']:8.1f}")  # fmt: skip
    return {"medians": table, "turns": found}


# --- weak scaling ------------------------------------------------------------------------------

JOB = """
name: scaling
time_grid: {kind: chirp, samples: 768}
sets:
  train: {kind: draws, count: 32768, seed: 1}
  validation: {kind: draws, count: 128, seed: 2}
  test: {kind: grid, split: test, stride: [22, 33, 33]}
model: strided
train:
  epochs: 1
  optimizer: {kind: adam, lr: 2.5e-3, betas: [0.9, 0.99], max_grad_norm: 1.0, fused: true}
  loss: {kind: physics, standardize: true, weights: [0.25, 1, 1, 1, 1], mismatch_weight: 0.1}
  threads: 1
  log_steps: 4
  tensorboard: false
"""


def weak_scaling(turns: int, samples: int, batch: int) -> dict[str, Any]:
    """The quickstart's network through the real loop on 1 and on 2 ranks, ``batch`` each."""
    rates: dict[int, list[float]] = {1: [], 2: []}
    bytes_seen: set[float] = set()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        job = folder / "job.yaml"
        job.write_text(JOB + f"output: {folder / 'data'}\n")
        _run(["generate", str(job), "--sets", "train", "validation"], [{}])
        for turn in range(turns):
            for ranks in (1, 2):
                output = folder / f"run-{turn}-{ranks}"
                output.mkdir()
                (output / "data").symlink_to(folder / "data" / "data")
                together = batch * ranks
                settings = (f"train.batch={together}", f"train.steps={samples // together}")
                words = ["train", str(job), "--output", str(output)]
                _run(words + [w for s in settings for w in ("--set", s)], _variables(ranks))
                log = next(output.rglob("train.jsonl")).read_text().splitlines()
                records = [r for r in map(json.loads, log) if "val_loss" not in r]
                rates[ranks].append(rate(records, together))
                bytes_seen |= {r["wire_bytes"] for r in records if ranks == 2 and "wire_bytes" in r}
    one, two = (statistics.median(rates[ranks]) for ranks in (1, 2))
    efficiency = two / (2 * one)
    print(f"\nweak scaling, strided, batch {batch} a rank, one thread a rank, load "
          f"{os.getloadavg()[0]:.1f}: {one:.0f} samples/s on 1 rank, {two:.0f} on 2, "
          f"efficiency {efficiency:.2f} (in turns {_pairs(rates)})")  # fmt: skip
    if bytes_seen:
        print(f"bytes handed to all-reduce a step, measured: {sorted(bytes_seen)}")
    return {"rates": rates, "efficiency": efficiency, "wire_bytes": sorted(bytes_seen)}


def rate(records: list[dict[str, Any]], batch: int) -> float:
    """Samples a second between the end of the first quarter of a log and its last record."""
    first, last = records[len(records) // 4], records[-1]
    return float(batch * (last["step"] - first["step"]) / (last["seconds"] - first["seconds"]))


def _pairs(rates: dict[int, list[float]]) -> str:
    return ", ".join(f"{b / (2 * a):.2f}" for a, b in zip(rates[1], rates[2], strict=True))


def _variables(ranks: int) -> list[dict[str, str]]:
    from hpc_gw.pipeline import rank_variables  # noqa: PLC0415

    return rank_variables(ranks)


def _run(words: list[str], variables: list[dict[str, str]]) -> None:
    """The command ``hpc-gw`` in one process for each set of variables, one core to each.

    Without a core of its own, a single rank would read its data on the core that stands idle, and
    two ranks would have nowhere to do so.
    """
    common = {**os.environ, "OMP_NUM_THREADS": "1"}
    cores = sorted(os.sched_getaffinity(0))
    children = [
        subprocess.Popen(
            [sys.executable, "-m", "hpc_gw", *words],
            env=common | own,
            stderr=subprocess.DEVNULL,
        )
        for own in variables
    ]
    for rank, child in enumerate(children):  # before they have threads, which inherit it
        os.sched_setaffinity(child.pid, {cores[rank % len(cores)]})
    if any([child.wait() for child in children]):
        raise SystemExit(f"hpc-gw {' '.join(words)} failed; run it by hand to see why")


# --- bytes on the wire -------------------------------------------------------------------------


def payload(shapes: list[tuple[int, ...]], how: str, rank: int = 0, gain: float = 2.0) -> int:
    """Bytes of gradients that a rank hands to all-reduces in a step.

    Args:
        shapes: of the parameters.
        how: ``none``: float32; ``bf16``; ``powersgd``: two factors of ``rank`` columns for each
            tensor of two or more dimensions, where they are ``gain`` times smaller than it, and
            float32 for the rest (Vogels et al., arXiv:1905.13727, as torch's hook decides).
    """
    total = 0
    for shape in shapes:
        n, m = shape[0], math.prod(shape[1:])
        factors = (n + m) * rank
        small = how == "powersgd" and len(shape) > 1 and factors * gain < n * m
        total += 4 * factors if small else (2 if how == "bf16" else 4) * n * m
    return total


def wire() -> dict[str, dict[str, int]]:
    """Bytes a step for each preset and compression; a ring of N ranks sends 2 (N - 1) / N each."""
    from hpc_gw.models.presets import PRESETS  # noqa: PLC0415
    from hpc_gw.models.wavenet import WaveNet  # noqa: PLC0415

    ways = {"none": ("none", 0), "bf16": ("bf16", 0)}
    ways |= {f"PowerSGD rank {r}": ("powersgd", r) for r in (1, 2, 4, 8)}
    print(
        f"\n{'gradients, bytes a step':24s}"
        + "".join(f"{name:>12s} {'less':>6s}" for name in PRESETS)
    )
    table: dict[str, dict[str, int]] = {way: {} for way in ways}
    for name, config in PRESETS.items():
        shapes = [tuple(p.shape) for p in WaveNet(config).parameters()]
        for way, (how, rank) in ways.items():
            table[way][name] = payload(shapes, how, rank)
    for way, row in table.items():
        cells = (f"{b:12,d} {table['none'][n] / b:6.1f}" for n, b in row.items())
        print(f"{way:24s}" + "".join(cells))
    return table


if __name__ == "__main__":
    main()
