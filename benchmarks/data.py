"""Waveforms to disk and back: our generator and reader, the published ones, and the disk alone.

    python benchmarks/data.py [--rows N] [--ranks 1 2 4] [--folder SCRATCH] [--repeats N]
        [--json FILE]

On the paper's grid (101,300 samples), in one run: waveforms a second written by 1, 2, ... MPI
ranks, read in random order from a cold and a warm page cache, and made on the fly; what the
storage options cost; and what all that comes to for the paper's 1,580,128 waveforms. Peers take
turns, so that other load on the machine falls on all of them. Figures are medians over the turns,
ratios the medians of each turn's own. torch has one thread but where the table says otherwise.
Scratch files take up to 10 GB and are removed at the end.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from data_readers import (
    GLOBAL,
    RUNS,
    Reader,
    file_alone,
    naive,
    on_the_fly,
    one_file,
    open_source,
    ours,
    shards,
    timed,
)
from data_tables import (
    print_extrapolation,
    print_on_the_fly,
    print_options,
    print_reading,
    print_sets,
    print_writing,
)
from data_writers import begin, spec_of
from pagecache import Reservoir, make_cold

from hpc_gw.allocator import keep_freed_memory
from hpc_gw.data.encoding import measure_precision
from hpc_gw.data.generate import generate
from hpc_gw.data.manifest import DatasetSpec, StorageConfig
from hpc_gw.data.sources import EngineSource
from hpc_gw.distributed import SerialWorld
from hpc_gw.errors import MissingDependencyError
from hpc_gw.files import read_json, write_json
from hpc_gw.provenance import recipe
from hpc_gw.waveforms.engines import EngineConfig, load_engine
from hpc_gw.waveforms.protocol import Engine
from hpc_gw.waveforms.timegrid import TimeGrid

CONE = 10_254  # samples that reach the paper's network
OPTIONS = {
    "float64": StorageConfig(dtype="float64"),
    "float32": StorageConfig(),
    "float16": StorageConfig(dtype="float16"),
    "float32, gzip": StorageConfig(compression="gzip"),
    "float32, zstd": StorageConfig(compression="zstd"),
    "float16, zstd": StorageConfig(dtype="float16", compression="zstd"),
}


def main() -> None:
    """Measure, print tables, and write all numbers as JSON where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000, help="of the sets that are read")
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--folder", type=Path, help="where scratch files go; default: here")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    keep_freed_memory()  # as the command hpc-gw does
    torch.set_num_threads(1)
    begun = time.perf_counter()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start; "
          f"median [lowest ... highest] of {arguments.repeats} turns")  # fmt: skip
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="data-benchmark-", dir=arguments.folder or ".") as name:
        scratch = Path(name)
        result["writing"] = _writing(scratch, arguments)
        print_writing(result["writing"])
        engines = _engines()
        result["sets"] = _make_sets(scratch, engines, arguments.rows)
        print_sets(result["sets"])
        result["reading"] = _reading(scratch, arguments)
        print_reading(result["reading"])
        result["on_the_fly"] = _on_the_fly(scratch, engines, arguments)
        print_on_the_fly(result["on_the_fly"])
        shutil.rmtree(scratch / "cone")
        result["options"] = _options(scratch, engines["whole"], arguments)
        print_options(result["options"])
        print_extrapolation(result)
    result["seconds"] = time.perf_counter() - begun
    print(f"\n{result['seconds']:.0f} s, load {os.getloadavg()[0]:.1f} at the end")
    if arguments.json:
        config = {"rows": arguments.rows, "ranks": arguments.ranks, "repeats": arguments.repeats}
        checksum = {"engine": engines["whole"].checksum}
        write_json(arguments.json, {**result, "recipe": recipe(config=config, inputs=checksum)})


def _engines() -> dict[str, Engine]:
    """Our engine on the whole span and on the cone."""
    times = TimeGrid().times()
    first = float(times[0])
    return {
        "whole": load_engine(EngineConfig(), times),
        "cone": load_engine(EngineConfig(), times[-CONE:], phase_zero=first),
    }


def _writing(scratch: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """What ``data_writers.py`` finds on each number of ranks."""
    script = Path(__file__).with_name("data_writers.py")
    found = {}
    for ranks in arguments.ranks:
        command = [sys.executable, os.fspath(script), os.fspath(scratch / "writing")]
        answer = scratch / "writing.json"
        command += [os.fspath(answer), "--shards", str(max(4, arguments.rows // 250))]
        command += ["--repeats", str(arguments.repeats), "--started", str(time.time())]
        if ranks > 1:
            command = [_mpiexec(), "-n", str(ranks), *command]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        found[str(ranks)] = read_json(answer)
    return found


def _mpiexec() -> str:
    beside = Path(sys.executable).with_name("mpiexec")
    command = os.fspath(beside) if beside.exists() else shutil.which("mpiexec")
    if command is None:
        raise MissingDependencyError("mpiexec", "more than one rank", "use --ranks 1")
    return command


def _make_sets(scratch: Path, engines: dict[str, Engine], rows: int) -> dict[str, Any]:
    """The sets that are read: ``whole``, ``cone``, and ``whole`` as one file; and their rates."""
    found: dict[str, Any] = {}
    for name, engine in engines.items():
        keep: Literal["whole", "cone"] = "cone" if name == "cone" else "whole"
        spec = spec_of(engine, rows, StorageConfig(keep=keep))
        begin(scratch / name, spec)
        start = time.perf_counter()
        generate(scratch / name, spec, engine, SerialWorld(), progress=False)
        rate = rows / (time.perf_counter() - start)
        start = time.perf_counter()
        measure_precision(spec, engine, np.arange(rows))
        precision = time.perf_counter() - start
        found[name] = {"rate": rate, "bytes": spec.bytes, "rows": rows, "precision_s": precision}
    one_file(scratch / "whole", scratch / "one.h5")
    return found


def _reading(scratch: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Waveforms a second of each reader, whole and cone, cold and warm."""
    rows, one = arguments.rows, scratch / "one.h5"
    few = min(rows, max(64, rows // 10))  # the naive reader is slow
    found: dict[str, Any] = {"how": make_cold([]), "rows": rows}
    for kind, samples in (("whole", TimeGrid().size), ("cone", CONE)):
        folder = scratch / kind
        files, whole = shards(folder), shards(scratch / "whole")
        reservoir = Reservoir(int(min(rows, 3 * RUNS[kind].block) * 4 * samples * 1.1))
        readers: dict[str, tuple[Reader, list[Path]]] = {
            "file alone": (partial(file_alone, folder, rows), files),
            "file alone, to new tensors": (partial(file_alone, folder, rows, copy=True), files),
            "hpc_gw, runs": (partial(ours, folder, RUNS[kind]), files),
            "hpc_gw, global": (partial(ours, folder, GLOBAL), files),
            "naive, open once": (partial(naive, one, few, samples, reopen=False), [one]),
            "naive, open for each": (partial(naive, one, few, samples, reopen=True), [one]),
        }
        if kind == "cone":
            cropped = partial(ours, scratch / "whole", RUNS["cone"], samples=CONE)
            readers["hpc_gw, runs, cropped from whole"] = (cropped, whole)
        rates: dict[str, dict[str, list[float]]] = {"cold": {}, "warm": {}}
        for reader in (readers[name][0] for name in readers if name.startswith("hpc_gw")):
            reader()  # takes its memory
        for _ in range(arguments.repeats):
            for state, found_rates in rates.items():
                for name, (reader, paths) in readers.items():
                    rate = timed(reader, paths, reservoir, cold=state == "cold")
                    found_rates.setdefault(name, []).append(rate)
        found[kind] = {"row_bytes": 4 * samples, **rates}
    return found


def _on_the_fly(
    scratch: Path, engines: dict[str, Engine], arguments: argparse.Namespace
) -> dict[str, Any]:
    """Batches of 64 from the engine and from warm shards, with 1 and 2 threads of torch."""
    reservoir = Reservoir(2 << 30)
    found: dict[str, Any] = {}
    for kind, engine in engines.items():
        rows = max(64, arguments.rows // (10 if kind == "whole" else 5))
        source = EngineSource(spec_of(engines["whole"], rows, StorageConfig()), engine)
        files = shards(scratch / kind)
        rates: dict[str, list[float]] = {}
        for _ in range(arguments.repeats):
            for count in (1, 2):
                torch.set_num_threads(count)
                readers: dict[str, tuple[Reader, list[Path]]] = {
                    f"on the fly, threads={count}": (partial(on_the_fly, source, rows), []),
                    f"shards, threads={count}": (
                        partial(ours, scratch / kind, RUNS[kind], limit=64),
                        files,
                    ),
                }
                for name, (reader, paths) in readers.items():
                    rate = timed(reader, paths, reservoir, cold=False)
                    rates.setdefault(name, []).append(rate)
        found[kind] = rates
    torch.set_num_threads(1)
    return found


def _options(scratch: Path, engine: Engine, arguments: argparse.Namespace) -> dict[str, Any]:
    """Bytes, rates and mismatch of 512 waveforms in each form."""
    rows = min(512, arguments.rows)
    reservoir = Reservoir(rows * 810_400 * 2)
    found: dict[str, Any] = {}
    for turn in range(arguments.repeats):
        for name, storage in OPTIONS.items():
            folder, spec = scratch / "options", spec_of(engine, rows, storage)
            begin(folder, spec)
            reservoir.hold()
            reservoir.release()
            start = time.perf_counter()
            try:
                generate(folder, spec, engine, SerialWorld(), progress=False)
            except MissingDependencyError as error:
                found[name] = {"absent": str(error)}
                shutil.rmtree(folder)
                continue
            seconds = time.perf_counter() - start
            files = shards(folder)
            open_source.cache_clear()  # the folder holds another set now
            reading = timed(partial(ours, folder, RUNS["whole"]), files, reservoir, cold=False)
            if turn == 0:
                found[name] = {"bytes": sum(f.stat().st_size for f in files), "rows": rows}
                found[name] |= {"write": [], "read": [], **_precision(spec, engine)}
            found[name]["write"].append(rows / seconds)
            found[name]["read"].append(reading)
            shutil.rmtree(folder)
    return found


def _precision(spec: DatasetSpec, engine: Engine) -> dict[str, float]:
    """What a manifest says under ``precision``, and what it takes to find it."""
    start = time.perf_counter()
    precision = measure_precision(spec, engine, np.arange(spec.population.size))
    seconds = time.perf_counter() - start
    return {"median": precision.median, "largest": precision.largest, "precision_s": seconds}


if __name__ == "__main__":
    main()
