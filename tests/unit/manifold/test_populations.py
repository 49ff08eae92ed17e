"""Grids and draws: the paper's counts, and row id <-> parameters by arithmetic."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpc_gw.config import build
from hpc_gw.errors import ConfigError, ParameterError
from hpc_gw.manifold.populations import Axis, DrawsConfig, GridConfig, shared_point

# first and last row as the paper states them
PAPER = {
    "train": ((88, 134, 134), 1_580_128, (1.0, -0.8, -0.8), (7.96, 0.796, 0.796)),
    "test": ((44, 67, 67), 197_516, (1.04, -0.794, -0.794), (7.92, 0.79, 0.79)),
    "validation": ((43, 66, 66), 187_308, (1.12, -0.782, -0.782), (7.84, 0.778, 0.778)),
}


@pytest.mark.parametrize("split", PAPER)
def test_the_papers_grids_have_its_shape_and_ends(split):
    grid = GridConfig(split=split)
    shape, size, first, last = PAPER[split]
    assert grid.shape == shape and grid.size == size
    assert np.allclose(grid.parameters([0, size - 1]), [first, last], atol=1e-12)


@pytest.mark.parametrize("split", PAPER)
def test_every_row_of_the_grid_comes_back_from_its_parameters(split):
    grid = GridConfig(split=split)
    rows = np.arange(grid.size)
    assert (grid.rows(grid.parameters(rows)) == rows).all()


def test_the_three_splits_share_no_point():
    points = {
        split: {tuple(p) for p in np.round(GridConfig(split=split).parameters(rows), 6)}
        for split, rows in (
            ("train", np.arange(0, 1_580_128, 97)),
            ("test", np.arange(197_516)),
            ("validation", np.arange(187_308)),
        )
    }
    assert not points["test"] & points["validation"]
    train = GridConfig(split="train")
    for split in ("test", "validation"):
        with pytest.raises(ParameterError):
            train.rows(np.array([next(iter(points[split]))]))
    assert not points["train"] & (points["test"] | points["validation"])


@pytest.mark.parametrize("pair", list(combinations(PAPER, 2)), ids="-".join)
def test_the_papers_splits_share_no_value_of_any_axis(pair):
    one, other = (GridConfig(split=split) for split in pair)
    for mine, others in zip(one.axes, other.axes, strict=True):
        assert np.abs(mine.values()[:, None] - others.values()).min() > 0.005
    assert shared_point(one, other) is None and shared_point(other, one) is None


S1, S2 = Axis(0, 0.1, 3), Axis(-0.5, 0.25, 5)


def grid(q, s1=S1, s2=S2):
    return GridConfig(split="custom", q=q, s1=s1, s2=s2)


POINT = dict(s1=(0.1, 0.1), s2=(0.0, 0.0))


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (GridConfig(split="test"), GridConfig(split="test", stride=(4, 6, 6))),
        (grid(Axis(1, 0.1, 20)), grid(Axis(1.3, 0.7, 2), s1=Axis(0.2 + 5e-10, 1, 1))),
        (grid(Axis(2, 0, 1)), grid(Axis(1, 1, 9))),
        (DrawsConfig(count=10, seed=3), DrawsConfig(count=2000, seed=3)),
        (DrawsConfig(seed=3, q=(2, 2), **POINT), DrawsConfig(seed=4, q=(2, 2), **POINT)),
        (DrawsConfig(seed=3, q=(1.5, 1.5), **POINT), grid(Axis(1, 0.1, 20))),
    ],
)
def test_a_shared_point_is_found_from_either_side(a, b):
    for one, other in ((a, b), (b, a)):
        point = shared_point(one, other)
        assert all(isinstance(x, float) for x in point)
        for population in (one, other):
            rows = np.arange(min(population.size, 200_000))
            near = np.abs(population.parameters(rows) - point).max(1)
            assert near.min() < 1e-9


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (grid(Axis(1, 0.1, 20)), grid(Axis(1.05, 0.1, 20))),
        (grid(Axis(1, 0.1, 20)), grid(Axis(1, 0.1, 20), s2=Axis(-0.4, 0.25, 3))),
        (grid(Axis(1, 0.1, 20)), grid(Axis(3, 0.1, 20))),
        (DrawsConfig(seed=3), DrawsConfig(seed=4)),
        (DrawsConfig(seed=3), DrawsConfig(seed=3, s2=(-0.8, 0.7))),
        (DrawsConfig(seed=3), DrawsConfig(seed=3, q=(2, 2))),
        (DrawsConfig(seed=3, q=(3, 3), **POINT), DrawsConfig(seed=3, q=(2, 2), **POINT)),
        (DrawsConfig(seed=3), GridConfig(split="train", stride=(8, 8, 8))),
        (DrawsConfig(q=(1.5, 1.5)), grid(Axis(1, 0.1, 20))),
        (DrawsConfig(q=(1.55, 1.55), **POINT), grid(Axis(1, 0.1, 20))),
    ],
)
def test_no_point_is_found_where_none_is_shared(a, b):
    assert shared_point(a, b) is None and shared_point(b, a) is None
    points = [p.parameters(np.arange(min(p.size, 5000))) + 0.0 for p in (a, b)]
    assert not {tuple(x) for x in points[0]} & {tuple(x) for x in points[1]}


@given(st.data())
def test_grids_share_a_point_if_and_only_if_brute_force_finds_one(data):
    # Steps of tenths in tenths: equal values differ by rounding only, others by 0.1.
    def axis(low):
        start, step, count = (data.draw(st.integers(*ends)) for ends in ((0, 9), (1, 4), (1, 5)))
        return Axis(low + start / 10, step / 10, count)

    a, b = (grid(axis(1), axis(-0.5), axis(-0.5)) for _ in range(2))
    points = [{tuple(np.rint(10 * x)) for x in p.parameters(np.arange(p.size))} for p in (a, b)]
    common = points[0] & points[1]
    found = shared_point(a, b)
    assert (tuple(np.rint(10 * np.array(found))) in common) if found else not common


def test_test_points_are_midpoints_of_training_intervals():
    train, test = GridConfig(split="train"), GridConfig(split="test")
    for fine, coarse in zip(train.axes, test.axes, strict=True):
        offset = (coarse.values() - fine.start) / fine.step
        assert np.allclose(offset % 1, 0.5, atol=1e-9)
        assert np.allclose(np.diff(offset), 2)


@given(st.tuples(*[st.integers(1, 20)] * 3))
def test_a_coarser_grid_is_a_subset_of_the_split(stride):
    coarse, whole = GridConfig(split="test", stride=stride), GridConfig(split="test")
    points = coarse.parameters(np.arange(min(coarse.size, 500)))
    assert np.allclose(whole.parameters(whole.rows(points)), points, atol=1e-9)


def test_a_custom_grid_has_the_axes_that_it_is_given():
    axes = dict(q=Axis(1, 0.5, 3), s1=Axis(0, 1, 1), s2=Axis(-0.5, 0.25, 5))
    grid = GridConfig(split="custom", **axes)
    assert grid.shape == (3, 1, 5)
    # s2 varies fastest: row 7 = q index 1, s2 index 2
    assert grid.parameters([7]).tolist() == [[1.5, 0.0, 0.0]]


def test_draws_are_a_function_of_seed_and_row():
    draws = DrawsConfig(count=1000, seed=5)
    whole = draws.parameters(np.arange(1000))
    scattered = np.array([999, 3, 3, 500])
    assert (draws.parameters(scattered) == whole[scattered]).all()
    assert not np.isclose(DrawsConfig(count=1000, seed=6).parameters([3]), whole[3]).any()


def test_draws_fill_the_manifold_uniformly():
    points = DrawsConfig(count=40_000, seed=1).parameters(np.arange(40_000))
    unit = (points - [1, -0.8, -0.8]) / [7, 1.6, 1.6]
    assert unit.min() >= 0 and unit.max() < 1
    # mean of N uniforms: 1/2 +- 1/sqrt(12 N); correlation of N pairs: 0 +- 1/sqrt(N)
    assert np.abs(unit.mean(0) - 0.5).max() < 5 / np.sqrt(12 * 40_000)
    correlation = np.corrcoef(unit.T) - np.eye(3)
    assert np.abs(correlation).max() < 5 / np.sqrt(40_000)


def test_the_generator_is_splitmix64():
    # Published test vector of SplitMix64 with seed 1234567 (Vigna's reference code).
    from hpc_gw.manifold.populations import _GAMMA, _mix  # noqa: PLC0415

    with np.errstate(over="ignore"):
        state = np.array([1234567], dtype=np.uint64) + _GAMMA
        assert _mix(state)[0] == 6457827717110365317
        assert _mix(state + _GAMMA)[0] == 3203168211198807973


@pytest.mark.parametrize("rows", [[-1], [1000], [0, 5000]])
def test_a_row_outside_the_set_is_refused(rows):
    with pytest.raises(ParameterError, match=r"0 \.\.\. 999"):
        DrawsConfig(count=1000).parameters(np.array(rows))


@pytest.mark.parametrize(
    ("mapping", "words"),
    [
        ({"splt": "train"}, "did you mean 'split'"),
        ({"split": "custom"}, "axes"),
        ({"split": "train", "stride": [0, 1, 1]}, ">= 1"),
    ],
)
def test_an_impossible_grid_is_refused_in_one_line(mapping, words):
    with pytest.raises(ConfigError) as caught:
        build(GridConfig, mapping)
    assert words in str(caught.value) and "\n" not in str(caught.value)
