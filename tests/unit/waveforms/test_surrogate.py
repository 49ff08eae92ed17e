"""The batched evaluator against gwsurrogate, and its own invariants."""

import numpy as np
import pytest
import torch

from hpc_gw.errors import ParameterError
from hpc_gw.manifold.populations import DrawsConfig
from hpc_gw.waveforms.engines import surrogate_path
from hpc_gw.waveforms.gwsurrogate_engine import GwsurrogateEngine
from hpc_gw.waveforms.protocol import Engine
from hpc_gw.waveforms.surrogate import CHUNK, SurrogateEngine
from hpc_gw.waveforms.timegrid import TimeGrid

CORNERS = [[q, a, b] for q in (1.0, 8.0) for a in (-0.8, 0.8) for b in (-0.8, 0.8)]
POINTS = np.vstack(
    [CORNERS, [[1, 0, 0], [1.0001, 0.8, -0.8]], DrawsConfig(count=6).parameters(np.arange(6))]
)


@pytest.fixture(scope="module")
def reference():
    """h22 of POINTS by gwsurrogate on the paper's grid."""
    pytest.importorskip("gwsurrogate")
    engine = GwsurrogateEngine(surrogate_path("embedded"), TimeGrid().times())
    return engine, engine.h22_double(POINTS)


def test_double_precision_equals_gwsurrogate(paper_engine, reference):
    assert (paper_engine.h22_double(POINTS) - reference[1]).abs().max() < 1e-8


def test_the_fast_path_equals_gwsurrogate(paper_engine, reference):
    # measured: 2.3e-7 at its worst corner
    fast = paper_engine.h22(POINTS)
    assert fast.dtype == torch.complex64
    assert (fast - reference[1]).abs().max() < 1e-6


def test_gwsurrogate_answers_the_same_protocol(paper_engine, reference):
    assert isinstance(reference[0], Engine) and isinstance(paper_engine, Engine)
    assert reference[0].h22(POINTS[:1]).dtype == torch.complex64


def test_the_chirp_grid_equals_the_paper_grid_where_they_meet(surrogate, paper_engine):
    times = np.array([-10_000.0, -4321.0, -100.0, 0.0, 50.0])
    few = SurrogateEngine(surrogate, times).h22_double(POINTS)
    index = np.searchsorted(paper_engine.times, times - 1e-6)
    assert (few - paper_engine.h22_double(POINTS)[:, index]).abs().max() < 1e-9


def test_phase_starts_at_zero_and_amplitude_peaks_at_time_zero(paper_engine):
    amplitude, phase = paper_engine.amplitude_phase(POINTS)
    assert phase[:, 0].abs().max() < 1e-12
    assert (phase[:, 1:20_000].diff(dim=1) > 0).all()
    peak = paper_engine.times[amplitude.argmax(1).numpy()]
    assert np.abs(peak).max() < 0.5


def test_a_waveform_does_not_depend_on_its_batch(chirp_engine, paper_engine):
    points = DrawsConfig(count=2 * CHUNK + 3).parameters(np.arange(2 * CHUNK + 3))
    for engine in (chirp_engine, paper_engine):
        whole = engine.h22(points)
        for pick in ([0], [5, 2], list(range(CHUNK + 1)), [2 * CHUNK + 2]):
            assert torch.equal(engine.h22(points[pick]), whole[pick])


def test_the_last_samples_alone_equal_those_of_the_whole(surrogate, paper_engine):
    times = paper_engine.times
    last = SurrogateEngine(surrogate, times[-10_254:], phase_zero=times[0])
    whole = paper_engine.h22_double(POINTS)[:, -10_254:]
    assert (last.h22_double(POINTS) - whole).abs().max() < 1e-9
    assert (last.h22(POINTS) - whole).abs().max() < 1e-6


def test_output_memory_can_be_given(chirp_engine):
    out = torch.empty(len(POINTS), chirp_engine.times.size, dtype=torch.complex64)
    assert chirp_engine.h22(POINTS, out=out) is out
    assert torch.equal(out, chirp_engine.h22(POINTS))
    with pytest.raises(ValueError, match="needs"):
        chirp_engine.h22(POINTS[:2], out=out)


def test_gradients_equal_finite_differences(chirp_engine):
    point = torch.tensor([[3.0, 0.2, -0.4]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(chirp_engine.amplitude_phase, point, eps=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("row", "words"),
    [((9.5, 0, 0), "covers q"), ((2, 0.95, 0), "covers s1"), ((0.9, 0, 0), ">= 1")],
)
def test_points_outside_the_domain_are_refused(chirp_engine, row, words):
    with pytest.raises(ParameterError, match=words):
        chirp_engine.h22(np.array([row]))


def test_times_outside_the_domain_are_refused(surrogate):
    with pytest.raises(ParameterError, match="covers"):
        SurrogateEngine(surrogate, np.array([-20_000.0, 0.0]))
    with pytest.raises(ParameterError, match="increasing"):
        SurrogateEngine(surrogate, np.array([0.0, 0.0]))
