"""The report of an evaluation: tables, figures, and one offline page that holds them all."""

from __future__ import annotations

import base64
import functools
import html
import json
import string
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from hpc_gw.errors import DataError
from hpc_gw.evaluation import figures, interactive, tables
from hpc_gw.evaluation.evaluate import clip, domain
from hpc_gw.evaluation.figures import WaveformPair
from hpc_gw.evaluation.results import Overlaps, Predictions
from hpc_gw.evaluation.statistics import PAPER_SOURCE, Summary, failures_as_zero, summary
from hpc_gw.files import make_folder, published
from hpc_gw.waveforms.protocol import Engine

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WORST = 20
"""Waveforms of lowest overlap that are listed and drawn."""

TITLE = "Waveform overlaps of a trained network"


def write_report(
    folder: Path,
    *,
    predictions: Predictions,
    overlaps: Overlaps,
    engine: Engine,
    recipe: dict[str, Any],
    log: Path | None = None,
) -> Path:
    """Write ``table1.{md,tex,json,txt}``, ``figures/*.{png,pdf}`` and ``report.html``.

    The page needs no network. Each file is published atomically, the page last.

    Args:
        engine: makes the waveforms that are drawn: the best, the median, the worst.
        recipe: how the run was made; shown in full.
        log: JSON-lines of the training, for the learning curve.

    Returns:
        The path of ``report.html``.

    Raises:
        DataError: the overlaps are of other rows than the predictions, or there are none.
    """
    if len(predictions) == 0:
        raise DataError("a report of no test waveforms: predict at least one first")
    result = summary(predictions, overlaps)
    records = read_log(log) if log else []  # before anything is written
    folder = make_folder(folder)
    for ending, render in (
        ("md", tables.to_markdown),
        ("tex", tables.to_latex),
        ("json", tables.to_json),
        ("txt", tables.to_text),
    ):
        _publish(folder / f"table1.{ending}", render(result))
    draw = functools.partial(_figure, folder / "figures")
    sections = [
        ("Results", _results(result)),
        ("Test points", _points(predictions, overlaps)),
        ("Overlaps", _overlaps(predictions, overlaps, result, draw)),
        ("Errors", _errors(predictions, draw)),
        ("Waveforms", _waveforms(predictions, overlaps, engine, draw)),
        ("Training", _training(records, draw)),
        ("Recipe", _recipe(recipe)),
    ]
    page = folder / "report.html"
    _publish(page, _page(result, [(name, body) for name, body in sections if body]))
    return page


def read_log(path: Path) -> list[dict[str, Any]]:
    """Records of a JSON-lines log; a last line cut short by an interruption is left out.

    Raises:
        DataError: the file is missing, or another line is not a JSON object.
    """
    try:
        lines = Path(path).read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: the training log cannot be read ({error})") from error
    records = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError as error:
            if number == len(lines):
                break
            raise DataError(f"{path}, line {number}: not JSON; is it a training log?") from error
        if not isinstance(record, dict):
            raise DataError(f"{path}, line {number}: not an object; is it a training log?")
        records.append(record)
    return records


def waveform_pairs(
    predictions: Predictions, overlaps: Overlaps, engine: Engine, rows: Sequence[int]
) -> list[WaveformPair]:
    """Re h22 at truth and prediction of some rows, the prediction moved by its t_c and phi_c."""
    times, inside = engine.times, domain(engine)
    pairs = []
    for i in rows:
        truth = predictions.truth[i : i + 1, :3]
        answer, _ = clip(predictions.prediction[i : i + 1, :3], inside)
        with torch.no_grad():
            h, s = (engine.h22(p)[0].cpu().numpy() for p in (truth, answer))
        at = times + overlaps.t_c[i]
        turned = s * np.exp(-1j * overlaps.phi_c[i])
        moved = np.interp(at, times, turned.real, left=0.0, right=0.0)
        q, s1, s2 = truth[0].tolist()
        pairs.append(WaveformPair((q, s1, s2), float(overlaps.overlap[i]), times, h.real, moved))
    return pairs


Draw = Callable[[str, "Figure", str], str]


def _results(result: Summary) -> str:
    notes = "".join(f"<p class='soft'>{html.escape(said)}</p>" for said in tables.remarks(result))
    return (
        "<p>Errors of the prediction and overlaps of the waveforms that it stands for: "
        "extremes, quartiles and median over the test set.</p>"
        + _table(tables.table_1(result), "two")
        + "<p>Waveforms in the tail:</p>"
        + _table(tables.counts_table(result))
        + notes
    )


def _points(predictions: Predictions, overlaps: Overlaps) -> str:
    shown, total = len(interactive.shown_points(overlaps.overlap)), len(overlaps)
    said = f"All {total:,} test points"
    if shown < total:
        said = f"{shown:,} of {total:,} test points, the lowest overlaps and a random rest"
    return (
        f"<p>{said}, coloured by overlap. Point at one for its parameters and errors; "
        f"drag to zoom, double-click to return.</p>"
        f"<div class='plot'>{interactive.scatter(predictions, overlaps)}</div>"
    )


def _overlaps(p: Predictions, o: Overlaps, result: Summary, draw: Draw) -> str:
    q = p.truth[:, 0]
    failed = "" if not result.failures else " Failures count as 0; in maps they are red crosses."
    return (
        draw(
            "overlap_histogram",
            figures.overlap_histogram(o.overlap),
            "Overlaps of the whole test set." + failed,
        )
        + draw(
            "overlap_by_q",
            figures.overlap_by_q(q, o.overlap),
            "Overlaps by slice of mass ratio, with mean and median (number of waveforms).",
        )
        + draw(
            "overlap_trend",
            figures.overlap_trend(q, o.overlap),
            "Overlap along the mass ratio. The paper reports mean and median of at least 0.99 "
            "in each slice, below 0.98 only at q ~ 8.",
        )
        + "<details><summary>Overlaps by slice</summary>"
        + _table(tables.slices_table(result))
        + "</details>"
        + draw(
            "overlap_maps",
            figures.overlap_maps(p.truth, o.overlap),
            "Overlap over the spins, by slice of mass ratio, and over effective spin and "
            "symmetric mass ratio; the lowest on top.",
        )
    )


def _errors(p: Predictions, draw: Draw) -> str:
    return draw(
        "error_maps",
        figures.error_maps(p.truth, p.prediction),
        "Absolute error of each quantity over the spins, for sample slices of mass ratio; "
        "colours end at the 99th percentile.",
    )


def _waveforms(p: Predictions, o: Overlaps, engine: Engine, draw: Draw) -> str:
    order = np.argsort(failures_as_zero(o.overlap), kind="stable")
    finite = order[np.isfinite(o.overlap[order])]
    parts = []
    if finite.size:
        places = np.unique([0, len(finite) // 2, len(finite) - 1])[::-1]
        pairs = waveform_pairs(p, o, engine, finite[places].tolist())
        parts.append(
            draw(
                "waveforms",
                figures.waveform_comparison(pairs),
                "Highest, median and lowest overlap: inspiral and merger of Re h22, the "
                "prediction moved by its best time and phase.",
            )
        )
        worst = waveform_pairs(p, o, engine, finite[:WORST].tolist())
        parts.append(
            draw(
                "worst_waveforms",
                figures.waveform_gallery(worst),
                f"The mergers of the {len(worst)} waveforms of lowest overlap.",
            )
        )
    parts.append(f"<h3>The {min(WORST, len(o))} lowest overlaps</h3>")
    parts.append(_table(_worst(p, o, order[:WORST])))
    return "".join(parts)


def _worst(p: Predictions, o: Overlaps, rows: np.ndarray) -> tables.Table:
    lines = []
    for i in rows:
        value = float(o.overlap[i])
        lines.append(
            (
                f"{p.row[i]}",
                "failed" if np.isnan(value) else tables.overlap_number(value),
                *(tables.number(float(x)) for x in p.truth[i, :3]),
                *(tables.number(float(x)) for x in p.prediction[i, :3]),
                tables.number(float(o.t_c[i])),
                "yes" if o.clipped[i] else "",
            )
        )
    predicted = ("predicted q", "s1", "s2")
    head = ("row", "overlap", "true q", "s1", "s2", *predicted, "shift [M]", "outside domain")
    return tables.Table(head, tuple(lines))


def _training(records: Sequence[Mapping[str, Any]], draw: Draw) -> str:
    if not records:
        return ""
    said = "Loss of training and validation, and the learning rate."
    return draw("training", figures.training_curve(records), said)


def _recipe(recipe: Mapping[str, Any]) -> str:
    text = html.escape(json.dumps(recipe, indent=2, default=str, ensure_ascii=False))
    return (
        "<p>Everything that made these numbers.</p>"
        f"<details open><summary>Recipe</summary><pre>{text}</pre></details>"
    )


def _page(result: Summary, sections: Sequence[tuple[str, str]]) -> str:
    median = result.table["overlap"][2]
    cards = [
        (tables.overlap_number(median), "median overlap (paper 0.995)", False),
        (tables.overlap_number(result.mean_overlap), "mean overlap", False),
        (tables.overlap_number(result.table["overlap"][0]), "lowest overlap (paper 0.278)", False),
        (
            tables.share(result.counts[0.97], result.total),
            "at or below 0.97 (paper 9.27 %)",
            False,
        ),
        (f"{result.failures:,}", "failures", result.failures > 0),
    ]
    template = resources.files("hpc_gw.evaluation").joinpath("report_template.html").read_text()
    return string.Template(template).substitute(
        title=TITLE,
        subtitle=f"{result.total:,} test waveforms · {html.escape(result.engine)}",
        plotly=interactive.plotly_library(),
        contents="".join(
            f"<a href='#{name.lower().replace(' ', '-')}'>{name}</a>" for name, _ in sections
        ),
        cards="".join(
            f"<div class='card{' bad' if bad else ''}'><b>{value}</b><span>{said}</span></div>"
            for value, said, bad in cards
        ),
        sections="".join(
            f"<section id='{name.lower().replace(' ', '-')}'><h2>{name}</h2>{body}</section>"
            for name, body in sections
        ),
        footer=(
            "Overlap: complex h22 over the whole time grid, flat noise, maximised over time and "
            f"phase. Comparison: {html.escape(PAPER_SOURCE)}. Made with hpc_gw."
        ),
    )


def _table(table: tables.Table, kind: str = "") -> str:
    def row(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(c)}</{tag}>" for c in cells) + "</tr>"

    body = "".join(row(cells, "td") for cells in table.rows)
    head = row(table.head, "th")
    return (
        f"<div class='scroll'><table class='{kind}'><thead>{head}</thead>"
        f"<tbody>{body}</tbody></table></div>"
    )


def _figure(folder: Path, name: str, figure: Figure, caption: str) -> str:
    """Save a figure, and return it as an HTML fragment with the image inside."""
    image = figures.save(figure, folder, name)[0]
    data = base64.b64encode(image.read_bytes()).decode("ascii")
    said = html.escape(caption)
    width = int(figure.get_figwidth() * 105)
    return (
        f"<figure><img src='data:image/png;base64,{data}' alt='{said}' width='{width}'>"
        f"<figcaption>{said}</figcaption></figure>"
    )


def _publish(path: Path, text: str) -> None:
    with published(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
