"""The tables that ``data.py`` prints."""

from __future__ import annotations

from statistics import median
from typing import Any

PAPER_ROWS = 1_580_128
_WHOLE = 101_300
_CONE = 10_254
_CACHED = 8.0  # GB/s: no disk of a machine reads faster


def _spread(values: list[float]) -> str:
    """Median [lowest ... highest]."""
    return f"{median(values):9,.0f} [{min(values):,.0f} ... {max(values):,.0f}]"


def _ratio(values: list[float], others: list[float]) -> float:
    return median(a / b for a, b in zip(values, others, strict=True))


def rates_of(ranks: dict[str, Any]) -> dict[str, list[float]]:
    """Bytes a second of the plain writers, waveforms a second of the others."""
    counts = ranks["rows"]
    return {
        name: [counts.get(name, ranks["plain_bytes"]) / s for s in seconds]
        for name, seconds in ranks["seconds"].items()
    }


def print_writing(writing: dict[str, Any]) -> None:
    """Waveforms a second to disk, and how they compare."""
    print("\nWriting, until all is safely on disk (wanted: 20 x published, or 60 % of plain)")
    print("CPU ms: of all ranks' cores for a waveform, what MPI spends in waiting included")
    for ranks, found in writing.items():
        rates, starts = rates_of(found), found["start_up"]
        print(f"{ranks} rank(s); before that, not counted: "
              + ", ".join(f"{name} {s:.1f} s" for name, s in starts.items()))  # fmt: skip
        print(f"  {'writer':22s} {'waveforms/s':>34s} {'CPU ms':>7s} {'GB/s':>6s} "
              f"{'x published':>12s} {'of plain':>9s} {'of 64 MiB':>10s}")  # fmt: skip
        for name, values in rates.items():
            if name.startswith("plain"):
                print(f"  {name:22s} {'':34s} {'':7s} {median(values) / 1e9:6.2f}")
                continue
            row_bytes = found["row_bytes"].get(name, 8 * _WHOLE)
            written = [value * row_bytes for value in values]
            shares = [
                f"{_ratio(written, rates[other]):.0%}"
                for other in ("plain, a file a rank", "plain, 64 MiB files")
            ]
            speed = _ratio(values, rates["published"])
            cpu = 1e3 * median(found["cpu_seconds"][name]) / found["rows"][name]
            print(f"  {name:22s} {_spread(values):>34s} {cpu:7.2f} {median(written) / 1e9:6.2f} "
                  f"{speed:12.1f} {shares[0]:>9s} {shares[1]:>10s}")  # fmt: skip


def print_sets(sets: dict[str, Any]) -> None:
    """How fast the larger sets were made."""
    print("\nThe sets that are read below, float32, by one rank with one thread, once")
    for name, one in sets.items():
        print(f"  {name:6s} {one['rows']:,} waveforms, {one['bytes'] / 1e9:.2f} GB: "
              f"{one['rate']:,.0f} a second; then {one['precision_s']:.1f} s for the precision, "
              f"whatever the number")  # fmt: skip


def print_reading(reading: dict[str, Any]) -> None:
    """Waveforms a second from disk in batches of 64, and how they compare."""
    print(f"\nReading {reading['rows']:,} waveforms in batches of 64, one process "
          f"(wanted: 60 % of the file alone, 3 x naive); cold: {reading['how']}")  # fmt: skip
    for kind in ("whole", "cone"):
        found = reading[kind]
        for state in ("cold", "warm"):
            rates = found[state]
            print(f"{kind}, {found['row_bytes'] / 1e3:.0f} kB, {state}")
            print(f"  {'reader':34s} {'waveforms/s':>34s} {'GB/s':>6s} {'of file':>8s} "
                  f"{'of tensors':>11s} {'x once':>7s} {'x each':>7s}")  # fmt: skip
            for name, values in rates.items():
                alone, tensors, once, each = (
                    _ratio(values, rates[other])
                    for other in (
                        "file alone",
                        "file alone, to new tensors",
                        "naive, open once",
                        "naive, open for each",
                    )
                )
                print(f"  {name:34s} {_spread(values):>34s} "
                      f"{median(values) * found['row_bytes'] / 1e9:6.2f} {alone:8.0%} "
                      f"{tensors:11.0%} {once:7.1f} {each:7.1f}")  # fmt: skip
        fastest = max(found["cold"]["file alone"]) * found["row_bytes"] / 1e9
        if fastest > _CACHED:
            print(f"  cold at {fastest:.1f} GB/s: the host caches this disk; it is cold for this "
                  f"machine only")  # fmt: skip


def print_on_the_fly(found: dict[str, Any]) -> None:
    """Waveforms a second from the engine and from warm shards."""
    print("\nOn the fly, and from warm shards in runs; batches of 64, waveforms/s")
    for kind, rates in found.items():
        for name, values in rates.items():
            print(f"  {kind:6s} {name:24s} {_spread(values):>34s}")


def print_options(found: dict[str, Any]) -> None:
    """What each form of storage costs and gives."""
    print("\nStorage options: 512 whole waveforms, one rank with one thread, read warm in runs")
    print(f"  {'form':15s} {'kB each':>8s} {'write/s':>8s} {'read/s':>8s} {'median mismatch':>16s} "
          f"{'largest':>8s} {'precision s':>12s}")  # fmt: skip
    for name, one in found.items():
        if "absent" in one:
            print(f"  {name:15s} {one['absent']}")
            continue
        print(f"  {name:15s} {one['bytes'] / one['rows'] / 1e3:8.1f} {median(one['write']):8,.0f} "
              f"{median(one['read']):8,.0f} {one['median']:16.1e} {one['largest']:8.1e} "
              f"{one['precision_s']:12.2f}")  # fmt: skip


def print_extrapolation(result: dict[str, Any]) -> None:
    """The paper's training set on each path, from the rates above; kept in ``result`` too."""
    best: dict[str, float] = {}
    for found in result["writing"].values():
        for name, values in rates_of(found).items():
            best[name] = max(best.get(name, 0.0), median(values))
    options, reading, fly = result["options"], result["reading"], result["on_the_fly"]
    whole = median(reading["whole"]["cold"]["hpc_gw, runs"])  # float32
    cone = median(reading["cone"]["cold"]["hpc_gw, runs"])
    naive = median(reading["whole"]["cold"]["naive, open for each"])
    live = {
        kind: max(median(values) for name, values in rates.items() if name.startswith("on the"))
        for kind, rates in fly.items()
    }
    paths = {  # bytes of a waveform; rates of writing and of reading
        "published scheme, float64, naive reader": (8 * _WHOLE, best["published"], naive / 2),
        "whole, float64": (8 * _WHOLE, best["hpc_gw float64"], whole / 2),
        "whole, float32": (4 * _WHOLE, best["hpc_gw float32"], whole),
        "whole, float16": (2 * _WHOLE, median(options["float16"]["write"]), whole * 2),
        "cone, float32": (4 * _CONE, result["sets"]["cone"]["rate"], cone),
        "on the fly, whole": (0, None, live["whole"]),
        "on the fly, cone": (0, None, live["cone"]),
    }
    print(f"\nExtrapolated to the paper's {PAPER_ROWS:,} waveforms; generation on the best number "
          f"of ranks,\nor one; an epoch's reading cold, in runs, at the bytes a second measured "
          f"for float32")  # fmt: skip
    print(f"  {'path':40s} {'GB':>7s} {'generation, min':>16s} {'epoch, min':>11s}")
    result["extrapolated"] = {}
    for name, (size, write, read) in paths.items():
        minutes = 0.0 if write is None else PAPER_ROWS / write / 60
        epoch = PAPER_ROWS / read / 60
        print(f"  {name:40s} {PAPER_ROWS * size / 1e9:7,.0f} {minutes:16.1f} {epoch:11.1f}")
        result["extrapolated"][name] = {
            "bytes": PAPER_ROWS * size,
            "generation_min": minutes,
            "epoch_min": epoch,
        }
