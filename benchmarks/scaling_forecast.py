"""How good the forecast is: links of this machine, what it says of ranks here, and of the paper.

    python benchmarks/scaling_forecast.py links [--ranks 2] [-o local.yaml]
    python benchmarks/scaling_forecast.py here scaling.json --machine local.yaml
    python benchmarks/scaling_forecast.py published [--json FILE]

``links`` times gloo's all-reduce between processes of this machine and fits the ring's latency and
bandwidth to it. ``here`` predicts a sweep's trainings on several ranks from those on one. Nothing
of it is fitted to what is predicted. ``published`` starts from the paper's month on one V100.
"""

from __future__ import annotations

import argparse
import math
import os
import socket
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np

SIZES = [2**k for k in range(8, 25, 2)]
EPOCHS = (100, 26)
"""Of the month on one V100: the published code's most; its best epoch's 19 and a patience of 7."""


def main() -> None:
    """Do what the first word says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    actions = parser.add_subparsers(required=True)
    links_action = actions.add_parser("links")
    links_action.add_argument("--ranks", type=int, default=2)
    links_action.add_argument("-o", "--output", type=Path, help="a machine's YAML")
    links_action.set_defaults(run=links)
    here_action = actions.add_parser("here")
    here_action.add_argument("sweep", type=Path)
    here_action.add_argument("--machine", default="local")
    here_action.set_defaults(run=here)
    published_action = actions.add_parser("published")
    published_action.add_argument("--json", type=Path)
    published_action.set_defaults(run=published)
    arguments = parser.parse_args()
    arguments.run(arguments)


# --- links -------------------------------------------------------------------------------------


def links(arguments: argparse.Namespace) -> None:
    """Fit latency and bandwidth of gloo's all-reduce, by least squares of relative errors."""
    import torch.multiprocessing as mp  # noqa: PLC0415

    ranks, context = arguments.ranks, mp.get_context("spawn")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    answers = context.SimpleQueue()
    children = [
        context.Process(target=time_allreduce, args=(rank, ranks, port, answers))
        for rank in range(ranks)
    ]
    for child in children:
        child.start()
    measured: dict[int, float] = answers.get()
    for child in children:
        child.join()
    sizes, seconds = (
        np.array(values, dtype=float) for values in zip(*measured.items(), strict=True)
    )
    steps = 2 * (ranks - 1)
    design = np.stack([np.full_like(sizes, steps), steps / ranks * sizes], axis=1)
    (latency, per_byte), *_ = np.linalg.lstsq(
        design / seconds[:, None], np.ones_like(seconds), rcond=None
    )
    print(f"{'bytes':>12s} {'measured us':>12s} {'ring us':>10s} {'off':>7s}   load "
          f"{os.getloadavg()[0]:.1f}")  # fmt: skip
    for size, found, model in zip(sizes, seconds, design @ (latency, per_byte), strict=True):
        print(f"{int(size):12,d} {1e6 * found:12.1f} {1e6 * model:10.1f} "
              f"{100 * (model / found - 1):+6.0f} %")  # fmt: skip
    print(f"{ranks} ranks: latency {1e6 * latency:.0f} us, bandwidth {1e-9 / per_byte:.2f} GB/s")
    if arguments.output:
        from hpc_gw.scaling.machines import FOLDER  # noqa: PLC0415

        link = f"{{latency_us: {1e6 * latency:.1f}, bandwidth_gb_s: {1e-9 / per_byte:.3f}}}"
        text = (FOLDER / "local.yaml").read_text().splitlines()
        kept = [line for line in text if not line.startswith(("within:", "between:"))]
        arguments.output.write_text("\n".join([*kept, f"within: {link}", f"between: {link}", ""]))


def time_allreduce(rank: int, ranks: int, port: int, answers: Any) -> None:
    """One rank, on a core of its own if there is one: medians of several all-reduces."""
    import torch  # noqa: PLC0415
    import torch.distributed as dist  # noqa: PLC0415

    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[rank % len(cores)]})
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=ranks
    )
    found = {}
    for size in SIZES:
        tensor, times = torch.zeros(size // 4), []
        for _ in range(40 if size < 2**20 else 15):
            dist.barrier()
            start = time.perf_counter()
            dist.all_reduce(tensor)
            times.append(time.perf_counter() - start)
        found[size] = statistics.median(times[3:])
    if rank == 0:
        answers.put(found)
    dist.destroy_process_group()


# --- here --------------------------------------------------------------------------------------


def here(arguments: argparse.Namespace) -> None:
    """A sweep's trainings on several ranks, predicted from those on one."""
    from hpc_gw.scaling.forecast import forecast  # noqa: PLC0415
    from hpc_gw.scaling.machines import load_machine  # noqa: PLC0415
    from hpc_gw.scaling.points import read_sweep, summarise  # noqa: PLC0415
    from hpc_gw.scaling.sources import from_sweep  # noqa: PLC0415
    from hpc_gw.scaling.workload import Compression  # noqa: PLC0415

    sweep = read_sweep(arguments.sweep)
    work, known = from_sweep(sweep), load_machine(arguments.machine)
    rows = {r["ranks"]: r for r in summarise(sweep.points) if r["what"] == "train"}
    print(f"{'ranks':>5s} {'step ms':>8s} {'predicted':>10s} {'90 %':>16s} {'off':>7s} "
          f"{'efficiency':>10s} {'predicted':>10s}")  # fmt: skip
    for row in forecast(work, known, sorted(rows), [Compression(kind="none")]):
        found = rows[row["gpus"]]
        low, high = (1e3 * x for x in row["step_s_band"])
        print(f"{row['gpus']:5d} {1e3 * found['wall_s']:8.2f} {1e3 * row['step_s']:10.2f} "
              f"{f'{low:.2f} to {high:.2f}':>16s} "
              f"{100 * (row['step_s'] / found['wall_s'] - 1):+6.0f} % "
              f"{found['efficiency']:10.2f} {row['efficiency']:10.2f}")  # fmt: skip


# --- published ---------------------------------------------------------------------------------


def published(arguments: argparse.Namespace) -> None:
    """The paper's times and efficiency against what its month on one V100 leads to."""
    from hpc_gw.evaluation.figures_scaling import PAPER_EFFICIENCY, PAPER_HOURS  # noqa: PLC0415
    from hpc_gw.scaling.forecast import forecast  # noqa: PLC0415
    from hpc_gw.scaling.machines import load_machine  # noqa: PLC0415
    from hpc_gw.scaling.sources import changed, from_model  # noqa: PLC0415
    from hpc_gw.scaling.workload import Compression  # noqa: PLC0415

    found = []
    for epochs in EPOCHS:
        first = from_model("khan2020", [1.0])
        step_s = 3600 * PAPER_HOURS[1] / (epochs * first.rows / first.batch)
        work = changed(first, compute_s=(step_s,), epochs=float(epochs))
        print(f"\none V100, {PAPER_HOURS[1]:g} h for {epochs} epochs: {step_s:.3f} s a step")
        for name, gpus in (("hal", 64), ("summit", 1536), ("summit", 6144)):
            (row,) = forecast(work, load_machine(name), [gpus], [Compression(kind="none")])
            print(f"{name:7s} {gpus:5d} GPUs: efficiency {100 * row['efficiency']:.2f} %, "
                  f"{row['hours']:.3f} h")  # fmt: skip
            if gpus in PAPER_HOURS:
                paper = PAPER_HOURS[gpus]
                share = PAPER_HOURS[1] / paper / gpus
                print(f"        paper: {paper:g} h, of whole trainings {100 * share:.1f} %; "
                      f"off {100 * (row['hours'] / paper - 1):+.0f} %")  # fmt: skip
            else:
                share = PAPER_EFFICIENCY[gpus]
                # Of steps 1 + b x, x exponential: efficiency (1 + b) / (1 + b H_N), H_N = sum 1/k.
                harmonic = [math.log(n) + 0.5772 for n in (gpus, 64)]
                tail = (1 - share) / (share * harmonic[0] - 1)
                other = (1 + tail) / (1 + tail * harmonic[1])
                print(f"        paper: {100 * share:.0f} % of throughput: an exponential tail of "
                      f"{100 * tail:.1f} % of a step would lose that, and leave "
                      f"{100 * other:.1f} % at 64")  # fmt: skip
            found.append({"epochs": epochs, "step_one_s": step_s, "machine": name, **row})
    if arguments.json:
        from hpc_gw.files import write_json  # noqa: PLC0415
        from hpc_gw.provenance import recipe  # noqa: PLC0415

        write_json(arguments.json, {"rows": found, "recipe": recipe()})


if __name__ == "__main__":
    main()
