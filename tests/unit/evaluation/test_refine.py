"""Fits of waveforms, and the few-node overlap they go by, against the overlap itself."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from hpc_gw.errors import ParameterError
from hpc_gw.evaluation.overlap import overlap
from hpc_gw.evaluation.quadrature import Quadrature
from hpc_gw.evaluation.refine import GOAL, bounded_minimum, fit, refine
from hpc_gw.manifold.populations import DrawsConfig, GridConfig
from hpc_gw.waveforms.surrogate import SurrogateEngine

SAMPLE = Path(__file__).resolve().parents[2] / "data" / "nrhybsur3dq8_q1_nonspinning.npz"
ROWS = np.arange(0, 197_516, 991)
TRUTH = GridConfig(split="test").parameters(ROWS)
LOW, HIGH = np.array([1.0, -0.8, -0.8]), np.array([8.0, 0.8, 0.8])


@pytest.fixture(scope="module")
def quadrature(surrogate):
    return Quadrature(surrogate)


def starts(scale=1.0):
    """Answers that miss by about what the shipped network misses by, times ``scale``."""
    noise = np.random.default_rng(3).standard_normal(TRUTH.shape)
    return TRUTH + scale * noise * [0.02, 0.013, 0.04]


@pytest.mark.parametrize("scale", [0.1, 1.0])
def test_overlaps_on_few_nodes_equal_those_of_the_whole_grid(quadrature, paper_engine, scale):
    truth, other = TRUTH[::20], np.clip(starts(scale)[::20], LOW, HIGH)
    exact = overlap(paper_engine.h22_double(truth), paper_engine.h22_double(other))
    shift = exact.shift * 0.1
    point = torch.cat([torch.from_numpy(other), shift[:, None]], dim=1)
    found = quadrature.compare(quadrature.target(truth), point)
    assert (found.overlap - exact.overlap).abs().max() < (1e-6 if scale == 1 else 1e-8)
    turn = torch.polar(torch.ones_like(shift), found.phase - exact.phase)
    assert (turn - 1).abs().max() < 1e-3


@pytest.mark.parametrize("unwrapped", [True, False])
def test_gradients_of_both_costs_equal_finite_differences(quadrature, unwrapped):
    target = quadrature.target(TRUTH[::20])
    inside = np.clip(starts()[::20], LOW + 0.01, HIGH - 0.01)
    # A shift forward: the derivatives leave out what a shift backward carries off the grid.
    point = torch.cat([torch.from_numpy(inside), torch.full((len(inside), 1), 0.2)], dim=1)
    found = quadrature.compare(target, point, unwrapped=unwrapped)
    for k in range(4):
        step = torch.zeros(4, dtype=torch.float64)
        step[k] = 1e-6
        above, below = (
            quadrature.compare(target, point + sign * step, unwrapped=unwrapped).cost
            for sign in (1, -1)
        )
        slope = (above - below) / 2e-6
        # of 1 - O the shift also changes the norm on the grid, by 3e-5 per M
        assert torch.allclose(found.gradient[:, k], slope, rtol=2e-3, atol=6e-5)


def test_from_a_networks_answers_every_fit_finds_the_truth(quadrature, paper_engine):
    found = refine(quadrature, ROWS, TRUTH, starts())
    assert found.converged.all()
    assert (found.overlap >= GOAL).all()
    assert np.abs(found.parameters - TRUTH).max() < 1e-4
    assert found.steps.mean() < 8
    some = slice(None, None, 25)
    exact = overlap(
        paper_engine.h22_double(TRUTH[some]), paper_engine.h22_double(found.parameters[some])
    )
    assert np.abs(exact.overlap.numpy() - found.overlap[some]).max() < 1e-8


def test_from_anywhere_in_the_domain_nearly_every_fit_arrives(quadrature):
    start = DrawsConfig(count=len(TRUTH), seed=8).parameters(np.arange(len(TRUTH)))
    found = refine(quadrature, ROWS, TRUTH, start)
    assert found.converged.mean() >= 0.99  # measured: all of 1000
    assert (found.overlap[found.converged] >= GOAL).all()


def test_truths_on_the_domains_edges_are_found_inside_of_it(quadrature):
    truth = np.array([[1.0, 0.2, 0.2], [8.0, 0.8, -0.8], [1.0, 0.8, -0.8], [4.0, -0.8, 0.1]])
    found = refine(quadrature, np.arange(4), truth, truth + np.array([-0.3, 0.2, -0.2]))
    assert found.converged.all()
    assert ((found.parameters >= LOW) & (found.parameters <= HIGH)).all()


def test_a_waveform_that_no_parameters_give_is_flagged(quadrature, paper_engine):
    h22 = paper_engine.h22_double(TRUTH[100:101])[0].numpy()
    bent = h22 * np.exp(1j * np.sin(paper_engine.times / 700))
    found = fit(quadrature, quadrature.target_of(paper_engine.times, bent), TRUTH[100:101])
    assert not found.converged.any()
    assert found.overlap < 0.9


def test_where_no_parameters_fit_the_answer_is_still_the_highest_overlap_around(
    quadrature, paper_engine
):
    h22 = paper_engine.h22_double(TRUTH[100:101])[0].numpy()
    bent = h22 * np.exp(0.3j * np.sin(paper_engine.times / 300))
    target = quadrature.target_of(paper_engine.times, bent)
    found = fit(quadrature, target, TRUTH[100:101])
    assert not found.converged.any() and found.stationary.all()
    move = np.random.default_rng(0).standard_normal((2000, 4)) * [1e-3, 1e-3, 5e-3, 0.3]
    move *= 10 ** np.random.default_rng(1).uniform(-2, 0, (2000, 1))
    point = torch.cat([found.parameters[0], found.shift])[None] + torch.from_numpy(move)
    point[:, :3] = torch.from_numpy(np.clip(point[:, :3].numpy(), LOW, HIGH))
    many = type(target)(*(column.expand(2000, -1) for column in target))
    # the derivatives leave out what the shift carries off the grid
    assert quadrature.compare(many, point).overlap.max() <= found.overlap + 2e-5


def test_samples_of_a_file_are_fitted_like_parameters(surrogate, quadrature):
    times = np.arange(-10_010.0, 135.0, 0.1)
    engine = SurrogateEngine(surrogate, times)
    h22 = engine.h22_double(TRUTH[100:101])[0].numpy() * (0.3 * np.exp(0.7j))
    target = quadrature.target_of(times - 0.13, h22)  # a clock that is late
    found = fit(quadrature, target, starts()[100:101])
    assert found.converged.all()
    assert float(found.shift) == pytest.approx(0.13, abs=1e-4)
    assert np.abs(found.parameters.numpy() - TRUTH[100]).max() < 1e-3


def test_the_genuine_sample_is_reached(surrogate):
    with np.load(SAMPLE) as file:
        h22, dt = file["h22"].astype(np.complex128), float(file["dt"])
        times = float(file["t0"]) + dt * np.arange(len(h22))
    quadrature = Quadrature(surrogate, times[0], times[-1] + dt, dt)
    found = fit(quadrature, quadrature.target_of(times, h22), np.array([[1.3, 0.2, -0.1]]))
    assert found.overlap >= GOAL
    q, s1, s2 = found.parameters[0].tolist()
    assert q == pytest.approx(1.0, abs=0.1)
    assert s1 + s2 == pytest.approx(0.0, abs=0.01)


def test_answers_that_are_no_numbers_stay_failures(quadrature):
    start = TRUTH[:3].copy()
    start[1, 2] = np.nan
    found = refine(quadrature, ROWS[:3], TRUTH[:3], start)
    assert found.converged.tolist() == [True, False, True]
    assert np.isnan(found.parameters[1]).all() and np.isnan(found.overlap[1])


def test_what_does_not_belong_together_is_refused(quadrature, paper_engine):
    with pytest.raises(ParameterError, match="need"):
        refine(quadrature, ROWS[:2], TRUTH[:3], TRUTH[:3])
    with pytest.raises(ParameterError, match="the fit needs"):
        quadrature.target_of(np.arange(-100.0, 100.0), np.ones(200, dtype=complex))


def test_a_minimum_in_a_box_is_the_best_of_all_its_faces():
    rng = np.random.default_rng(1)
    root = torch.from_numpy(rng.standard_normal((500, 3, 3)))
    hessian, gradient = root @ root.mT, torch.from_numpy(rng.standard_normal((500, 3)))
    low, high = (torch.from_numpy(sign * rng.random((500, 3))) for sign in (-1, 1))
    step = bounded_minimum(gradient, hessian, low, high)
    assert ((step >= low) & (step <= high)).all()

    def value(d):
        return (gradient * d).sum(1) + 0.5 * torch.einsum("bi,bij,bj->b", d, hessian, d)

    best = torch.full((500,), torch.inf, dtype=torch.float64)
    for face in itertools.product((low, high, None), repeat=3):
        free = [k for k in range(3) if face[k] is None]
        point = torch.stack(
            [torch.zeros(500) if x is None else x[:, k] for k, x in enumerate(face)], dim=1
        ).double()
        if free:
            slope = (gradient + (hessian @ point[:, :, None])[:, :, 0])[:, free]
            point[:, free] = -torch.linalg.solve(hessian[:, free][:, :, free], slope)
        inside = ((point >= low - 1e-12) & (point <= high + 1e-12)).all(1)
        best = torch.where(inside, torch.minimum(best, value(point)), best)
    assert (value(step) <= best + 1e-9).double().mean() >= 0.99
