"""Time grids: the paper's, and the one that follows a chirp's phase."""

import numpy as np
import pytest

from hpc_gw.waveforms.timegrid import TimeGrid


def test_the_default_is_the_papers_grid():
    times = TimeGrid().times()
    assert times.size == 101_300
    assert np.array_equal(times, -10_000 + 0.1 * np.arange(101_300))
    assert np.allclose(times, np.arange(-10_000, 130, 0.1), atol=1e-6)


def test_the_chirp_grid_increases_from_end_to_end_and_is_densest_at_the_peak():
    times = TimeGrid(kind="chirp", samples=768).times()
    steps = np.diff(times)
    assert times[0] == -10_000 and times[-1] == 130 and times.size == 768
    assert (steps > 0).all()
    assert (np.diff(steps[times[1:] < 0]) < 1e-9).all()


def test_every_cycle_gets_about_as_many_samples(surrogate):
    from hpc_gw.waveforms.surrogate import SurrogateEngine  # noqa: PLC0415

    times = TimeGrid(kind="chirp", samples=768).times()
    engine = SurrogateEngine(surrogate, times)
    _, phase = engine.amplitude_phase(np.array([[1, 0, 0], [8, -0.8, -0.8], [8, 0.8, 0.8]]))
    per_cycle = 2 * np.pi / np.diff(phase.numpy(), axis=1)
    assert per_cycle.min() > 3.5  # well above Nyquist's 2, even in the ringdown of fast spins
    inspiral = per_cycle[:, times[1:] < -1000]
    assert (inspiral.max(1) / inspiral.min(1)).max() < 1.7


def test_ends_in_the_wrong_order_are_refused():
    with pytest.raises(ValueError, match="must be below"):
        TimeGrid(t_min=10, t_max=-10)
