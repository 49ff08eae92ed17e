"""Streams of batches: what is read ahead changes neither the batches nor their order."""

import gc
import threading
import time
import weakref
from typing import ClassVar

import numpy as np
import pytest
import torch

from hpc_gw.data.manifest import DatasetSpec, StorageConfig
from hpc_gw.data.sampler import Sampler, ShuffleConfig
from hpc_gw.data.sources import EngineSource, _shares, truths
from hpc_gw.data.streams import WaveformDataset, batches, prefetch
from hpc_gw.manifold.populations import DrawsConfig
from hpc_gw.waveforms.surrogate import SurrogateEngine
from hpc_gw.waveforms.timegrid import TimeGrid

GRID = TimeGrid(kind="chirp", samples=64)
KINDS = [ShuffleConfig(), ShuffleConfig(kind="runs", run=4, lanes=4, window=4)]


@pytest.fixture(scope="module")
def source(chirp_engine):
    spec = DatasetSpec(
        "test", DrawsConfig(count=150), GRID, 64, StorageConfig(), chirp_engine.name,
        chirp_engine.checksum,
    )  # fmt: skip
    return EngineSource(spec, chirp_engine)


@pytest.mark.parametrize("shuffle", KINDS, ids=lambda s: s.kind)
@pytest.mark.parametrize("ahead", [0, 1, 2])
@pytest.mark.parametrize("first", [0, 7])
def test_batches_are_those_of_each_step_alone_in_order(source, shuffle, ahead, first):
    sampler = Sampler(150, 8, 3, excluded=(4, 9), shuffle=shuffle)
    order = sampler.order(1)

    def parts(step):
        return sampler.part(order, step, 1, 2)

    found = list(batches(source, parts, sampler.blocks(1, first), ahead=ahead))
    assert [batch.step for batch in found] == list(range(first, 18))
    for batch in found:
        rows = order[8 * batch.step + 4 : 8 * batch.step + 8]
        assert np.array_equal(batch.rows, rows)
        assert torch.equal(batch.inputs, source.load(rows))
        wanted = torch.from_numpy(truths(source.spec, rows)).float()
        assert torch.equal(batch.truth, wanted) and batch.truth.dtype == torch.float32


def test_a_block_is_read_at_once(source):
    asked = []

    class Counting:
        spec, excluded = source.spec, source.excluded

        def load(self, rows):
            asked.append(rows.size)
            return source.load(rows)

    sampler = Sampler(150, 8, 3, shuffle=KINDS[1])
    order = sampler.order(0)
    parts = [b.rows for b in batches(Counting(), lambda s: sampler.part(order, s, 0, 1),
                                     sampler.blocks(0))]  # fmt: skip
    assert asked == [64, 64, 16] and np.array_equal(np.concatenate(parts), order)


def test_an_error_while_a_batch_is_read_is_raised_after_the_batches_before_it(source):
    def parts(step):
        if step == 2:
            raise OSError("the disk is gone")
        return np.arange(4)

    for ahead in (0, 1, 2):
        steps = batches(source, parts, [range(n, n + 1) for n in range(4)], ahead=ahead)
        assert [next(steps).step, next(steps).step] == [0, 1]
        with pytest.raises(OSError, match="the disk is gone"):
            next(steps)


class Item:
    """Something that can be counted while it lives."""

    alive: ClassVar[weakref.WeakSet] = weakref.WeakSet()

    def __init__(self, number):
        self.number = number
        Item.alive.add(self)


@pytest.mark.parametrize("ahead", [1, 2, 5])
def test_no_more_items_live_than_those_ahead_and_the_one_in_use(ahead):
    most, numbers = 0, []
    for item in prefetch(map(Item, range(30)), ahead):
        deadline = time.monotonic() + 5
        left = min(ahead + 1, 30 - item.number)
        while len(Item.alive) < left and time.monotonic() < deadline:
            time.sleep(1e-3)
        time.sleep(2e-3)  # time enough to make one too many
        most = max(most, len(Item.alive))
        numbers.append(item.number)
    assert numbers == list(range(30)) and most == ahead + 1
    del item
    gc.collect()
    assert not Item.alive


def threads():
    return [t for t in threading.enumerate() if t.name.startswith("Thread-")]


def test_closing_early_ends_the_thread():
    before = len(threads())
    reader = prefetch(iter(range(1000)), 3)
    assert next(reader) == 0 and len(threads()) == before + 1
    reader.close()
    assert len(threads()) == before


def test_an_error_in_the_loop_ends_the_thread_too(source):
    before = len(threads())
    with pytest.raises(ZeroDivisionError):
        for batch in batches(source, lambda step: np.arange(4), [range(9)] * 9):
            batch.step / 0
    gc.collect()
    assert len(threads()) == before


def test_an_error_in_the_thread_ends_it():
    before = len(threads())

    def items():
        yield 1
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        list(prefetch(items(), 2))
    assert len(threads()) == before


def test_a_dataset_for_pytorch_leaves_rows_without_a_waveform_out(source):
    class Holed(EngineSource):
        excluded = np.array([0, 3])

    holed = Holed(source.spec, source._engine)
    holed.excluded = np.array([0, 3])
    dataset = WaveformDataset(holed)
    assert len(dataset) == 148 and dataset.rows[:4].tolist() == [1, 2, 4, 5]
    many = dataset.__getitems__([2, 0])
    assert torch.equal(many[0][0], source.load(np.array([4]))[0])
    assert torch.equal(dataset[2][0], many[0][0]) and torch.equal(dataset[2][1], many[0][1])


def test_each_row_has_one_of_the_shifts_in_any_order_and_company(source, surrogate):
    engines = [SurrogateEngine(surrogate, GRID.times() + shift) for shift in (-0.5, 0.0, 0.5)]
    moved = EngineSource(source.spec, source._engine, engines)
    rows = np.array([7, 2, 149, 3, 2, 11])
    points = source.spec.population.parameters(rows)
    shifts = []
    for row, point, waveform in zip(rows, points, moved.load(rows), strict=True):
        assert torch.equal(moved.load(np.array([row]))[0], waveform)
        made = [torch.equal(engine.h22_real(point[None])[0], waveform) for engine in engines]
        assert sum(made) == 1
        shifts.append(made.index(True))
    assert len(set(shifts)) > 1
    assert not torch.equal(moved.load(rows), source.load(rows))


def test_shifts_are_shared_out_evenly_whatever_the_step_between_rows():
    for step in (1, 2, 67, 134 * 134):
        found = np.bincount(_shares(np.arange(0, 6400 * step, step), 64), minlength=64)
        assert found.min() > 60 and found.max() < 140  # 100 +- 10 if drawn
