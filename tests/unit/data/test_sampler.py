"""The order of samples: whole, reproducible, and the same on any number of ranks."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpc_gw.data.sampler import Sampler
from hpc_gw.data.sources import prefetch
from hpc_gw.errors import ConfigError


def test_an_epoch_uses_every_row_once():
    order = Sampler(rows=100, batch=10, seed=3).order(0)
    assert sorted(order) == list(range(100))


@given(st.integers(0, 50), st.integers(0, 5))
def test_the_order_is_a_function_of_seed_and_epoch(seed, epoch):
    first, again = Sampler(64, 8, seed), Sampler(64, 8, seed)
    assert np.array_equal(first.order(epoch), again.order(epoch))
    assert not np.array_equal(first.order(epoch), first.order(epoch + 1))


@pytest.mark.parametrize("size", [1, 2, 4])
def test_ranks_share_the_same_global_batches(size):
    sampler = Sampler(rows=96, batch=8, seed=1)
    order = sampler.order(2)
    for step in range(sampler.steps):
        parts = [sampler.part(order, step, rank, size) for rank in range(size)]
        assert np.array_equal(np.concatenate(parts), order[step * 8 : step * 8 + 8])


def test_short_epochs_go_on_in_the_permutation_where_the_last_one_ended():
    short = Sampler(rows=100, batch=10, seed=3, limit=4)
    whole = Sampler(rows=100, batch=10, seed=3)
    three = np.concatenate([short.order(epoch) for epoch in range(5)])
    assert np.array_equal(three, np.concatenate([whole.order(0), whole.order(1)]))


def test_a_batch_that_ranks_cannot_share_is_refused():
    sampler = Sampler(rows=100, batch=10, seed=0)
    with pytest.raises(ConfigError, match="multiple of 3"):
        sampler.part(sampler.order(0), 0, 0, 3)


def test_a_batch_larger_than_the_set_is_refused():
    with pytest.raises(ConfigError, match="only 5 rows"):
        Sampler(rows=5, batch=10, seed=0)


def test_prefetched_items_come_in_order():
    assert list(prefetch(iter(range(20)), 3)) == list(range(20))


def test_an_error_in_the_prefetching_thread_is_raised_to_the_reader():
    def items():
        yield 1
        raise ValueError("broken shard")

    made = prefetch(items(), 2)
    assert next(made) == 1
    with pytest.raises(ValueError, match="broken shard"):
        next(made)


def test_prefetching_stops_when_the_reader_does():
    made = []

    def items():
        for i in range(1000):
            made.append(i)
            yield i

    reader = prefetch(items(), 2)
    next(reader)
    reader.close()
    count = len(made)
    time.sleep(0.05)
    assert len(made) == count < 10
