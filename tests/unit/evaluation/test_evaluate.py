"""From predictions to overlaps through an engine."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hpc_gw.errors import ParameterError
from hpc_gw.evaluation.evaluate import CERTIFIED, Judge, clip, compute_overlaps, domain
from hpc_gw.evaluation.overlap import overlap
from hpc_gw.evaluation.records import Predictions
from hpc_gw.manifold.physics import sigma_eff

from .conftest import ChirpEngine, judge_of, noisy_predictions, random_parameters, truths

BOX = np.array([[1.0, 8.0], [-0.8, 0.8], [-0.8, 0.8]])


def test_a_perfect_prediction_overlaps_fully(engine: ChirpEngine) -> None:
    p = truths(random_parameters(20))
    found = compute_overlaps(Predictions(np.arange(20), p, p), judge_of(engine))
    np.testing.assert_allclose(found.overlap, 1, atol=1e-6)
    np.testing.assert_allclose(found.t_c, 0, atol=0.01)
    np.testing.assert_allclose(found.phi_c, 0, atol=0.01)
    assert not found.clipped.any()
    assert judge_of(engine).name == engine.name


def test_larger_errors_overlap_less(engine: ChirpEngine) -> None:
    parameters = random_parameters(60)
    medians = [
        np.median(compute_overlaps(noisy_predictions(parameters, s), judge_of(engine)).overlap)
        for s in (0.001, 0.01, 0.1)
    ]
    assert medians[0] > 0.999 > medians[1] > medians[2]


def test_time_shift_is_in_units_of_total_mass() -> None:
    """The waveform of larger s2 comes 12.3 M later here: a shift of +12.3."""

    class Late(ChirpEngine):
        def h22(self, parameters: np.ndarray) -> object:
            late = 12.3 if parameters[0, 2] > 0.2 else 0.0
            return ChirpEngine(times=self.times - late).h22(parameters * [1, 1, 0])

    p = truths(np.array([[2.0, 0.1, 0.2], [2.0, 0.1, 0.3]]))
    engine = Late(times=np.arange(-1000.0, 130.0, 0.5))
    found = compute_overlaps(Predictions(np.arange(1), p[:1], p[1:]), judge_of(engine))
    assert found.t_c[0] == pytest.approx(12.3, abs=0.05)


def test_a_loose_bound_is_brought_down_on_finer_times() -> None:
    """A ringing at 1.8 rad/M: at 1.6 M just below Nyquist, at 0.1 M smooth."""

    class Ringing(ChirpEngine):
        def h22(self, parameters: np.ndarray) -> torch.Tensor:
            rate = 1 + 0.03 * parameters[:, 1:2]
            ring = np.exp(rate * (-1.8j * self.times - ((self.times - 10) / 8) ** 2))
            return super().h22(parameters) + 0.3 * torch.from_numpy(ring)

    engine = Ringing(times=np.arange(-1000.0, 130.0, 0.1))
    p = noisy_predictions(random_parameters(6))
    judge = judge_of(engine)
    found = compute_overlaps(p, judge)
    assert found.bound.max() <= CERTIFIED
    assert judge._compare(p.truth[:, :3], p.prediction[:, :3], judge.coarsest)[1].max() > CERTIFIED


def test_a_grid_of_unequal_steps_is_refused(engine: ChirpEngine) -> None:
    with pytest.raises(ParameterError, match="equally spaced"):
        Judge(lambda times: engine, np.array([0.0, 1.0, 3.0]))


def test_predictions_outside_the_domain_are_moved_to_its_edge_and_marked(
    engine: ChirpEngine,
) -> None:
    answer = truths(np.array([[0.9, 0.95, 0.0], [9.0, 0.0, -2.0], [4.0, 0.0, 0.0]]))
    truth = truths(clip(answer[:, :3], BOX)[0])
    found = compute_overlaps(Predictions(np.arange(3), truth, answer), judge_of(engine))
    assert found.clipped.tolist() == [True, True, False]
    np.testing.assert_allclose(found.overlap, 1, atol=1e-6)  # the edge is the truth here


def test_the_domain_is_physical_however_wide_the_engine() -> None:
    engine = ChirpEngine(bounds=np.array([[0.9, 9.0], [-2.0, 0.5], [-0.8, 0.8]]))
    assert domain(engine).tolist() == [[1.0, 9.0], [-1.0, 0.5], [-0.8, 0.8]]


def test_an_engine_without_bounds_gets_physical_parameters() -> None:
    class Unbounded(ChirpEngine):
        def __getattribute__(self, name: str) -> object:
            if name == "bounds":
                raise AttributeError(name)
            return super().__getattribute__(name)

        def h22(self, parameters: np.ndarray) -> object:
            assert parameters[:, 0].min() >= 1
            assert np.abs(parameters[:, 1:]).max() <= 1
            return ChirpEngine(times=self.times).h22(
                np.clip(parameters, [1, -0.8, -0.8], [8, 0.8, 0.8])
            )

    p = noisy_predictions(random_parameters(30), 0.5)
    assert np.isfinite(compute_overlaps(p, judge_of(Unbounded())).overlap).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_prediction_that_is_not_finite_is_a_failure(engine: ChirpEngine, bad: float) -> None:
    p = noisy_predictions(random_parameters(40))
    p.prediction[5, 1] = bad
    p.prediction[16:32] = bad  # a whole batch
    found = compute_overlaps(p, judge_of(engine))
    failed = np.flatnonzero(np.isnan(found.overlap))
    assert failed.tolist() == [5, *range(16, 32)]
    assert np.isnan(found.t_c[failed]).all()
    assert not found.clipped[failed].any()


def test_clip_leaves_failures_alone() -> None:
    bounds = np.array([[1.0, 8.0], [-0.8, 0.8], [-0.8, 0.8]])
    rows = np.array([[0.5, 0.0, 0.0], [np.nan, 2.0, 0.0], [np.inf, 0.0, 0.0]])
    inside, moved = clip(rows, bounds)
    assert moved.tolist() == [True, False, False]
    assert inside[0].tolist() == [1.0, 0.0, 0.0]
    assert np.isnan(inside[1, 0])
    assert np.isinf(inside[2, 0])


def test_an_answer_outside_is_moved_along_constant_sigma_eff():
    rows = np.array(
        [[4.0, 0.3, 0.95], [1.2, -0.9, 0.2], [8.1, 0.1, -0.2], [3.0, 0.5, 0.5], [2.0, 1.5, 1.2]]
    )
    found, moved = clip(rows, BOX)
    assert moved.tolist() == [True, True, True, False, True]
    assert np.array_equal(found[3], rows[3])
    assert found[4] == pytest.approx([2.0, 0.8, 0.8])  # no spins inside have its sigma_eff
    assert sigma_eff(*found[:3].T) == pytest.approx(sigma_eff(*rows[:3].T), abs=1e-12)
    assert found[:2, 1:] == pytest.approx(np.array([[0.3375, 0.8], [-0.8, 0.08]]))
    assert found[2, 0] == 8.0


def test_that_keeps_the_waveform_closer_than_the_nearest_point_does(paper_engine):
    """A small body's spin of 0.85 where only 0.8 can be had."""
    given = np.array([[6.0, 0.1, 0.79]])
    outside = given + np.array([[0.0, -0.01, 0.06]])  # the same sigma_eff
    near, plain = clip(outside, BOX)[0], np.clip(outside, BOX[:, 0], BOX[:, 1])
    truth = paper_engine.h22(given)
    lost = [1 - float(overlap(paper_engine.h22(x), truth).overlap[0]) for x in (near, plain)]
    assert lost[0] < 0.1 * lost[1]
