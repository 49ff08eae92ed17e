"""A model card's numbers as a section of a Markdown page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hpc_gw.errors import DataError
from hpc_gw.evaluation.statistics import PAPER_TABLE_1
from hpc_gw.files import published

MARKS = "<!-- numbers: begin -->", "<!-- numbers: end -->"
"""Lines between which the section stands."""


def numbers_section(card: dict[str, Any]) -> str:
    """The card's accuracy in Markdown, the paper's Table 1 beside it."""
    found = card["accuracy"]
    table, lines = found.get("table1"), []
    lines += [
        f"On {found['waveforms']:,} waveforms, {found['failures']} without an answer:",
        "",
        "| | median abs. error | 90 % below |",
        "|---|---:|---:|",
    ]
    for key, row in found["abs_error"].items():
        lines.append(f"| {key} | {_cell(row['median'])} | {_cell(row['p90'])} |")
    if table:
        lines += ["", "| prediction − truth | | min | Q1 | median | Q3 | max |"]  # noqa: RUF001
        lines += ["|---|---|---:|---:|---:|---:|---:|"]
        for key, paper in PAPER_TABLE_1.items():
            ours = list(table["table"][key].values())
            if key == "overlap":  # nines say nothing
                lines.append(f"| 1 − overlap | this network | {_mismatches(ours)} |")  # noqa: RUF001
                lines.append(f"| | paper | {_mismatches(paper)} |")
                continue
            lines.append(f"| {key} | this network | {' | '.join(map(_cell, ours))} |")
            lines.append(f"| | paper | {' | '.join(map(_cell, paper))} |")
        lines += ["", "| overlap at most | this network | paper |", "|---|---:|---:|"]
        for limit, count in table["counts"].items():
            theirs = table["paper"]["counts"][limit]
            lines.append(
                f"| {limit} | {count:,} ({count / table['total']:.2%}) | {theirs:,} "
                f"({theirs / table['paper']['total']:.2%}) |"
            )
        lines += ["", f"Mean 1 − overlap {_mismatch(table['mean_overlap'])}."]  # noqa: RUF001
    return "\n".join(lines)


def _cell(value: float | None) -> str:
    return "∞" if value is None else f"{value:.5f}"


def _mismatches(overlaps: Sequence[float]) -> str:
    """1 - O of the least to the largest overlap, from the smallest on."""
    return " | ".join(_mismatch(value) for value in reversed(overlaps))


def _mismatch(overlap: float) -> str:
    return "0" if overlap == 1 else f"{1 - overlap:.1e}".replace("e-0", "e-")


def write_page(page: Path, card: dict[str, Any]) -> None:
    """Put the card's numbers between the two marks of a page."""
    text = page.read_text()
    if not all(mark in text for mark in MARKS):
        raise DataError(f"{page}: lacks the lines {MARKS[0]} and {MARKS[1]}")
    before, after = text.split(MARKS[0])[0], text.split(MARKS[1])[1]
    with published(page) as temporary:
        temporary.write_text(f"{before}{MARKS[0]}\n{numbers_section(card)}\n{MARKS[1]}{after}")
