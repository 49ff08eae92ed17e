"""Waveforms of one batch on several grids are those of the engines."""

import numpy as np
import pytest
import torch

from hpc_gw.errors import ParameterError
from hpc_gw.manifold.populations import DrawsConfig
from hpc_gw.waveforms.shifted import ShiftedSurrogate
from hpc_gw.waveforms.surrogate import CHUNK, SurrogateEngine
from hpc_gw.waveforms.timegrid import TimeGrid

TIMES = TimeGrid(kind="chirp", samples=768).times()


@pytest.fixture(scope="module")
def engines(surrogate):
    return [SurrogateEngine(surrogate, TIMES + shift) for shift in (-0.7, -0.1, 0.4, 0.9)]


@pytest.mark.parametrize("count", [1, 5, 3 * CHUNK, 200])
def test_they_are_the_engines_waveforms_bit_for_bit(engines, count):
    points = DrawsConfig(count=count, seed=4).parameters(np.arange(count))
    which = np.random.default_rng(count).integers(0, 3, count)  # the last one makes none
    found = ShiftedSurrogate.of(engines).h22(points, which)
    assert found.dtype == torch.complex64 and found.shape == (count, 768)
    for waveform, point, i in zip(found, points, which, strict=True):
        assert torch.equal(waveform, engines[i].h22(point[None])[0])


def test_rows_outside_of_the_surrogate_are_refused(engines):
    with pytest.raises(ParameterError, match="q = 9"):
        ShiftedSurrogate.of(engines).h22(np.array([[9.0, 0.0, 0.0]]), np.array([1]))


def test_engines_that_differ_or_interpolate_are_left_alone(engines, surrogate, paper_engine):
    shorter = SurrogateEngine(surrogate, TIMES[100:])
    assert ShiftedSurrogate.of([*engines, shorter]) is None
    assert ShiftedSurrogate.of([paper_engine, paper_engine]) is None
    assert ShiftedSurrogate.of([*engines, object()]) is None
    assert ShiftedSurrogate.of([]) is None
