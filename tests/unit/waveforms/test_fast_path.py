"""The fast path: its real part alone, the last samples of a grid alone, and its accuracy."""

import numpy as np
import pytest
import torch

from hpc_gw.manifold.populations import DrawsConfig
from hpc_gw.waveforms import upsampling
from hpc_gw.waveforms.surrogate import CHUNK, SurrogateEngine
from hpc_gw.waveforms.timegrid import TimeGrid
from hpc_gw.waveforms.upsampling import MultirateGrid

GRIDS = {
    "paper": TimeGrid(),
    "coarser": TimeGrid(dt=0.5),
    "before the merger": TimeGrid(t_min=-4000, t_max=-500),
    "late": TimeGrid(t_min=-895),
    "chirp": TimeGrid(kind="chirp", samples=768),
}
CORNERS = [[q, a, b] for q in (1.0, 8.0) for a in (-0.8, 0.8) for b in (-0.8, 0.8)]
POINTS = np.vstack([CORNERS, DrawsConfig(count=25).parameters(np.arange(25))])  # 33: three chunks


@pytest.fixture(scope="module", params=GRIDS)
def engine(request, surrogate):
    return SurrogateEngine(surrogate, GRIDS[request.param].times())


@pytest.mark.parametrize("count", [0, 1, CHUNK, 2 * CHUNK + 1])
def test_the_real_part_alone_equals_that_of_h22(engine, count):
    whole = engine.h22(POINTS[:count])
    real = engine.h22_real(POINTS[:count])
    assert real.dtype == torch.float32 and real.shape == (count, engine.times.size)
    assert torch.equal(real, whole.real)

    memory = torch.full_like(real, torch.nan)
    assert engine.h22_real(POINTS[:count], out=memory) is memory
    assert torch.equal(memory, whole.real)


@pytest.mark.parametrize("wrong", [torch.empty(2, 768), torch.empty(3, 768).half()])
def test_output_memory_of_another_kind_is_refused(surrogate, wrong):
    engine = SurrogateEngine(surrogate, GRIDS["chirp"].times())
    with pytest.raises(ValueError, match="needs"):
        engine.h22_real(POINTS[:3], out=wrong)
    with pytest.raises(ValueError, match="contiguous"):
        engine.h22_real(POINTS[:2], out=torch.empty(768, 2).T)


def test_a_real_waveform_does_not_depend_on_its_batch(engine):
    whole = engine.h22_real(POINTS)
    for pick in ([0], [5, 2], list(range(1, CHUNK + 2)), [2 * CHUNK]):
        assert torch.equal(engine.h22_real(POINTS[pick]), whole[pick])


def test_it_equals_double_precision(engine):
    # measured: 1.6e-7 on the paper's grid, at 2008 points
    exact = engine.h22_double(POINTS)
    assert (engine.h22(POINTS) - exact).abs().max() < 3e-7
    assert (engine.h22_real(POINTS) - exact.real).abs().max() < 3e-7


@pytest.mark.parametrize("count", [2, 777, 1500, 2000, 2500, 5000, 10_254, 21_301, 50_001, 101_299])
def test_the_last_samples_alone_are_those_of_the_whole_grid(surrogate, engine, count):
    times = engine.times
    count = min(count, times.size - 1)
    rows = POINTS[: CHUNK + 1]
    last = SurrogateEngine(surrogate, times[-count:], phase_zero=times[0])
    assert torch.equal(last.h22(rows), engine.h22(rows)[:, -count:])
    assert torch.equal(last.h22_real(rows), engine.h22_real(rows)[:, -count:])
    # double precision may sum in another order
    assert (last.h22_double(rows) - engine.h22_double(rows)[:, -count:]).abs().max() < 1e-11


def test_another_first_time_is_told_from_it(surrogate, engine):
    shifted = SurrogateEngine(surrogate, engine.times[-500:])
    assert not torch.equal(shifted.h22_real(POINTS[:1]), engine.h22_real(POINTS[:1])[:, -500:])


def test_a_first_time_that_is_no_sample_does_not_matter_to_the_accuracy(surrogate):
    times = GRIDS["paper"].times()[-60_000:]
    engine = SurrogateEngine(surrogate, times, phase_zero=-9999.97)
    assert (engine.h22(POINTS) - engine.h22_double(POINTS)).abs().max() < 3e-7


@pytest.mark.parametrize("grid", [GRIDS["paper"], TimeGrid(dt=0.3), TimeGrid(dt=0.03)])
def test_pieces_cover_the_grid_once_and_in_order(grid):
    times = grid.times()
    composed = MultirateGrid.for_times(times, times[0])
    assert composed.pieces and composed.coarse_times.size < times.size / 3
    places = [place for place, _ in composed.upsample(torch.zeros(1, composed.coarse_times.size))]
    assert [p.start for p in places] == [0, *(p.stop for p in places[:-1])]
    assert places[-1].stop == times.size


def test_lattices_are_as_fine_as_documented():
    times = GRIDS["paper"].times()
    composed = MultirateGrid.for_times(times, times[0])
    assert [p.stride for p in composed.pieces] == [64, 64, 32, 8]
    assert times[-composed.dense] == pytest.approx(upsampling.T_DENSE)
    assert composed.coarse_times.size == 3783


def test_a_polynomial_of_degree_seven_is_interpolated_exactly():
    times = np.arange(-1000, 100, 0.1)
    composed = MultirateGrid.for_times(times, times[0])

    def curve(t):
        return np.polynomial.chebyshev.chebval(t / 2000, [0.3, -0.2, 0.4, 0.1, -0.3, 0.2, 0.1, 0.2])

    values = torch.from_numpy(curve(composed.coarse_times)).float()[None]
    for place, samples in composed.upsample(values):
        assert np.abs(samples[0].numpy() - curve(times[place])).max() < 1e-6


def test_uneven_and_coarse_times_are_evaluated_directly():
    for times in (GRIDS["chirp"].times(), np.arange(-10_000.0, 100, 7)):
        composed = MultirateGrid.for_times(times, times[0])
        assert not composed.pieces and composed.dense == times.size


@pytest.mark.parametrize("grid", [TimeGrid(kind="chirp", samples=768), TimeGrid(dt=1.0)])
@pytest.mark.parametrize("call", ["h22", "h22_real", "h22_real_double"])
def test_a_row_depends_neither_on_its_place_nor_on_its_companions(surrogate, grid, call):
    engine = SurrogateEngine(surrogate, grid.times())
    points = DrawsConfig(count=96, seed=5).parameters(np.arange(96))
    whole = getattr(engine, call)(points)
    generator = np.random.default_rng(0)
    for _ in range(20):
        some = generator.permutation(96)[: generator.integers(1, 60)]
        assert torch.equal(getattr(engine, call)(points[some]), whole[some])


def test_the_real_part_in_double_precision_is_that_of_the_complex_waveform(surrogate):
    engine = SurrogateEngine(surrogate, TimeGrid(dt=1.0).times())
    points = DrawsConfig(count=33, seed=6).parameters(np.arange(33))
    difference = engine.h22_real_double(points) - engine.h22_double(points).real
    assert difference.abs().max() < 1e-14
