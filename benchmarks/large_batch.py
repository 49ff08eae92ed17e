"""Large batches: LAMB with the square-root rule against Adam with the linear rule.

    python benchmarks/large_batch.py [--batches 128 512 2048 4096] [--seeds 0 1]
                                     [--lamb-lr LR] [--adam-lr LR] [--output FOLDER]

Runs jobs/large_batch.yaml once for each optimizer, batch and seed, at equal epochs, on the same
sets; judges each network by its validation loss and by the overlaps of the test set. At the
smallest batch b0 each optimizer has its base rate; at batch b it is base * sqrt(b / b0) for LAMB
and base * b / b0 for Adam, and the warm-up grows from 5 % of the steps by sqrt(b / b0), up to
28 %. A run that diverges is a result, too. Writes large_batch.json and large_batch.png.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

JOB = Path(__file__).resolve().parents[1] / "jobs" / "large_batch.yaml"
WARMUP, WARMUP_MOST = 0.05, 0.28


def main() -> None:
    """Run what has not been run, then tabulate and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batches", type=int, nargs="+", default=[128, 512, 2048, 4096])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--lamb-lr", type=float, default=1e-2, help="at the smallest batch")
    parser.add_argument("--adam-lr", type=float, default=2.5e-3, help="at the smallest batch")
    parser.add_argument("--output", type=Path, default=Path("runs/large_batch"))
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()

    folder: Path = arguments.output
    common = [item for text in arguments.set for item in ("--set", text)]
    _hpc_gw("generate", str(JOB), "--output", str(folder), *common, "--sets",
            "train", "validation", "test")  # fmt: skip
    results = []
    for seed in arguments.seeds:
        for batch in arguments.batches:
            for kind, base in (("lamb", arguments.lamb_lr), ("adam", arguments.adam_lr)):
                growth = batch / min(arguments.batches)
                lr = base * (math.sqrt(growth) if kind == "lamb" else growth)
                options = {
                    "train.batch": batch,
                    "train.seed": seed,
                    "train.optimizer.kind": kind,
                    "train.optimizer.lr": lr,
                    "train.schedule.warmup": min(WARMUP * math.sqrt(growth), WARMUP_MOST),
                }
                results.append(_run(folder / f"{kind}-{batch}-seed{seed}", options, common))
                print(json.dumps(results[-1]), flush=True)
    _write(folder, results)


def _run(run: Path, options: dict[str, Any], common: list[str]) -> dict[str, Any]:
    """Train and judge one network, or read what was found before."""
    done = run / "result.json"
    if done.exists():
        return dict(json.loads(done.read_text()))
    run.mkdir(parents=True, exist_ok=True)
    if not (run / "data").exists():
        (run / "data").symlink_to("../data")
    words = [item for key, value in options.items() for item in ("--set", f"{key}={value}")]
    code = _hpc_gw("train", str(JOB), "--output", str(run), *common, *words, may_fail=True)
    result: dict[str, Any] = {**options, "diverged": code != 0}
    if code == 0:
        test, found = run / "data" / "test", run / "predictions.h5"
        _hpc_gw("predict", str(test), "--model", str(run / "best.pt"), "-o", str(found))
        _hpc_gw("overlap", str(found), "-o", str(run / "results.h5"))
        result |= _judge(run)
    done.write_text(json.dumps(result))
    return result


def _judge(run: Path) -> dict[str, float]:
    from hpc_gw.evaluation.results import read_results  # noqa: PLC0415
    from hpc_gw.training.log import LOG, read_log  # noqa: PLC0415

    found = read_results(run / "results.h5").overlaps
    overlaps = np.nan_to_num(found.overlap, nan=0.0)
    losses = [r["val_loss"] for r in read_log(run / LOG) if "val_loss" in r]
    return {
        "val_loss": losses[-1],
        "median_overlap": float(np.median(overlaps)),
        "share_below_0.97": float((overlaps <= 0.97).mean()),
    }


def _hpc_gw(*words: str, may_fail: bool = False) -> int:
    done = subprocess.run([sys.executable, "-m", "hpc_gw", *words], check=False)
    if done.returncode and not may_fail:
        sys.exit(done.returncode)
    return done.returncode


def _write(folder: Path, results: list[dict[str, Any]]) -> None:
    from hpc_gw.files import write_json  # noqa: PLC0415
    from hpc_gw.provenance import recipe  # noqa: PLC0415

    write_json(folder / "large_batch.json", {"runs": results, "recipe": recipe(config=str(JOB))})
    print(f"{'optimizer':10s} {'batch':>6s} {'lr':>9s} {'val_loss':>9s} {'median':>8s} <= 0.97")
    for r in results:
        tail = "diverged" if r["diverged"] else (
            f"{r['val_loss']:9.4f} {r['median_overlap']:8.4f} {100 * r['share_below_0.97']:5.1f} %"
        )  # fmt: skip
        name, batch, lr = (r[f"train.{k}"] for k in ("optimizer.kind", "batch", "optimizer.lr"))
        print(f"{name:10s} {batch:6d} {lr:9.2e} {tail}")
    _draw(folder / "large_batch.png", results)


def _draw(path: Path, results: list[dict[str, Any]]) -> None:
    import matplotlib as mpl  # noqa: PLC0415

    mpl.use("Agg")
    import matplotlib.pyplot as plt  # noqa: PLC0415

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    labels = {"lamb": "LAMB, square-root rule", "adam": "Adam, linear rule"}
    for kind, colour, marker in (("lamb", "#0072B2", "o"), ("adam", "#D55E00", "s")):
        runs = [r for r in results if r["train.optimizer.kind"] == kind and not r["diverged"]]
        batches = sorted({r["train.batch"] for r in runs})
        for axis, key in zip(axes, ("val_loss", "median_overlap"), strict=True):
            means = [np.mean([r[key] for r in runs if r["train.batch"] == b]) for b in batches]
            shown = means if key == "val_loss" else [1 - m for m in means]
            axis.plot(batches, shown, color=colour, marker=marker, label=labels[kind])
            points = [r[key] if key == "val_loss" else 1 - r[key] for r in runs]
            axis.plot([r["train.batch"] for r in runs], points, ".", color=colour, alpha=0.4)
    for axis, label in zip(axes, ("validation loss", "1 - median overlap"), strict=True):
        axis.set(xscale="log", yscale="log", xlabel="batch (waveforms)", ylabel=label)
        axis.set_xticks(sorted({r["train.batch"] for r in results}), minor=False)
        axis.get_xaxis().set_major_formatter(mpl.ticker.ScalarFormatter())
        axis.get_xaxis().set_minor_locator(mpl.ticker.NullLocator())
        axis.grid(alpha=0.3)
    axes[0].legend(frameon=False)
    figure.savefig(path, dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    main()
