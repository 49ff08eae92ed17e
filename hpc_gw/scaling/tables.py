"""Sweeps and forecasts as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def sweep_table(summary: Sequence[dict[str, Any]]) -> str:
    """A sweep's rows: rates, speed-up and efficiency with their intervals, shares of the time."""
    lines = [
        "| what | scaling | ranks | waveforms/s | speed-up | efficiency | 95 % | data | compute "
        "| waiting | communication | idle |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in summary:
        gain, share, band = "-", "-", "-"
        if "speed_up" in row:
            low, high = row["efficiency_interval"]
            gain, share = f"{row['speed_up']:.2f}", f"{row['efficiency']:.2f}"
            band = f"{low:.2f} to {high:.2f}"
        parts = " | ".join(
            f"{100 * row[f'{part}_share']:.0f} %"
            for part in ("data", "compute", "waiting", "communication", "idle")
        )
        lines.append(
            f"| {row['what']} | {row['kind']} | {row['ranks']} | {row['rate']:,.0f} | {gain} "
            f"| {share} | {band} | {parts} |"
        )
    return "\n".join(lines)


def forecast_table(rows: Sequence[dict[str, Any]]) -> str:
    """A forecast's rows: a step, its parts, efficiency and time to train, with 90 % bands."""
    lines = [
        "| GPUs | compression | global batch | steps an epoch | step | 90 % | stragglers "
        "| gradients | small messages | input | efficiency | 90 % | time to train "
        "| most is lost to |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        low, high = row["step_s_band"]
        worst, best = row["efficiency_band"]
        cells = [
            f"{row['gpus']:,}",
            row["compression"],
            f"{row['global_batch']:,}",
            f"{row['steps_an_epoch']:,.4g}",
            seconds(row["step_s"]),
            f"{seconds(low)} to {seconds(high)}",
            *(seconds(row[k]) for k in ("straggling_s", "exposed_s", "small_s", "input_s")),
            f"{100 * row['efficiency']:.1f} %",
            f"{100 * worst:.1f} to {100 * best:.1f}",
            f"{row['hours']:.3g} h",
            row["limit"],
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def seconds(value: float) -> str:
    """In a unit that can be read: 1.05 s, 3.20 ms, 14 us."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return "0"
