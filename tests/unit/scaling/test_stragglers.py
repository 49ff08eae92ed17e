"""The expected slowest of many ranks."""

import numpy as np
import pytest

from hpc_gw.scaling.stragglers import expected_slowest


def test_one_rank_takes_the_mean():
    times = np.random.default_rng(0).gamma(4.0, size=500)
    assert expected_slowest(times, 1) == pytest.approx(times.mean(), rel=1e-12)


def test_ranks_that_never_differ_wait_for_nobody():
    assert expected_slowest(np.full(50, 2.0), 27_360) == pytest.approx(2.0)


def test_two_values_by_hand():
    # of N draws from {1, 2} all are 1 with 2^-N
    assert expected_slowest(np.array([1.0, 2.0]), 3) == pytest.approx(2 - 2**-3)


@pytest.mark.parametrize("ranks", [2, 8, 64])
def test_agrees_with_drawing(ranks):
    rng = np.random.default_rng(1)
    times = 1 + rng.exponential(0.05, 5000)
    drawn = (1 + rng.exponential(0.05, (20_000, ranks))).max(axis=1).mean()
    assert expected_slowest(times, ranks) == pytest.approx(drawn, rel=5e-3)


def test_an_exponential_tail_goes_on_beyond_the_sample():
    # E max of N exponentials of mean b is b H_N, whatever was seen
    times = np.random.default_rng(2).exponential(1.0, 2000)
    harmonic = np.sum(1 / np.arange(1, 27_361))
    assert times.max() < harmonic
    assert expected_slowest(times, 27_360) == pytest.approx(harmonic, rel=0.1)


def test_more_ranks_wait_longer():
    times = np.random.default_rng(3).normal(1.0, 0.02, 100)
    found = [expected_slowest(times, n) for n in (1, 2, 3, 10, 100, 1000, 27_360)]
    assert found == sorted(found)
