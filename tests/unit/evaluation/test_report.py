"""The figures and the page: complete, labelled, offline and safe."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from hpc_gw.errors import DataError
from hpc_gw.evaluation import figures
from hpc_gw.evaluation.figures_sources import waveform_pairs
from hpc_gw.evaluation.records import Refined, Results, Valleys
from hpc_gw.evaluation.report import read_log, write_report

from .conftest import (
    ChirpEngine,
    grid_parameters,
    noisy_predictions,
    random_parameters,
    results_of,
)

Run = tuple[Results, ChirpEngine]


@pytest.fixture(scope="module", params=["scattered", "grid"])
def run(request: pytest.FixtureRequest) -> Run:
    scattered = request.param == "scattered"
    p = noisy_predictions(random_parameters(150) if scattered else grid_parameters())
    p.prediction[4] = np.nan
    engine = ChirpEngine()
    found = results_of(p, engine)
    n, zeros = len(p), np.zeros((len(p), 3))
    refined = Refined(p.row, p.truth[:, :3], np.full(n, 0.999_99), np.full(n, 5), np.arange(n) > 2)
    reach = np.abs(p.prediction[:, :3] - p.truth[:, :3]) + 0.01
    fisher = np.tile(np.eye(3), (n, 1, 1))
    valleys = Valleys(p.row, fisher, zeros + 0.5, np.ones((n, 2)), reach)
    whole = dataclasses.replace(found, refined=refined, valleys=valleys)
    return (found if scattered else whole), engine


@pytest.fixture(scope="module")
def page(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    results, engine = run
    folder = tmp_path_factory.mktemp("report")
    log = folder / "log.jsonl"
    log.write_text('{"epoch": 0, "step": 1, "loss": 2.0}\n{"epoch": 0, "step": 2, "val_loss": 1}\n')
    recipe = {"config": {"note": "<script>alert(1)</script> & more"}}
    return write_report(folder, results=results, engine=engine, recipe=recipe, log=log, quick=True)


def test_report_writes_tables_figures_and_pages(run: Run, page: Path) -> None:
    names = {path.name for path in page.parent.iterdir()} - {"log.jsonl"}
    endings = ("md", "tex", "json", "txt")
    tables = {f"table1.{ending}" for ending in endings}
    if run[0].refined is not None:
        tables |= {f"table1_refined.{ending}" for ending in endings}
    assert names == tables | {"tail.csv", "figures", "explorer.html", "report.html"}
    drawn = {path.name for path in (page.parent / "figures").iterdir()}
    for name in (
        "figure_01_waveform",
        "figure_02_sampling",
        "figure_07_speed_up",
        "figure_08_errors",
        "figure_09_overlap_by_q",
        "figure_10_overlap_maps",
        "figure_11_waveforms",
        "figure_12_low_overlaps",
        "worst_waveforms",
        "errors_at_edges",
        "training",
    ):
        assert {f"{name}.png", f"{name}.pdf"} <= drawn
    assert ("valley_maps.pdf" in drawn) == (run[0].valleys is not None)
    assert (page.parent / "figures" / "training.pdf").read_bytes().startswith(b"%PDF")


def test_a_quick_report_says_what_it_leaves_out(page: Path) -> None:
    assert not (page.parent / "figures" / "figure_05_degeneracy.png").exists()
    assert "Left out of a quick report" in page.read_text()


def test_page_needs_no_network(page: Path) -> None:
    text = page.read_text()
    assert not re.search(r"https?://", text)
    for reference in re.findall(r"(?:src|href)=['\"]([^'\"]*)", text):
        assert reference.startswith(("data:image/png;base64,", "#")) or reference == "explorer.html"
    assert "@import" not in text
    assert "url(" not in text


def test_page_escapes_what_it_was_given(page: Path) -> None:
    text = page.read_text()
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; more" in text
    assert "<analytic>" not in text
    assert "chirp &lt;analytic&gt;" in text


def test_page_is_well_formed_and_complete(page: Path) -> None:
    void = {"meta", "img", "br", "link"}

    class Checker(HTMLParser):
        open: list[str] = []  # noqa: RUF012

        def handle_starttag(self, tag: str, attrs: object) -> None:
            if tag not in void:
                self.open.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert self.open.pop() == tag

    text = page.read_text()
    checker = Checker()
    checker.open = []
    checker.feed(text)
    assert checker.open == []
    for heading in (
        "Results",
        "The paper&#x27;s figures",
        "Beyond the paper",
        "The tail",
        "Training",
        "Recipe",
    ):
        assert f"<h2>{heading}</h2>" in text
    assert "18,315" in text
    assert "failed" in text
    assert "$" not in re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)


def test_numbers_of_the_page_are_those_of_the_summary(page: Path) -> None:
    found = json.loads((page.parent / "table1.json").read_text())
    text = page.read_text()
    cut_off = math.floor(found["table"]["overlap"]["median"] * 1e4) / 1e4  # never rounded up
    assert f"<b>{cut_off:.4f}</b>" in text
    assert f"<td>{found['counts']['0.97']}</td>" in text
    assert found["failures"] == 1


def test_report_of_failures_alone_is_written(engine: ChirpEngine, tmp_path: Path) -> None:
    p = noisy_predictions(random_parameters(3))
    p.prediction[:] = np.nan
    page = write_report(
        tmp_path, results=results_of(p, engine), engine=engine, recipe={}, quick=True
    )
    assert "<b>3</b><span>failures" in page.read_text()


def test_report_of_one_waveform_without_a_log_has_no_learning_curve(
    engine: ChirpEngine, tmp_path: Path
) -> None:
    p = noisy_predictions(random_parameters(1))
    page = write_report(
        tmp_path, results=results_of(p, engine), engine=engine, recipe={}, quick=True
    )
    assert "worst_waveforms" in {p.stem for p in (tmp_path / "figures").iterdir()}
    assert "<h2>Training</h2>" not in page.read_text()


def test_report_of_nothing_is_refused(engine: ChirpEngine, tmp_path: Path) -> None:
    p = noisy_predictions(np.empty((0, 3)))
    with pytest.raises(DataError, match="no test waveforms"):
        write_report(tmp_path / "r", results=results_of(p, engine), engine=engine, recipe={})
    assert not (tmp_path / "r").exists()


def test_every_panel_has_labels(run: Run) -> None:
    results, engine = run
    p, o = results.predictions, results.overlaps
    pairs = waveform_pairs(p, o, engine, [0, 1])
    for figure in (
        figures.overlap_histogram(o.overlap),
        figures.overlap_by_q(p.truth[:, 0], o.overlap),
        figures.overlap_trend(p.truth[:, 0], o.overlap),
        figures.error_maps(p.truth, p.prediction),
        figures.overlap_maps(p.truth, o.overlap),
        figures.waveform_comparison(pairs),
        figures.waveform_gallery(pairs),
        figures.training_curve([{"step": 1, "loss": 1.0}, {"val_loss": 2.0}, {}]),
    ):
        visible = [ax for ax in figure.axes if ax.get_visible()]
        assert any(ax.get_xlabel() for ax in visible)
        assert any(ax.get_ylabel() for ax in visible)
        for ax in visible:  # an unlabelled side shows no numbers, or shares its neighbour's
            if not ax.get_xlabel() and ax.get_label() != "<colorbar>":
                shared = ax.get_shared_x_axes().get_siblings(ax)
                assert len(shared) > 1


def test_aligned_prediction_lies_on_the_truth(engine: ChirpEngine) -> None:
    p = noisy_predictions(random_parameters(5), scale=0.05)
    o = results_of(p, engine).overlaps
    assert np.abs(o.phi_c).max() > 0.3
    assert np.abs(o.t_c).max() > 0.3
    for i, pair in enumerate(waveform_pairs(p, o, engine, range(5))):
        middle = (pair.times > -800) & (pair.times < 0)
        a, b = pair.truth[middle], pair.prediction[middle]
        cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
        assert cosine > o.overlap[i] - 0.01


def test_drawing_leaves_the_callers_style_alone(run: Run) -> None:
    import matplotlib  # noqa: PLC0415

    before = dict(matplotlib.rcParams)
    figures.overlap_histogram(run[0].overlaps.overlap)
    assert dict(matplotlib.rcParams) == before


def test_a_log_cut_short_is_read_up_to_its_last_whole_line(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"step": 1}\n\n{"step": 2}\n{"st')
    assert read_log(path) == [{"step": 1}, {"step": 2}]


@pytest.mark.parametrize("text", ["no JSON\n{}\n", "[1]\n"])
def test_another_file_is_no_log(tmp_path: Path, text: str) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(text)
    with pytest.raises(DataError, match="line 1"):
        read_log(path)


def test_a_missing_log_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"log\.jsonl"):
        read_log(tmp_path / "log.jsonl")
