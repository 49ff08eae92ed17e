"""A model card's numbers as a section of a Markdown page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hpc_gw.errors import DataError
from hpc_gw.evaluation.statistics import PAPER_TABLE_1
from hpc_gw.evaluation.tables import overlap_number
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
            show = overlap_number if key == "overlap" else _cell
            ours = " | ".join(show(value) for value in table["table"][key].values())
            lines.append(f"| {key} | this network | {ours} |")
            lines.append(f"| | paper | {' | '.join(_cell(value) for value in paper)} |")
        lines += ["", "| overlap at most | this network | paper |", "|---|---:|---:|"]
        for limit, count in table["counts"].items():
            theirs = table["paper"]["counts"][limit]
            lines.append(
                f"| {limit} | {count:,} ({count / table['total']:.2%}) | {theirs:,} "
                f"({theirs / table['paper']['total']:.2%}) |"
            )
        lines += ["", f"Mean overlap {overlap_number(table['mean_overlap'])}."]
    return "\n".join(lines)


def _cell(value: float | None) -> str:
    return "∞" if value is None else f"{value:.5f}"


def write_page(page: Path, card: dict[str, Any]) -> None:
    """Put the card's numbers between the two marks of a page."""
    text = page.read_text()
    if not all(mark in text for mark in MARKS):
        raise DataError(f"{page}: lacks the lines {MARKS[0]} and {MARKS[1]}")
    before, after = text.split(MARKS[0])[0], text.split(MARKS[1])[1]
    with published(page) as temporary:
        temporary.write_text(f"{before}{MARKS[0]}\n{numbers_section(card)}\n{MARKS[1]}{after}")
