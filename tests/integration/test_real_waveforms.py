"""``hpc-gw predict`` on files as catalogues publish them, and on rows of sets."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from hpc_gw.cli import main
from hpc_gw.data.manifest import Manifest
from hpc_gw.waveforms.surrogate import SurrogateEngine
from tests.unit.waveforms import nr_files
from tests.unit.waveforms.nr_files import POINT, TIMES

GENUINE = Path(__file__).resolve().parents[1] / "data" / "nrhybsur3dq8_q1_nonspinning.npz"


@pytest.fixture(scope="module")
def h22(surrogate):
    return SurrogateEngine(surrogate, TIMES).h22_double(np.array([POINT]))[0].numpy()


@pytest.fixture(scope="module")
def row_set(tmp_path_factory):
    """A small set on the shipped network's grid."""
    folder = tmp_path_factory.mktemp("set")
    job = folder / "job.yaml"
    job.write_text(
        "name: rows\ntime_grid: {kind: chirp, samples: 768}\n"
        "sets:\n  train: {kind: draws, count: 16, seed: 1}\n"
        "  validation: {kind: draws, count: 4, seed: 2}\n  test: {kind: draws, count: 8, seed: 3}\n"
        f"model: {{preset: compact, input_steps: 768}}\ntrain: {{batch: 8, epochs: 1}}\n"
        f"output: {folder / 'run'}\n"
    )
    assert main(["generate", str(job), "--sets", "test"]) == 0
    return folder / "run" / "data" / "test"


def predict(capsys, *arguments):
    capsys.readouterr()
    assert main(["predict", *map(str, arguments), "--surrogate", "embedded", "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def refuse(capsys, *arguments):
    capsys.readouterr()
    assert main(["predict", *map(str, arguments)]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("hpc-gw: ")
    return lines[0]


def near_the_truth(found, start=-9000.0):
    assert abs(found["q"] - 3) < 0.03 and abs(found["sigma_eff"] - 0.25) < 0.01
    assert found["overlap"] > 0.999 and found["warnings"] == []
    assert found["overlap_span"][0] < start


def test_every_format_gets_the_same_answer(capsys, tmp_path, h22):
    folder = tmp_path / "run"
    folder.mkdir()
    sxs = nr_files.write_sxs(folder / "rhOverM.h5", TIMES, h22)
    lvcnr = nr_files.write_lvcnr(tmp_path / "l.h5", TIMES, h22, POINT)
    np.save(tmp_path / "a.npy", np.column_stack([TIMES, h22.real, h22.imag]))
    with h5py.File(tmp_path / "d.h5", "w") as file:
        file["h22"], file["t"] = h22, TIMES
    found = predict(capsys, sxs, lvcnr, tmp_path / "a.npy", f"{tmp_path / 'd.h5'}:h22")
    for answer in found:
        near_the_truth(answer)
        for key in ("q", "s1", "s2", "sigma_eff", "s_eff"):  # the splines' peak is 1e-3 M off
            assert abs(answer[key] - found[2][key]) < 1e-2, key


def test_what_a_file_says_of_itself_stands_beside_the_answer(capsys, tmp_path, h22):
    path = nr_files.write_lvcnr(tmp_path / "l.h5", TIMES, h22, POINT)
    (found,) = predict(capsys, path)
    assert found["claims"] == pytest.approx(
        {"q": 3.0, "s1": 0.4, "s2": -0.2, "sigma_eff": 0.25, "s_eff": -0.15}
    )
    assert main(["predict", str(path), "--surrogate", "embedded"]) == 0
    shown = capsys.readouterr().out
    assert "file:   3.0000" in shown and "file:   0.2500" in shown


def test_what_the_network_does_not_know_is_a_warning(capsys, tmp_path, h22):
    path = nr_files.write_lvcnr(tmp_path / "l.h5", TIMES, h22, POINT, spin1x=0.5)
    (found,) = predict(capsys, path)
    assert any("in the orbital plane" in warning for warning in found["warnings"])


@pytest.mark.parametrize("start", [-5000.0, -3000.0])
def test_a_run_as_short_as_most_is_continued(capsys, tmp_path, h22, start):
    """Over 97 waveforms no median or 90 % quantile of the errors grew by more than 0.001."""
    late = start - 200 <= TIMES  # the junk radiation is cut
    path = nr_files.write_sxs(tmp_path / "a.h5", TIMES[late], h22[late])
    assert "--extend" in refuse(capsys, path)
    (found,) = predict(capsys, path, "--extend")
    near_the_truth(found, start + 1)
    notes = " ".join(found["notes"])
    assert f"continued from {start:.0f} M" in notes and "brackets" in notes


def test_the_genuine_sample_is_read_from_hdf5(capsys, tmp_path):
    with np.load(GENUINE) as file:
        h22, t0, dt = file["h22"], float(file["t0"]), float(file["dt"])
    with h5py.File(tmp_path / "g.h5", "w") as file:
        file["h22_zeroecc"], file["t_zeroecc"] = h22, t0 + dt * np.arange(h22.size)
    (found,) = predict(capsys, f"{tmp_path / 'g.h5'}:h22_zeroecc", "--extend")
    low, high = found["intervals_90"]["q"]
    assert low <= 1 <= high < 1.2
    low, high = found["intervals_90"]["sigma_eff"]
    assert low <= 0 <= high and abs(found["sigma_eff"]) < 0.01


def test_a_row_of_a_set_is_read_as_the_network_was_trained(capsys, row_set, tmp_path):
    """The same answer as for the whole set, to the last digits of a sum in another order."""
    assert main(["predict", str(row_set), "-o", str(tmp_path / "p.h5")]) == 0
    with h5py.File(tmp_path / "p.h5") as file:
        prediction, truth = file["prediction"][5], file["truth"][5]
    (found,) = predict(capsys, f"{row_set}:5")
    names = ("q", "s1", "s2", "sigma_eff", "s_eff")
    assert [found[name] for name in names] == pytest.approx(prediction, abs=1e-4)
    assert [found["claims"][name] for name in names] == pytest.approx(truth, abs=1e-12)
    assert found["overlap"] > 0.99 and found["overlap_span"] == pytest.approx([-10000, 129.9])
    plot = tmp_path / "row.png"
    assert main(["predict", f"{row_set}:5", "--plot", str(plot)]) == 0
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_a_row_of_a_set_on_another_grid_is_read_as_a_file_is(capsys, tmp_path):
    job = tmp_path / "job.yaml"
    job.write_text(
        "name: uniform\ntime_grid: {dt: 1.0}\nstorage: {values: complex}\n"
        "model: {preset: strided, input_steps: 10130}\n"
        "sets:\n  train: {kind: draws, count: 16, seed: 1}\n"
        "  validation: {kind: draws, count: 4, seed: 2}\n  test: {kind: draws, count: 2, seed: 3}\n"
        f"train: {{batch: 8, epochs: 1}}\noutput: {tmp_path / 'run'}\n"
    )
    assert main(["generate", str(job), "--sets", "test"]) == 0
    row = f"{tmp_path / 'run' / 'data' / 'test'}:1"
    (found,) = predict(capsys, row)
    assert abs(found["q"] - found["claims"]["q"]) < 0.05 and found["overlap"] > 0.99
    assert main(["predict", row, "--surrogate", "embedded"]) == 0
    assert "truth: " in capsys.readouterr().out


def test_rows_that_cannot_be_read_are_refused(capsys, row_set, finished):
    assert "rows 0 ... 7" in refuse(capsys, f"{row_set}:8")
    assert "rows 0 ... 7" in refuse(capsys, f"{row_set}:x")
    assert "no dataset" in refuse(capsys, f"{row_set.parent}:0")
    assert "is a row of a set" in refuse(capsys, f"{row_set}:0", "--order", "N3")
    small = finished / "data" / "test"
    assert Manifest.read(small).spec.time_grid.samples == 64
    assert "generate the set with the network's time grid" in refuse(capsys, f"{small}:0")


def test_options_that_do_not_apply_are_refused(capsys, tmp_path, h22, row_set):
    sxs = nr_files.write_sxs(tmp_path / "a.h5", TIMES, h22)
    assert "leave out --total-mass" in refuse(capsys, sxs, "--total-mass", "60")
    assert "choose from N4, N3, N2, outermost" in refuse(capsys, sxs, "--order", "N7")
    assert "positive number" in refuse(capsys, sxs, "--total-mass", "-1")
    assert "is a folder" in refuse(capsys, row_set, "--total-mass", "60")
    np.savez(tmp_path / "s.npz", t=TIMES * 60 * 4.925e-6, h22=h22 * 1e-21)
    assert "give --total-mass" in refuse(capsys, tmp_path / "s.npz")
    assert "give --distance" in refuse(capsys, tmp_path / "s.npz", "--total-mass", "60")


def test_files_that_are_not_whole_are_refused(capsys, tmp_path, h22):
    path = nr_files.write_sxs(tmp_path / "a.h5", TIMES, h22)
    content = path.read_bytes()
    for place in (100, 2000, len(content) // 3, len(content) - 10):
        path.write_bytes(content[:place])
        assert str(path) in refuse(capsys, path)
    broken = h22.copy()
    broken[5000] = np.nan
    assert "not finite" in refuse(capsys, nr_files.write_sxs(path, TIMES, broken))
    coarse = slice(None, None, 14)
    line = refuse(capsys, nr_files.write_sxs(path, TIMES[coarse], h22[coarse]))
    assert "sample it more finely" in line
