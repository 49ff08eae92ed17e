"""predictions.h5 and overlaps.h5: what is written comes back, and nothing else is taken."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import h5py
import numpy as np
import pytest

from hpc_gw.errors import DataError
from hpc_gw.evaluation.results import (
    Overlaps,
    Predictions,
    join_overlaps,
    read_overlaps,
    read_predictions,
    write_overlaps,
    write_predictions,
)

N = 2000
PREDICTIONS = Predictions(
    np.arange(N), np.arange(5.0 * N).reshape(N, 5), np.arange(5.0 * N).reshape(N, 5) + 0.5
)
OVERLAPS = Overlaps(
    np.arange(N),
    np.where(np.arange(N) == 3, np.nan, np.linspace(0, 1, N)),
    np.linspace(-2, 2, N),
    np.linspace(-3, 3, N),
    np.arange(N) % 7 == 0,
    engine="chirp",
)


def test_predictions_come_back_with_their_recipe(tmp_path: Path) -> None:
    write_predictions(tmp_path / "p.h5", PREDICTIONS, {"seed": 3})
    back = read_predictions(tmp_path / "p.h5")
    assert back.recipe == {"seed": 3}
    for name in ("row", "truth", "prediction"):
        np.testing.assert_array_equal(getattr(back, name), getattr(PREDICTIONS, name))
        assert getattr(back, name).dtype == getattr(PREDICTIONS, name).dtype


def test_overlaps_come_back_with_failures_engine_and_checksum(tmp_path: Path) -> None:
    write_overlaps(tmp_path / "o.h5", OVERLAPS, {"seed": 3}, "abc")
    back = read_overlaps(tmp_path / "o.h5")
    assert (back.engine, back.predictions_sha256, back.recipe) == ("chirp", "abc", {"seed": 3})
    for name in ("row", "overlap", "t_c", "phi_c", "clipped"):
        np.testing.assert_array_equal(getattr(back, name), getattr(OVERLAPS, name))
    assert back.clipped.dtype == np.bool_


def test_attributes_follow_the_schema(tmp_path: Path) -> None:
    write_predictions(tmp_path / "p.h5", PREDICTIONS, {})
    with h5py.File(tmp_path / "p.h5") as file:
        assert file.attrs["kind"] == "predictions"
        assert file.attrs["schema_version"] == 1
        assert file["row"].dtype == np.int64


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"p\.h5: no such file"):
        read_predictions(tmp_path / "p.h5")


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.h5"
    write_predictions(path, PREDICTIONS, {})
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(DataError, match="damaged"):
        read_predictions(path)


def test_a_flipped_byte_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.h5"
    write_predictions(path, PREDICTIONS, {})
    content = bytearray(path.read_bytes())
    place = content.find(np.float64(777.5).tobytes())
    assert place > 0
    content[place + 3] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="damaged"):
        read_predictions(path)


def test_a_foreign_file_is_refused(tmp_path: Path) -> None:
    write_overlaps(tmp_path / "o.h5", OVERLAPS, {}, "")
    with pytest.raises(DataError, match="holds overlaps, not predictions"):
        read_predictions(tmp_path / "o.h5")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["row"] = [1]
    with pytest.raises(DataError, match="something else"):
        read_predictions(tmp_path / "x.h5")
    (tmp_path / "t.h5").write_text("no HDF5")
    with pytest.raises(DataError, match="damaged"):
        read_overlaps(tmp_path / "t.h5")


def test_a_file_of_another_schema_version_is_refused(tmp_path: Path) -> None:
    write_predictions(tmp_path / "p.h5", PREDICTIONS, {})
    with h5py.File(tmp_path / "p.h5", "r+") as file:
        file.attrs["schema_version"] = 99
    with pytest.raises(DataError, match="schema version 99"):
        read_predictions(tmp_path / "p.h5")


def test_columns_of_other_lengths_are_refused() -> None:
    with pytest.raises(DataError, match=r"shape \(3, 5\): need \(2000, 5\)"):
        Predictions(PREDICTIONS.row, PREDICTIONS.truth[:3], PREDICTIONS.prediction)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "p.h5"
    write_predictions(path, PREDICTIONS, {"first": 1})
    with pytest.raises(TypeError):
        write_predictions(path, PREDICTIONS, {"no JSON": object()})
    assert read_predictions(path).recipe == {"first": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["p.h5"]


def test_parts_of_ranks_join_in_order() -> None:
    def part(rows: slice) -> Overlaps:
        names = ("row", "overlap", "t_c", "phi_c", "clipped")
        return dataclasses.replace(
            OVERLAPS, **{name: getattr(OVERLAPS, name)[rows] for name in names}
        )

    joined = join_overlaps([part(slice(0, 900)), part(slice(900, None))])
    np.testing.assert_array_equal(joined.row, OVERLAPS.row)
    np.testing.assert_array_equal(joined.overlap, OVERLAPS.overlap)
    with pytest.raises(DataError, match="different engines"):
        join_overlaps([OVERLAPS, dataclasses.replace(OVERLAPS, engine="other")])
