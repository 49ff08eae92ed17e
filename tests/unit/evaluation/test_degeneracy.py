"""Valleys of the overlap: their claims against overlaps of whole waveforms and random walks."""

import numpy as np
import pytest
import torch

from hpc_gw.errors import ParameterError
from hpc_gw.evaluation.degeneracy import _searches, _unshifted, describe, valleys
from hpc_gw.evaluation.overlap import overlap
from hpc_gw.evaluation.quadrature import Quadrature, Target
from hpc_gw.manifold.populations import DrawsConfig

LOW, HIGH = np.array([1.0, -0.8, -0.8]), np.array([8.0, 0.8, 0.8])
POINTS = np.vstack(
    [
        DrawsConfig(count=16, seed=11).parameters(np.arange(16)),
        DrawsConfig(count=6, seed=12, q=(1.0, 1.1)).parameters(np.arange(6)),
        [[1.0, 0.3, 0.3], [1.0, 0.5, -0.2]],
    ]
)


@pytest.fixture(scope="module")
def quadrature(surrogate):
    return Quadrature(surrogate)


@pytest.fixture(scope="module")
def found(quadrature):
    return valleys(quadrature, np.arange(len(POINTS)), POINTS)


@pytest.mark.parametrize(("side", "sign"), [(0, -1), (1, 1)])
def test_at_a_valleys_ends_the_overlap_is_the_level_or_the_domain_ends(
    found, paper_engine, side, sign
):
    ends = POINTS + sign * found.extent[:, side : side + 1] * found.direction
    assert ((ends >= LOW - 1e-12) & (ends <= HIGH + 1e-12)).all()
    ends = np.clip(ends, LOW, HIGH)
    exact = overlap(paper_engine.h22_double(POINTS), paper_engine.h22_double(ends))
    exact = exact.overlap.numpy()
    bound = (np.minimum(ends - LOW, HIGH - ends) < 1e-9).any(1)
    assert (~bound).sum() >= 4
    assert np.abs(exact[~bound] - 0.999).max() < 1e-6  # measured: 2e-7
    assert exact.min() > 0.999 - 1e-6


def test_the_fisher_matrix_predicts_overlaps_nearby(found, paper_engine):
    inside = ((LOW + 0.02 < POINTS) & (HIGH - 0.02 > POINTS)).all(1) & (POINTS[:, 0] > 1.1)
    points, fisher = POINTS[inside], found.fisher[inside]
    move = np.random.default_rng(0).standard_normal(points.shape) * [1, 0.5, 0.5]
    move *= np.sqrt(2e-5 / np.einsum("bi,bij,bj->b", move, fisher, move))[:, None]
    h, s = paper_engine.h22_double(points), paper_engine.h22_double(points + move)
    exact = overlap(h, s)
    power = h.abs() ** 2
    edge = exact.shift.abs() * power[:, 0] / power.sum(1) / 2  # what the shift carries off
    loss = (1 - exact.overlap - edge).numpy()
    assert loss == pytest.approx(np.full(len(loss), 1e-5), rel=0.05)  # measured: 0.03


def test_the_direction_is_the_least_visible_one(found):
    for fisher, direction in zip(found.fisher, found.direction, strict=True):
        values = np.linalg.eigvalsh(fisher)
        assert np.linalg.norm(direction) == pytest.approx(1.0)
        assert direction[1] >= 0
        assert direction @ fisher @ direction == pytest.approx(values[0], abs=1e-9 * values[2])


@pytest.mark.parametrize("index", [0, 5, 17, 22])
def test_no_random_walk_in_the_region_gets_farther(quadrature, found, index):
    centre, walkers, generator = POINTS[index], 100, np.random.default_rng(0)
    target = Target(*(x.expand(walkers, -1) for x in quadrature.target(centre[None])))
    values, vectors = np.linalg.eigh(found.fisher[index])
    scale = np.minimum(np.sqrt(2e-3 / np.maximum(values, 1e-9)), 0.3)
    at, tau = np.repeat(centre[None], walkers, axis=0), torch.zeros(walkers, dtype=torch.float64)
    farthest = np.zeros(3)
    for _ in range(120):
        size = generator.choice([0.03, 0.1, 0.3, 1.0], size=(walkers, 1))
        move = generator.standard_normal(at.shape) * scale * size
        new = np.clip(at + move @ vectors.T, LOW, HIGH)
        state = quadrature.compare(target, torch.cat([torch.from_numpy(new), tau[:, None]], 1))
        tau_new = tau - state.gradient[:, 3] / state.hessian[:, 3, 3]
        point = torch.cat([torch.from_numpy(new), tau_new[:, None]], 1)
        good = quadrature.compare(target, point).overlap >= 0.999
        at[good], tau[good] = new[good], tau_new[good]
        farthest = np.maximum(farthest, np.abs(at - centre).max(0))
    assert (found.reach[index] >= 0.99 * farthest).all()
    assert (found.reach[index] <= 2 * farthest + 0.02).all()  # and the claim is no fancy


def test_at_equal_masses_the_exchanged_spins_are_within_reach(found):
    # (1, s1, s2) and (1, s2, s1) are one binary
    assert (found.reach[23, 1:] >= 0.69).all()
    # equal spins: each may grow while the other shrinks
    assert (found.reach[22, 1:] >= 0.3).all()
    assert abs(found.direction[22] @ [0, 1, 1]) < 0.01


def test_the_exchanged_spins_side_of_a_region_near_equal_masses_is_found(quadrature):
    # Regions that touch q = 1 bend round to the exchanged spins, 1.28 away in each; one look from
    # the centre alone goes less far. That such ends have the overlap is tested below.
    reach = valleys(quadrature, np.arange(1), np.array([[1.0327, 0.7822, -0.4997]])).reach[0]
    assert (reach[1:] >= 1.1).all()


def test_the_farthest_points_have_the_levels_overlap(quadrature, paper_engine):
    points = POINTS[8:20]
    centre = torch.from_numpy(points)
    target = quadrature.target(points)
    with torch.no_grad():
        reach, ends = _searches(quadrature, target, centre, _unshifted(centre), 1e-3)
    h = paper_engine.h22_double(points)
    for (axis, sign), end in ends.items():
        exact = overlap(h, paper_engine.h22_double(end[:, :3])).overlap
        assert exact.min() > 0.999 - 1.1e-5  # a hundredth of the level's loss is allowed
        move = (end[:, axis] - centre[:, axis]) * sign
        assert ((move >= 0) & (move <= reach[:, axis] + 1e-12)).all()


def test_points_that_are_no_numbers_have_no_valley(quadrature):
    found = valleys(quadrature, np.arange(2), np.array([[2.0, 0.1, 0.1], [np.nan, 0.0, 0.0]]))
    assert np.isfinite(found.reach[0]).all()
    assert np.isnan(found.reach[1]).all() and np.isnan(found.fisher[1]).all()


def test_a_higher_level_leaves_less_room(quadrature, found):
    closer = valleys(quadrature, np.arange(8), POINTS[:8], level=0.9999)
    assert (closer.extent <= found.extent[:8] + 1e-9).all()
    assert (closer.reach <= found.reach[:8] + 1e-9).all()


def test_impossible_levels_are_refused(quadrature):
    with pytest.raises(ParameterError, match="level"):
        valleys(quadrature, np.arange(2), POINTS[:2], level=1.0)


def test_the_description_says_how_far_and_at_which_overlap():
    text = describe(np.array([0.021, 0.149, 0.31]))
    assert (
        text == "degenerate: (q, s1, s2) may move by (±0.021, ±0.15, ±0.31) with overlap >= 0.999"
    )
    assert "unknown" in describe(np.full(3, np.nan))
