"""A network under stress, and the flag of what it does not know."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from hpc_gw.cli import main
from hpc_gw.constants import DT
from hpc_gw.errors import ConfigError, DataError, ParameterError
from hpc_gw.evaluation.doubts import doubts
from hpc_gw.evaluation.examine import SEED, Examiner, calibrate, examiner
from hpc_gw.evaluation.outside import BINS, Calibration, Level, without_noise
from hpc_gw.evaluation.readings import Bench, WhiteNoise, sigma_of
from hpc_gw.evaluation.stress_results import Cell, Stress
from hpc_gw.manifold.physics import with_effective_spins
from hpc_gw.manifold.populations import DrawsConfig
from hpc_gw.pretrained import answers_of, load_card, load_network, pretrained_path
from hpc_gw.stress import WIDE, extrapolating, stress, write_calibration
from hpc_gw.waveforms.engines import EngineConfig, load_engine
from hpc_gw.waveforms.lowpass import lowpass_matrix, widths
from hpc_gw.waveforms.timegrid import TimeGrid

OWN = EngineConfig(file="embedded")
GRID = TimeGrid(kind="chirp").times()
LATTICE = TimeGrid().times()[::16]
UNITS = ((0.1, 0.1, 0.1, 0.1, 0.01),) * (len(BINS) - 1)
KNOWN = Calibration(
    1e-3, (Level(math.inf, 100, UNITS, (2.0, 3.0)), Level(100.0, 100, UNITS, (4.0, 7.0)))
)


@pytest.fixture(scope="module")
def shipped():
    network, card = load_network(), load_card()
    peak = card["files"]["peak"]
    return examiner(lambda h22: answers_of(network, h22), network.grid.times(), OWN, peak)


def rows(count, seed):
    return DrawsConfig(count=count, seed=seed).parameters(np.arange(count))


def test_noise_on_a_lattice_is_that_of_the_papers_rate_behind_the_filter():
    """Both covariances of the network's samples, exactly: no draws."""
    noise = WhiteNoise(GRID, LATTICE)
    margin = 400.0
    every = np.arange(GRID[0] - margin, GRID[-1] + margin, DT)
    for part in (slice(0, 40), slice(300, 340), slice(700, 768)):
        full = lowpass_matrix(every, GRID[part], widths(GRID)[part])
        one = (full @ full.T).toarray()
        matrix = noise._read[part]
        other = (matrix @ matrix.T).toarray() * (DT / noise._step)
        np.testing.assert_allclose(other, one, atol=1e-3 * one.max())
        variance = np.diag(one) * widths(GRID)[part] / DT
        np.testing.assert_allclose(variance, 1.03, atol=0.02)  # sigma^2 dt / D, and 3 %
    np.testing.assert_allclose(noise.read_gain, np.diag(noise._read @ noise._read.T.toarray())
                               * (DT / noise._step))  # fmt: skip


def test_drawn_noise_has_the_variance_that_is_promised():
    noise = WhiteNoise(GRID, LATTICE)
    read, judged = noise.draw(np.full(24, 0.5), np.random.default_rng(0))
    assert read.shape == (24, GRID.size) and judged.shape == (24, LATTICE.size)
    share = np.mean(read.real**2 / (0.25 * noise.read_gain))
    assert share == pytest.approx(1, abs=0.04)  # 24 x 768 samples: 1 %
    assert float(judged.imag.var()) == pytest.approx(0.25 * noise.judged_gain, rel=0.03)
    together = np.corrcoef(read[:, 400].real, read[:, 500].real)
    assert abs(together[0, 1]) < 0.7


def test_a_network_at_the_papers_rate_gets_its_noise_unfiltered():
    grid = TimeGrid(t_min=-50.0).times()
    noise = WhiteNoise(grid, np.arange(-40.0, 120.0, 1.6))
    np.testing.assert_allclose(noise.read_gain, 1)


def test_the_snr_is_defined_on_the_papers_samples(paper_engine):
    h22 = paper_engine.h22(np.array([[2.0, 0.1, 0.3]]))
    sigma = sigma_of(h22[:, ::16], 50.0)
    exact = float(h22.real.double().square().sum().sqrt()) / 50
    assert sigma[0] == pytest.approx(exact, rel=1e-3)
    assert sigma_of(h22[:, ::16], math.inf)[0] == 0


def test_noise_is_taken_out_of_overlaps():
    draw = np.random.default_rng(1)
    h = np.exp(1j * np.linspace(0, 60, 20_000))
    noisy = h + 0.5 * (draw.standard_normal(h.size) + 1j * draw.standard_normal(h.size))
    value = abs(np.vdot(noisy, h)) / np.linalg.norm(noisy) / np.linalg.norm(h)
    share = 0.5 * h.size / np.linalg.norm(noisy) ** 2
    assert value < 0.85
    assert without_noise(np.array([value]), np.array([share]))[0] == pytest.approx(1, abs=0.01)


def test_scores_by_hand():
    """Of q = 8.3 the excess is three units, of s2 = -1 two; inside 0; without answer infinite."""
    answers = np.array([[8.3, 0, -1, 0, 0], [8, 0.8, -0.8, 0, 0], [2, 0, 0, 0.85, 0],
                        [np.nan, 0, 0, 0, 0]])  # fmt: skip
    found, limit = KNOWN.scores(answers, np.array([0.0, 0.02, 0.0, 0.0]))
    np.testing.assert_allclose(found.beyond, [3, 0, 0.5, np.inf])
    np.testing.assert_allclose(found.mismatch, [0, 2, 0, np.inf])
    assert limit == (2.0, 3.0)
    mismatch = np.array([0.0, 0.031, 0.0, 0.0])
    np.testing.assert_array_equal(KNOWN.outside(answers, mismatch), [True, True, False, True])
    np.testing.assert_array_equal(
        KNOWN.outside(answers, mismatch, 100), [False, False, False, True]
    )


def test_thresholds_grow_with_the_noise():
    assert KNOWN.at(math.inf).limit == (2.0, 3.0)
    assert KNOWN.at(100.0).limit == KNOWN.at(1.0).limit == (4.0, 7.0)
    assert KNOWN.at(100 * math.sqrt(2)).limit == pytest.approx((3.0, 5.0))
    assert KNOWN.least_overlap(5.0) == pytest.approx(0.97)


def test_a_calibration_survives_its_card():
    card = json.loads(json.dumps({"outside": KNOWN.to_dict()}))
    assert Calibration.of_card(card) == KNOWN
    assert Calibration.of_card({}) is None and Calibration.of_card(None) is None
    with pytest.raises(DataError, match="--calibrate"):
        Calibration.of_card({"outside": {"rate": 1e-3, "levels": [{"snr": None}]}})


def test_doubts_in_words():
    inside = [3.0, 0.1, 0.2, 0.1, 0.3]
    assert doubts(inside, 0.999, KNOWN) == (False, ())
    assert doubts([8.1, *inside[1:]], 0.999, KNOWN) == (False, ())  # by less than its error
    flag, (why,) = doubts([8.5, *inside[1:]], 0.999, KNOWN)
    assert flag is True and why.startswith("q = 8.5000 lies outside")
    flag, (why,) = doubts(inside, 0.96, KNOWN)
    assert flag is True and "99.95%" in why and "of another kind" in why
    assert doubts(inside, 0.96, KNOWN, snr=100.0)[0] is False
    assert doubts(inside, None, KNOWN) == (False, ())
    assert doubts(inside, float("nan"), KNOWN)[0] is True
    flag, (why,) = doubts([8.1, *inside[1:]], 0.95, None)  # without a card all is mentioned
    assert flag is None and "outside" in why


def test_the_shipped_card_tells_when_a_waveform_is_outside(shipped):
    known = Calibration.of_card(load_card())
    assert known is not None and known.rate == 1e-3
    assert [level.snr for level in known.levels] == sorted(
        (level.snr for level in known.levels), reverse=True
    )
    inside = shipped.examine(rows(256, 11))
    assert known.outside(inside.answers, inside.mismatch).sum() <= 3
    noisy = shipped.examine(rows(64, 12), snr=300.0, files=True)
    assert known.outside(noisy.answers, noisy.mismatch, 300.0).sum() <= 2


def test_waveforms_of_other_parameters_are_found(shipped):
    """The surrogate's fits, extrapolated: q out by 1, and s1 by 0.15 where q is not near 1."""
    known = Calibration.of_card(load_card())
    points = rows(24, 13)
    points[:, 0] = 9.0
    wide = extrapolated(shipped)
    found = wide.examine(points)
    assert known.outside(found.answers, found.mismatch).mean() > 0.8
    points[:, 0], points[:, 1] = np.linspace(2, 8, 24), 0.95
    found = wide.examine(points)
    assert known.outside(found.answers, found.mismatch).mean() > 0.6


def extrapolated(one):
    """The same examiner on the extrapolated surrogate."""
    bench = Bench(lambda times: extrapolating(OWN, times), one.bench.grid, one.bench.peak)
    return Examiner(one._ask, bench, one.judge)


def test_inside_of_the_domain_the_extrapolation_is_the_surrogate():
    times = np.arange(-100.0, 50.0, 1.0)
    points = rows(4, 1)
    one, other = extrapolating(OWN, times), load_engine(OWN, times)
    # to the fast path's tolerance: its series are of the wider domain
    assert (one.h22(points) - other.h22(points)).abs().max() < 1e-6
    with pytest.raises(ParameterError, match="q"):
        one.h22(np.array([[WIDE[0][1] + 0.5, 0, 0]]))


def test_stresses_are_what_they_are_called():
    """A network that answers with what it reads: the phase turned, the shift put later."""
    grid = TimeGrid(kind="chirp", samples=64).times()
    seen = []

    def ask(h22):
        seen.append(h22)
        return with_effective_spins(np.tile([3.0, 0.3, -0.2], (len(h22), 1)))

    one = examiner(ask, grid, OWN, 0.05)
    point = np.array([[3.0, 0.3, -0.2]])
    plain = one.examine(point)
    one.examine(point, phase=True)
    one.examine(point, shift=3.0)
    one.examine(point, snr=1e4)
    straight, turned, later, noisy = (h22[0] for h22 in seen)
    assert plain.overlap[0] == pytest.approx(1, abs=1e-6)
    ratio = turned / straight
    np.testing.assert_allclose(ratio, ratio[0])
    assert abs(ratio[0] - 1) > 1e-3 and abs(ratio[0]) == pytest.approx(1)
    engine = load_engine(OWN, np.concatenate([[-10_003.0], grid[1:-3] - 3.0]))
    peaks = np.abs(engine.h22_double(point).numpy()[0, 1:])
    np.testing.assert_allclose(np.abs(later[1:-3]), peaks, rtol=3e-3, atol=1e-5)
    assert 0 < np.abs(noisy - straight).max() < 0.05
    again = one.examine(point, snr=1e4)
    np.testing.assert_array_equal(seen[-1], seen[-2])
    assert again.mismatch[0] == pytest.approx(0, abs=1e-3)


def test_points_without_a_waveform_are_left_out_and_counted():
    grid = TimeGrid(kind="chirp", samples=64).times()
    one = examiner(lambda h22: np.tile([3.0, 0, 0, 0, 0], (len(h22), 1)), grid, OWN, 0.0)
    found = one.examine(np.array([[3.0, 0, 0], [9.5, 0, 0], [2.0, 0, 0]]))
    assert found.made.tolist() == [True, False, True] and len(found.answers) == 2
    none = one.examine(np.array([[9.5, 0, 0]]))
    assert not none.made.any() and none.answers.shape == (0, 5)


def test_a_calibration_keeps_its_rate(shipped, monkeypatch):
    """10 % of fresh waveforms, both scores together, are flagged at most, but for chance."""
    monkeypatch.setattr("hpc_gw.evaluation.outside.ALIKE", 0.0)  # which spares most alarms
    known = calibrate(shipped, rate=0.1, snrs=(math.inf, 300.0), counts=(200, 60), seed=5)
    found = shipped.examine(rows(400, 6))
    assert 0.02 < known.outside(found.answers, found.mismatch).mean() <= 0.16  # 2 sigma: 0.05
    found = shipped.examine(rows(60, 7), snr=300.0, files=True, seed=7)
    assert known.outside(found.answers, found.mismatch, 300.0)[found.read].mean() <= 0.25
    assert known.surrogate == shipped.judge.checksum
    assert 50 <= known.levels[1].waveforms <= 60
    assert np.array(known.levels[1].units)[:, -1].min() > known.levels[0].units[3][-1]


def test_the_roc_by_hand():
    cell = Cell("e", "q", 9.0, np.array([0.0, 0.5, 3.0]), np.array([2.0, 0.1, 0.2]))
    assert cell.rates() == pytest.approx((1 / 3, 1 / 3, 2 / 3))
    found = Stress("n", (), np.array([0.1, 0.4, 0.6, 1.2]), (cell,), {"rate": 0.1}, {})
    alarms, detected = found.roc([cell])
    np.testing.assert_allclose(alarms, [0, 0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(detected, [0, 2 / 3, 2 / 3, 1, 1])
    assert found.false_alarms == 0.25 and found.detected([cell], 0.5) == pytest.approx(2 / 3)


def test_the_command_writes_numbers_tables_and_a_figure(tmp_path, capsys):
    words = ["stress", "--quick", "--count", "8", "--surrogate", "embedded"]
    assert main([*words, "--output", str(tmp_path / "s")]) == 0
    shown = capsys.readouterr().out
    assert "| Reference phase" in shown and shown.startswith("# `robust` under stress")
    names = {path.name for path in (tmp_path / "s").iterdir()}
    assert names == {"stress.json", "stress.md", "stress.png", "stress.pdf"}
    found = json.loads((tmp_path / "s" / "stress.json").read_text())
    kinds = [row["kind"] for row in found["inside_domain"]]
    assert kinds[:2] == ["plain", "phase"] and {"shift", "snr", "file"} <= set(kinds)
    assert found["config"]["count"] == 8 and pretrained_path("robust").name in found["inputs"]
    assert found["calibration"]["source"] == "card" and found["commit"] is not None
    assert {cell["quantity"] for cell in found["outside_domain"]["cells"]} == {
        "q", "s1", "s2", "all"}  # fmt: skip
    for count in "3", "0":
        assert main([*words[:2], "--count", count, "-o", str(tmp_path / "no")]) == 2
        assert f"{count} waveforms" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()


def test_the_same_seed_gives_the_same_numbers():
    one, other = (
        stress(count=8, seed=3, surrogate=OWN, quick=True, progress=False) for _ in range(2)
    )
    np.testing.assert_array_equal(one.inside, other.inside)
    assert one.rows[-1].to_dict() == other.rows[-1].to_dict()


def test_thresholds_are_written_into_the_card_of_their_network_only(tmp_path):
    copy = tmp_path / "best.pt"
    copy.write_bytes(pretrained_path().read_bytes())
    one = replace(KNOWN, surrogate="1" * 64)
    write_calibration(copy, one)
    assert Calibration.of_card(load_card(copy)) == one
    changed = replace(one, rate=0.01)
    write_calibration(copy, changed, peak=0.5)
    card = load_card(copy)
    assert Calibration.of_card(card) == changed
    made = card["outside"]["recipe"]
    assert made["config"] == {"seed": SEED, "peak": 0.5} and made["versions"]["hpc_gw"]
    assert made["inputs"]["surrogate"] == one.surrogate
    with pytest.raises(ConfigError, match="--surrogate"):
        write_calibration(copy, replace(one, surrogate="2" * 64))
    copy.with_suffix(".json").write_text('{"sha256": "0"}')
    with pytest.raises(DataError, match="not the card"):
        write_calibration(copy, one)


def test_however_accurate_a_network_another_models_waveform_is_not_outside():
    sharp = Calibration(
        1e-3, (Level(math.inf, 100, ((*UNITS[0][:-1], 1e-7),) * len(UNITS), (2.0, 3.0)),)
    )
    answers = with_effective_spins(np.array([[4.0, 0.1, 0.1]] * 2))
    assert sharp.outside(answers, np.array([9e-4, 1.1e-3])).tolist() == [False, True]
    assert sharp.least_overlap(4.0) == pytest.approx(0.999)
