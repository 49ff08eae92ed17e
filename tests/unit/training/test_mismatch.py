"""The cheap mismatch against the overlap itself."""

import itertools

import numpy as np
import pytest
import torch

from hpc_gw.evaluation.overlap import overlap
from hpc_gw.manifold.populations import DrawsConfig
from hpc_gw.training.metric import FisherMismatch
from hpc_gw.training.mismatch import PhaseMismatch

TRUTH = DrawsConfig(count=24, seed=3, q=(1.2, 7.8), s1=(-0.75, 0.75), s2=(-0.75, 0.75)).parameters(
    np.arange(24)
)
DIRECTIONS = DrawsConfig(count=24, seed=4, q=(1, 2), s1=(-1, 1), s2=(-1, 1)).parameters(
    np.arange(24)
) - [1.5, 0, 0]


@pytest.fixture(scope="module")
def mismatch(surrogate):
    return PhaseMismatch(surrogate, -10_000, 130)


def pair(scale):
    return torch.tensor(TRUTH + scale * DIRECTIONS * [0.1, 0.05, 0.05]), torch.tensor(TRUTH)


def test_for_close_waveforms_it_is_one_minus_the_overlap(mismatch, paper_engine):
    near, truth = pair(0.05)
    exact = 1 - overlap(paper_engine.h22(near), paper_engine.h22(truth)).overlap.numpy()
    found = mismatch(near, truth).numpy()
    useful = (exact > 1e-5) & (exact < 1e-2)  # above float32's noise, below the next order
    assert useful.sum() >= 8
    ratio = found[useful] / exact[useful]
    assert ratio.min() > 0.8  # the rest is due to the amplitudes
    assert ratio.max() < 1.05


def test_it_is_zero_at_the_truth_and_grows_with_distance(mismatch):
    values = [mismatch(*pair(scale)) for scale in (0.0, 0.01, 0.1, 1.0)]
    assert values[0].max() < 1e-14  # of the phases of the truth, known to 1e-7 rad
    for near, far in itertools.pairwise(values):
        assert (far > near).all()


def test_twice_the_quadrature_points_hardly_change_it(surrogate, mismatch):
    fine = PhaseMismatch(surrogate, -10_000, 130, samples=192)
    for scale in (0.05, 1.0):
        assert torch.allclose(mismatch(*pair(scale)), fine(*pair(scale)), rtol=0.04)


def test_gradients_equal_finite_differences(mismatch):
    near, truth = (rows[:3] for rows in pair(0.3))
    assert torch.autograd.gradcheck(
        lambda rows: mismatch(rows, truth), near.requires_grad_(), eps=1e-6, rtol=1e-3
    )


def test_truths_at_the_corners_survive_single_precision(mismatch):
    corner = torch.tensor([[8.0, 0.8, -0.8], [1.0, -0.8, 0.8]], dtype=torch.float32)
    assert torch.isfinite(mismatch(corner, corner.double())).all()


def test_an_answer_outside_the_domain_counts_as_the_nearest_inside(mismatch, surrogate):
    truth = torch.tensor([[2.0, 0.1, 0.2]], dtype=torch.float64)
    edge = torch.tensor([[8.0, 0.8, -0.8]], dtype=torch.float64)
    outside = torch.tensor([[9.5, 1.3, -2.0]], dtype=torch.float64, requires_grad=True)
    assert mismatch(outside, truth) == mismatch(edge, truth)
    mismatch(outside, truth).sum().backward()
    assert torch.isfinite(outside.grad).all()


def test_rows_that_are_no_numbers_have_no_mismatch_and_leave_the_others_theirs(mismatch):
    near, truth = pair(0.05)
    expected = mismatch(near, truth)
    near[3, 1] = torch.nan
    near.requires_grad_()
    found = mismatch(near, truth)
    others = torch.arange(24) != 3
    assert found[3].isnan() and torch.equal(found[others], expected[others])
    found[others].sum().backward()
    assert near.grad.isfinite().all()


@pytest.fixture(scope="module")
def fisher(surrogate):
    return FisherMismatch(surrogate, -10_000, 130)


def test_the_metric_gives_the_mismatch_of_close_waveforms(mismatch, fisher):
    near, truth = pair(0.003)
    exact = mismatch(near, truth)
    ratio = (fisher(near, truth) / exact).numpy()
    assert exact.max() < 0.1
    assert np.median(np.abs(ratio - 1)) < 0.03
    assert ratio.min() > 0.8 and ratio.max() < 1.25


def test_the_metric_has_a_gradient_towards_the_truth(fisher):
    near, truth = pair(0.5)
    near.requires_grad_()
    (slope,) = torch.autograd.grad(fisher(near, truth).sum(), near)
    assert (((near - truth) * slope).sum(1) > 0).all()


def test_the_metric_is_known_up_to_the_edges_of_the_domain(fisher):
    corners = torch.tensor(list(itertools.product((1.0, 8.0), (-0.8, 0.8), (-0.8, 0.8))))
    g = fisher.metric(corners)
    assert g.isfinite().all() and (g[:, :3] > 0).all()
    assert fisher(corners, corners).max() == 0
