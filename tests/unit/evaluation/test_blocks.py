"""Blocks of rows: shared, resumed, and the same however they were made."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from hpc_gw.distributed import SerialWorld
from hpc_gw.errors import DataError
from hpc_gw.evaluation import blocks
from hpc_gw.evaluation.blocks import Columns, in_blocks
from hpc_gw.locks import held


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK", 10)


class Work:
    """Squares of row numbers; stops after some blocks, and remembers which it made."""

    def __init__(self, stop_after: int = 10**9) -> None:
        self.made: list[int] = []
        self.published: Columns = {}
        self._stop_after = stop_after

    def compute(self, rows: slice) -> Columns:
        if len(self.made) == self._stop_after:
            raise KeyboardInterrupt
        self.made.append(rows.start)
        x = np.arange(rows.start, rows.stop)
        return {"x": x, "square/of": x**2}

    def publish(self, columns: Columns) -> None:
        self.published = columns

    def run(self, result: Path, count: int = 57, key: object = "a", world: object = None) -> None:
        in_blocks(
            result,
            count,
            self.compute,
            world or SerialWorld(),  # type: ignore[arg-type]
            belongs_to={"key": key},
            what="squares",
            publish=self.publish,
        )


def test_all_rows_are_made_once_and_in_order(tmp_path: Path) -> None:
    work = Work()
    work.run(tmp_path / "r.h5")
    np.testing.assert_array_equal(work.published["x"], np.arange(57))
    np.testing.assert_array_equal(work.published["square/of"], np.arange(57) ** 2)
    assert work.made == [0, 10, 20, 30, 40, 50]
    assert not list(tmp_path.iterdir())


def test_work_that_was_stopped_goes_on_where_it_was(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        Work(stop_after=3).run(tmp_path / "r.h5")
    rest = Work()
    rest.run(tmp_path / "r.h5")
    assert rest.made == [30, 40, 50]
    np.testing.assert_array_equal(rest.published["x"], np.arange(57))


def test_blocks_of_something_else_are_not_taken(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        Work(stop_after=3).run(tmp_path / "r.h5", key="old")
    work = Work()
    work.run(tmp_path / "r.h5", key="new")
    assert len(work.made) == 6


def test_a_damaged_block_is_made_again(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        Work(stop_after=3).run(tmp_path / "r.h5")
    path = sorted((tmp_path / "r.h5.parts").glob("block-*.h5"))[1]
    path.write_bytes(path.read_bytes()[:-50])
    work = Work()
    work.run(tmp_path / "r.h5")
    assert work.made == [10, 30, 40, 50]


def test_two_evaluations_of_one_result_are_refused(tmp_path: Path) -> None:
    with (
        held(tmp_path / "r.h5.parts" / "lock", SerialWorld(), "squares"),
        pytest.raises(DataError, match="another squares is at work"),
    ):
        Work().run(tmp_path / "r.h5")


def test_no_rows_and_no_file_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no rows"):
        Work().run(tmp_path / "r.h5", count=0)
    with pytest.raises(DataError, match="is a folder"):
        Work().run(tmp_path)
    with pytest.raises(DataError, match="is a folder"):
        Work().run(Path())
    assert not list(tmp_path.iterdir())


class Ranks:
    """Threads as ranks, which meet at barriers and take every n-th block."""

    def __init__(self, rank: int, barrier: threading.Barrier) -> None:
        self.rank, self.size, self._barrier = rank, barrier.parties, barrier

    def barrier(self) -> None:
        self._barrier.wait(20)

    def sum(self, value: float) -> float:
        self.barrier()
        return value * self.size  # they all say the same

    def deal(self, count: int) -> Iterator[int]:
        return iter(range(self.rank, count, self.size))


def test_ranks_share_the_blocks_and_rank_0_publishes(tmp_path: Path) -> None:
    barrier = threading.Barrier(3)
    works = [Work() for _ in range(3)]
    threads = [
        threading.Thread(
            target=work.run, args=(tmp_path / "r.h5",), kwargs={"world": Ranks(i, barrier)}
        )
        for i, work in enumerate(works)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(i for work in works for i in work.made) == [0, 10, 20, 30, 40, 50]
    np.testing.assert_array_equal(works[0].published["square/of"], np.arange(57) ** 2)
    assert not works[1].published
