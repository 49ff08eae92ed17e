"""What is said of a waveform's being outside, by what, and what is not said."""

import functools
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

import hpc_gw.stress as module
from hpc_gw.answer import ask
from hpc_gw.cli import main
from hpc_gw.errors import ConfigError, DataError, ParameterError
from hpc_gw.evaluation import readings
from hpc_gw.evaluation.doubts import doubts
from hpc_gw.evaluation.examine import SEED, coarsest, examiner, rank
from hpc_gw.evaluation.outside import BINS, Calibration, Level
from hpc_gw.evaluation.stress_results import Row
from hpc_gw.manifold.populations import DrawsConfig
from hpc_gw.pretrained import Reader, answers_of, load_card, pretrained_path
from hpc_gw.stress import PARTS, seed_of, stress
from hpc_gw.waveforms.columns import peak_time
from hpc_gw.waveforms.engines import EngineConfig, load_engine

ROOT = Path(__file__).resolve().parents[2]
OWN = EngineConfig(file="embedded")
UNITS = ((0.1, 0.1, 0.1, 0.1, 0.01),) * (len(BINS) - 1)
INSIDE = [3.0, 0.1, 0.2, 0.1, 0.3]


def level(snr, mismatch, limit=2.0):
    return Level(snr, 100, ((0.1, 0.1, 0.1, 0.1, mismatch),) * (len(BINS) - 1), (2.0, limit))


KNOWN = Calibration(1e-3, (level(math.inf, 0.001), level(1000.0, 0.01), level(300.0, 0.1)))
ROBUST = load_card(pretrained_path("robust"))


@pytest.fixture
def copy(tmp_path):
    """A checkpoint of one's own, the shipped one's weights, and its card."""
    path = tmp_path / "best.pt"
    path.write_bytes(pretrained_path("robust").read_bytes())
    path.with_suffix(".json").write_text(json.dumps(ROBUST))
    return path


@pytest.fixture
def calibrated(monkeypatch):
    """Calibrations cost nothing, and are counted."""
    seen = []

    def calibrate(one, **options):
        seen.append(options)
        return replace(KNOWN, surrogate=one.judge.checksum)

    monkeypatch.setattr(module, "calibrate", calibrate)
    return seen


def test_random_waveforms_are_none_that_a_network_was_trained_or_calibrated_on():
    taken = {0, SEED}
    for path in (ROOT / "jobs").glob("*.yaml"):
        sets = yaml.safe_load(path.read_text()).get("sets") or {}
        taken |= {one["seed"] for one in sets.values() if "seed" in one}
    assert {1, 2} <= taken  # the comparison sees jobs at all
    seeds = [seed_of(seed, part) for seed in (*range(40), SEED) for part in PARTS]
    assert len(set(seeds)) == len(seeds) and not taken & set(seeds)
    assert max(taken) < min(seeds) and max(seeds) < 2**63


def test_each_part_of_a_run_draws_by_its_own_seed(monkeypatch):
    seen = []

    def draws(count, seed):
        seen.append(seed)
        return DrawsConfig(count=count, seed=seed)

    monkeypatch.setattr(module, "DrawsConfig", draws)
    stress(count=8, seed=5, surrogate=OWN, quick=True, progress=False)
    assert set(seen) == {seed_of(5, part) for part in PARTS}


def test_the_rank_of_a_threshold_by_hand():
    assert rank(1999, 1e-3) == 1999 and rank(8192, 1e-3) == 8189
    assert rank(19, 0.1) == 19 and rank(39, 0.1) == 38
    with pytest.raises(ParameterError, match="1,999"):
        rank(1998, 1e-3)
    for count in (32, 64, 2048, 8192):
        assert rank(count, coarsest(count)) <= count
    assert coarsest(2048) == 1e-3 and coarsest(64) == pytest.approx(2 / 65)


def test_fresh_scores_exceed_a_threshold_at_half_of_the_rate():
    """Over many calibrations; of the rank before, ceil((n - 1)(1 - rate / 2)) + 1, 0.072 would."""
    draw, n, rate = np.random.default_rng(0), 27, 0.1
    limits = np.sort(draw.random((20_000, n)), axis=1)[:, rank(n, rate) - 1]
    assert float(np.mean(1 - limits)) <= rate / 2 + 0.001


def test_no_threshold_falls_as_the_noise_grows():
    """A level's limit may be low, as few waveforms made it: 0.6 at SNR 1000 and 0.2 at 300."""
    wild = Calibration(1e-3, (level(math.inf, 1e-3), level(1e3, 0.04, 15.0), level(300.0, 0.1)))
    snrs = [math.inf, 1e4, 2000, 1000, 999, 700, 500, 400, 301, 300]
    least = np.array([wild.least_overlap(2.0, snr) for snr in snrs])
    assert (np.diff(least) <= 1e-12).all() and least[0] > 0.99
    np.testing.assert_allclose(least[[3, -1]], 0.4)
    excess = [wild.at(snr).limit[0] * wild.at(snr).units[0][0] for snr in snrs]
    assert (np.diff(excess) >= -1e-12).all()


def test_where_waveforms_inside_have_low_overlaps_a_high_one_says_nothing():
    np.testing.assert_array_equal(KNOWN.tells(np.array([1.0, 3.0, 9.0])), True)
    assert KNOWN.tells(np.array([3.0]), 1000.0)[0] and not KNOWN.tells(np.array([3.0]), 301.0)[0]
    assert doubts(INSIDE, 0.999, KNOWN, snr=1000.0) == (False, ())
    flag, (why,) = doubts(INSIDE, 0.999, KNOWN, snr=300.0)
    assert flag is None and "down to 0.800 at SNR 300" in why
    assert doubts(INSIDE, 0.7, KNOWN, snr=300.0)[0] is True
    assert doubts([8.9, *INSIDE[1:]], 0.999, KNOWN, snr=300.0)[0] is True


def test_in_more_noise_than_was_calibrated_nothing_is_told():
    flag, why = doubts([8.9, *INSIDE[1:]], 0.5, KNOWN, snr=299.0)
    assert flag is None and "from SNR 300 on" in why[0]
    assert "q = 8.9" in why[1] and "0.5000 < 0.9" in why[2]
    answers = np.array([[8.9, *INSIDE[1:]], [np.nan] * 5])
    assert not KNOWN.outside(answers, np.array([0.9, np.inf]), 299.0).any()
    assert KNOWN.outside(answers, np.array([0.9, np.inf]), 300.0).all()
    assert not KNOWN.tells(answers[:, 0], 299.0).any()


def change(what, value):
    """The card's thresholds with one thing changed."""
    said = KNOWN.to_dict()
    if what == "reversed":
        said["levels"].reverse()
    elif what in ("rate", "levels"):
        said[what] = value
    elif what == "units_99":
        said["levels"][1][what][2][4] = value
    elif what == "limit":
        said["levels"][1][what][0] = value
    else:
        said["levels"][1][what] = value
    return {"outside": said}


@pytest.mark.parametrize(("what", "value"), [
    ("reversed", None), ("snr", None), ("snr", 0), ("snr", -5.0), ("snr", 200.0), ("rate", 0),
    ("rate", 2), ("levels", []), ("units_99", math.nan), ("units_99", 0.0), ("units_99", math.inf),
    ("limit", -1.0), ("limit", math.nan), ("limit", 0)])  # fmt: skip
def test_thresholds_that_can_be_none_are_refused(what, value):
    assert Calibration.of_card({"outside": KNOWN.to_dict()}) == KNOWN
    with pytest.raises(DataError, match="--calibrate"):
        Calibration.of_card(change(what, value))


def test_thresholds_without_a_surrogate_are_of_the_cards_engine():
    card = {"outside": KNOWN.to_dict(), "engine": {"sha256": "ab"}}
    assert Calibration.of_card(card).surrogate == "ab"
    card["outside"]["surrogate"] = "cd"
    assert Calibration.of_card(card).surrogate == "cd"


def test_noisy_files_are_read_as_predict_reads_them(monkeypatch):
    """Time is looked for in the noise; what cannot be read has no answer and no flag."""
    reader, original, seen = Reader(pretrained_path("robust")), readings.columns_of, []
    network = functools.partial(answers_of, reader.network)
    one = examiner(network, reader.network.grid.times(), OWN, reader.peak)
    points = DrawsConfig(count=4, seed=3).parameters(np.arange(4))
    plain = one.examine(points)
    quiet = one.examine(points, snr=3e4, files=True)
    assert quiet.read.all()
    np.testing.assert_allclose(quiet.answers[:, 0], plain.answers[:, 0], atol=0.05)
    np.testing.assert_allclose(quiet.mismatch, plain.mismatch, atol=2e-3)

    def columns_of(*words):
        seen.append(original(*words))
        if len(seen) == 6:
            raise DataError("no peak")
        return seen[-1]

    monkeypatch.setattr(readings, "columns_of", columns_of)
    told = one.examine(points, snr=300.0, files=True)
    found = np.array([one.bench.times[0] - columns.times[0] for columns in seen])
    late = found - [peak_time(one.bench.times, row) for row in one.bench.engine.h22(points).numpy()]
    assert 0.1 < np.abs(late).max() < 20  # 1.3 M in the median
    assert all(columns.noise.snr == pytest.approx(300, rel=0.1) for columns in seen)
    again = one.examine(points, snr=300.0, files=True)
    assert again.read.tolist() == [True, False, True, True]
    assert np.isnan(again.answers[1]).all() and again.overlap[1] == 0
    np.testing.assert_allclose(again.answers[[0, 2, 3]], told.answers[[0, 2, 3]], rtol=1e-4)


def test_another_surrogates_thresholds_are_not_used_and_not_overwritten(copy, calibrated):
    card = json.loads(json.dumps(ROBUST))
    card["outside"]["surrogate"] = "0" * 64
    copy.with_suffix(".json").write_text(json.dumps(card))
    found = stress(copy, count=8, surrogate=OWN, quick=True, progress=False)
    assert found.calibration["source"] == "made on the way" and len(calibrated) == 1
    assert load_card(copy) == card
    with pytest.raises(ConfigError, match="of the surrogate 000000000000"):
        stress(copy, count=8, surrogate=OWN, calibrated=True, progress=False)
    assert len(calibrated) == 1 and load_card(copy) == card


def test_predict_says_nothing_by_thresholds_of_another_surrogate(copy, tmp_path):
    times = np.arange(-10_000.0, 130.0, 0.5)
    h22 = load_engine(OWN, times).h22(np.array([[3.0, 0.3, -0.2]]))[0].numpy()
    np.savez(tmp_path / "w.npz", t=times, h22=h22)
    (one,) = ask([tmp_path / "w.npz"], copy, OWN)
    assert one.outside is False and one.notes == ()
    card = json.loads(json.dumps(ROBUST))
    card["outside"]["surrogate"] = "0" * 64
    copy.with_suffix(".json").write_text(json.dumps(card))
    (one,) = ask([tmp_path / "w.npz"], copy, OWN)
    assert one.outside is None and "another surrogate" in one.notes[-1]


def test_a_card_that_cannot_be_read_is_mended_by_a_calibration(copy, calibrated):
    card = {**ROBUST, "outside": {"levels": "none"}}
    copy.with_suffix(".json").write_text(json.dumps(card))
    reader = Reader(copy)
    with pytest.raises(DataError, match="--calibrate"):
        _ = reader.known
    stress(copy, count=8, surrogate=OWN, calibrated=True, progress=False)
    mended = load_card(copy)
    assert Reader(copy).known == replace(KNOWN, surrogate=ROBUST["engine"]["sha256"])
    assert {**mended, "outside": 0} == {**ROBUST, "outside": 0}
    assert calibrated[0]["rate"] == 1e-3 and calibrated[0]["counts"] == (8192, 2048)


def test_what_cannot_end_well_is_refused_before_any_work(copy, tmp_path, capsys, monkeypatch):
    def work(*words, **options):
        raise AssertionError

    monkeypatch.setattr(module, "examiner", work)
    taken = tmp_path / "afile"
    taken.write_text("")
    words = ["stress", "--model", str(copy), "--surrogate", "embedded", "-o"]
    other = json.dumps({"sha256": "0"})
    for more, rule in (
        ([str(taken)], "afile: cannot be written"),
        ([str(tmp_path / "s"), "--quick", "--calibrate"], "--quick --calibrate: 64 waveforms"),
    ):
        assert main([*words, *more]) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert rule in line
    assert not (tmp_path / "s").exists()
    copy.with_suffix(".json").write_text(other)
    assert main([*words, str(tmp_path / "s"), "--calibrate"]) == 2
    assert "is not the card of best.pt" in capsys.readouterr().err
    assert copy.with_suffix(".json").read_text() == other


def test_an_engine_without_any_waveform_is_named():
    none = np.zeros(0, dtype=bool)
    with pytest.raises(ParameterError, match="phenomt: has no waveform at any of 8 points"):
        Row("engine", "phenomt", None, np.zeros((0, 5)), np.zeros(0), none, none, 8)


def test_the_numbers_tell_the_engines_that_they_are_of(monkeypatch):
    def other(ask, grid, config, peak, own=None):
        one = examiner(ask, grid, OWN, peak)
        if config.kind == "phenomt":
            one.bench.engine.checksum = "lalsimulation 1.2.3 IMRPhenomT"
        return one

    monkeypatch.setattr(module, "examiner", other)
    engines = [EngineConfig(kind="phenomt")]
    found = stress(count=8, engines=engines, surrogate=OWN, quick=True, progress=False)
    inputs = found.recipe["inputs"]
    assert inputs["phenomt"] == "lalsimulation 1.2.3 IMRPhenomT"
    assert inputs["surrogate"] == ROBUST["engine"]["sha256"] and "robust.pt" in inputs
