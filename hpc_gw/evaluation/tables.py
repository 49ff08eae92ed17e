"""A summary as Markdown, LaTeX, JSON and console text, the paper's values beside ours."""

# ruff: noqa: RUF001  (Δ, σ and a real minus sign are meant)

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hpc_gw.evaluation.records import Results
from hpc_gw.evaluation.statistics import (
    PAPER_COUNTS,
    PAPER_SOURCE,
    PAPER_TABLE_1,
    PAPER_TOTAL,
    STATISTICS,
    Summary,
    failures_as_zero,
)

_HEADS = {"min": "min", "q1": "Q1", "median": "median", "q3": "Q3", "max": "max"}

_PLAIN = {
    "q": "Δq",
    "s1": "Δs1",
    "s2": "Δs2",
    "sigma_eff": "Δσeff",
    "s_eff": "ΔSeff",
    "overlap": "overlap",
}
_LATEX = {
    "q": r"$\Delta q$",
    "s1": r"$\Delta s_1$",
    "s2": r"$\Delta s_2$",
    "sigma_eff": r"$\Delta \sigma_{\mathrm{eff}}$",
    "s_eff": r"$\Delta S_{\mathrm{eff}}$",
    "overlap": r"$\mathcal{O}$",
}


@dataclass(frozen=True)
class Table:
    """Cells as text: a head, and rows of which the first cell is the name."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def number(value: float | None) -> str:
    """Three decimals, or one digit and its power of ten where they would show nothing.

    With a real minus sign; ``∞`` where failures leave it unbounded, ``–`` for NaN.
    """
    if value is None:
        return "∞"
    if math.isnan(value):
        return "–"
    if 0 < abs(value) < 5e-4:
        digit, power = f"{value:.0e}".split("e")
        return f"{digit}e{int(power)}".replace("-", "−")
    return f"{value:.3f}".replace("-", "−")


def overlap_number(value: float | None) -> str:
    """An overlap with four decimals, or as many nines as it has up to seven; never rounded up."""
    if value is None:
        return "∞"
    if math.isnan(value):
        return "–"
    if not 0.9999 < value < 1:
        return f"{math.floor(1e4 * min(value, 1.0) + 1e-9) / 1e4:.4f}"
    nines = min(int(-math.log10(1 - value) + 1e-9), 7)
    return f"0.{'9' * nines}"


def table_1(summary: Summary, names: dict[str, str] | None = None) -> Table:
    """Two rows for each quantity, ours and the paper's."""
    rows = []
    for key, name in (names or _PLAIN).items():
        show = overlap_number if key == "overlap" else number
        rows.append((name, "this run", *(show(x) for x in summary.table[key])))
        rows.append(("", "paper", *(number(x) for x in PAPER_TABLE_1[key])))
    return Table(("", "", *(_HEADS[s] for s in STATISTICS)), tuple(rows))


def counts_table(summary: Summary) -> Table:
    """Appendix A: waveforms at or below each overlap, and their share of the test set."""
    rows = []
    for limit, count in summary.counts.items():
        paper = PAPER_COUNTS[limit]
        rows.append(
            (
                f"overlap ≤ {limit:.2f}",
                f"{count:,}",
                share(count, summary.total),
                f"{paper:,}",
                share(paper, PAPER_TOTAL),
            )
        )
    rows.append(
        ("failures", f"{summary.failures:,}", share(summary.failures, summary.total), "", "")
    )
    rows.append(("waveforms", f"{summary.total:,}", "", f"{PAPER_TOTAL:,}", ""))
    return Table(("", "this run", "share", "paper", "share"), tuple(rows))


def slices_table(summary: Summary) -> Table:
    """Mean, median and minimum of the overlap by slice of mass ratio."""
    return Table(
        ("slice", "waveforms", "failures", "mean", "median", "min"),
        tuple(
            (
                part.label,
                f"{part.count:,}",
                f"{part.failures:,}",
                overlap_number(part.mean),
                overlap_number(part.median),
                overlap_number(part.minimum),
            )
            for part in summary.slices
        ),
    )


TAIL = 100
"""Waveforms of lowest overlap that the tail lists."""

TAIL_HEAD = (
    *("row", "overlap", "bound", "q", "s1", "s2", "predicted q", "predicted s1"),
    *("predicted s2", "shift [M]", "clipped", "refined overlap"),
)
"""Columns of the tail; the last one where there are refined answers."""


def tail_rows(results: Results, count: int = TAIL) -> np.ndarray:
    """Places of the ``count`` lowest overlaps, failures first, then the lowest."""
    return np.argsort(failures_as_zero(results.overlaps.overlap), kind="stable")[:count]


def tail_table(results: Results, count: int = TAIL) -> Table:
    """The ``count`` waveforms of lowest overlap with their parameters."""
    lines = []
    for row, overlap, bound, *values, clipped, refined in _tail(results, count):
        shown = (
            f"{row}",
            "failed" if math.isnan(overlap) else overlap_number(overlap),
            "" if math.isnan(bound) else f"{bound:.0e}",
            *(number(value) for value in values),
            "yes" if clipped else "",
            *([] if results.refined is None else [overlap_number(refined)]),
        )
        lines.append(shown)
    return Table(_tail_head(results), tuple(lines))


def tail_csv(results: Results, count: int = TAIL) -> str:
    """``tail_table`` with all digits, comma-separated; a failure is ``nan``."""
    lines = [",".join(_tail_head(results))]
    for row, *values, clipped, refined in _tail(results, count):
        cells = [str(row), *(repr(value) for value in values), str(int(clipped))]
        lines.append(",".join(cells if results.refined is None else [*cells, repr(refined)]))
    return "\n".join(lines) + "\n"


def _tail_head(results: Results) -> tuple[str, ...]:
    return TAIL_HEAD[:-1] if results.refined is None else TAIL_HEAD


def _tail(results: Results, count: int) -> list[tuple[Any, ...]]:
    """The lines of the tail as Python numbers, in the order of ``TAIL_HEAD``."""
    rows = tail_rows(results, count)
    p, o, refined = results.predictions, results.overlaps, results.refined
    columns = (
        p.row[rows],
        o.overlap[rows],
        o.bound[rows],
        *p.truth[rows, :3].T,
        *p.prediction[rows, :3].T,
        o.t_c[rows],
        o.clipped[rows],
        np.full(len(rows), np.nan) if refined is None else refined.overlap[rows],
    )
    return list(zip(*(column.tolist() for column in columns), strict=True))


def share(count: int, total: int) -> str:
    """``9.27 %``; as many digits as tell a rare case from none."""
    if not total:
        return "–"
    percent = 100 * count / total
    return f"{percent:.2f} %" if percent >= 0.1 or count == 0 else f"{percent:.3f} %"


def remarks(summary: Summary) -> list[str]:
    """The sentences that belong under every table."""
    said = [f"Paper: {PAPER_SOURCE}; Δ = prediction − truth."]
    if summary.engine:
        said[0] += f" Waveforms: {summary.engine}."
    if summary.failures:
        said.append(
            f"{summary.failures:,} of {summary.total:,} failed: an overlap of 0, "
            f"an error without bound (∞)."
        )
    if summary.clipped:
        said.append(
            f"{summary.clipped:,} of {summary.total:,} predictions lay outside the waveform "
            f"model's domain; their waveforms are those of the nearest point inside."
        )
    return said


def to_markdown(summary: Summary) -> str:
    """GitHub-flavoured Markdown."""
    parts = [_markdown(t) for t in (table_1(summary), counts_table(summary), slices_table(summary))]
    return "\n\n".join([*parts, " ".join(remarks(summary))]) + "\n"


def to_text(summary: Summary) -> str:
    """Table 1 and the counts for a console, in columns."""
    parts = [_aligned(t) for t in (table_1(summary), counts_table(summary))]
    return "\n\n".join([*parts, "\n".join(remarks(summary))]) + "\n"


def to_json(summary: Summary) -> str:
    """``Summary.to_dict`` as JSON; it holds no NaN."""
    return json.dumps(summary.to_dict(), indent=1, allow_nan=False) + "\n"


def to_latex(summary: Summary) -> str:
    """A table environment; needs the packages booktabs and amsmath."""
    head, rows = table_1(summary, _LATEX).head, table_1(summary, _LATEX).rows
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_latex(' '.join(remarks(summary)))}}}",
        r"\begin{tabular}{llrrrrr}",
        r"\toprule",
        " & ".join(_latex(cell) for cell in head) + r" \\",
        r"\midrule",
    ]
    for i, row in enumerate(rows):
        if i and row[0]:
            lines.append(r"\addlinespace")
        lines.append(" & ".join((row[0], *(_latex(cell) for cell in row[1:]))) + r" \\")
    counts = counts_table(summary)
    lines += [
        r"\bottomrule",
        r"\end{tabular}",
        "",
        r"\begin{tabular}{lrrrr}",
        r"\toprule",
        " & ".join(_latex(cell) for cell in counts.head) + r" \\",
        r"\midrule",
        *(" & ".join(_latex(cell) for cell in row) + r" \\" for row in counts.rows),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


_LATEX_CHARACTERS = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "&": r"\&",
        "%": r"\%",
        "$": r"\$",
        "#": r"\#",
        "_": r"\_",
        "{": r"\{",
        "}": r"\}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "−": "$-$",
        "≤": r"$\leq$",
        "∞": r"$\infty$",
        "Δ": r"$\Delta$",
        "–": "--",
    }
)


def _latex(text: str) -> str:
    return text.translate(_LATEX_CHARACTERS)


def _markdown(table: Table) -> str:
    rule = [":---"] + ["---:"] * (len(table.head) - 1)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (table.head, rule, *table.rows))


def _aligned(table: Table) -> str:
    every: Sequence[tuple[str, ...]] = (table.head, *table.rows)
    widths = [max(len(cells[i]) for cells in every) for i in range(len(table.head))]
    lines = []
    for cells in every:
        first = cells[0].ljust(widths[0])
        rest = (cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True))
        lines.append("  ".join((first, *rest)).rstrip())
    lines.insert(1, "─" * (sum(widths) + 2 * (len(widths) - 1)))
    return "\n".join(lines)
