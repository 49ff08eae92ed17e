"""The shipped network and its card."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from hpc_gw.card_page import numbers_section, write_page
from hpc_gw.errors import CheckpointError, DataError
from hpc_gw.evaluation.records import Overlaps, Predictions, Results
from hpc_gw.files import sha256
from hpc_gw.pretrained import (
    KEPT,
    accuracy,
    answers_of,
    checkpoint_path,
    error_intervals,
    load_card,
    load_network,
    make_pretrained,
    pretrained_path,
)
from hpc_gw.training.checkpoint import load
from hpc_gw.waveforms.engines import surrogate_path
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


def test_a_page_without_marks_is_left_alone(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("nothing")
    with pytest.raises(DataError, match="lacks the lines"):
        write_page(page, load_card())
    assert page.read_text() == "nothing"


def test_the_weights_are_loaded_without_pickled_code():
    assert isinstance(torch.load(pretrained_path(), weights_only=True), dict)
