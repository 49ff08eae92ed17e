"""A summary as Markdown, LaTeX, JSON and console text, the paper's values beside ours."""

# ruff: noqa: RUF001  (Δ, σ and a real minus sign are meant)

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

from hpc_gw.evaluation.statistics import (
    PAPER_COUNTS,
    PAPER_SOURCE,
    PAPER_TABLE_1,
    PAPER_TOTAL,
    STATISTICS,
    Summary,
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
    """Three decimals, a real minus sign; ``∞`` where failures leave it unbounded, ``–`` for NaN."""
    if value is None:
        return "∞"
    if math.isnan(value):
        return "–"
    return f"{value:.3f}".replace("-", "−")


def overlap_number(value: float | None) -> str:
    """An overlap with four decimals, never rounded up to 1."""
    if value is None:
        return "∞"
    return "1.0000" if value == 1 else f"{min(value, 0.9999):.4f}"


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
