"""The shipped network and its card."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from hpc_gw import pretrained
from hpc_gw.card import accuracy, error_intervals, files_part, limits, training_part
from hpc_gw.card_page import numbers_section, write_page
from hpc_gw.errors import CheckpointError, DataError
from hpc_gw.evaluation.records import Overlaps, Predictions, Results
from hpc_gw.files import sha256
from hpc_gw.manifold.populations import DrawsConfig
from hpc_gw.pretrained import (
    FILES_SEED,
    KEPT,
    answers_of,
    checkpoint_path,
    judge_files,
    load_card,
    load_network,
    make_pretrained,
    pretrained_path,
    write_pretrained,
)
from hpc_gw.training.checkpoint import load
from hpc_gw.waveforms.engines import EngineConfig, load_engine, surrogate_path
from hpc_gw.waveforms.surrogate import SurrogateEngine


def test_the_shipped_network_is_small_whole_and_described():
    path, card = pretrained_path(), load_card()
    assert path.stat().st_size < 8e6
    assert card is not None and card["sha256"] == sha256(path)
    assert card["engine"]["sha256"] == sha256(surrogate_path("embedded"))
    content = load(path)
    assert set(content) == {"format", *KEPT}
    network = load_network()
    assert card["weights"] == sum(p.numel() for p in network.model.state_dict().values())
    assert network.grid.size == network.content["model"]["input_steps"]


def test_the_documentation_shows_the_numbers_of_the_card(root):
    page = (root / "docs" / "models.md").read_text()
    card = load_card()
    assert numbers_section(card) in page
    assert f"{card['weights']:,}" in page


def test_it_answers_as_the_card_says(surrogate):
    """On 256 random waveforms, against the medians over the whole test grid."""
    network, card = load_network(), load_card()
    draw = np.random.default_rng(3)
    points = np.column_stack([draw.uniform(1, 8, 256), draw.uniform(-0.8, 0.8, (256, 2))])
    h22 = SurrogateEngine(surrogate, network.grid.times()).h22(points).numpy()
    error = np.abs(answers_of(network, h22)[:, :3] - points)
    for i, key in enumerate(("q", "s1", "s2")):
        assert np.median(error[:, i]) < 1.5 * card["accuracy"]["abs_error"][key]["median"], key
    shuffled = np.abs(answers_of(network, h22[::-1])[:, :3] - points)
    assert np.median(shuffled[:, 0]) > 1  # the comparison can fail


def test_a_name_that_is_not_shipped_is_refused():
    with pytest.raises(CheckpointError, match="there is: compact"):
        pretrained_path("large")
    with pytest.raises(CheckpointError, match="there is: compact"):
        checkpoint_path(Path("large"))


def test_a_bare_name_is_a_shipped_network_unless_a_file_has_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert checkpoint_path(Path("compact")) == checkpoint_path() == pretrained_path()
    Path("compact").write_bytes(b"mine")
    assert checkpoint_path(Path("compact")) == Path("compact")
    assert checkpoint_path(Path("run/best.pt")) == Path("run/best.pt")


def test_a_card_of_another_file_is_none(tmp_path):
    copy = tmp_path / "compact.pt"
    copy.write_bytes(pretrained_path().read_bytes())
    assert load_card(copy) is None
    copy.with_suffix(".json").write_text(json.dumps({"sha256": "0"}))
    assert load_card(copy) is None
    copy.with_suffix(".json").write_text(json.dumps({"sha256": sha256(copy)}))
    assert load_card(copy) == {"sha256": sha256(copy)}


def test_intervals_by_the_answer():
    """By hand: in the second bin all errors of q are 0.1, in the third -0.2."""
    truth, answer = np.zeros((40, 5)), np.zeros((40, 5))
    truth[:20, 0], answer[:20, 0] = 1.4, 1.5
    truth[20:, 0], answer[20:, 0] = 3.2, 3.0
    answer[3] = np.nan
    first, second = error_intervals(truth, answer)
    assert (first["q_low"], first["q_high"], first["count"]) == (1.25, 2.0, 19)
    assert first["errors"]["q"] == pytest.approx([0.1, 0.1])
    assert second["errors"]["q"] == pytest.approx([-0.2, -0.2])


def test_failures_are_counted_as_the_worst():
    prediction = np.zeros((10, 5))
    prediction[0] = np.nan
    rows, zeros = np.arange(10), np.zeros(10)
    overlaps = Overlaps(rows, np.where(rows == 0, np.nan, 1.0), zeros, zeros, zeros, zeros)
    found = accuracy(Results(Predictions(rows, np.zeros((10, 5)), prediction), overlaps), None)
    assert found["overlap_quantiles"]["0"] == 0
    assert found["failures"] == 1
    assert found["abs_error"]["q"] == {"median": 0.0, "p90": None}


def test_a_run_without_a_report_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        make_pretrained(tmp_path, tmp_path)
    (tmp_path / "best.pt").write_bytes(pretrained_path().read_bytes())
    with pytest.raises(DataError, match="has no report yet"):
        make_pretrained(tmp_path, tmp_path / "out")
    words = [sys.executable, "-m", "hpc_gw.pretrained", str(tmp_path), "-o", str(tmp_path / "out")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "has no report yet" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["compact", "robust"])
def test_a_card_says_how_its_network_was_trained(name):
    content, card = load(pretrained_path(name)), load_card(pretrained_path(name))
    assert card["training"] == training_part(content)
    assert card["training"]["seen"] == 512 * card["training"]["steps"] < 33_554_432
    assert card["limits"] == limits(content)


def test_limits_are_those_of_the_job():
    content = load(pretrained_path("robust"))
    assert "80% of them with white noise of SNR 20 to 100000" in limits(content)[-1]
    assert "without noise" in limits(load(pretrained_path("compact")))[-1]
    train = content["data"]["train"]
    other = {
        **content,
        "data": {"train": {**train, "population": {"kind": "draws", "q": [1, 3], "s2": [0, 0.5]}}},
        "context": {"time_grid": {"t_min": -5000.0, "t_max": 100.0}},
    }
    first, second, *_ = limits(other)
    assert "q in [1, 3] and s1 in [-0.8, 0.8], s2 in [0, 0.5]" in first
    assert "from -5000 M to +100 M" in second
    del train["population"]
    with pytest.raises(CheckpointError, match="says not what it was trained on"):
        limits(content)


def test_brackets_are_measured_on_waveforms_that_no_job_begins_with(monkeypatch):
    asked = []

    class Noted:
        def __init__(self, engine):
            self.engine = engine

        def h22(self, rows):
            asked.append(rows)
            return self.engine.h22(rows)

    def load_noted(*arguments):
        return Noted(load_engine(*arguments))

    monkeypatch.setattr(pretrained, "load_engine", load_noted)
    judge_files(load_network(), EngineConfig(file="embedded"), count=8)
    rows = np.arange(8)
    mine = DrawsConfig(count=8, seed=FILES_SEED).parameters(rows)
    assert np.array_equal(asked[-1], mine)
    assert not np.isclose(mine, DrawsConfig(count=8).parameters(rows)).any()


def test_both_files_are_published_together_or_not_at_all(tmp_path, monkeypatch):
    content = load(pretrained_path())
    (tmp_path / "n.pt").write_bytes(b"old weights")
    (tmp_path / "n.json").write_text("old card")

    def stopped(*_):
        assert (tmp_path / "n.pt").read_bytes() == b"old weights"
        raise KeyboardInterrupt

    monkeypatch.setattr(pretrained, "judge_files", stopped)
    with pytest.raises(KeyboardInterrupt):
        write_pretrained(content, tmp_path, "n", {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["n.json", "n.pt"]
    assert (tmp_path / "n.pt").read_bytes() == b"old weights"
    assert (tmp_path / "n.json").read_text() == "old card"


@pytest.mark.parametrize(
    "files",
    [None, [], {"peak": 0.0}, {"peak": "x", "by_predicted_q": []},
     {"peak": 0.0, "by_predicted_q": [{"q_low": 1, "q_high": None, "errors": {"q": [0]}}]}],
)  # fmt: skip
def test_a_card_that_says_something_else_of_files_is_refused(files):
    with pytest.raises(DataError, match="the card's 'files' cannot be read"):
        files_part({"files": files})
    assert files_part({}) == files_part(None) and files_part(None).peak == 0


def test_intervals_of_an_answer_by_hand():
    errors = {key: [-0.1, 0.2] for key in ("q", "s1", "s2", "sigma_eff", "s_eff")}
    bins = [{"q_low": 1.0, "q_high": 2.0, "errors": errors}]
    part = files_part({"files": {"peak": 0.05, "by_predicted_q": bins}})
    values = dict.fromkeys(errors, 0.0)
    found = part.intervals(values | {"q": 1.1})
    assert found["q"] == pytest.approx((1.0, 1.2))  # not below 1
    assert found["s1"] == pytest.approx((-0.2, 0.1))
    assert part.intervals(values | {"q": 2.0}) == {}
    assert part.intervals(values | {"q": 1.5, "s1": float("nan")}) == {}


def test_the_page_tells_overlaps_by_what_they_lack():
    section = numbers_section(load_card())
    (row,) = (line for line in section.splitlines() if "overlap | this network |" in line)
    cells = [float(cell) for cell in row.split("|")[3:-1]]
    level = load_card()["accuracy"]["overlap_quantiles"]
    wanted = [1 - level[key] for key in ("1", "0.75", "0.5", "0.25", "0")]
    assert cells == pytest.approx(wanted, rel=0.06)
    assert 0 < cells[1] < cells[2] < cells[3]


def test_a_page_without_marks_is_left_alone(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("nothing")
    with pytest.raises(DataError, match="lacks the lines"):
        write_page(page, load_card())
    assert page.read_text() == "nothing"


def test_the_weights_are_loaded_without_pickled_code():
    assert isinstance(torch.load(pretrained_path(), weights_only=True), dict)
