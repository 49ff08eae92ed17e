"""lalsimulation's models as engines: against lalsimulation itself, and our conventions."""

import sys

import numpy as np
import pytest
import torch

from hpc_gw.cli import main
from hpc_gw.config import build
from hpc_gw.errors import ConfigError, MissingDependencyError, ParameterError
from hpc_gw.evaluation.overlap import overlap
from hpc_gw.waveforms.columns import peak_time
from hpc_gw.waveforms.direct_engine import DirectEngine
from hpc_gw.waveforms.engines import EngineConfig, load_engine
from hpc_gw.waveforms.inspiral import starting_frequency
from hpc_gw.waveforms.lal_engine import APPROXIMANTS, TOTAL_MASS, LalEngine
from hpc_gw.waveforms.protocol import Engine
from hpc_gw.waveforms.timegrid import TimeGrid

POINTS = np.array([[1.0, 0, 0], [3.0, 0.4, -0.3], [8.0, -0.8, 0.8], [8.0, 0.8, 0.8]])
SHORT = np.arange(-2000.0, 130.0, 0.1)


@pytest.fixture(params=APPROXIMANTS)
def kind(request):
    pytest.importorskip("lalsimulation")
    return request.param


def test_the_convention_is_the_protocols(kind):
    engine = load_engine(EngineConfig(kind=kind), SHORT)
    assert isinstance(engine, Engine)
    h22 = engine.h22_double(POINTS)
    assert h22[:, 0].angle().abs().max() < 1e-12
    # measured: 0.004 (IMRPhenomT) and 0.025 (SEOBNRv4, whose |h22| has a kink near its peak)
    assert max(abs(peak_time(SHORT, row)) for row in h22.numpy()) < 0.04
    growth = -(h22[:, 1:] * h22[:, :-1].conj()).angle()
    assert (growth[:, SHORT[1:] < 20] > 0).all()
    # 0.14 (q = 8) to 0.40 (q = 1) in r h / M, as an NR run has it
    assert 0.38 < h22[0].abs().max() < 0.41 and 0.12 < h22[2].abs().max() < 0.16
    assert engine.h22(POINTS[:1]).dtype == torch.complex64
    assert torch.equal(engine.h22_double(POINTS[2:3]), h22[2:3])  # whatever the batch
    assert engine.h22(POINTS[:0]).shape == (0, SHORT.size)


def test_the_phase_zero_may_lie_before_the_times(kind):
    whole, late = (
        load_engine(EngineConfig(kind=kind), times, phase_zero=SHORT[0])
        for times in (SHORT, SHORT[-500:])
    )
    difference = whole.h22_double(POINTS)[:, -500:] - late.h22_double(POINTS)
    assert difference.abs().max() < 1e-9


def test_it_is_the_22_mode_that_lalsimulation_gives_as_such():
    """IMRPhenomTHM has modes, and its (2, 2) is IMRPhenomT's."""
    lal, simulation = pytest.importorskip("lal"), pytest.importorskip("lalsimulation")
    q, s1, s2 = 3.0, 0.4, -0.3
    omega = starting_frequency(q, s1, s2)
    t, h22 = LalEngine("phenomt", SHORT).generate(q, s1, s2, omega)
    second, metres = TOTAL_MASS * lal.MTSUN_SI, 1e6 * lal.PC_SI
    masses = TOTAL_MASS * lal.MSUN_SI * np.array([q, 1]) / (1 + q)
    start = omega / np.pi / second
    model = simulation.GetApproximantFromString("IMRPhenomTHM")
    spins = (0, 0, s1, 0, 0, s2)
    modes = simulation.SimInspiralChooseTDModes(
        0, 0.1 * second, *masses, *spins, start, start, metres, None, 5, model
    )
    scale = metres / (TOTAL_MASS * lal.MRSUN_SI)
    theirs = {}
    while modes is not None:
        theirs[modes.l, modes.m] = modes.mode
        modes = modes.next
    mode = theirs[2, 2]
    np.testing.assert_allclose(float(mode.epoch) / second, t[0], atol=1e-6)
    assert np.abs(np.abs(scale * mode.data.data) - np.abs(h22)).max() < 1e-6
    turn = np.exp(1j * (np.angle(h22[0]) - np.angle(mode.data.data[0])))
    assert np.abs(scale * mode.data.data * turn - h22).max() < 1e-6

    # And the polarizations are the sum of modes, in lalsimulation's convention of directions.
    iota, reference = 0.7, 0.3
    model = simulation.GetApproximantFromString("IMRPhenomT")
    plus, cross = simulation.SimInspiralChooseTDWaveform(
        *masses, *spins, metres, iota, reference, 0, 0, 0, 0.1 * second, start, start, None, model
    )
    strain = scale * (plus.data.data - 1j * cross.data.data)
    direction = iota, np.pi / 2 - reference
    h22 = scale * mode.data.data
    made = h22 * lal.SpinWeightedSphericalHarmonic(*direction, -2, 2, 2)
    made += h22.conj() * lal.SpinWeightedSphericalHarmonic(*direction, -2, 2, -2)
    assert np.abs(strain - made).max() < 1e-6
    assert np.abs(strain - made.conj()).max() > 0.1  # the comparison can fail


def test_it_is_near_to_the_surrogate_where_all_models_agree(paper_engine, kind):
    # measured: 0.9993 (IMRPhenomT) and 0.9967 (SEOBNRv4)
    point = np.array([[2.0, 0.2, 0.1]])
    h22 = load_engine(EngineConfig(kind=kind), TimeGrid().times()).h22(point)
    assert float(overlap(h22, paper_engine.h22(point)).overlap) > 0.99
    far = paper_engine.h22(np.array([[2.2, 0.2, 0.1]]))
    assert float(overlap(h22, far).overlap) < 0.9  # the comparison can fail


@pytest.mark.parametrize(
    ("point", "words"), [((9e9, 0, 0), "covers q in"), ((2, 0, 0.995), "s2"), ((0.5, 0, 0), "swap")]
)
def test_points_outside_of_the_models_are_refused(kind, point, words):
    engine = load_engine(EngineConfig(kind=kind), SHORT)
    with pytest.raises(ParameterError, match=words):
        engine.h22(np.array([point], dtype=float))


def test_what_lalsimulation_refuses_is_an_error_of_ours(kind):
    engine = load_engine(EngineConfig(kind=kind), SHORT)
    with pytest.raises(ParameterError, match="has no waveform at"):
        engine.generate(0.0, 0.0, 2.0, 0.01)


class Toy(DirectEngine):
    """A chirp that begins and ends where it is told to."""

    name, checksum = "toy", "toy 1"

    def __init__(self, start, end, times, **options):
        super().__init__(times, **options)
        self.ends = start, end

    def generate(self, q, s1, s2, omega):
        t = np.arange(self.ends[0], self.ends[1], 0.1)
        amplitude = np.where(t < 0, 0.1 + 0.3 * np.exp(t / 100), 0.4 * np.exp(-t / 12))
        return t + 55.5, amplitude * np.exp(-1j * (0.1 * t + 0.3))


def test_a_waveform_that_is_too_short_is_refused_and_a_ringdown_may_end():
    point, times = np.array([[1.0, 0, 0]]), np.arange(-500.0, 130.0, 0.5)
    h22 = Toy(-600, 200, times).h22_double(point)[0]
    phase = -np.unwrap(h22[:200].angle().numpy())
    np.testing.assert_allclose(phase, 0.1 * (times[:200] + 500), atol=1e-6)
    with pytest.raises(ParameterError, match="begins at -400 M"):
        Toy(-400, 200, times).h22(point)
    with pytest.raises(ParameterError, match="before its ringdown is over"):
        Toy(-600, 60, times).h22(point)
    ended = Toy(-600, 100, times).h22_double(point)[0]
    assert (ended[times > 100] == 0).all()
    torch.testing.assert_close(ended[times < 99], h22[times < 99], rtol=0, atol=1e-6)
    with pytest.raises(ParameterError, match="phase 0"):
        Toy(-600, 200, times, phase_zero=0.0)


def test_the_start_is_early_enough_everywhere():
    """To -10,000 M at the corners of the domain; SEOBNRv4 is the shortest there."""
    pytest.importorskip("lalsimulation")
    times = np.array([-10_000.0, 0.0])
    corners = [[q, a, b] for q in (1, 20) for a in (-0.99, 0.99) for b in (-0.99, 0.99)]
    for kind in APPROXIMANTS:
        h22 = load_engine(EngineConfig(kind=kind), times).h22(np.array(corners, dtype=float))
        assert torch.isfinite(torch.view_as_real(h22)).all()


def test_a_missing_lalsuite_names_the_install_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "lalsimulation", None)
    with pytest.raises(MissingDependencyError, match=r'pip install "hpc_gw\[lal\]"'):
        load_engine(EngineConfig(kind="phenomt"), SHORT)


def test_other_engines_take_no_surrogate_file(capsys):
    with pytest.raises(ConfigError, match="reads none"):
        build(EngineConfig, {"kind": "phenomt", "file": "some.h5"})
    assert main(["waveform", "-q", "2", "--engine", "phenomt", "--surrogate", "some.h5"]) == 2
    assert "reads none" in capsys.readouterr().err
