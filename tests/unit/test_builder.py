"""The surrogate's builder: design, interpolation, fits, held-out mismatch."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from hpc_gw.errors import MissingDependencyError, ParameterError
from hpc_gw.waveforms.builder import build, seobnr
from hpc_gw.waveforms.builder.design import TRAINING_BOX, held_out_points, training_points
from hpc_gw.waveforms.builder.fit import (
    T_ALIGN,
    empirical_interpolation,
    fit_node,
    fit_variables,
    phase_residual,
    sparse_times,
    taylor_t3,
)
from hpc_gw.waveforms.builder.heldout import evaluate_nodes, mismatch
from hpc_gw.waveforms.surrogate_file import DataPiece


def chirp(t: np.ndarray, shift: float = 0.0) -> np.ndarray:
    """An analytic inspiral: amplitude and phase of leading-order form."""
    tau = 40.0 - (t - shift)
    return tau**-0.25 * np.exp(2j * tau**0.625)


def test_training_points_are_seeded_and_nested() -> None:
    many = training_points(300, seed=3)
    np.testing.assert_array_equal(many, training_points(300, seed=3))
    np.testing.assert_array_equal(many[:200], training_points(200, seed=3))
    assert not np.array_equal(many, training_points(300, seed=4))


def test_training_points_fill_the_box_and_touch_its_corners() -> None:
    points = training_points(400, seed=1)
    low, high = np.array(TRAINING_BOX).T
    assert (points >= low).all()
    assert (points <= high).all()
    corners = np.isclose(points, low) | np.isclose(points, high)
    assert corners[:8].all()
    assert len(np.unique(points, axis=0)) == 400


def test_held_out_points_are_seeded_inside_the_domain_and_not_training_points() -> None:
    points = held_out_points(240, seed=1)
    np.testing.assert_array_equal(points, held_out_points(240, seed=1))
    assert not np.array_equal(points, held_out_points(240, seed=2))
    assert points[:, 0].min() >= 1
    assert points[:, 0].max() <= 8
    assert np.abs(points[:, 1:]).max() <= 0.8
    apart = np.abs(points[:, None] - training_points(1000, seed=1)).max(axis=2)
    assert apart.min() > 1e-6


def test_sparse_times_hold_alignment_peak_and_a_lead_of_eight() -> None:
    t, align_index = sparse_times()
    assert (np.diff(t) > 0).all()
    assert t[align_index] == T_ALIGN
    assert 0.0 in t
    assert (t < -10_000).sum() >= 8
    assert (t[0], t[-1]) == (-10_900, 137)


def test_a_cubic_spline_through_the_sparse_times_repeats_a_chirp() -> None:
    from scipy.interpolate import CubicSpline  # noqa: PLC0415

    t, _ = sparse_times()
    dense = np.linspace(-10_000, 30, 7001)

    def phase(times: np.ndarray) -> np.ndarray:
        return 4 * (60 - np.minimum(times, 59)) ** 0.625

    inner = t[t < 50]
    error = CubicSpline(inner, phase(inner), bc_type="natural")(dense) - phase(dense)
    assert np.abs(error).max() < 1e-6


def test_the_taylort3_term_is_what_a_leading_order_chirp_loses() -> None:
    t, align_index = sparse_times()
    rows = np.array([[1.0, 0.0, 0.0], [5.0, 0.3, -0.2]])
    nu = rows[:, 0] / (1 + rows[:, 0]) ** 2
    # phi = -2/(eta theta^5) with theta = (eta (t_ref - t)/5)^(-1/8), the paper's own variables
    theta = (nu[:, None] * (1000 - t) / 5) ** -0.125
    residual = phase_residual(-2 / (nu[:, None] * theta**5) + 7.0, rows, t, align_index)
    np.testing.assert_allclose(residual, 0, atol=1e-9)
    assert taylor_t3(t, align_index)[align_index] == 0


def test_fit_variables_follow_khan_2016() -> None:
    # chi_PN / (1 - 76 eta/113) of arXiv:1508.07253, equation 3, worked out at q = 2
    row = fit_variables(np.array([[2.0, 0.6, -0.3]]))[0]
    nu, effective = 2 / 9, (2 * 0.6 - 0.3) / 3
    chi_hat = (effective - 38 * nu / 113 * 0.3) / (1 - 76 * nu / 113)
    np.testing.assert_allclose(row, [np.log(2), chi_hat, 0.45], rtol=1e-14)
    # equal spins are their own effective spin
    np.testing.assert_allclose(fit_variables(np.array([[3.0, 0.5, 0.5]]))[0, 1:], [0.5, 0])


def test_interpolation_nodes_reproduce_the_basis_and_the_data() -> None:
    t = np.linspace(0, 1, 200)
    random = np.random.default_rng(0)
    data = random.normal(size=(40, 4)) @ np.stack([t**k for k in range(4)])
    for weights in (None, 0.1 + t):
        basis, nodes = empirical_interpolation(data, 4, weights)
        np.testing.assert_allclose(basis[:, nodes], np.eye(4), atol=1e-10)
        np.testing.assert_allclose(data[:, nodes] @ basis, data, atol=1e-9)
        assert (np.diff(nodes) > 0).all()


def test_a_fit_recovers_an_analytic_function() -> None:
    pytest.importorskip("sklearn", reason="the fits are scikit-learn's")

    def truth(rows: np.ndarray) -> np.ndarray:
        q, s1, s2 = rows.T
        return 3 + 2 * np.log(q) + np.sin(s1 + 0.5 * s2) * q**-0.5

    train, check = training_points(250, seed=0), held_out_points(100, seed=0)
    fit = fit_node(fit_variables(train), truth(train), np.arange(250))
    piece = DataPiece(np.ones((1, 2)), (fit,))
    found = evaluate_nodes(piece, fit_variables(check))[:, 0]
    assert np.abs(found - truth(check)).max() < 1e-3  # was 2e-5
    linear = fit_variables(check) @ fit.coef + fit.intercept
    assert np.abs(linear - truth(check)).max() > 1e-2  # the linear part alone is not enough


def test_mismatch_ignores_a_phase_and_a_shift_between_samples() -> None:
    t = -2000 + 0.1 * np.arange(20_000)
    window = np.exp(-(((t + 1000) / 300) ** 2))
    moved = np.exp(-(((t + 1000 - 1.234) / 300) ** 2))
    shifted = moved * chirp(t, 1.234) * np.exp(0.7j)
    assert abs(mismatch(window * chirp(t), shifted)) < 1e-10


def test_mismatch_sees_a_phase_error_of_known_size() -> None:
    # a phase error eps sin(w t) over a flat signal costs eps^2/4
    t = np.linspace(0, 1, 20_000, endpoint=False)
    h = np.exp(2j * np.pi * 50 * t)
    error = 1e-2 * np.sin(2 * np.pi * 8 * t)
    assert mismatch(h, h * np.exp(1j * error)) == pytest.approx(0.25e-4, rel=0.01)


def test_the_start_is_low_enough_for_the_duration_at_leading_order() -> None:
    omega = seobnr.starting_frequency(1.0, 0.0, 0.0)
    leading = 5 / (256 * 0.25) * omega ** (-8 / 3)
    assert leading == pytest.approx(seobnr.DURATION, rel=0.15)
    assert seobnr.starting_frequency(8.0, 0.8, 0.8) > omega  # slower inspiral: starts later


def test_finished_waveforms_are_not_computed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def fake(parameters: np.ndarray, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(tuple(parameters))
        return times + parameters[0], times * parameters[1]

    monkeypatch.setattr(seobnr, "waveform", fake)
    monkeypatch.setattr(seobnr, "require", lambda module, package: None)
    rows, t = held_out_points(4, seed=0), np.linspace(-1, 1, 5)
    with pytest.raises(KeyboardInterrupt):  # killed in the middle
        seobnr.cached_waveforms(rows, t, tmp_path, workers=1, label="test")
    assert len(list(tmp_path.iterdir())) == 2
    first, calls[:] = list(calls), []
    files = seobnr.cached_waveforms(rows, t, tmp_path, workers=1, label="test")
    assert first + calls == [tuple(row) for row in rows]
    for row, file in zip(rows, files, strict=True):
        amplitude, phase = seobnr.read_waveform(file)
        np.testing.assert_array_equal(amplitude, t + row[0])
        np.testing.assert_array_equal(phase, t * row[1])


def build_with(output: Path, **changes: int) -> None:
    settings = dict(points=20, held_out=1, phase_nodes=3, amplitude_nodes=3, seed=0, workers=1)
    build.build_surrogate(output, **(settings | changes))


def test_a_build_without_pyseobnr_names_the_install_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyseobnr", None)
    with pytest.raises(MissingDependencyError, match=r'pip install "hpc_gw\[nr\]"'):
        build_with(tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "wrong",
    [{"points": 2}, {"held_out": 0}, {"phase_nodes": 0}, {"seed": -1}, {"workers": 0}],
)
def test_a_build_of_impossible_size_is_refused(tmp_path: Path, wrong: dict[str, int]) -> None:
    with pytest.raises(ParameterError, match="must be >="):
        build_with(tmp_path, **wrong)


def test_a_small_build_writes_file_and_recipe(tmp_path: Path) -> None:
    pytest.importorskip("pyseobnr", reason="training waveforms come from pyseobnr")
    build_with(tmp_path, points=40)
    assert {file.name for file in tmp_path.iterdir()} == {
        "NRHybSur3dq8_embedded.h5",
        "NRHybSur3dq8_embedded.json",
        "waveforms",
    }
