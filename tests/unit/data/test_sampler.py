"""The order of samples: whole, reproducible, and the same on any number of ranks."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpc_gw.config import build
from hpc_gw.data.sampler import Sampler, ShuffleConfig
from hpc_gw.data.streams import prefetch
from hpc_gw.errors import ConfigError
from hpc_gw.manifold.populations import GridConfig

KINDS = [ShuffleConfig(), ShuffleConfig(kind="runs", run=4, lanes=4, window=4)]
both = pytest.mark.parametrize("shuffle", KINDS, ids=lambda s: s.kind)


@both
def test_an_epoch_uses_every_row_once(shuffle):
    order = Sampler(rows=96, batch=8, seed=3, shuffle=shuffle).order(0)
    assert sorted(order) == list(range(96)) and order.dtype == np.int64


@both
@given(seed=st.integers(0, 50), epoch=st.integers(0, 5))
def test_the_order_is_a_function_of_seed_and_epoch(shuffle, seed, epoch):
    first, again = (Sampler(64, 8, seed, shuffle=shuffle) for _ in range(2))
    assert np.array_equal(first.order(epoch), again.order(epoch))
    assert not np.array_equal(first.order(epoch), first.order(epoch + 1))
    assert not np.array_equal(first.order(epoch), Sampler(64, 8, seed + 1).order(epoch))


def test_a_global_pass_is_numpys_permutation():
    wanted = np.random.default_rng([7, 3]).permutation(1000)
    assert np.array_equal(Sampler(1000, 30, 7).order(3), wanted[:990])


@both
@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_ranks_share_the_same_global_batches(shuffle, size):
    sampler = Sampler(rows=96, batch=8, seed=1, shuffle=shuffle)
    order = sampler.order(2)
    for step in range(sampler.steps):
        parts = [sampler.part(order, step, rank, size) for rank in range(size)]
        assert np.array_equal(np.concatenate(parts), order[step * 8 : step * 8 + 8])


@both
@pytest.mark.parametrize("excluded", [(), (3, 50, 51)])
def test_short_epochs_go_on_in_the_pass_where_the_last_one_ended(shuffle, excluded):
    short = Sampler(103, 8, seed=3, limit=5, excluded=excluded, shuffle=shuffle)
    whole = Sampler(103, 8, seed=3, excluded=excluded, shuffle=shuffle)
    assert (short.steps, whole.steps) == (5, 12)
    parts = np.concatenate([short.order(epoch) for epoch in range(5)])
    passes = np.concatenate([whole.order(epoch) for epoch in range(3)])
    assert np.array_equal(parts, passes[: 25 * 8])


def test_a_batch_that_ranks_cannot_share_is_refused():
    sampler = Sampler(rows=100, batch=10, seed=0)
    with pytest.raises(ConfigError, match="multiple of 3"):
        sampler.part(sampler.order(0), 0, 0, 3)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (dict(rows=5), "only 5 rows;"),
        (dict(rows=12, excluded=(1, 2, 2, 3)), r"only 9 rows left \(3 are excluded\)"),
        (dict(rows=20, excluded=(20,)), r"row 20: the set has rows 0 \.\.\. 19"),
        (dict(rows=20, excluded=np.array([-1])), r"row -1: the set has rows"),
        (dict(rows=99, shuffle=ShuffleConfig("runs", lanes=4)), "a multiple of 4"),
        (dict(rows=99, shuffle=ShuffleConfig("runs", 2, 5, 3)), "5 x 3 x 2 = 30 rows"),
    ],
)
def test_a_set_that_cannot_be_dealt_is_refused_in_one_line(arguments, words):
    batch = 20 if "30 rows" in words else 10
    with pytest.raises(ConfigError, match=words) as caught:
        Sampler(batch=batch, seed=0, **arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("field", ["run", "lanes", "window"])
def test_a_shuffle_of_nothing_is_refused(field):
    with pytest.raises(ConfigError, match=f"{field} = 0"):
        build(ShuffleConfig, {"kind": "runs", field: 0})


@st.composite
def samplers(draw):
    """Samplers of either kind with some rows excluded."""
    run, lanes, window = (draw(st.integers(1, n)) for n in (9, 6, 7))
    each = draw(st.sampled_from([n for n in range(1, window * run + 1) if window * run % n == 0]))
    rows = draw(st.integers(lanes * each, 4 * lanes * window * run + 50))
    spare = rows - lanes * each
    excluded = draw(st.lists(st.integers(0, rows - 1), max_size=min(spare, 40)))
    shuffle = ShuffleConfig(draw(st.sampled_from(["global", "runs"])), run, lanes, window)
    limit = draw(st.integers(0, 5))
    return Sampler(rows, lanes * each, draw(st.integers(0, 9)), limit, tuple(excluded), shuffle)


@given(samplers())
def test_no_row_comes_twice_in_a_pass_nor_one_that_is_excluded(sampler):
    kept = np.setdiff1d(np.arange(sampler.rows), sampler.excluded)
    whole = kept.size // sampler.batch
    epochs = -(-2 * whole // sampler.steps)
    order = np.concatenate([sampler.order(epoch) for epoch in range(epochs)])
    assert order.size == epochs * sampler.steps * sampler.batch
    for number in range(2):
        once = order[number * whole * sampler.batch :][: whole * sampler.batch]
        assert np.unique(once).size == once.size
        assert np.isin(once, kept).all()
    assert kept.size - whole * sampler.batch < sampler.batch  # so many rows are left over


@given(samplers(), st.integers(0, 4), st.data())
def test_blocks_are_the_steps_in_order_cut_at_block_boundaries(sampler, epoch, data):
    first = data.draw(st.integers(0, sampler.steps))
    ranges = list(sampler.blocks(epoch, first))
    assert [step for steps in ranges for step in steps] == list(range(first, sampler.steps))
    whole = (sampler.rows - np.unique(sampler.excluded).size) // sampler.batch
    places = [divmod(epoch * sampler.steps + step, whole) for step in range(sampler.steps)]
    names = [(number, place // sampler.block_steps) for number, place in places]
    assert all(len({names[step] for step in steps}) == 1 for steps in ranges)
    met = [names[steps[0]] for steps in ranges]
    assert len(set(met)) == len(met)  # no block is cut but by its ends, first, or the epoch


def test_a_resumed_epoch_reads_the_rest_of_its_block():
    runs = Sampler(1000, 16, 0, shuffle=ShuffleConfig("runs", run=8, lanes=4, window=4))
    assert runs.block_steps == 8 and runs.steps == 62
    assert list(runs.blocks(0, 50)) == [range(50, 56), range(56, 62)]
    assert list(Sampler(1000, 16, 0).blocks(0, 59)) == [range(n, n + 1) for n in (59, 60, 61)]


def test_blocks_of_short_epochs_end_with_the_pass():
    # 103 rows: a pass is 12 batches of 8, a block of 8 and one of 4; an epoch is 5 batches.
    runs = Sampler(103, 8, 0, limit=5, shuffle=KINDS[1])
    assert runs.block_steps == 8
    assert list(runs.blocks(0)) == [range(0, 5)]
    assert list(runs.blocks(1)) == [range(0, 3), range(3, 5)]
    assert list(runs.blocks(2)) == [range(0, 2), range(2, 5)]


def stretches(places, size):
    """Lengths of the stretches of consecutive places on a circle of ``size``."""
    inside = np.zeros(size, dtype=bool)
    inside[places] = True
    inside = np.roll(inside, -np.flatnonzero(~inside)[0])  # none crosses the end now
    edges = np.flatnonzero(np.diff(inside, prepend=False, append=False))
    return edges[1::2] - edges[::2]


@pytest.mark.parametrize("size", [1, 2, 4])
@pytest.mark.parametrize("excluded", [(), tuple(range(5, 900, 17))])
def test_every_rank_reads_whole_runs(size, excluded):
    shuffle = ShuffleConfig("runs", run=8, lanes=4, window=5)
    sampler = Sampler(1500, 16, 2, excluded=excluded, shuffle=shuffle)
    kept = np.setdiff1d(np.arange(1500), excluded)
    for epoch in range(5):
        order = sampler.order(epoch)
        for steps in sampler.blocks(epoch):
            for rank in range(size):
                rows = np.concatenate([sampler.part(order, s, rank, size) for s in steps])
                lengths = stretches(np.searchsorted(kept, rows), kept.size)
                assert lengths.sum() == rows.size == len(steps) * 16 // size
                if len(steps) == sampler.block_steps:
                    assert (lengths % 8 == 0).all()
                else:  # what is left: cut at the ends of lanes, and the last run is short
                    assert lengths.size <= rows.size / 8 + 4 // size + 2


def runs_of(order, sampler):
    """The number of the run of each row of a pass, where the set is whole blocks.

    A row without its predecessor in the first block starts a run there.
    """
    block = order[: sampler.shuffle.block]
    starts = block[~np.isin((block - 1) % sampler.rows, block)]
    assert np.unique(starts % sampler.shuffle.run).size == 1
    return (order - starts[0]) % sampler.rows // sampler.shuffle.run


B, LANES, WINDOW, RUN = 32, 4, 4, 8
MIX = ShuffleConfig("runs", run=RUN, lanes=LANES, window=WINDOW)
CHANCE = (RUN - 1) / (WINDOW * RUN - 1)  # that another row of a lane is of the same run


def test_a_block_is_runs_from_the_whole_set():
    sampler = Sampler(8192, B, 0, shuffle=MIX)
    blocks = runs_of(sampler.order(0), sampler).reshape(-1, MIX.block)
    for block in blocks:
        assert (np.unique(block, return_counts=True)[1] == RUN).all()
    # The place of a block's middle in the set, were its 16 runs drawn from all 1024.
    spread = blocks.mean(1).std(ddof=1) / (1024 / np.sqrt(12 * 16))
    assert abs(spread - 1) < 4 / np.sqrt(2 * len(blocks))


def test_rows_of_a_run_meet_in_a_batch_only_by_the_chance_of_their_lane():
    sampler = Sampler(1024, B, 0, shuffle=MIX)
    pairs = []
    for epoch in range(300):
        batches = np.sort(runs_of(sampler.order(epoch), sampler).reshape(-1, B))
        counts = (batches[:, :, None] == batches[:, None, :]).sum((1, 2))
        pairs.append((counts - B).mean() / 2)
    each = B // LANES
    wanted = LANES * each * (each - 1) / 2 * CHANCE
    assert abs(np.mean(pairs) - wanted) < 4 * np.std(pairs) / np.sqrt(len(pairs))


def variances(sampler, values, passes):
    """The squared error of the batch means, averaged over each pass, float (passes,)."""
    means = [values[sampler.order(p)].reshape(-1, sampler.batch).mean(1) for p in range(passes)]
    return ((np.array(means) - values.mean()) ** 2).mean(1)


def expected(values, each):
    """Variance of the mean of B rows of MIX, ``each`` of a lane, exact for whole blocks.

    Two rows of a run at distance d (2 (k - d) ordered pairs of them) have the covariance of
    the values at that distance on the circle; two rows of different runs have what is left, as
    all rows sum to zero.
    """
    f, M = values - values.mean(), values.size
    same = sum(2 * (RUN - d) * (f * np.roll(f, d)).mean() for d in range(1, RUN))
    same /= RUN * (RUN - 1)
    different = -((f**2).mean() + (RUN - 1) * same) / (M - RUN)
    met = (each - 1) * CHANCE
    return ((f**2).mean() + met * same + (B - 1 - met) * different) / B


@pytest.mark.parametrize("stretch", [1, RUN, 16 * RUN])
def test_batch_means_vary_as_the_chance_of_the_lanes_has_it(stretch):
    values = np.repeat(np.random.default_rng(5).normal(size=4096 // stretch), stretch)
    passes = 500
    means = variances(Sampler(4096, B, 1, shuffle=MIX), values, passes)
    error = means.std(ddof=1) / np.sqrt(passes)
    each = B // LANES
    assert abs(means.mean() - expected(values, each)) < 4 * error
    # Never above the worst case that ShuffleConfig states (here 2.58), and next to it for
    # values that are constant over many runs.
    bound = (1 + (each - 1) * CHANCE) * values.var() / B
    assert means.mean() < bound + 4 * error
    assert stretch != 16 * RUN or means.mean() > 0.9 * bound
    # The comparison tells a global shuffle from this one wherever neighbours are alike.
    mixed = variances(Sampler(4096, B, 1), values, passes)
    told = abs(mixed.mean() - expected(values, each)) > 4 * error
    assert told == (stretch > 1)


@pytest.mark.parametrize("window", [64, 8])
def test_batches_of_the_papers_grid_are_mixed_nearly_as_well_as_globally(window):
    grid = GridConfig(split="train", stride=(8, 8, 8))
    points = grid.parameters(np.arange(grid.size))
    shuffle = ShuffleConfig("runs", run=4, lanes=16, window=window)
    runs, mixed = Sampler(grid.size, 64, 3, shuffle=shuffle), Sampler(grid.size, 64, 4)
    # 4 rows of a lane in each batch, 3 others in a run; the last block of a pass is shorter.
    sizes = np.array([len(steps) for steps in runs.blocks(0)])
    bound = np.average(1 + 3 * 3 / (sizes * 4 - 1), weights=sizes)
    assert (window, round(bound, 2)) in [(64, 1.05), (8, 1.35)]
    for axis in points.T:
        # 49,000 batch means: 0.6% of error in each variance.
        ratio = variances(runs, axis, 1000).mean() / variances(mixed, axis, 1000).mean()
        assert 0.95 < ratio < bound + 0.03


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
