"""predictions.h5 and results.h5: what is written comes back, and nothing else is taken."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import h5py
import numpy as np
import pytest

from hpc_gw.errors import DataError
from hpc_gw.evaluation.records import Overlaps, Predictions, Refined, Results, Valleys
from hpc_gw.evaluation.results import (
    read_block,
    read_predictions,
    read_results,
    write_block,
    write_predictions,
    write_results,
)

N = 2000
PREDICTIONS = Predictions(
    np.arange(N), np.arange(5.0 * N).reshape(N, 5), np.arange(5.0 * N).reshape(N, 5) + 0.5
)
OVERLAPS = Overlaps(
    np.arange(N),
    np.where(np.arange(N) == 3, np.nan, np.linspace(0, 1, N)),
    np.full(N, 3e-7),
    np.linspace(-2, 2, N),
    np.linspace(-3, 3, N),
    np.arange(N) % 7 == 0,
)
REFINED = Refined(
    np.arange(N), np.ones((N, 3)), np.linspace(0.9, 1, N), np.full(N, 7), np.arange(N) % 2 == 0
)
VALLEYS = Valleys(
    np.arange(N), np.ones((N, 3, 3)), np.ones((N, 3)), np.ones((N, 2)), np.full((N, 3), 0.1)
)
RESULTS = Results(PREDICTIONS, OVERLAPS, REFINED, VALLEYS, engine="chirp")


def test_predictions_come_back_with_their_recipe(tmp_path: Path) -> None:
    write_predictions(tmp_path / "p.h5", PREDICTIONS, {"seed": 3})
    back = read_predictions(tmp_path / "p.h5")
    assert back.recipe == {"seed": 3}
    for name in ("row", "truth", "prediction"):
        np.testing.assert_array_equal(getattr(back, name), getattr(PREDICTIONS, name))
        assert getattr(back, name).dtype == getattr(PREDICTIONS, name).dtype


def test_results_come_back_with_failures_engine_and_recipe(tmp_path: Path) -> None:
    write_results(tmp_path / "r.h5", RESULTS, {"seed": 3})
    back = read_results(tmp_path / "r.h5")
    assert (back.engine, back.recipe) == ("chirp", {"seed": 3})
    for part in ("predictions", "overlaps", "refined", "valleys"):
        given, found = getattr(RESULTS, part), getattr(back, part)
        for field in dataclasses.fields(given):
            if field.name != "recipe":
                np.testing.assert_array_equal(
                    getattr(found, field.name), getattr(given, field.name)
                )
    assert back.overlaps.clipped.dtype == np.bool_


def test_what_was_not_asked_for_is_absent(tmp_path: Path) -> None:
    write_results(tmp_path / "r.h5", Results(PREDICTIONS, OVERLAPS), {})
    back = read_results(tmp_path / "r.h5")
    assert back.refined is None
    assert back.valleys is None


def test_parts_of_other_rows_are_refused() -> None:
    other = dataclasses.replace(OVERLAPS, row=np.arange(N) + 1)
    with pytest.raises(DataError, match="do not belong to these predictions"):
        Results(PREDICTIONS, other)


def test_a_block_is_read_only_with_its_key(tmp_path: Path) -> None:
    path = tmp_path / "block.h5"
    assert read_block(path, "a") is None
    write_block(path, {"x": np.arange(3)}, "a")
    found = read_block(path, "a")
    assert found is not None
    np.testing.assert_array_equal(found["x"], np.arange(3))
    assert read_block(path, "b") is None
    path.write_bytes(path.read_bytes()[:-100])
    assert read_block(path, "a") is None


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
    write_results(tmp_path / "r.h5", RESULTS, {})
    with pytest.raises(DataError, match="holds results, not predictions"):
        read_predictions(tmp_path / "r.h5")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["row"] = [1]
    with pytest.raises(DataError, match="something else"):
        read_predictions(tmp_path / "x.h5")
    (tmp_path / "t.h5").write_text("no HDF5")
    with pytest.raises(DataError, match="damaged"):
        read_results(tmp_path / "t.h5")
    with h5py.File(tmp_path / "r.h5", "r+") as file:
        del file["overlaps/bound"]
    with pytest.raises(DataError, match="lacks bound"):
        read_results(tmp_path / "r.h5")


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
