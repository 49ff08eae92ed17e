"""The fits' Chebyshev series against their kernels."""

import dataclasses
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from hpc_gw.manifold.populations import DrawsConfig
from hpc_gw.waveforms import series
from hpc_gw.waveforms.fits import FitBank
from hpc_gw.waveforms.series import AMPLITUDE, PHASE, FitSeries, fit_terms
from hpc_gw.waveforms.surrogate import CHUNK, SurrogateEngine, _fit_variables
from hpc_gw.waveforms.timegrid import TimeGrid

CPU = torch.device("cpu")
CORNERS = [[q, a, b] for q in (1.0, 8.0) for a in (-0.8, 0.8) for b in (-0.8, 0.8)]
POINTS = np.vstack([CORNERS, DrawsConfig(count=2040, seed=4).parameters(np.arange(2040))])


@pytest.fixture
def rough(surrogate):
    """A surrogate with one fit whose Gaussians are a hundredth as wide: no series converges."""
    first, *others = surrogate.phase.fits
    fits = (dataclasses.replace(first, length_scale=first.length_scale / 100), *others)
    return dataclasses.replace(surrogate, phase=dataclasses.replace(surrogate.phase, fits=fits))


def test_a_series_equals_its_kernels_within_what_was_dropped(surrogate):
    variables = _fit_variables(torch.from_numpy(POINTS))
    terms = fit_terms(surrogate)
    polynomials = FitSeries(terms, CPU).polynomials(variables, CHUNK)
    found = torch.cat([FitSeries(terms, CPU)(chunk) for chunk in polynomials])
    exact = torch.cat(
        [FitBank(p, CPU)(variables) for p in (surrogate.phase, surrogate.amplitude)], 1
    )
    bound = torch.from_numpy(terms.dropped)
    # The kernels' sums themselves are rounded to 1e-8: their weights add up to 1e8.
    worst = (found - exact).abs().amax(0)
    assert (worst < bound + 2e-8).all()
    nodes = len(surrogate.phase.fits)
    # measured: 6e-9 rad, 2.7e-8 of the amplitude
    assert worst[:nodes].max() < 3e-8 and worst[nodes:].max() < 6e-8
    assert terms.dropped[:nodes].max() <= PHASE and terms.dropped[nodes:].max() <= AMPLITUDE


def test_a_variable_outside_by_a_rounding_counts_as_the_end(surrogate):
    evaluate = FitSeries(fit_terms(surrogate), CPU)
    inside, outside = (
        evaluate(evaluate.polynomials(torch.tensor([[a, b, c]] * CHUNK).double(), CHUNK)[0])
        for a, b, c in ((np.log(8), 0.8, 0.0), (np.log(8) + 1e-9, 0.8 + 1e-9, 0.0))
    )
    assert torch.equal(inside, outside)


def test_rough_fits_and_few_training_points_have_no_series(surrogate, rough, monkeypatch):
    assert fit_terms(rough) is None
    monkeypatch.setattr(series, "PHASE", 1e-11)
    monkeypatch.setattr(series, "AMPLITUDE", 1e-11)
    fit_terms.cache_clear()
    assert fit_terms(surrogate) is None  # kernels would be the cheaper way
    fit_terms.cache_clear()


def test_without_a_series_the_fast_path_uses_kernels(rough):
    engine = SurrogateEngine(rough, TimeGrid(kind="chirp", samples=64).times())
    some = POINTS[: CHUNK + 1]
    amplitude, phase = engine.amplitude_phase(some)
    near = engine.fast_amplitude_phase(some)
    assert (near[0] - amplitude).abs().max() < 1e-6 and (near[1] - phase).abs().max() < 1e-6


def test_amplitude_and_phase_of_the_fast_path_are_near_the_exact_ones(chirp_engine):
    amplitude, phase = chirp_engine.amplitude_phase(POINTS)
    near = chirp_engine.fast_amplitude_phase(POINTS)
    assert (near[0] - amplitude).abs().max() < 2e-7  # measured: 7.5e-8
    assert (near[1] - phase).abs().max() < 2e-7  # measured: 9e-9


@pytest.mark.parametrize("threads", [1, 2])
def test_waveforms_do_not_depend_on_the_number_of_threads(chirp_engine, threads):
    before = torch.get_num_threads()
    reference = chirp_engine.h22_real(POINTS[:50])
    try:
        torch.set_num_threads(threads)
        assert torch.equal(chirp_engine.h22_real(POINTS[:50]), reference)
    finally:
        torch.set_num_threads(before)


def test_gradients_do_not_change_the_values(surrogate):
    bank = FitBank(surrogate.phase, CPU)
    variables = _fit_variables(torch.from_numpy(POINTS[:37]))
    tracked = bank(variables.clone().requires_grad_())
    assert tracked.requires_grad and torch.equal(tracked.detach(), bank(variables))


def test_the_series_do_not_depend_on_the_threads_of_their_process(root):
    """BLAS reads its number of threads when a process begins."""
    code = (
        "import hashlib\n"
        "from hpc_gw.waveforms.engines import surrogate_path\n"
        "from hpc_gw.waveforms.series import fit_terms\n"
        "from hpc_gw.waveforms.surrogate_file import read_surrogate\n"
        "terms = fit_terms(read_surrogate(surrogate_path('embedded')))\n"
        "print(hashlib.sha256(terms.coefficients.tobytes()).hexdigest())\n"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code], cwd=root, capture_output=True, check=True,
            env={**os.environ, "OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads},
        ).stdout
        for threads in ("1", "2", "3")
    }  # fmt: skip
    assert len(found) == 1
