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
from hpc_gw.waveforms.surrogate import SurrogateEngine
from hpc_gw.waveforms.surrogate_file import read_surrogate

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


def test_a_name_that_is_too_long_for_a_file_is_one_line(capsys, written):
    assert "no such file" in refuse(capsys, 300 * "a" + ".txt")
    assert "no such file" in refuse(capsys, f"{300 * 'a'}:3")
    assert "no network of that name" in refuse(capsys, written, "--model", 300 * "a")


def test_options_for_waveforms_are_refused_for_a_set(capsys, finished):
    data = finished / "data" / "test"
    line = refuse(capsys, data, "--model", finished / "best.pt", "--engine", "gwsurrogate")
    assert "leave out --engine and --surrogate" in line
    line = refuse(capsys, data, "--model", finished / "best.pt", "--surrogate", "nowhere.h5")
    assert "leave out --engine and --surrogate" in line


def noisy(surrogate, path, snr, seed=0):
    """The same waveform with white noise, and with room for a peak that is not quite found."""
    t = -10_100 + 0.1 * np.arange(102_350)
    h22 = SurrogateEngine(surrogate, t).h22(np.array([[3.0, 0.3, -0.2]]))[0].numpy()
    sigma = np.sqrt(np.sum(h22.real**2)) / snr
    white = np.random.default_rng(seed).standard_normal((2, t.size)) * sigma
    np.savez(path, t=t, h22=h22 + white[0] + 1j * white[1])
    return path


def test_noise_is_taken_out_of_the_overlap_which_is_never_above_1(
    capsys, written, surrogate, tmp_path
):
    files = [noisy(surrogate, tmp_path / f"n{k}.npz", 300, seed=k) for k in range(4)]
    found = predict(capsys, *files)
    overlaps = [answer["overlap"] for answer in found]
    assert min(overlaps) > 0.99 and max(overlaps) == 1
    assert found[0]["snr"] == pytest.approx(300, rel=0.2)
    assert predict(capsys, written)[0]["snr"] is None
    assert main(["predict", str(files[0]), str(written), "--surrogate", "embedded"]) == 0
    shown = [line for line in capsys.readouterr().out.splitlines() if "overlap   =" in line]
    assert "without its noise" in shown[0] and "noise" not in shown[1]


def test_fits_are_of_waveforms_with_little_noise(capsys, surrogate, tmp_path):
    """Interpolated and not filtered, the noise of SNR 10,000 leaves an overlap of 0.9995."""
    line = refuse(capsys, noisy(surrogate, tmp_path / "loud.npz", 100), "--refine")
    assert "loud.npz" in line and "--refine needs 8000" in line
    (found,) = predict(capsys, noisy(surrogate, tmp_path / "low.npz", 1e4), "--refine")
    fitted = found["refined"]
    assert fitted["converged"] and fitted["overlap"] > 0.99999
    assert fitted["values"]["q"] == pytest.approx(3, abs=2e-3)


def test_without_an_answer_there_is_still_json(capsys, written, monkeypatch):
    """JSON has no NaN."""
    nothing = np.full((1, 5), np.nan)
    monkeypatch.setattr("hpc_gw.answer.answers_of", lambda network, h22: nothing)
    assert main(["predict", str(written), "--surrogate", "embedded", "--json"]) == 0
    text = capsys.readouterr().out
    assert "NaN" not in text and "Infinity" not in text
    (found,) = json.loads(text)
    assert found["q"] is None and found["overlap"] is None and found["intervals_90"] == {}


def test_a_card_of_another_network_is_mentioned(capsys, written, tmp_path):
    copy = tmp_path / "mine.pt"
    copy.write_bytes(pretrained_path("robust").read_bytes())
    card = json.loads(pretrained_path("robust").with_suffix(".json").read_text())
    copy.with_suffix(".json").write_text(json.dumps(card))
    (found,) = predict(capsys, written, "--model", copy)
    assert found["intervals_90"] and found["notes"] == []
    copy.with_suffix(".json").write_text(json.dumps(card | {"sha256": "0"}))
    (found,) = predict(capsys, written, "--model", copy)
    assert found["intervals_90"] == {}
    assert "mine.json is not the card of this mine.pt" in found["notes"][0]
    copy.with_suffix(".json").write_text(json.dumps(card | {"files": None}))
    assert "the card's 'files' cannot be read" in refuse(capsys, written, "--model", copy)


def test_a_surrogate_is_read_once_for_many_files(capsys, written, monkeypatch):
    read = []

    def reading(path):
        read.append(path)
        return read_surrogate(path)

    monkeypatch.setattr("hpc_gw.comparison.read_surrogate", reading)
    monkeypatch.setattr("hpc_gw.closer.read_surrogate", reading)
    monkeypatch.setattr("hpc_gw.waveforms.engines.read_surrogate", reading)
    first, second, third = predict(capsys, written, written, written, "--refine")
    assert first == second == third and len(read) == 1


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
    assert " overlap | this network |" in text and "18,315 (9.27%)" in text
