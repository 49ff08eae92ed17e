"""A waveform beside that of its answer."""

import numpy as np
import pytest

from hpc_gw.closer import Closest
from hpc_gw.comparison import Comparer, Given
from hpc_gw.waveforms import engines
from hpc_gw.waveforms.columns import Columns
from hpc_gw.waveforms.engines import EngineConfig, load_engine
from hpc_gw.waveforms.lowpass import Noise

TRUTH = {"q": 3.0, "s1": 0.3, "s2": -0.2}
TIMES = np.arange(-10000.0, 130.0, 0.1)


@pytest.fixture(scope="module")
def comparer():
    return Comparer(EngineConfig(file="embedded"))


@pytest.fixture(scope="module")
def columns():
    engine = load_engine(EngineConfig(file="embedded"), TIMES)
    h22 = engine.h22(np.array([[3.0, 0.3, -0.2]]))[0].numpy()
    return Columns(TIMES, h22.astype(np.complex128))


def given(columns):
    return Given(np.zeros(1), columns, (), {}, "file")


@pytest.mark.parametrize(
    ("fit", "better"),
    [
        (Closest({"q": 5.0, "s1": 0.0, "s2": 0.0}, 0.999995, True), 5.0),
        (Closest({"q": 5.0, "s1": 0.0, "s2": 0.0}, 0.999995, False), 3.0),
        (Closest({"q": 5.0, "s1": 0.0, "s2": 0.0}, 0.14, True), 3.0),
    ],
)
def test_what_is_degenerate_is_told_of_the_better_answer(
    comparer, columns, monkeypatch, fit, better
):
    looked = []

    class Look:
        def fit(self, given, start):
            return fit

        def reach(self, point):
            looked.append(point[0, 0])
            return np.ones(3)

    monkeypatch.setattr(comparer, "_look", lambda *ends: Look())
    closest, reach = comparer.closer(given(columns), TRUTH, 0.9999, refine=True)
    assert closest == fit and reach == (1.0, 1.0, 1.0) and looked == [better]


def test_a_noisy_waveform_is_compared_on_the_samples_that_a_filter_leaves(comparer, columns):
    """To what the noise leaves: a part in SNR squared."""
    clean = comparer.likeness(given(columns), TRUTH)
    assert clean.overlap == pytest.approx(1, abs=1e-9)
    assert clean.span == pytest.approx((-10000, 129.9))
    sigma = np.sqrt(np.sum(columns.h22.real**2)) / 1000
    white = np.random.default_rng(1).standard_normal((2, TIMES.size)) * sigma
    noisy = Columns(TIMES, columns.h22 + white[0] + 1j * white[1], noise=Noise(sigma, 1000.0))
    found = comparer.likeness(given(noisy), TRUTH)
    assert 0.999 < found.overlap <= 1 and found.engine == clean.engine
    other = comparer.likeness(given(noisy), TRUTH | {"q": 3.5})
    assert other.overlap < 0.95
    nothing = comparer.likeness(given(noisy), dict.fromkeys(TRUTH, float("nan")))
    assert np.isnan(nothing.overlap)


def test_noise_that_lifts_an_overlap_above_1_is_capped(comparer, columns, monkeypatch):
    monkeypatch.setattr("hpc_gw.comparison.overlap_of_noisy", lambda *_: 1.06)
    noisy = Columns(TIMES, columns.h22, noise=Noise(0.01, 50.0))
    assert comparer.likeness(given(noisy), TRUTH).overlap == 1


def test_an_engine_is_made_once_for_waveforms_of_one_span(columns, monkeypatch):
    comparer = Comparer(EngineConfig(file="embedded"))
    made = []
    real = engines.SurrogateEngine

    def making(*arguments, **options):
        made.append(1)
        return real(*arguments, **options)

    monkeypatch.setattr("hpc_gw.waveforms.engines.SurrogateEngine", making)
    for _ in range(3):
        comparer.likeness(given(columns), TRUTH)
    assert len(made) == 1
    comparer.likeness(given(Columns(TIMES[999:], columns.h22[999:])), TRUTH)
    assert len(made) == 2
