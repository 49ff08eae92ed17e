"""The figures: what is drawn are the numbers, failures are seen, and the gallery is complete."""

from __future__ import annotations

import csv
import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest
import torch

from hpc_gw.evaluation import axes as panel
from hpc_gw.evaluation import figures, figures_sources, tables
from hpc_gw.evaluation.figures_errors import edge_distance
from hpc_gw.evaluation.figures_scaling import paper_speed_up
from hpc_gw.evaluation.figures_sources import SPINS, SYSTEMS, Thinned, overlap_map
from hpc_gw.evaluation.gallery import Entry, gallery
from hpc_gw.evaluation.overlap import overlap
from hpc_gw.evaluation.records import Overlaps, Predictions, Refined, Results, Valleys

from .conftest import ChirpEngine, grid_parameters, noisy_predictions, random_parameters

PAPER = (1, 2, 5, 6, 7, 8, 9, 10, 11, 12)
"""Figures of the paper that show results."""


def results_of(p: Predictions, value: np.ndarray, *, full: bool = True) -> Results:
    """Results with given overlaps; the rest is made up."""
    n = len(p)
    rng = np.random.default_rng(3)
    o = Overlaps(
        p.row,
        value,
        np.where(np.isnan(value), np.nan, 1e-6),
        rng.normal(0, 0.2, n),
        rng.normal(0, 0.2, n),
        np.zeros(n, dtype=bool),
    )
    if not full:
        return Results(p, o)
    refined = Refined(p.row, p.truth[:, :3], np.sqrt(value), np.full(n, 7), np.arange(n) % 5 > 0)
    valleys = Valleys(
        p.row,
        np.tile(np.eye(3), (n, 1, 1)),
        np.tile([0.0, 0.0, 1.0], (n, 1)),
        np.full((n, 2), 0.1),
        rng.lognormal(-4, 1, (n, 3)),
    )
    return Results(p, o, refined, valleys)


def some_overlaps(n: int, low: int = 5) -> np.ndarray:
    """Overlaps of which ``low`` lie below 0.85, and the last is a failure."""
    value = 1 - np.geomspace(1e-6, 0.1, n)
    value[:low] = np.linspace(0.3, 0.8, low)
    value[-1] = np.nan
    return value


@pytest.fixture(scope="module", params=["scattered", "grid"])
def results(request: pytest.FixtureRequest) -> Results:
    grid = request.param == "grid"
    p = noisy_predictions(grid_parameters() if grid else random_parameters(150))
    p.prediction[-1] = np.nan
    return results_of(p, some_overlaps(len(p)))


def gridded(drawn: object) -> np.ndarray:
    return np.ma.filled(drawn.get_array(), np.nan)  # type: ignore[attr-defined]


def crosses(ax: object) -> int:
    """Points of a map that are drawn as failures."""
    return sum(
        len(c.get_offsets())
        for c in ax.collections  # type: ignore[attr-defined]
        if len(c.get_offsets()) and len(c.get_paths()) and c.get_linewidth()[0] > 1
    )


def test_a_whole_slice_is_drawn_as_its_cells() -> None:
    x, y = (a.ravel() for a in np.meshgrid(np.linspace(-1, 1, 5), np.linspace(0, 1, 4)))
    value = np.arange(20.0)
    value[7] = np.nan
    order = np.random.default_rng(0).permutation(20)
    ax = panel.new_figure(3, 3).subplots()
    drawn = panel.spin_map(ax, x[order], y[order], value[order])
    np.testing.assert_array_equal(gridded(drawn), value.reshape(4, 5))
    assert crosses(ax) == 1


@pytest.mark.parametrize("spoil", ["missing", "twice", "uneven"])
def test_what_is_no_whole_grid_is_drawn_as_points(spoil: str) -> None:
    x, y = (a.ravel() for a in np.meshgrid(np.linspace(-1, 1, 5), np.linspace(0, 1, 4)))
    if spoil == "missing":
        x, y = x[:-1], y[:-1]
    elif spoil == "twice":
        x[-1], y[-1] = x[0], y[0]
    else:
        x = x**3
    assert panel.as_grid(x, y, x) is None
    drawn = panel.spin_map(panel.new_figure(3, 3).subplots(), x, y, y)
    assert len(drawn.get_offsets()) == len(x)


def test_a_cell_shows_its_largest_value() -> None:
    x = np.tile(np.linspace(0, 1, 50), 4)
    y = np.repeat([0.1, 0.2, 0.4, 0.5], 50)
    value = np.random.default_rng(0).random(200)
    value[3] = np.nan
    drawn = panel.cell_map(panel.new_figure(3, 3).subplots(), x, y, value, bins=10)
    found = gridded(drawn).reshape(4, 10)
    for row in range(4):
        assert np.nanmax(found[row]) == np.nanmax(value[50 * row : 50 * row + 50])
    assert np.nanmin(found) >= np.nanmin(value)


def test_the_points_below_the_limit_are_those_drawn(results: Results) -> None:
    value = results.overlaps.overlap
    ax = figures.low_overlaps(results.predictions.truth, value).axes[0]
    below = int((value < 0.85).sum())
    beside, dots, *_ = ax.collections
    assert len(dots.get_offsets()) == below == 5
    assert crosses(ax) == 1  # the failure
    assert len(beside.get_offsets()) == int(((value >= 0.85) & (value <= 0.97)).sum())
    assert f"{below + 1} of {len(value)} below 0.85" in ax.get_title(loc="left")
    assert "181 of 197,516" in ax.get_title(loc="left")


def test_histograms_count_every_waveform(results: Results) -> None:
    figure = figures.overlap_by_q(results.predictions.truth[:, 0], results.overlaps.overlap)
    drawn = [sum(bar.get_height() for bar in ax.patches) for ax in figure.axes if ax.get_visible()]
    assert sum(drawn) == len(results)


def test_error_maps_show_the_errors() -> None:
    p = noisy_predictions(grid_parameters())
    p.prediction[10] = np.nan
    figure = figures.error_maps(p.truth, p.prediction, panels=3)
    error = np.abs(p.prediction - p.truth)
    for i in range(5):
        for j in range(3):
            found = gridded(figure.axes[3 * i + j].collections[0]).reshape(7, 7)
            wanted = error[49 * j : 49 * j + 49, i].reshape(7, 7).T  # s1 runs slowest in the rows
            np.testing.assert_array_equal(found, wanted)
    assert [crosses(ax) for ax in figure.axes[:3]] == [1, 0, 0]


def test_overlap_maps_show_each_slice() -> None:
    p = noisy_predictions(grid_parameters())
    value = some_overlaps(len(p))
    for figure in (figures.overlap_maps(p.truth, value), figures.overlap_slices(p.truth, value)):
        found = gridded(figure.axes[2].collections[0]).reshape(7, 7)
        np.testing.assert_array_equal(found, 1 - value[98:].reshape(7, 7).T)
        assert crosses(figure.axes[2]) == 1


def test_a_map_is_one_at_its_own_waveform(engine: ChirpEngine) -> None:
    s1, s2 = np.array([-0.5, 0.1, 0.4]), np.array([-0.4, 0.2])
    found = overlap_map(engine, (3.0, 0.4, -0.4), 3.0, s1, s2)
    assert found.shape == (3, 2)
    assert found[2, 0] == pytest.approx(1, abs=1e-6)
    assert found.max() == found[2, 0]
    assert found.min() < 0.99


def test_a_map_holds_the_overlaps(engine: ChirpEngine) -> None:
    point = (3.0, 0.4, -0.4)
    found = overlap_map(engine, point, 4.0, SPINS[::8], SPINS[::8])
    s1, s2 = np.meshgrid(SPINS[::8], SPINS[::8], indexing="ij")
    rows = np.stack([np.full(s1.size, 4.0), s1.ravel(), s2.ravel()], axis=1)
    one = engine.h22(np.array([point])).expand(len(rows), -1).contiguous()
    true = overlap(one, engine.h22(rows)).overlap.numpy().reshape(s1.shape)
    assert np.ptp(true) > 0.2
    exact = true > figures_sources.ROUGH + 3e-3
    assert exact.any()
    np.testing.assert_allclose(found[exact], true[exact], atol=1e-6)
    assert np.abs(found - true).max() < 3e-3  # whole samples; 1.5e-3 as measured for this chirp


def test_slices_hold_the_systems_own_mass_ratio_inside_the_domain(engine: ChirpEngine) -> None:
    for point in SYSTEMS:
        maps = figures_sources.spin_maps(engine, point, spins=SPINS[::11])
        assert point[0] in maps.q
        assert min(maps.q) >= 1
        assert max(maps.q) <= 8
        assert maps.overlap.shape == (3, 3 + 1, 3 + 1)


def test_an_effective_map_is_one_at_its_truth(engine: ChirpEngine) -> None:
    one = figures_sources.effective_map(engine, (1.0, 0.8, -0.8), shape=(6, 17))
    assert (one.eta[-1], one.sigma[8]) == (0.25, 0.0)
    assert one.overlap.shape == (6, 17)
    assert one.overlap[-1, 8] == pytest.approx(1, abs=1e-6)
    assert one.overlap.min() < 0.9


def test_an_effective_map_asks_for_waveforms_of_its_own_places() -> None:
    class Asked(ChirpEngine):
        def h22(self, parameters: np.ndarray | torch.Tensor) -> torch.Tensor:
            rows.append(np.asarray(parameters))
            return super().h22(parameters)

    rows: list[np.ndarray] = []
    one = figures_sources.effective_map(Asked(), (6.0, 0.4, -0.4), shape=(7, 8))
    q, s1, s2 = np.concatenate([part for part in rows if len(part) > 1]).T
    eta, sigma = q / (1 + q) ** 2, (q * s1 + s2) / (1 + q)
    assert np.abs(eta[:, None] - one.eta).min(axis=1).max() < 1e-9
    assert np.abs(sigma[:, None] - one.sigma).min(axis=1).max() < 1e-9
    assert len(q) >= 3 * 3 * 4


def test_the_zoom_into_sparse_sets_still_shows_points() -> None:
    points = random_parameters(500)
    corner = figures.sampling({"training": points, "test": points[:50]}).axes[2]
    assert sum(len(c.get_offsets()) for c in corner.collections) >= 100


def test_mass_ratio_inverts_eta() -> None:
    q = np.array([1.0, 1.04, 4.0, 8.0])
    np.testing.assert_allclose(figures_sources.mass_ratio(q / (1 + q) ** 2), q, rtol=1e-7)


def test_a_thinned_engine_drops_samples_alone(engine: ChirpEngine) -> None:
    thin = Thinned(engine, step=2.0)
    point = np.array([[2.0, 0.1, 0.2]])
    assert thin.times[1] - thin.times[0] == 2.0
    assert torch.equal(thin.h22(point), engine.h22(point)[:, ::4])


def test_sample_rows_are_the_highest_the_median_and_two_sigma_low() -> None:
    value = np.r_[np.full(96, 0.99), 0.9, 0.95, 0.2, np.nan, 0.999]
    high, middle, low = figures_sources.sample_rows(value) or (0, 0, 0)
    counted = np.nan_to_num(value)
    wanted = counted.mean() - 2 * counted.std()
    assert value[high] == 0.999
    assert value[middle] == 0.99
    assert abs(value[low] - wanted) == np.nanmin(np.abs(value - wanted))
    assert figures_sources.sample_rows(np.full(3, np.nan)) is None


def test_edges_are_near_where_a_face_is_near() -> None:
    truth = np.array([[8.0, 0, 0], [1.0, 0, 0], [2.0, 0.8, 0], [2.0, 0, -0.64]])
    np.testing.assert_allclose(edge_distance(truth), [0, 0.5, 0, 0.1], atol=1e-12)


def test_failures_widen_the_band_of_their_edge() -> None:
    p = noisy_predictions(random_parameters(400))
    q, far = p.truth[:, 0], p.truth[:, 0] > 7
    p.prediction[far] = np.nan
    value = np.where(far, np.nan, 0.99)
    ax = figures.errors_at_edges(p.truth, p.prediction, value).axes[1]
    median = ax.lines[0].get_ydata()
    assert ax.lines[0].get_xdata()[-1] > 6
    assert median[-1] == 10  # the top of the scale: without bound
    assert median[0] < 1
    assert q.max() > 7


def test_paper_points_are_drawn_without_ours_and_named_as_the_papers() -> None:
    figure = figures.speed_up()
    left, right = figure.axes
    labels = [line.get_label() for line in left.lines]
    assert all(label.startswith(("paper", "ideal")) for label in labels)
    points = {x: y for line in right.lines[:2] for x, y in zip(*line.get_data(), strict=True)}
    assert points[6144] == pytest.approx(80)
    assert points[64] == pytest.approx(100 * 720 / 12.4 / 64)
    assert len(paper_speed_up()) == 2


def test_our_points_are_drawn_beside_the_papers() -> None:
    figure = figures.speed_up({"H200": [(2, 1.9), (1, 1.0)]})
    line = figure.axes[0].lines[0]
    assert "H200" in line.get_label()
    np.testing.assert_array_equal(line.get_xydata(), [[1, 1], [2, 1.9]])


def test_curves_end_at_the_whole_set() -> None:
    value = np.r_[np.nan, np.linspace(0.9, 1, 5000)]
    ax = figures.mismatch_curves({"all": value, "few": value[:10]}).axes[0]
    for line in ax.lines:
        x, y = line.get_data()
        assert (x[0], y[-1]) == (1.0, 1.0)  # the failure counts as 0
        assert (np.diff(y) > 0).all()


def test_valleys_tell_how_many_errors_they_hold() -> None:
    error, reach = np.full((100, 3), 1e-2), np.full((100, 3), 1e-3)
    reach[:25] = 1e-1
    error[99] = np.nan
    figure = figures.errors_and_valleys(error, reach)
    assert "25.3 % of errors inside" in figure.axes[0].get_title(loc="left")
    assert "1 not drawn" in figure.axes[0].get_title(loc="left")


def test_the_tail_lists_failures_then_the_lowest(results: Results) -> None:
    table = tables.tail_table(results, 7)
    assert table.head == tables.TAIL_HEAD
    assert [row[1] for row in table.rows[:3]] == ["failed", "0.3000", "0.4250"]
    assert tables.tail_table(dataclasses.replace(results, refined=None)).head[-1] == "clipped"
    assert len(tables.tail_table(results).rows) == tables.TAIL


def test_the_csv_holds_every_digit(results: Results) -> None:
    rows = list(csv.DictReader(io.StringIO(tables.tail_csv(results, 9))))
    place = tables.tail_rows(results, 9)
    p, o = results.predictions, results.overlaps
    assert [int(row["row"]) for row in rows] == p.row[place].tolist()
    np.testing.assert_array_equal([float(r["overlap"]) for r in rows], o.overlap[place])
    np.testing.assert_array_equal([float(r["predicted s2"]) for r in rows], p.prediction[place, 2])
    np.testing.assert_array_equal([float(r["s1"]) for r in rows], p.truth[place, 1])


def entries(results: Results, **more: object) -> dict[str, Entry]:
    small = {"training": random_parameters(60), "test": results.predictions.truth[:, :3]}
    found = list(gallery(results, ChirpEngine(), sets=small, **more))  # type: ignore[arg-type]
    assert len({entry.name for entry in found}) == len(found)
    return {entry.name: entry for entry in found}


def test_the_gallery_has_every_figure_of_the_paper_in_its_order(results: Results) -> None:
    names = [name for name in entries(results) if name.startswith("figure_")]
    numbers = [int(name.split("_")[1]) for name in names]
    assert numbers == sorted(numbers)
    assert set(numbers) == set(PAPER)


def test_every_figure_is_drawn_labelled_and_saved(
    results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures_sources, "SPINS", SPINS[::11])
    monkeypatch.setattr(
        figures_sources.spin_maps, "__kwdefaults__", {"spins": SPINS[::11], "step": 0.16}
    )
    monkeypatch.setattr(
        figures_sources.effective_map, "__kwdefaults__", {"shape": (4, 5), "every": 3}
    )
    more = {"scaling": {"two": [(1, 1.0), (2, 1.8)]}, "engines": {"a": results.overlaps.overlap}}
    for entry in entries(results, **more).values():
        assert entry.draw is not None
        assert entry.missing == ""
        assert entry.title
        assert entry.caption.endswith(".")
        figure = entry.draw()
        visible = [ax for ax in figure.axes if ax.get_visible()]
        assert any(ax.get_xlabel() for ax in visible)
        assert any(ax.get_ylabel() for ax in visible)
        if len(results) == 150:  # the layout takes the time
            figure.draw_without_rendering()
        if entry.name == "figure_12_low_overlaps":
            for image in figures.save(figure, tmp_path, entry.name):
                assert 5000 < image.stat().st_size < 2_000_000


def test_the_gallery_says_what_is_missing_and_why(results: Results) -> None:
    found = entries(results_of(results.predictions, results.overlaps.overlap, full=False))
    lacking = {name for name, entry in found.items() if entry.draw is None}
    assert lacking == {
        "overlaps_by_engine",
        "refined_overlaps",
        "valley_maps",
        "errors_and_valleys",
    }
    assert all(found[name].missing for name in lacking)
    scaling = found["figure_07_speed_up"]
    assert scaling.draw is not None
    assert "paper's points alone" in scaling.missing


def test_a_test_set_of_failures_alone_is_drawn(engine: ChirpEngine) -> None:
    p = noisy_predictions(random_parameters(3))
    p.prediction[:] = np.nan
    found = entries(results_of(p, np.full(3, np.nan)))
    for name, entry in found.items():
        if "degeneracy" in name:  # of the engine alone
            continue
        assert (entry.draw is None) == bool(entry.missing) or name == "figure_07_speed_up"
        if entry.draw is not None:
            figures.save(entry.draw(), Path("/nonexistent"), name, ())
    assert found["figure_11_waveforms"].missing == "Every prediction failed."


def test_aligned_prediction_keeps_its_parameters(engine: ChirpEngine) -> None:
    p = noisy_predictions(random_parameters(2))
    r = results_of(p, np.array([0.9, 0.99]))
    pair = figures_sources.waveform_pairs(p, r.overlaps, engine, [1])[0]
    assert pair.parameters == pytest.approx(p.truth[1, :3])
    assert pair.answer == pytest.approx(p.prediction[1, :3])
    table = figures.waveform_table([[pair]], ["highest"])
    title = table.axes[0].get_title(loc="left")
    assert "overlap 0.9900" in title
    assert f"q={p.truth[1, 0]:.3f}" in title
    assert f"q={p.prediction[1, 0]:.3f}" in title
