"""One residual block, forward and backward: fused against its modules, and against floors.

    python benchmarks/blocks.py [--device cpu] [--seconds S] [--tiny] [--json FILE]

Both ways take turns, so that other load on the machine falls on both, and medians are reported;
one thread on a CPU. Floors are the compulsory bytes (input, both outputs, their gradients, the
input once more and its gradient) at the rate of a large copy, counting bytes read and written,
and the arithmetic at the rate of a large square matrix product, of the same run. "of floor" is
the larger of the two over the fused time.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from hpc_gw.allocator import keep_freed_memory
from hpc_gw.models.block import Block
from hpc_gw.models.presets import PRESETS


@dataclasses.dataclass(frozen=True)
class Case:
    """A block of a preset's size, in the middle of its stack."""

    model: str
    norm: Literal["batch", "layer", "none"]
    batch: int
    steps: int
    dilation: int

    def block(self) -> Block:
        config = dataclasses.replace(PRESETS[self.model], norm=self.norm)
        return Block(config, config.residual_channels, self.dilation)


def cases(device: str, tiny: bool) -> list[Case]:
    """Sizes of training, for a CPU's core or for a GPU."""
    batches = {"strided": (64, 256), "khan2020": (2,)}
    if device != "cpu":
        batches = {"strided": (64, 512, 4096), "khan2020": (8, 64)}
    sizes = {"strided": (48, 4), "khan2020": (10_254, 16)}
    if tiny:
        batches, sizes = (
            {"strided": (2,), "khan2020": (1,)},
            {"strided": (9, 4), "khan2020": (9, 2)},
        )
    return [
        Case(model, norm, batch, *sizes[model])
        for model, some in batches.items()
        for batch in some
        for norm in ("none", "batch", "layer")
    ]


def arithmetic(block: Block, batch: int, steps: int) -> tuple[int, int]:
    """(operations, compulsory bytes in float32) of forward and backward.

    A multiplication and an addition are two operations; backward is twice forward.
    """
    layers = (block.mix, block.gated, block.out)
    inputs, channels = block.mix.in_channels, block.mix.out_channels
    weights = sum(layer.weight.numel() for layer in layers)
    numbers = 3 * inputs + 4 * channels
    return 3 * 2 * batch * steps * weights, 4 * batch * steps * numbers


def alternating(
    calls: dict[str, Callable[[], Any]], device: torch.device, spend: float
) -> dict[str, float]:
    """Median seconds of each call, over at least 3 turns and about ``spend`` seconds in all.

    Of the process on a CPU, so that waiting for other processes does not count.
    """

    clock = time.perf_counter if device.type == "cuda" else time.process_time

    def once(call: Callable[[], Any]) -> float:
        _synchronise(device)
        start = clock()
        call()
        _synchronise(device)
        return clock() - start

    for call in calls.values():
        for _ in range(3):
            once(call)
    times: dict[str, list[float]] = {name: [] for name in calls}
    while len(times[next(iter(times))]) < 3 or sum(map(sum, times.values())) < spend:
        for name, call in calls.items():
            times[name].append(once(call))
    return {name: statistics.median(found) for name, found in times.items()}


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def floors(device: torch.device, tiny: bool) -> dict[str, float]:
    """Bytes a second of a copy, read and written, and FLOP/s of a float32 matrix product."""
    small = tiny or device.type == "cpu"
    count, size = (2**20 if tiny else 2**25), (64 if tiny else 1024 if small else 8192)
    source, target = (torch.ones(count, device=device) for _ in range(2))
    a, b = (torch.randn(size, size, device=device) for _ in range(2))
    calls = {"copy": lambda: target.copy_(source), "product": lambda: a @ b}
    found = alternating(calls, device, 0.01 if tiny else 0.5)
    return {"bytes_s": 8 * count / found["copy"], "flops": 2 * size**3 / found["product"]}


def time_case(case: Case, device: torch.device, spend: float) -> dict[str, float]:
    """Seconds of the block's forward alone, and with backward, each way."""
    torch.manual_seed(0)
    block = case.block().to(device).train()
    block.triton = True
    x = torch.randn(case.batch, block.mix.in_channels, case.steps, device=device)
    seeds = torch.randn(2, case.batch, block.mix.out_channels, case.steps, device=device)
    # As inside a network, where one block hands over to the next what suits that.
    last = [t.transpose(1, 2).contiguous().transpose(1, 2) for t in (x, *seeds)]

    def call(fused: bool, backward: bool) -> Callable[[], None]:
        ours = fused and device.type == "cpu"
        given, *gradients = (t.detach() for t in (last if ours else (x, *seeds)))

        def run() -> None:
            block.fused = fused
            with torch.set_grad_enabled(backward):
                outputs = block(given.requires_grad_(backward))
            if backward:
                inputs = [given, *block.parameters()]
                torch.autograd.grad(outputs, inputs, gradients)

        return run

    ways = {"modules": False, "fused": True}
    calls = {name: call(fused, True) for name, fused in ways.items()}
    calls |= {f"{name}, forward": call(fused, False) for name, fused in ways.items()}
    return alternating(calls, device, spend)


def table(device: torch.device, *, tiny: bool = False, spend: float = 2.0) -> dict[str, Any]:
    """Time all cases; print a table; return it."""
    floor = floors(device, tiny)
    rates = floor["bytes_s"] / 1e9, floor["flops"] / 1e9
    print("\ncopy {:.1f} GB/s, matrix product {:.0f} GFLOP/s".format(*rates))
    print(f"{'block of':9s} {'norm':6s} {'batch':>6s} {'steps':>6s} {'modules ms':>11s} "
          f"{'fused ms':>9s} {'ratio':>6s} {'forward':>8s} {'GFLOP/s':>8s} {'GB/s':>6s} "
          f"{'of floor':>9s}")  # fmt: skip
    rows = []
    for case in cases(device.type, tiny):
        found = time_case(case, device, 0.01 if tiny else spend)
        operations, moved = arithmetic(case.block(), case.batch, case.steps)
        fused = found["fused"]
        least = max(operations / floor["flops"], moved / floor["bytes_s"])
        row = {
            **dataclasses.asdict(case), "seconds": found, "operations": operations,
            "bytes": moved, "ratio": found["modules"] / fused,
            "forward_ratio": found["modules, forward"] / found["fused, forward"],
            "of_floor": least / fused,
        }  # fmt: skip
        rows.append(row)
        print(f"{case.model:9s} {case.norm:6s} {case.batch:6d} {case.steps:6d} "
              f"{1e3 * found['modules']:11.3f} {1e3 * fused:9.3f} {row['ratio']:6.2f} "
              f"{row['forward_ratio']:8.2f} {operations / fused / 1e9:8.1f} "
              f"{moved / fused / 1e9:6.2f} {row['of_floor']:9.3f}", flush=True)  # fmt: skip
    return {"floors": floor, "cases": rows}


def main() -> None:
    """Print the table, and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each case")
    parser.add_argument("--tiny", action="store_true", help="only to see that it works")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    if device.type == "cpu":
        torch.set_num_threads(1)
        keep_freed_memory()  # as the command hpc-gw does
    result = table(device, tiny=arguments.tiny, spend=arguments.seconds)
    if arguments.json:
        from hpc_gw.files import write_json  # noqa: PLC0415
        from hpc_gw.provenance import recipe  # noqa: PLC0415

        config = {"device": str(device), "tiny": arguments.tiny, "seconds": arguments.seconds}
        write_json(arguments.json, {**result, "recipe": recipe(config=config)})


if __name__ == "__main__":
    main()
