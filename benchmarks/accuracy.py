"""What makes the compact network accurate: an ablation with seeds, and cost against accuracy.

    python benchmarks/accuracy.py ablation [--only NAME ...] [--seeds 0 1] [--steps 1024]
    python benchmarks/accuracy.py cost [--only NAME ...] [--steps 256 1024 4096]
    python benchmarks/accuracy.py show [--figure docs/figures/accuracy.png]

Every run is jobs/compact.yaml, trained for the same number of batches of 512 waveforms with one
thing changed, and judged on every 125th point of the paper's test grid. Runs that were done before
are read, not repeated: stop it and start it again at any moment. ``cost`` trains networks of
several kinds for several numbers of batches. Costs are processor seconds of the training process.
``show`` prints both tables and draws the curve.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from hpc_gw.evaluation.results import read_results
from hpc_gw.files import read_json, write_json
from hpc_gw.provenance import recipe

ROOT = Path(__file__).resolve().parents[1]
JOB = ROOT / "jobs" / "compact.yaml"
STRIDE = "sets.test={kind: grid, split: test, stride: [5, 5, 5]}"

REFERENCE = "as shipped"

VARIANTS: dict[str, tuple[str, ...]] = {
    REFERENCE: (),
    "no root: leaves alone": ("model=leaves",),
    "root alone: no coordinates to the leaves": (
        "model={preset: compact, quadrature: {every: 8, direct: false}}",),
    "components in their own sizes: not whitened": (
        "model={preset: compact, quadrature: {every: 8, floor: 100}}",),
    "8 coordinates instead of 18": (
        "model={preset: compact, quadrature: {every: 8, coordinates: 8}}",),
    "learned strided stem instead of quadrature": (
        "model={preset: strided, answers: difference, leaf_width: 256, leaf_layers: 3,"
        " leaf_activation: silu}",),
    "five answers instead of three": ("model={preset: compact, answers: five, standardize: true}",),
    "spins solved from the effective spins": (
        "model={preset: compact, answers: five, standardize: true}", "train.loss.kind=physics"),
    "ReLU leaves": ("model={preset: compact, leaf_activation: relu}",),
    "no mismatch in the loss": ("train.loss.mismatch_weight=0",),
    "mismatch by phases instead of the metric": (
        "train.loss.mismatch=phase", "train.loss.mismatch_weight=0.02"),
    "neither phases nor shifts": ("train.augment={}",),
    "noise on half of the waveforms": (
        "train.augment.snr=[10, 100000]", "train.augment.noisy=0.5"),
    "32,768 waveforms again and again": ("sets.train.count=32768", "train.steps=0"),
    "constant learning rate": ("train.schedule.kind=constant",),
    "constant learning rate, averaged weights": (
        "train.schedule.kind=constant", "train.average=0.99"),
    "averaged weights": ("train.average=0.99",),
    "LAMB instead of Adam": (
        "train.optimizer={kind: lamb, lr: 1.0e-2}",),
}  # fmt: skip
"""One thing changed each; the names are the table's rows."""

KINDS: dict[str, tuple[str, ...]] = {
    "compact": (),
    "large: leaves 512 wide, 4 deep": ("model={preset: compact, leaf_width: 512, leaf_layers: 4}",),
    "leaves alone": ("model=leaves",),
    "leaves alone, 64 wide": ("model={preset: leaves, leaf_width: 64}",),
    "learned stem (strided)": ("model=strided",),
}
"""Networks of the cost curve."""


def main() -> None:
    """Run what is asked for and has not been run; show what there is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("ablation", "cost", "show"))
    parser.add_argument("--only", nargs="+", metavar="NAME")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--steps", type=int, nargs="+")
    parser.add_argument("--output", type=Path, default=Path("runs/accuracy"))
    parser.add_argument("--figure", type=Path, help="draw cost against accuracy into this file")
    arguments = parser.parse_args()
    folder: Path = arguments.output
    if arguments.what != "show":
        known = VARIANTS if arguments.what == "ablation" else KINDS
        names = arguments.only or list(known)
        if unknown := set(names) - set(known):
            parser.error(f"{', '.join(sorted(unknown))}: choose from {', '.join(known)}")
        counts = arguments.steps or ([1024] if known is VARIANTS else [256, 1024, 4096])
        if any(steps < 64 or steps % 64 for steps in counts):
            parser.error("--steps: multiples of 64, the batches in an epoch of 32,768 waveforms")
        _generate(folder)
        for steps in counts:
            for seed in arguments.seeds:
                for name in names:
                    _run(folder, arguments.what, name, known[name], seed, steps)
    show(folder, arguments.figure)


def _generate(folder: Path) -> None:
    """The sets that all runs share."""
    _hpc_gw("generate", str(JOB), "--output", str(folder), "--set", STRIDE,
            "--sets", "validation", "test")  # fmt: skip


def _run(
    folder: Path, what: str, name: str, changes: tuple[str, ...], seed: int, steps: int
) -> None:
    """Train and judge one network, unless that was done."""
    slug = "".join(c if c.isalnum() else "-" for c in name)
    run = folder / f"{what}-{slug}-{steps}-seed{seed}"
    done = run / "result.json"
    if done.exists() and json.loads(done.read_text())["changes"] == list(changes):
        return
    if run.exists():
        shutil.rmtree(run)  # of a run that was stopped, half of the costs are not known
    run.mkdir(parents=True)
    (run / "data").symlink_to("../data")
    epochs = steps // 64 if "train.steps=0" in changes else 1  # of 32,768 waveforms
    settings = (STRIDE, f"train.epochs={epochs}", f"train.steps={steps}", f"train.seed={seed}")
    words = [word for text in (*settings, *changes) for word in ("--set", text)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    code = _hpc_gw("train", str(JOB), "--output", str(run), *words, check=False)
    diverged = code != 0 and "not finite" in json.loads((run / "run.json").read_text())["reason"]
    if code and not diverged:
        raise SystemExit(f"{run}: training ended with exit code {code}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cost = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    result: dict[str, Any] = {
        "what": what, "name": name, "seed": seed, "steps": steps, "changes": list(changes),
        "processor_s": cost, "diverged": diverged, "recipe": recipe(config={"settings": words}),
    }  # fmt: skip
    if not diverged:
        found = run / "predictions.h5"
        _hpc_gw("predict", str(run / "data" / "test"), "--model", str(run / "best.pt"),
                "-o", str(found))  # fmt: skip
        _hpc_gw("overlap", str(found), "-o", str(run / "results.h5"))
        result |= judge(run)
    write_json(done, result)
    print(f"{run.name}: {cost:.0f} processor s", flush=True)


def judge(run: Path) -> dict[str, Any]:
    """Median absolute errors and the overlap's loss, of one evaluated network."""
    found = read_results(run / "results.h5")
    size = np.abs(found.predictions.prediction - found.predictions.truth)
    overlap = found.overlaps.overlap
    lost = 1 - np.where(np.isfinite(overlap), overlap, 0.0)
    parameters = 0
    about = run / "run.json"
    if about.is_file():
        parameters = read_json(about).get("parameters", 0)
    return {
        "parameters": parameters,
        "median_error": np.median(size, axis=0).tolist(),
        "largest_error": size.max(axis=0).tolist(),
        "lost_median": float(np.median(lost)),
        "lost_largest": float(lost.max()),
        "below_097": int((lost >= 0.03).sum()),
        "failed": int((~np.isfinite(overlap)).sum()),
        "waveforms": len(lost),
    }


def show(folder: Path, figure: Path | None) -> None:
    """Print both tables in Markdown; draw the curve."""
    results = [json.loads(path.read_text()) for path in sorted(folder.glob("*/result.json"))]
    for what, known in (("ablation", VARIANTS), ("cost", KINDS)):
        groups: dict[tuple[int, str], list[dict[str, Any]]] = {}
        for result in results:
            if result["what"] == what and not result["diverged"]:
                groups.setdefault((result["steps"], result["name"]), []).append(result)
        if not groups:
            continue
        print(
            f"\n| {what} | batches | seeds | processor s | median abs. error of q, s1, s2 "
            "| 1 - overlap: median | largest |\n|---|---:|---:|---:|---|---:|---:|"
        )
        for steps in sorted({steps for steps, _ in groups}):
            for name in known:
                if group := groups.get((steps, name)):
                    print(_row(name, steps, group))
    if figure:
        _draw(figure, [r for r in results if r["what"] == "cost" and not r["diverged"]])


def _row(name: str, steps: int, group: list[dict[str, Any]]) -> str:
    """Means over the seeds, and in brackets half of their range."""

    def cell(values: list[float], scale: float = 1.0) -> str:
        middle, half = statistics.mean(values) / scale, (max(values) - min(values)) / 2 / scale
        return f"{middle:.2g} ({half:.1g})"

    errors = ", ".join(cell([r["median_error"][i] for r in group], 1e-3) for i in range(3))
    return (
        f"| {name} | {steps:,} | {len(group)} | {statistics.mean(r['processor_s'] for r in group):.0f} "  # noqa: E501
        f"| {errors} · 10⁻³ | {cell([r['lost_median'] for r in group], 1e-5)} · 10⁻⁵ "
        f"| {cell([r['lost_largest'] for r in group])} |"
    )


def _draw(path: Path, results: list[dict[str, Any]]) -> None:
    """Processor seconds against the median mismatch and the median error of s2."""
    from matplotlib import rc_context  # noqa: PLC0415
    from matplotlib.ticker import LogLocator, NullFormatter  # noqa: PLC0415

    from hpc_gw.evaluation.axes import (  # noqa: PLC0415
        BLUE,
        GREEN,
        ORANGE,
        RED,
        SKY,
        STYLE,
        new_figure,
    )

    with rc_context(STYLE):
        figure = new_figure(7.5, 3.6)
        axes = figure.subplots(1, 2)
        for colour, name in zip((BLUE, RED, GREEN, SKY, ORANGE), KINDS, strict=True):
            rows = [(r["steps"], r["processor_s"], r["lost_median"], r["median_error"][2])
                    for r in results if r["name"] == name]  # fmt: skip
            means = [
                np.mean([row for row in rows if row[0] == steps], axis=0)
                for steps in sorted({row[0] for row in rows})
            ]
            for place, column in zip(axes, (2, 3), strict=True):
                place.plot([r[1] for r in rows], [r[column] for r in rows], "o", color=colour, ms=4)
                place.plot([m[1] for m in means], [m[column] for m in means],
                           color=colour, label=name)  # fmt: skip
        for place, label in zip(
            axes, ("median of 1 - overlap", "median $|\\Delta s_2|$"), strict=True
        ):
            place.set(xscale="log", yscale="log", xlabel="training (processor s)", ylabel=label)
            place.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            place.xaxis.set_major_formatter("{x:g}")
            place.xaxis.set_minor_formatter(NullFormatter())
        axes[0].axhline(0.005, color="0.5", lw=0.8, ls="--")
        axes[0].annotate("paper", (1, 0.005), xycoords=("axes fraction", "data"), ha="right",
                         va="bottom", color="0.4", fontsize=7)  # fmt: skip
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=200)


def _hpc_gw(*words: str, check: bool = True) -> int:
    """Run one command of the package; a failure ends the benchmark if that is to be checked."""
    command = [sys.executable, "-m", "hpc_gw", *words]
    code = subprocess.run(command, cwd=ROOT, stderr=subprocess.DEVNULL, check=False).returncode
    if code and check:
        raise SystemExit(f"{' '.join(command)}: exit code {code}")
    return code


if __name__ == "__main__":
    main()
