"""The forecast's all-reduce models against SimGrid's replay of the same algorithms on a fat tree.

    python benchmarks/simgrid_allreduce.py [--hosts 64 256 1024 6144] [--json FILE]

Needs SimGrid 3.32 (Debian: ``apt-get install --no-install-recommends simgrid libsimgrid-dev``).
Links are those of EDR InfiniBand, 12.5 GB/s a direction, 0.5 us each. Two networks are replayed:
``plain`` moves messages as the model says, so that what differs is the topology (hops, contention
on shared links); ``smpi`` is SimGrid's default, whose factors on latency and bandwidth were
calibrated on a real cluster. The model is given the hops' mean latency of the fat tree, and nothing
is fitted.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from hpc_gw.scaling.allreduce import ALGORITHMS, Wire

BANDWIDTH, LATENCY = 12.5e9, 0.5e-6
TREES = {
    # hosts: levels; children of a switch; parents of a node; parallel links, from below
    64: "2;8,8;1,8;1,1",
    256: "2;16,16;1,16;1,1",
    1024: "2;32,32;1,32;1,1",
    6144: "3;24,16,16;1,24,16;1,1,1",
}
SELECTED = {"ring": "lr", "doubling": "rdb", "halving": "rab_rdb"}
PLAIN = [
    "--cfg=network/model:CM02",
    "--cfg=network/latency-factor:1",
    "--cfg=network/bandwidth-factor:1",
    "--cfg=network/TCP-gamma:0",
    "--cfg=network/crosstraffic:0",
]
SIZES = {"whole gradient": 41_182_304, "bf16": 20_591_152, "last bucket": 262_144}
RING_LIMIT = 1024
"""Hosts; a ring of 6,144 is 75 million messages, and does not end."""

PLATFORM = """<?xml version='1.0'?>
<!DOCTYPE platform SYSTEM "https://simgrid.org/simgrid.dtd">
<platform version="4.1">
  <cluster id="fat" prefix="n" radical="0-{last}" suffix="" speed="1Gf" bw="{bw}Bps" lat="{lat}s"
           topology="FAT_TREE" topo_parameters="{tree}" sharing_policy="SPLITDUPLEX"/>
</platform>
"""


def main() -> None:
    """Replay, compare, print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hosts", type=int, nargs="+", choices=list(TREES), default=list(TREES))
    parser.add_argument("--networks", nargs="+", choices=("plain", "smpi"), default=["plain"])
    parser.add_argument("--timeout", type=float, default=300, help="seconds for a replay")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if shutil.which("smpirun") is None:
        raise SystemExit("smpirun is not there: apt-get install simgrid libsimgrid-dev")
    rows = []
    print(f"{'hosts':>6s} {'algorithm':>9s} {'bytes':>11s} {'network':>8s} {'model ms':>9s} "
          f"{'SimGrid ms':>10s} {'model/SimGrid - 1':>18s} {'took s':>7s}")  # fmt: skip
    for hosts in arguments.hosts:
        for network in arguments.networks:
            for name in SELECTED:
                if name == "ring" and hosts > RING_LIMIT:
                    continue
                for size in SIZES.values():
                    rows.append(compare(hosts, name, size, network, arguments.timeout))
    if arguments.json:
        from hpc_gw.files import write_json  # noqa: PLC0415
        from hpc_gw.provenance import recipe  # noqa: PLC0415

        write_json(arguments.json, {"rows": rows, "recipe": recipe()})


def compare(hosts: int, name: str, size: int, network: str, timeout: float) -> dict[str, Any]:
    """One replay against the model, as a printed row."""
    start = time.perf_counter()
    found = replay(hosts, SELECTED[name], size, PLAIN if network == "plain" else [], timeout)
    took = time.perf_counter() - start
    model = ALGORITHMS[name](hosts, size, Wire(mean_latency(hosts, name), 1 / BANDWIDTH))
    error = None if found is None else model / found - 1
    shown = "too long" if found is None else f"{1e3 * found:.3f}"
    off = "" if error is None else f"{100 * error:+.1f} %"
    print(f"{hosts:6d} {name:>9s} {size:11,d} {network:>8s} {1e3 * model:9.3f} {shown:>10s} "
          f"{off:>18s} {took:7.1f}", flush=True)  # fmt: skip
    return {
        "hosts": hosts, "algorithm": name, "bytes": size, "network": network,
        "model_s": model, "simgrid_s": found, "relative_error": error,
    }  # fmt: skip


def replay(
    hosts: int, selected: str, size: int, network: list[str], timeout: float
) -> float | None:
    """Seconds that SimGrid's clock shows at the end of one all-reduce; None: it took too long."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        platform = PLATFORM.format(last=hosts - 1, bw=BANDWIDTH, lat=LATENCY, tree=TREES[hosts])
        (folder / "fat.xml").write_text(platform)
        (folder / "hosts").write_text("".join(f"n{i}\n" for i in range(hosts)))
        steps = ("init", f"allreduce {size} 0", "finalize")
        (folder / "trace").write_text("".join(f"{i} {s}\n" for i in range(hosts) for s in steps))
        (folder / "traces").write_text("trace\n")
        command = ["smpirun", "-np", str(hosts), "-platform", "fat.xml", "-hostfile", "hosts",
                   "-replay", "traces", f"--cfg=smpi/allreduce:{selected}",
                   "--cfg=contexts/stack-size:128", *network]  # fmt: skip
        try:
            ran = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, check=False, timeout=timeout
            )
        except subprocess.TimeoutExpired:
            return None
    if not (match := re.search(r"Simulation time ([\d.e+-]+)", ran.stdout + ran.stderr)):
        raise SystemExit(f"{' '.join(command)}:\n{(ran.stdout + ran.stderr)[-2000:]}")
    return float(match.group(1))


def mean_latency(hosts: int, name: str) -> float:
    """Of the exchanges of an algorithm: two links up and down for each level that they climb."""
    children = [int(n) for n in TREES[hosts].split(";")[1].split(",")]
    if name == "ring":  # the neighbours of a step must all arrive: the farthest counts
        return 2 * len(children) * LATENCY
    below, distances = 1, []
    stages = hosts.bit_length() - 1
    for stage in range(stages):
        level, below = 1, children[0]
        while 2 ** (stage + 1) > below and level < len(children):
            below *= children[level]
            level += 1
        distances.append(level)
    return 2 * LATENCY * sum(distances) / stages


if __name__ == "__main__":
    main()
