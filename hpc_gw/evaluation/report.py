"""The report of an evaluation: tables, figures, and two offline pages that hold them all."""

from __future__ import annotations

import base64
import html
import json
import string
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from hpc_gw.constants import T_MAX, T_MIN
from hpc_gw.errors import DataError
from hpc_gw.evaluation import figures, tables
from hpc_gw.evaluation.explorer import write_explorer
from hpc_gw.evaluation.figures_scaling import Points
from hpc_gw.evaluation.gallery import Entry, gallery
from hpc_gw.evaluation.records import Results
from hpc_gw.evaluation.statistics import PAPER_SOURCE, Summary, refined_summary, summary
from hpc_gw.files import make_folder, published
from hpc_gw.waveforms.protocol import Engine
from hpc_gw.waveforms.surrogate_file import SurrogateData

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLE = "Waveform overlaps of a trained network"

EXPLORER = "explorer.html"

SLOW = ("figure_05_degeneracy", "figure_06_degeneracy_effective")
"""Figures that ask for ten thousands of waveforms of their own."""


def write_report(
    folder: Path,
    *,
    results: Results,
    engine: Engine,
    recipe: dict[str, Any],
    log: Path | None = None,
    surrogate: SurrogateData | None = None,
    maps: Engine | None = None,
    scaling: Mapping[str, Points] | None = None,
    engines: Mapping[str, np.ndarray] | None = None,
    noise: str = "flat noise",
    quick: bool = False,
    progress: bool = False,
) -> Path:
    """Write tables, ``tail.csv``, ``figures/*.{png,pdf}``, ``explorer.html``, ``report.html``.

    The pages need no network. Each file is published atomically, ``report.html`` last.

    Args:
        folder: of the report.
        results: at least one waveform.
        engine: makes the waveforms that are drawn.
        recipe: how the run was made; shown in full.
        log: JSON-lines of the training, for the learning curve.
        surrogate: what ``engine`` evaluates; with it the explorer draws any waveform.
        maps, scaling, engines: see ``gallery.gallery``.
        noise: that overlaps are weighted by, in words.
        quick: leave out the figures of ``SLOW``.
        progress: show a bar.

    Returns:
        The path of ``report.html``.

    Raises:
        DataError: there are no waveforms in the results, or the log cannot be read.
    """
    if len(results) == 0:
        raise DataError("a report of no test waveforms: predict at least one first")
    found, refined = summary(results), refined_summary(results)
    records = read_log(log) if log else []  # before anything is written
    folder = make_folder(folder)
    for ending, render in (
        ("md", tables.to_markdown),
        ("tex", tables.to_latex),
        ("json", tables.to_json),
        ("txt", tables.to_text),
    ):
        _publish(folder / f"table1.{ending}", render(found))
        if refined:
            _publish(folder / f"table1_refined.{ending}", render(refined))
    _publish(folder / "tail.csv", tables.tail_csv(results))
    span = (
        (float(engine.times[0]), float(engine.times[-1])) if len(engine.times) else (T_MIN, T_MAX)
    )
    write_explorer(folder / EXPLORER, results, surrogate, recipe, span=span)
    entries = list(gallery(results, engine, maps=maps, scaling=scaling, engines=engines))
    bar = tqdm(entries, desc="figures", unit="figure", disable=not progress)
    drawn = {entry.name: _entry(folder / "figures", entry, quick) for entry in bar}
    sections = [
        ("Results", _results(found, refined)),
        ("The paper's figures", _some(drawn, lambda name: name.startswith("figure_"))),
        ("Beyond the paper", _some(drawn, lambda name: not name.startswith("figure_"))),
        ("The tail", _tail(results)),
        ("Slices of mass ratio", _table(tables.slices_table(found))),
        ("Training", _training(folder / "figures", records)),
        ("Recipe", _recipe(recipe)),
    ]
    page = folder / "report.html"
    _publish(page, _page(found, noise, [(name, body) for name, body in sections if body]))
    _forget(folder, entries, drawn, refined is not None)
    return page


def _forget(
    folder: Path, entries: Iterable[Entry], drawn: Mapping[str, str], refined: bool
) -> None:
    """Delete what an earlier report left that this one has not: figures, refined tables."""
    for entry in entries:
        if "<img" not in drawn[entry.name]:
            for path in (folder / "figures").glob(f"{entry.name}.*"):
                path.unlink()
    for path in [] if refined else list(folder.glob("table1_refined.*")):
        path.unlink()


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


def _results(found: Summary, refined: Summary | None) -> str:
    notes = "".join(f"<p class='soft'>{html.escape(said)}</p>" for said in tables.remarks(found))
    shown = (
        "<p>Errors of the prediction and overlaps of the waveforms that it stands for: "
        "extremes, quartiles and median over the test set. The network alone.</p>"
        + _table(tables.table_1(found), "two")
        + "<p>Waveforms in the tail:</p>"
        + _table(tables.counts_table(found))
        + notes
    )
    if refined:
        shown += (
            "<h3>Refined</h3><p>After a fit of each waveform, which begins at the network's "
            "answer. The paper's numbers are those of a network alone.</p>"
            + _table(tables.table_1(refined), "two")
            + _table(tables.counts_table(refined))
        )
    return shown


def _entry(folder: Path, entry: Entry, quick: bool) -> str:
    """A figure of the gallery, saved, as an HTML fragment; or why it is not there."""
    title, missing = f"<h3>{html.escape(entry.title)}</h3>", entry.missing
    if quick and entry.name in SLOW:
        missing = "Left out of a quick report: it asks for ten thousands of waveforms of its own."
    said = f"<p class='soft'>{html.escape(missing)}</p>" if missing else ""
    if entry.draw is None or (quick and entry.name in SLOW):
        return title + said
    return title + said + _figure(folder, entry.name, entry.draw(), entry.caption)


def _some(drawn: Mapping[str, str], wanted: Any) -> str:
    return "".join(body for name, body in drawn.items() if wanted(name))


def _tail(results: Results) -> str:
    return (
        "<p>The lowest overlaps with their parameters; all digits are in tail.csv.</p>"
        f"<details><summary>{min(tables.TAIL, len(results))} waveforms</summary>"
        + _table(tables.tail_table(results))
        + "</details>"
    )


def _training(folder: Path, records: Sequence[Mapping[str, Any]]) -> str:
    if not records:
        return ""
    said = "Loss of training and validation, and the learning rate."
    return _figure(folder, "training", figures.training_curve(records), said)


def _recipe(recipe: Mapping[str, Any]) -> str:
    text = html.escape(json.dumps(recipe, indent=2, default=str, ensure_ascii=False))
    return (
        "<p>Everything that made these numbers.</p>"
        f"<details open><summary>Recipe</summary><pre>{text}</pre></details>"
    )


def _page(result: Summary, noise: str, sections: Iterable[tuple[str, str]]) -> str:
    sections = list(sections)
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
        subtitle=html.escape(f"{result.total:,} test waveforms · {result.engine} · {noise}"),
        explorer=EXPLORER,
        contents="".join(
            f"<a href='#{_anchor(name)}'>{html.escape(name)}</a>" for name, _ in sections
        ),
        cards="".join(
            f"<div class='card{' bad' if bad else ''}'><b>{value}</b><span>{said}</span></div>"
            for value, said, bad in cards
        ),
        sections="".join(
            f"<section id='{_anchor(name)}'><h2>{html.escape(name)}</h2>{body}</section>"
            for name, body in sections
        ),
        footer=(
            f"Overlap: complex h22 over the whole time grid, {html.escape(noise)}, maximised over "
            f"time and phase; the paper's are in flat noise. Comparison: "
            f"{html.escape(PAPER_SOURCE)}. Made with hpc_gw."
        ),
    )


def _anchor(name: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in name.lower())


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
