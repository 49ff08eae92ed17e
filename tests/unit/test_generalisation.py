"""A network judged on waveforms of other engines: what belongs to whom."""

import json

import numpy as np
import pytest

from hpc_gw import generalisation
from hpc_gw.cli import main
from hpc_gw.constants import QUANTITIES
from hpc_gw.errors import DataError, ParameterError
from hpc_gw.generalisation import OVERLAPS, generalise, random_points, read_overlaps
from hpc_gw.waveforms.engines import EngineConfig, load_engine

OWN = EngineConfig(file="embedded")


@pytest.fixture
def engines(monkeypatch):
    """Engines of these tests by kind, made by functions of (times); others are the package's."""
    made = {}

    def load(config, times, **options):
        engine = load_engine(OWN, times, **options)
        change = made.get(config.kind)
        return engine if change is None else Changed(engine, change)

    monkeypatch.setattr(generalisation, "load_engine", load)
    return made


class Changed:
    """The surrogate, its parameters changed on the way, so that its answers are of other points."""

    name, checksum = "changed", "changed 1"

    def __init__(self, engine, change):
        self.times, self.bounds = engine.times, engine.bounds
        self.engine, self.change = engine, change

    def h22(self, parameters):
        return self.engine.h22(self.change(np.asarray(parameters)))


def test_points_are_spread_seeded_and_nested():
    points = random_points(512, seed=3)
    assert np.array_equal(random_points(100, seed=3), points[:100])
    assert not np.array_equal(random_points(512, seed=4), points)
    assert points.min(0) == pytest.approx([1, -0.8, -0.8], abs=0.1)
    assert points.max(0) == pytest.approx([8, 0.8, 0.8], abs=0.1)
    unit = (points - [1, -0.8, -0.8]) / [7, 1.6, 1.6]
    cells = np.bincount((unit * 4).astype(int) @ [16, 4, 1], minlength=64)
    assert cells.min() >= 4 and cells.max() <= 12  # 8 each; random draws give 2 to 17
    for wrong in ({"count": 0}, {"count": 3, "seed": -1}):
        with pytest.raises(ParameterError, match="at least 1"):
            random_points(**wrong)


def test_the_surrogate_as_an_engine_has_no_error_of_its_own(engines):
    found = generalise([OWN, EngineConfig("phenomt")], random_points(6), surrogate=OWN)
    own, other = found.judgements  # a kind without a change here is the surrogate itself
    assert (own.kind, other.kind) == ("surrogate", "phenomt")
    assert 1 - own.overlaps[:, 0].min() < 1e-6
    np.testing.assert_allclose(own.overlaps[:, 1], own.overlaps[:, 2], atol=1e-6)
    np.testing.assert_array_equal(own.overlaps, other.overlaps)
    assert np.median(own.overlaps[:, 2]) > 0.99
    assert own.failures == 0 and own.made.all()
    assert np.median(np.abs(own.errors[:, 0])) < 0.05


def test_an_engines_error_is_not_taken_for_the_networks(engines):
    """An engine whose waveforms are those of another q: the answer fits, and is off by as much."""
    engines["phenomt"] = lambda rows: rows + np.array([0.5, 0, 0])
    points = np.array([[2.0, 0.1, 0.2], [3.0, -0.3, 0.1], [5.0, 0.4, -0.4], [6.0, 0.0, 0.0]])
    other = generalise([EngineConfig("phenomt")], points, surrogate=OWN).judgements[1]
    _, far, _ = (other.quartiles(key)[1] for key in OVERLAPS)
    assert other.quartiles("surrogate")[2] < 0.95 and far < 0.95
    assert other.quartiles("answer")[0] > 0.99
    assert other.error_medians("q")[1] == pytest.approx(0.5, abs=0.05)


def test_points_without_a_waveform_are_counted_and_left_out(engines):
    def refuse(rows):
        if (rows[:, 0] > 4).any():
            raise ParameterError("too much")
        return rows

    engines["phenomt"] = refuse
    points = np.array([[2.0, 0, 0], [5.0, 0, 0], [3.0, 0, 0], [6.0, 0, 0]])
    found = generalise([EngineConfig("phenomt")], points, surrogate=OWN, batch=3)
    other = found.judgements[1]
    np.testing.assert_array_equal(other.made, [True, False, True, False])
    np.testing.assert_allclose(other.overlaps[[0, 2]], found.judgements[0].overlaps[[0, 2]])
    assert other.quartiles("answer")[0] > 0.9
    assert "2 points without a waveform" in found.to_markdown()
    json.dumps(found.to_dict(), allow_nan=False)
    with pytest.raises(ParameterError, match="too much"):
        generalise([EngineConfig("phenomt")], points[[1, 3]], surrogate=OWN)


def test_a_network_without_an_answer_counts_as_the_worst(engines, monkeypatch):
    answers = generalisation.answers_of

    def sometimes(network, h22):
        found = answers(network, h22)
        found[0] = np.nan
        return found

    monkeypatch.setattr(generalisation, "answers_of", sometimes)
    found = generalise([], random_points(3), surrogate=OWN, batch=3)
    (own,) = found.judgements
    assert own.failures == 1
    assert own.overlaps[0, 0] > 0.999 and (own.overlaps[0, 1:] == 0).all()
    assert np.isinf(own.errors[0]).all()
    assert found.to_dict()["engines"][0]["errors"][0] == [None] * len(QUANTITIES)
    assert "1 waveforms without an answer" in found.to_markdown()


def test_the_command_writes_table_numbers_and_plot(engines, tmp_path, capsys):
    file, plot = tmp_path / "c.json", tmp_path / "c.png"
    options = ["--count", 3, "--surrogate", "embedded", "--engines", "phenomt"]
    # the engine is replaced here: what is tested is the command
    assert main(list(map(str, ["compare", *options, "-o", file, "--plot", plot]))) == 0
    shown = capsys.readouterr().out
    assert "| phenomt |" in shown and "answer of robust.pt" in shown
    found = json.loads(file.read_text())
    assert [engine["kind"] for engine in found["engines"]] == ["surrogate", "phenomt"]
    assert found["network"] == "robust.pt" and "robust.pt" in found["inputs"]
    assert found["versions"] and found["inputs"]["surrogate"] and len(found["points"]) == 3
    assert set(found["engines"][1]["overlap_quartiles"]) == set(OVERLAPS)
    assert plot.stat().st_size > 5000


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--count", "0"], "at least 1"),
        (["--plot", "f.svg"], ".png or .pdf"),
        (["--model", "nowhere.pt"], "nowhere.pt"),
        (["--surrogate", "nowhere.h5"], "nowhere.h5"),
    ],
)
def test_the_command_refuses(capsys, options, words):
    assert main(["compare", "--engines", "surrogate", *options]) == 2
    assert words in capsys.readouterr().err


def test_a_comparison_gives_its_overlaps_back_to_the_report(tmp_path):
    path = tmp_path / "compare.json"
    found = {"kind": "phenomt", "overlaps": [[1.0, 0.9, 0.8], [0.9, 0.8, None]]}
    path.write_text(
        json.dumps({"overlaps": ["surrogate", "parameters", "answer"], "engines": [found]})
    )
    overlaps = read_overlaps(path)
    np.testing.assert_array_equal(overlaps["phenomt"], [0.8, np.nan])
    path.write_text("{}")
    with pytest.raises(DataError, match="not the JSON of a comparison"):
        read_overlaps(path)
