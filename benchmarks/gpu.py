"""All that a GPU is wanted for, in one run: tests, step rates, memory, use of the hardware.

    python benchmarks/gpu.py [--device cuda] [--only PART ...] [--no-compile] [--json FILE]
    python benchmarks/gpu.py --device cpu --tiny        # only to see that it works

For a machine without a network: run from the root of a checkout, which needs no installation.
It needs torch, numpy, scipy, h5py, matplotlib, PyYAML, tqdm and pytest (and tensorboard, if a
loop is run); wheels to carry where they are missing: pydantic, pydantic-core (for that Python),
annotated-types, typing-inspection and xxhash. gwsurrogate is not needed.

What is done is in FILE at once, part by part: a run that is cut off loses the part that it was at.

A step is forward, loss (``direct``), backward and Adam. Use of the hardware is the arithmetic of
``models.flops.training_flops`` a second, over the ceiling that a large square matrix product
reaches in the same precision in the same run. GPU clocks are read between synchronisations.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import blocks  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402

from hpc_gw.files import write_json  # noqa: E402
from hpc_gw.manifold.populations import DrawsConfig  # noqa: E402
from hpc_gw.models.config import ModelConfig, cone  # noqa: E402
from hpc_gw.models.flops import training_flops  # noqa: E402
from hpc_gw.models.presets import PRESETS  # noqa: E402
from hpc_gw.models.quadrature import QuadratureStem  # noqa: E402
from hpc_gw.models.wavenet import WaveNet  # noqa: E402
from hpc_gw.provenance import recipe  # noqa: E402
from hpc_gw.training.losses import direct  # noqa: E402
from hpc_gw.waveforms.engines import surrogate_path  # noqa: E402
from hpc_gw.waveforms.surrogate import SurrogateEngine  # noqa: E402
from hpc_gw.waveforms.surrogate_file import read_surrogate  # noqa: E402
from hpc_gw.waveforms.timegrid import TimeGrid  # noqa: E402

PRECISIONS = ("fp32", "tf32", "bf16")
PARTS = ("tests", "waveforms", "job", "steps", "blocks")


def main() -> None:
    """Run everything; print tables; write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="sizes that a CPU does in seconds")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, metavar="PART",
                        help=f"of {', '.join(PARTS)}")  # fmt: skip
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    device, tiny = torch.device(arguments.device), arguments.tiny
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    print(f"{name}, torch {torch.__version__}", flush=True)
    result: dict[str, Any] = {"device": name}

    def keep(part: str, value: Any) -> None:
        result[part] = value
        if arguments.json:
            write_json(arguments.json, {**result, "recipe": recipe(config={"tiny": tiny})})

    if "tests" in arguments.only and not tiny:
        command = [sys.executable, "-m", "pytest", "-q", "tests/gpu"]
        keep("tests", subprocess.run(command, cwd=ROOT, check=False).returncode)
    if "waveforms" in arguments.only:
        keep("waveforms", waveforms(device, tiny))
    if "job" in arguments.only:
        keep("compact_job", compact_job(tiny))
    if "steps" in arguments.only:
        ceiling = ceilings(device, 64 if tiny else 8192)
        keep("ceiling", ceiling)
        keep("steps", step_table(device, ceiling, tiny, not arguments.no_compile))
        keep("paper_hours", paper_hours(result["steps"], result.get("waveforms", {})))
    if "blocks" in arguments.only:
        set_precision("fp32")
        keep("blocks", blocks.table(device, tiny=tiny))


def seconds(call: Callable[[], Any], device: torch.device, *, spend: float) -> float:
    """Median seconds of a call that is warm, over at least 3 calls and about ``spend`` seconds."""

    def once() -> float:
        _synchronise(device)
        start = time.perf_counter()
        call()
        _synchronise(device)
        return time.perf_counter() - start

    for _ in range(3):
        once()
    times: list[float] = []
    while len(times) < 3 or sum(times) < spend:
        times.append(once())
    return statistics.median(times)


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def set_precision(precision: str) -> None:
    """TensorFloat-32 for matrix products and convolutions, or neither."""
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    torch.backends.cudnn.allow_tf32 = precision == "tf32"


def ceilings(device: torch.device, size: int) -> dict[str, float]:
    """FLOP/s of a square matrix product in each precision."""
    found = {}
    for precision in PRECISIONS:
        set_precision(precision)
        kind = torch.bfloat16 if precision == "bf16" else torch.float32
        a, b = (torch.randn(size, size, device=device, dtype=kind) for _ in range(2))
        found[precision] = (
            2 * size**3 / seconds(functools.partial(torch.mm, a, b), device, spend=0.5)
        )
    print("matrix product, TFLOP/s: "
          + ", ".join(f"{k} {v / 1e12:.2f}" for k, v in found.items()), flush=True)  # fmt: skip
    return found


@dataclasses.dataclass(frozen=True)
class Case:
    """One kind of training step."""

    model: str
    samples: int
    batch: int
    precision: str
    compiled: bool = False
    recompute: bool = False


def cases(tiny: bool, compiled: bool) -> list[tuple[Case, ModelConfig]]:
    """What is timed."""
    khan, compact = PRESETS["khan2020"], PRESETS["compact"]
    if tiny:
        khan = dataclasses.replace(khan, input_steps=600, root_steps=50, stacks=1)
        batches, wide = [2], [4]
    else:
        batches, wide = [8, 16, 32, 64], [64, 512, 4096]
    found = []
    for batch in batches:
        for samples in (khan.input_steps, cone(khan)):
            for precision in PRECISIONS:
                for fused in {False, compiled and batch == batches[-1]}:
                    case = Case("khan2020", samples, batch, precision, fused)
                    found.append((case, khan))
            last = Case("khan2020", samples, batch, "bf16", recompute=True)
            found += [(last, khan)] if batch == batches[-1] else []
    for batch in wide:
        for precision in PRECISIONS:
            for fused in {False, compiled and not tiny}:
                case = Case("compact", cone(compact), batch, precision, fused)
                found.append((case, compact))
    return found


def step_table(
    device: torch.device, ceiling: dict[str, float], tiny: bool, compiled: bool
) -> list[dict[str, Any]]:
    """Time each case; those that do not fit into memory say so."""
    print(f"\n{'model':9s} {'samples':>8s} {'batch':>6s} {'':5s} {'':18s} {'samples/s':>11s} "
          f"{'peak GiB':>9s} {'of ceiling':>11s} {'first s':>8s}")  # fmt: skip
    rows = []
    for case, config in cases(tiny, compiled):
        row: dict[str, Any] = dataclasses.asdict(case)
        how = " ".join(w for w in ("compiled", "recompute") if getattr(case, w.strip()))
        head = f"{case.model:9s} {case.samples:8d} {case.batch:6d} {case.precision:5s} {how:18s}"
        try:
            row |= time_step(case, config, device, spend=0.01 if tiny else 1.0)
        except torch.cuda.OutOfMemoryError:
            row["out_of_memory"] = True
            print(f"{head} does not fit", flush=True)
        else:
            row["of_ceiling"] = row["flops"] / ceiling[case.precision]
            print(f"{head} {row['per_s']:11.1f} {row['peak_gib']:9.2f} {row['of_ceiling']:11.4f} "
                  f"{row['first_s']:8.1f}", flush=True)  # fmt: skip
        rows.append(row)
        torch._dynamo.reset()
        if device.type == "cuda":
            torch.cuda.empty_cache()
    return rows


def time_step(
    case: Case, config: ModelConfig, device: torch.device, *, spend: float
) -> dict[str, float]:
    """Samples a second, FLOP/s, peak memory and seconds of the first step of one case."""
    set_precision(case.precision)
    torch.manual_seed(0)
    model = WaveNet(config).to(device).train()
    model.checkpoint = case.recompute
    x = torch.randn(case.batch, case.samples, device=device)
    if isinstance(model.stem, QuadratureStem):
        times = TimeGrid(kind="chirp", samples=config.input_steps).times()
        engine = SurrogateEngine(read_surrogate(surrogate_path("embedded")), times, device)
        x = engine.h22_real(DrawsConfig(count=max(case.batch, 64)).parameters(
            np.arange(max(case.batch, 64))))  # fmt: skip
        model.stem.calibrate(x)
        x = x[: case.batch]
    if case.compiled:
        model.compile()
    optimizer = torch.optim.Adam(model.parameters(), 5e-4, fused=True)
    truth = torch.randn(case.batch, 5, device=device)

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=case.precision == "bf16"):
            outputs = model(x)
        optimizer.zero_grad()
        torch.autograd.backward(direct(outputs, truth)[0])
        optimizer.step()

    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    start = time.perf_counter()
    step()
    _synchronise(device)
    first = time.perf_counter() - start
    median = seconds(step, device, spend=spend)
    peak = torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else 0.0
    return {
        "per_s": case.batch / median,
        "flops": case.batch * training_flops(config, case.samples) / median,
        "peak_gib": peak,
        "first_s": first,
    }


def waveforms(device: torch.device, tiny: bool) -> dict[str, float]:
    """Waveforms a second of the embedded surrogate on the paper's grid, and on the compact's."""
    data = read_surrogate(surrogate_path("embedded"))
    grids = {"paper": TimeGrid(), "chirp, 768": TimeGrid(kind="chirp", samples=768)}
    print(f"\n{'waveforms/s':14s} {'batch':>6s} {'fast':>12s} {'float64':>12s}")
    found: dict[str, float] = {}
    for name, grid in grids.items():
        batch = 2 if tiny else (64 if name == "paper" else 4096)
        engine = SurrogateEngine(data, grid.times(), str(device))
        points = DrawsConfig(count=batch, seed=7).parameters(np.arange(batch))
        spend = 0.01 if tiny else 1.0
        fast = batch / seconds(functools.partial(engine.h22, points), device, spend=spend)
        double = functools.partial(engine.h22_double, points)
        exact = batch / seconds(double, device, spend=spend)
        found |= {f"{name}, fast": fast, f"{name}, float64": exact}
        print(f"{name:14s} {batch:6d} {fast:12.1f} {exact:12.1f}", flush=True)
    return found


PAPER_SAMPLES = 19 * 1_580_128
"""Epochs of the published checkpoint times the paper's training set."""


def paper_hours(steps: list[dict[str, Any]], made: dict[str, float]) -> dict[str, float]:
    """Hours of the paper's whole training, by each case's rate, and of making its waveforms."""
    found = {}
    if "paper, fast" in made:
        found["waveforms on the fly"] = PAPER_SAMPLES / made["paper, fast"] / 3600
    for row in steps:
        if row["model"] == "khan2020" and "per_s" in row:
            how = "compiled" if row["compiled"] else "recompute" if row["recompute"] else "eager"
            name = f"{row['samples']} samples, batch {row['batch']}, {row['precision']}, {how}"
            found[name] = PAPER_SAMPLES / row["per_s"] / 3600
    print(f"\n19 epochs of 1,580,128 waveforms, projected; the paper: {PAPER}")
    for name, hours in sorted(found.items(), key=lambda item: item[1]):
        print(f"{hours:9.2f} h  {name}", flush=True)
    return found


PAPER = "12.4 h on 64 V100, 1.2 h on 1,536"


def compact_job(tiny: bool) -> dict[str, float]:
    """Seconds of ``hpc-gw run jobs/compact.yaml``, shortened, on whatever it finds, and overlaps.

    4 epochs of 4,096 batches, judged on every 125th point of the paper's test grid.
    """
    import json  # noqa: PLC0415
    import tempfile  # noqa: PLC0415

    steps, epochs = (4, 1) if tiny else (4096, 4)
    stride = [22, 33, 33] if tiny else [5, 5, 5]
    with tempfile.TemporaryDirectory() as folder:
        settings = {
            "train.steps": steps, "train.epochs": epochs, "ranks.generate": 1,
            "train.tensorboard": "false", "evaluation.quick": "true",
            "sets.test": f"{{kind: grid, split: test, stride: {stride}}}",
        }  # fmt: skip
        words = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
        command = [sys.executable, "-m", "hpc_gw", "run", "jobs/compact.yaml", "--output", folder]
        start = time.perf_counter()
        done = subprocess.run(
            [*command, *words], cwd=ROOT, check=False, capture_output=True, text=True
        )
        if done.returncode:
            print(done.stderr[-2000:])
            return {"exit_code": done.returncode}
        whole = time.perf_counter() - start
        lines = (Path(folder) / "train.jsonl").read_text().splitlines()
        trained = json.loads(lines[-1])
        table = json.loads((Path(folder) / "report" / "table1.json").read_text())
    found = {
        "job_s": whole, "training_s": trained["seconds"], "samples_per_s": trained["samples_per_s"],
        "median_overlap": table["table"]["overlap"]["median"],
        "least_overlap": table["table"]["overlap"]["min"],
    }  # fmt: skip
    print("\ncompact job: " + ", ".join(f"{k} {v:.6g}" for k, v in found.items()), flush=True)
    return found


if __name__ == "__main__":
    main()
