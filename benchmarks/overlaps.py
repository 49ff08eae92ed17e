"""Overlaps: ours against PyCBC's match on the same pairs in the same run, and a whole test set.

    python benchmarks/overlaps.py [--pairs N] [--rows N] [--json FILE]

Pairs are test waveforms with answers that miss them as the shipped network's do. PyCBC gets both
series ready made, of h+ at 0.1 M, as a user would give them to it; ours makes both waveforms anew
each time and compares h22; the time of its overlaps alone is told too. One thread; medians over the
pairs, ours in batches of 512.
"""

# ruff: noqa: PLC0415  (torch after the number of threads is set, PyCBC where it is installed)

from __future__ import annotations

import argparse
import os
import statistics
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=64, help="for the comparison with PyCBC")
    parser.add_argument("--rows", type=int, default=8192, help="for the rate")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    import numpy as np
    import torch

    from hpc_gw.evaluation.evaluate import Judge
    from hpc_gw.waveforms.engines import EngineConfig, load_engine
    from hpc_gw.waveforms.timegrid import TimeGrid

    torch.set_num_threads(1)
    times = TimeGrid().times()
    judge = Judge(lambda t: load_engine(EngineConfig(), t), times)
    one, other = draw(max(arguments.rows, arguments.pairs), judge.bounds)
    judge.compare(one[:64], other[:64])
    seconds = []
    found = np.empty((4, 0))
    for first in range(0, len(one), 512):
        start = time.perf_counter()
        part = judge.compare(one[first : first + 512], other[first : first + 512])
        seconds.append((time.perf_counter() - start) / part.shape[1])
        found = np.concatenate([found, part], axis=1)
    ours = statistics.median(seconds)
    result: dict[str, Any] = {"ours_ms": ours * 1e3, "load": os.getloadavg()[0]}
    print(f"{judge.name}, load {result['load']:.1f}, one thread")
    print(f"ours: {ours * 1e3:.3f} ms a pair, both waveforms made: {1 / ours:,.0f}/s; "
          f"197,516 in {197_516 * ours / 60:.1f} min on one core")  # fmt: skip
    alone = statistics.median(alone_seconds(judge, one, other))
    print(f"ours, waveforms ready made: {alone * 1e3:.3f} ms a pair")
    result["ours_alone_ms"] = alone * 1e3
    print(f"bound on the error: median {np.median(found[1]):.1e}, largest {found[1].max():.1e}")
    result |= pycbc(
        load_engine(EngineConfig(), times), one, other, found, arguments.pairs, (ours, alone)
    )
    if arguments.json:
        from hpc_gw.files import write_json
        from hpc_gw.provenance import recipe

        write_json(
            arguments.json,
            {**result, "recipe": recipe(config={"pairs": arguments.pairs, "rows": arguments.rows})},
        )


def alone_seconds(judge: Any, one: Any, other: Any) -> list[float]:
    """Seconds a pair of overlaps of waveforms that are there already, in batches of 64."""
    from hpc_gw.evaluation.overlap import overlap

    engine, seconds = judge.engine(judge.coarsest), []
    for first in range(0, 2048, 64):
        pair = [engine.h22(p[first : first + 64]) for p in (one, other)]
        start = time.perf_counter()
        overlap(*pair, every=judge.coarsest)
        seconds.append((time.perf_counter() - start) / 64)
    return seconds


def draw(count: int, bounds: Any) -> tuple[Any, Any]:
    """Points of the domain, and answers that miss them by up to a few hundredths."""
    import numpy as np

    rng = np.random.default_rng(1)
    one = rng.uniform(bounds[:, 0], bounds[:, 1], (count, 3))
    size = np.array([0.01, 0.006, 0.03]) * np.exp(rng.standard_normal((count, 1)))
    other = one + size * rng.standard_normal(one.shape)
    return one, np.clip(other, bounds[:, 0], bounds[:, 1])


def pycbc(engine: Any, one: Any, other: Any, found: Any, pairs: int, ours: Any) -> dict[str, Any]:
    """PyCBC's time a pair, and how far its values of the complex waveforms are from ours."""
    try:
        from pycbc.filter import match
        from pycbc.types import FrequencySeries, TimeSeries
    except ImportError:
        print("PyCBC is not installed: no comparison")
        return {}
    import numpy as np

    n, step = 1 << 18, float(engine.times[1] - engine.times[0])
    seconds, differences = [], []
    for i in range(pairs):
        pair = [engine.h22_double(p[i : i + 1])[0].numpy() for p in (one, other)]
        padded = [np.pad(h.real, (0, n - len(h))) for h in pair]
        series = [TimeSeries(x, delta_t=step) for x in padded]
        start = time.perf_counter()
        match(*series, subsample_interpolation=True)
        seconds.append(time.perf_counter() - start)
        # PyCBC knows spectra of one sign only: both signs of ours are moved up into one.
        spectra = [np.append(0, np.fft.fftshift(np.fft.fft(h.conj(), n))) for h in pair]
        moved = [FrequencySeries(x, delta_f=1 / (n * step)) for x in spectra]
        value, _ = match(*moved, subsample_interpolation=True)
        differences.append(abs(float(value) - found[0, i]))
    theirs = statistics.median(seconds)
    print(f"PyCBC's match: {theirs * 1e3:.2f} ms a pair, waveforms ready made: "
          f"{theirs / ours[1]:.0f} x ours, {theirs / ours[0]:.0f} x with ours made")  # fmt: skip
    print(f"difference, of the complex waveforms: median {statistics.median(differences):.1e}, "
          f"largest {max(differences):.1e}")  # fmt: skip
    return {
        "pycbc_ms": theirs * 1e3,
        "ratios": [theirs / x for x in ours],
        "largest": max(differences),
    }


if __name__ == "__main__":
    main()
