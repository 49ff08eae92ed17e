"""``hpc-gw predict`` on waveforms from files, with the shipped network."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from hpc_gw.card_page import MARKS, write_page
from hpc_gw.cli import main
from hpc_gw.manifold.physics import sigma_eff
from hpc_gw.pretrained import (
    load_card,
    load_network,
    make_pretrained,
    pretrained_path,
)

GENUINE = Path(__file__).resolve().parents[1] / "data" / "nrhybsur3dq8_q1_nonspinning.npz"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """What ``hpc-gw waveform`` writes at q = 3, s1 = 0.3, s2 = -0.2."""
    path = tmp_path_factory.mktemp("waveform") / "w.txt"
    point = ["-q", "3", "--s1z", "0.3", "--s2z=-0.2"]
    assert main(["waveform", *point, "--surrogate", "embedded", "--output", str(path)]) == 0
    return path


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


def test_a_written_waveform_is_read_back(capsys, written):
    (found,) = predict(capsys, written)
    assert abs(found["q"] - 3) < 0.05
    assert found["overlap"] > 0.99
    assert found["warnings"] == [] and found["notes"] == []
    for key, truth in (("q", 3), ("s1", 0.3), ("sigma_eff", sigma_eff(3, 0.3, -0.2))):
        low, high = found["intervals_90"][key]
        assert low <= truth <= high, key


def test_the_genuine_surrogates_sample_is_near_the_truth(capsys):
    """The file begins at -8010 M: refused, unless its start is continued."""
    line = refuse(capsys, GENUINE)
    assert "[-10000, -8009.9] M" in line and "--extend" in line
    (found,) = predict(capsys, GENUINE, "--extend")
    low, high = found["intervals_90"]["q"]
    assert low <= 1 <= high < 1.2
    low, high = found["intervals_90"]["sigma_eff"]
    assert low <= 0 <= high and abs(found["sigma_eff"]) < 0.01
    assert found["overlap"] > 0.998


def test_a_turned_and_moved_copy_gives_the_same_answer(capsys, written, tmp_path):
    t, real, imaginary = np.loadtxt(written).T
    h22 = (real + 1j * imaginary) * np.exp(1.3j)
    np.savez(tmp_path / "moved.npz", t=t + 1234.56, h22=h22)
    first, second = predict(capsys, written, tmp_path / "moved.npz")
    for key in ("q", "s1", "s2", "sigma_eff", "s_eff", "overlap"):
        assert abs(first[key] - second[key]) < 1e-3, key


def test_h_plus_alone_is_answered_without_brackets(capsys, written, tmp_path):
    t, real, _ = np.loadtxt(written).T
    np.savetxt(tmp_path / "plus.txt", np.column_stack([t, real]))
    (found,) = predict(capsys, tmp_path / "plus.txt")
    assert abs(found["q"] - 3) < 0.1 and found["overlap"] > 0.95
    assert found["intervals_90"] == {} and "approximate" in found["notes"][0]


def test_another_waveform_gets_a_warning(capsys, written, tmp_path):
    """Far outside of the domain: a chirp at twice the frequency."""
    t, real, imaginary = np.loadtxt(written).T
    h22 = real + 1j * imaginary
    double = np.abs(h22) * np.exp(2j * np.unwrap(np.angle(h22)))
    np.savez(tmp_path / "double.npz", t=t, h22=double)
    (found,) = predict(capsys, tmp_path / "double.npz")
    assert any("overlap" in warning for warning in found["warnings"])


def test_it_prints_and_draws(capsys, written, tmp_path):
    plot = tmp_path / "w.png"
    assert main(["predict", str(written), "--plot", str(plot)]) == 0
    shown = capsys.readouterr().out
    assert "sigma_eff =" in shown and "overlap   =" in shown and "in brackets" in shown
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_bad_input_is_one_line(capsys, written, finished, tmp_path):
    data = finished / "data" / "test"
    assert "no such file" in refuse(capsys, tmp_path / "nowhere.txt")
    (tmp_path / "one.txt").write_text("1\n2\n")
    assert "1 columns" in refuse(capsys, tmp_path / "one.txt")
    lines = written.read_text().splitlines()
    (tmp_path / "nan.txt").write_text("\n".join([*lines[:50], "-9994 nan 0", *lines[100:]]))
    assert "not finite" in refuse(capsys, tmp_path / "nan.txt")
    (tmp_path / "short.txt").write_text("\n".join(lines[80_000:]))
    assert "is missing" in refuse(capsys, tmp_path / "short.txt", "--extend")
    assert "--model" in refuse(capsys, finished / "best.pt", data)
    assert "takes one waveform" in refuse(capsys, written, written, "--plot", tmp_path / "p.png")
    assert ".png or .pdf" in refuse(capsys, written, "--plot", tmp_path / "p.svg")
    assert "use --json" in refuse(capsys, written, "-o", tmp_path / "p.h5")
    assert "is a folder" in refuse(capsys, data, "--json")
    assert "is a folder" in refuse(capsys, data, written)
    assert "no such checkpoint" in refuse(capsys, written, "--model", tmp_path / "no.pt")


def test_a_network_of_ones_own_answers_without_brackets(capsys, written, finished):
    (found,) = predict(capsys, written, "--model", finished / "best.pt")
    assert found["intervals_90"] == {} and np.isfinite(found["q"])


def test_the_shipped_network_predicts_a_set_on_its_grid(tiny, tmp_path):
    changes = ["time_grid.samples=768", "model.input_steps=768"]
    words = [item for change in changes for item in ("--set", change)]
    assert main(["generate", str(tiny), "--sets", "test", *words]) == 0
    output = tmp_path / "p.h5"
    assert main(["predict", str(tiny.parent / "run" / "data" / "test"), "-o", str(output)]) == 0
    with h5py.File(output) as file:
        assert "compact.pt" in json.loads(file.attrs["recipe"])["inputs"]
        assert np.median(np.abs(file["prediction"][:, 0] - file["truth"][:, 0])) < 0.05


def test_a_finished_run_can_be_shipped(finished, tmp_path, monkeypatch):
    monkeypatch.setattr("hpc_gw.pretrained.FILES", 64)
    card = make_pretrained(finished, tmp_path)
    path = tmp_path / "tiny.pt"
    assert path.stat().st_size < (finished / "best.pt").stat().st_size
    assert load_card(path) == json.loads(json.dumps(card))
    assert card["accuracy"]["table1"]["total"] == card["accuracy"]["waveforms"]
    assert load_network(path).grid.size == 64
    assert pretrained_path() != path
    page = tmp_path / "page.md"
    page.write_text(f"before\n{MARKS[0]}\nold\n{MARKS[1]}\nafter\n")
    write_page(page, card)
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "old" not in text
    assert "| overlap | this network |" in text and "18,315 (9.27%)" in text
