"""From predictions to overlaps through an engine."""

from __future__ import annotations

import numpy as np
import pytest

from hpc_gw.errors import ParameterError
from hpc_gw.evaluation.evaluate import clip, compute_overlaps, domain
from hpc_gw.evaluation.results import Predictions, join_overlaps

from .conftest import ChirpEngine, noisy_predictions, random_parameters, truths


def test_a_perfect_prediction_overlaps_fully(engine: ChirpEngine) -> None:
    p = truths(random_parameters(20))
    found = compute_overlaps(Predictions(np.arange(20), p, p), engine, progress=False)
    np.testing.assert_allclose(found.overlap, 1, atol=1e-6)
    np.testing.assert_allclose(found.t_c, 0, atol=0.01)
    np.testing.assert_allclose(found.phi_c, 0, atol=0.01)
    assert not found.clipped.any()
    assert found.engine == engine.name


def test_larger_errors_overlap_less(engine: ChirpEngine) -> None:
    parameters = random_parameters(60)
    medians = [
        np.median(
            compute_overlaps(noisy_predictions(parameters, s), engine, progress=False).overlap
        )
        for s in (0.001, 0.01, 0.1)
    ]
    assert medians[0] > 0.999 > medians[1] > medians[2]


def test_time_shift_is_in_units_of_total_mass() -> None:
    """The prediction's engine call comes 12.3 M later: a shift of +12.3."""

    class Late(ChirpEngine):
        def h22(self, parameters: np.ndarray) -> object:
            late = self.calls % 2 == 1  # truth first, prediction second
            times, self.times = self.times, self.times - (12.3 if late else 0.0)
            try:
                return super().h22(parameters)
            finally:
                self.times = times

    p = truths(np.array([[2.0, 0.1, 0.2]]))
    found = compute_overlaps(Predictions(np.arange(1), p, p), Late(), progress=False)
    assert found.t_c[0] == pytest.approx(12.3, abs=0.05)


def test_predictions_outside_the_domain_are_moved_to_its_edge_and_marked(
    engine: ChirpEngine,
) -> None:
    truth = truths(np.array([[1.0, 0.8, 0.0], [8.0, 0.0, -0.8], [4.0, 0.0, 0.0]]))
    answer = truths(np.array([[0.9, 0.95, 0.0], [9.0, 0.0, -2.0], [4.0, 0.0, 0.0]]))
    found = compute_overlaps(Predictions(np.arange(3), truth, answer), engine, progress=False)
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
    assert np.isfinite(compute_overlaps(p, Unbounded(), progress=False).overlap).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_prediction_that_is_not_finite_is_a_failure(engine: ChirpEngine, bad: float) -> None:
    p = noisy_predictions(random_parameters(40))
    p.prediction[5, 1] = bad
    p.prediction[16:32] = bad  # a whole batch
    found = compute_overlaps(p, engine, progress=False)
    failed = np.flatnonzero(np.isnan(found.overlap))
    assert failed.tolist() == [5, *range(16, 32)]
    assert np.isnan(found.t_c[failed]).all()
    assert not found.clipped[failed].any()


def test_parts_of_ranks_make_the_whole_at_any_batch_size(engine: ChirpEngine) -> None:
    p = noisy_predictions(random_parameters(41))
    whole = compute_overlaps(p, engine, progress=False)
    parts = [compute_overlaps(p, engine, batch=5, progress=False, part=(r, 3)) for r in range(3)]
    joined = join_overlaps(parts)
    np.testing.assert_array_equal(joined.row, whole.row)
    np.testing.assert_allclose(joined.overlap, whole.overlap, atol=1e-6)


def test_more_ranks_than_rows_leave_some_without_work(engine: ChirpEngine) -> None:
    p = noisy_predictions(random_parameters(2))
    sizes = [len(compute_overlaps(p, engine, progress=False, part=(r, 5))) for r in range(5)]
    assert sum(sizes) == 2


def test_an_impossible_part_is_refused(engine: ChirpEngine) -> None:
    with pytest.raises(ParameterError, match="rank < world"):
        compute_overlaps(noisy_predictions(random_parameters(2)), engine, part=(2, 2))


def test_clip_leaves_failures_alone() -> None:
    bounds = np.array([[1.0, 8.0], [-0.8, 0.8], [-0.8, 0.8]])
    rows = np.array([[0.5, 0.0, 0.0], [np.nan, 2.0, 0.0], [np.inf, 0.0, 0.0]])
    inside, moved = clip(rows, bounds)
    assert moved.tolist() == [True, False, False]
    assert inside[0].tolist() == [1.0, 0.0, 0.0]
    assert np.isnan(inside[1, 0])
    assert np.isinf(inside[2, 0])
