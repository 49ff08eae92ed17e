"""The quadrature stem against tones, the surrogate's own phase and amplitude, and symmetry."""

import math

import numpy as np
import pytest
import torch

from hpc_gw.constants import Q_MAX, Q_MIN, SPIN_MAX
from hpc_gw.errors import ConfigError
from hpc_gw.manifold.physics import sigma_eff, with_effective_spins
from hpc_gw.manifold.populations import DrawsConfig
from hpc_gw.models.config import ModelConfig, QuadratureConfig
from hpc_gw.models.physics_head import difference_moments, from_difference
from hpc_gw.models.presets import COMPACT, LEAVES
from hpc_gw.models.quadrature import QuadratureStem, carrier
from hpc_gw.models.wavenet import WaveNet
from hpc_gw.waveforms.surrogate import SurrogateEngine
from hpc_gw.waveforms.timegrid import TimeGrid

SAMPLES = 768
CONFIG = QuadratureConfig(every=4)


def points(count, seed):
    return DrawsConfig(count=count, seed=seed).parameters(np.arange(count))


@pytest.fixture(scope="module")
def engine(surrogate):
    return SurrogateEngine(surrogate, TimeGrid(kind="chirp", samples=SAMPLES).times())


@pytest.fixture(scope="module")
def stem(engine):
    made = QuadratureStem(CONFIG, SAMPLES)
    made.calibrate(engine.h22_real(points(2048, 1)))
    return made


def test_a_tone_has_its_phase_and_amplitude():
    n = torch.arange(400.0, dtype=torch.float64)
    tones = torch.stack([0.2 * torch.cos(0.6 * n + start) for start in np.linspace(0, 6, 50)])
    assert carrier(tones).numpy() == pytest.approx(0.6, abs=1e-9)
    config = QuadratureConfig(coordinates=2)
    stem = QuadratureStem(config, 400).double()
    stem.calibrate(tones)
    other = 0.2 * torch.cos(0.5 * n + 1.0)  # less than pi a stride from the carrier
    phase, amplitude = stem.features(other[None]).chunk(2, dim=1)
    at = torch.tensor(config.positions(400)[stem.kept], dtype=torch.float64)
    turned = -0.1 * at  # relative to the carrier
    assert (phase[0] - phase[0, 0]).numpy() == pytest.approx((turned - turned[0]).numpy(), abs=1e-4)
    width = math.pi / 0.6
    response = math.exp(-0.5 * (0.1 * width) ** 2)  # the window's Fourier transform
    assert amplitude.exp().numpy() == pytest.approx(0.2 * response, rel=1e-3)


def test_the_carrier_is_the_mean_frequency_of_the_manifold(engine):
    rows = points(500, 2)
    amplitude, phase = engine.amplitude_phase(rows)
    weight = amplitude.square()
    mean = (torch.gradient(phase, dim=1)[0] * weight).sum(0) / weight.sum(0)
    found = carrier(engine.h22_real(rows).double())
    inspiral = slice(20, 650)
    assert found[inspiral].numpy() == pytest.approx(mean[inspiral].numpy(), rel=0.06)


def test_phases_are_unwrapped_over_the_whole_manifold(stem, engine):
    """Cycles are counted right at every corner: what remains is the windows' own average."""
    rows = np.array([[q, a, b] for q in (1, 8) for a in (-0.8, 0.8) for b in (-0.8, 0.8)])
    found, _ = stem.features(engine.h22_real(rows)).chunk(2, dim=1)
    _, phase = engine.amplitude_phase(rows)
    at = list(CONFIG.positions(SAMPLES)[stem.kept])
    mean_carrier = torch.cumsum(torch.cat((torch.zeros(1), stem.turn)), 0)[stem.kept]
    difference = found - (phase[:, at] - mean_carrier)
    early = difference[:, :35]
    assert (early - early[:, :1]).abs().max() < 0.1


def test_a_reference_phase_makes_no_difference(stem, engine):
    h = engine.h22(points(200, 3))
    turned = h * torch.exp(2j * math.pi * torch.rand(200, 1, generator=torch.manual_seed(0)))
    _, z = stem(h.real)
    _, same = stem(turned.real)
    assert (z - same)[:, :8].abs().max() < 0.03  # of a standard deviation
    features = (stem.features(h.real) - stem.features(turned.real)).abs()
    # At the merger the frequency rises within a window, and some of the conjugate gets in.
    assert features.max() < 2e-3 and features.median() < 1e-4


def test_coordinates_and_series_are_white(stem, engine):
    series, z = stem(engine.h22_real(points(4000, 4)))
    assert series.shape == (4000, 2, CONFIG.steps(SAMPLES)) and z.shape == (4000, 18)
    covariance = torch.cov(z.T)
    assert (covariance - torch.eye(18)).abs().max() < 0.25  # the bound bends the outermost
    assert float(series.square().mean()) == pytest.approx(1.0, abs=0.1)


def test_an_input_from_elsewhere_stays_bounded(stem):
    _, z = stem(torch.randn(5, SAMPLES, generator=torch.manual_seed(0)))
    assert z.isfinite().all() and z.abs().max() <= CONFIG.limit


def test_windows_in_tiles_are_the_whole_product(stem, engine):
    x = engine.h22_real(points(20, 4)).double()
    real, imaginary = (x @ stem.kernel.double()).chunk(2, dim=1)
    for found, whole in zip(stem._projected(x), (real, imaginary), strict=True):
        torch.testing.assert_close(found, whole, rtol=0, atol=1e-16)


def test_no_waveforms_give_no_answers(stem):
    series, z = stem(torch.zeros(0, SAMPLES))
    assert series.shape == (0, 2, 177 // CONFIG.every + 1) and z.shape == (0, 18)


def test_too_few_waveforms_to_measure_on_are_refused(engine):
    with pytest.raises(ConfigError, match=r"18 training waveforms.*give it more"):
        QuadratureStem(CONFIG, SAMPLES).calibrate(engine.h22_real(points(18, 1)))


def test_samples_where_all_are_silent_leave_the_rest_finite(engine):
    x = engine.h22_real(points(64, 1))
    x[:, -60:] = 0.0
    stem = QuadratureStem(CONFIG, SAMPLES)
    stem.calibrate(x)
    assert all(value.isfinite().all() for value in (*stem(x), *stem.buffers()))


def test_the_stem_is_part_of_the_weights(stem, engine):
    other = QuadratureStem(CONFIG, SAMPLES)
    other.load_state_dict(stem.state_dict())
    h = engine.h22_real(points(3, 5))
    assert all(torch.equal(a, b) for a, b in zip(stem(h), other(h), strict=True))
    assert not list(stem.parameters())


@pytest.mark.parametrize("config", [COMPACT, LEAVES])
def test_a_network_behind_it_answers_consistently(config, engine):
    model = WaveNet(config)
    h = engine.h22_real(points(40, 6))
    assert model(h).isfinite().all()  # before it is calibrated, too
    model.stem.calibrate(engine.h22_real(points(2048, 1)))
    answer = model.eval()(h).detach().double().numpy()
    assert with_effective_spins(answer[:, :3]) == pytest.approx(answer, rel=1e-5, abs=1e-5)
    assert model.cone == SAMPLES
    with torch.autocast("cpu", torch.bfloat16):
        rough = model(h)
    assert rough.dtype == torch.float32
    assert (rough - torch.from_numpy(answer)).abs().max() < 0.3


def test_spins_follow_from_their_difference():
    truth = torch.tensor([[1.0, 0.3, -0.5], [8.0, -0.8, 0.8], [3.3, 0.1, 0.7]]).double()
    q, s1, s2 = truth.unbind(1)
    found = from_difference(torch.stack((q.log(), sigma_eff(q, s1, s2), s1 - s2), dim=1))
    assert found.numpy() == pytest.approx(with_effective_spins(truth.numpy()), abs=1e-12)


def test_moments_of_the_three_answers_are_those_of_random_points():
    rng = np.random.default_rng(0)
    q = rng.uniform(Q_MIN, Q_MAX, 400_000)
    s1, s2 = rng.uniform(-SPIN_MAX, SPIN_MAX, (2, 400_000))
    found = np.stack((np.log(q), sigma_eff(q, s1, s2), s1 - s2))
    mean, spread = difference_moments()
    assert mean == pytest.approx(found.mean(1), abs=4e-3)
    assert spread == pytest.approx(found.std(1), rel=4e-3)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"quadrature": {"stride": 0}}, "stride"),
        ({"quadrature": {"cycles": 0.01}}, "cycles"),
        ({"quadrature": {"floor": -1.0}}, "floor"),
        ({"quadrature": {"limit": 0.0}}, "limit"),
        ({"quadrature": {"lead": 700, "tail": 100}}, "fewer than two positions"),
        ({"quadrature": {}, "stem_kernel": 4}, "one stem"),
        ({"dilations": ()}, "dilations"),
    ],
)
def test_a_stem_that_cannot_be_is_refused(changes, word):
    with pytest.raises(ValueError, match=word):
        ModelConfig(**{"input_steps": SAMPLES, "root_steps": 1, **changes})
