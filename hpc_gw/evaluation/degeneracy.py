"""How far (q, s1, s2) can move before the waveform shows it: the valleys of the overlap.

About each point p three things are found, time shift, phase and amplitude being free:

- ``fisher``: F with 1 - O = d F d / 2 for small d. A time shift tau also carries 3e-5 |tau| / M
  of the overlap over the start of the grid, which no quadratic form can hold: O counts it, F
  doesn't.
- ``extent``: the length of the straight line along -+ the eigenvector of F's smallest
  eigenvalue, to where O = 0.999 or the domain ends.
- ``reach``: the largest |d_i| of each parameter in {O >= 0.999} inside the domain, reached from
  p: valleys bend, and the line leaves them. Where the waveforms are linear in the parameters it
  is sqrt(2 (1 - 0.999) (F^-1)_ii), but for the domain's ends. It is found by maximising +-d_i
  within O >= level while the level falls from 1 to 0.999, so the region is followed from its
  centre; every point that counts has been evaluated and has its overlap. At q = 1, where the
  exchange of the bodies makes the difference of the spins invisible, it slides along the
  boundary.

Each search is a few steps of sequential quadratic programming on the overlap's Gauss-Newton
model. Against blind random walks in the region (40 points, 10 of them near q = 1) no reach was
shorter.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from hpc_gw.errors import ParameterError
from hpc_gw.evaluation.quadrature import Comparison, Quadrature, Target
from hpc_gw.evaluation.records import Valleys
from hpc_gw.evaluation.refine import SHIFT_MAX, fixed_minimum, pick, quadratic

LEVEL = 0.999
"""Overlap down to which two waveforms count as the same here."""

_GROWTH = (0.1, 0.3, 0.6, 1.0)
"""Parts of 1 - level that the first steps aim at: the region is followed from its centre."""

_TRUST = 0.1
"""Longest first move along a valley; twice as far after one that stays inside, else a third."""

_EXCESS = 1.01
"""A point counts to the region if its 1 - O is at most this part of 1 - LEVEL."""

_LINE_STEPS = 16  # evaluations along a line

_SETTLED = 1e-4
"""A search whose steps are shorter in every parameter has arrived."""

_STEPS = 18  # evaluations of one search for one parameter's reach

_NO_ROOM = 1e-9  # of a parameter: it is at its bound


def valleys(
    quadrature: Quadrature,
    row: np.ndarray,
    parameters: np.ndarray,
    *,
    level: float = LEVEL,
    batch: int = 128,
    progress: bool = False,
) -> Valleys:
    """The valley about each point (q, s1, s2), (N, 3); see the module.

    Points outside of the domain count as the nearest inside; those that are not finite give NaN.

    Raises:
        ParameterError: shapes that do not belong together, or a level outside (0.9, 1).
    """
    if parameters.shape != (len(row), 3) or not 0.9 < level < 1:
        raise ParameterError(
            f"{len(row)} rows, parameters {parameters.shape}, level {level:g}: need (N, 3), and a "
            f"level in (0.9, 1)"
        )
    low, high = quadrature.bounds.T
    columns = [np.full((len(row), *tail), np.nan) for tail in ((3, 3), (3,), (2,), (3,))]
    usable = np.flatnonzero(np.isfinite(parameters).all(axis=1))
    with tqdm(total=len(row), desc="valleys", unit=" points", disable=not progress) as bar:
        bar.update(len(row) - len(usable))
        for first in range(0, len(usable), batch):
            some = usable[first : first + batch]
            for column, part in zip(
                columns,
                _valleys(quadrature, np.clip(parameters[some], low, high), 1 - level),
                strict=True,
            ):
                column[some] = part.numpy()
            bar.update(len(some))
    return Valleys(row, *columns)


def describe(reach: np.ndarray, *, level: float = LEVEL) -> str:
    """One line on a prediction's valley, from its row of ``Valleys.reach``, (3,)."""
    if not np.isfinite(reach).all():
        return "degeneracy unknown: the prediction is not finite"
    q, s1, s2 = reach
    return (
        f"degenerate: (q, s1, s2) may move by (±{q:.2g}, ±{s1:.2g}, ±{s2:.2g}) with overlap "
        f">= {level:g}"
    )


@torch.no_grad()
def _valleys(quadrature: Quadrature, points: np.ndarray, loss: float) -> tuple[Tensor, ...]:
    """Fisher matrix, direction, extent and reach of B points inside the domain."""
    target = quadrature.target(points)
    centre = torch.from_numpy(points)
    _, fisher = _without_shift(quadrature.compare(target, _unshifted(centre)))
    direction = torch.linalg.eigh(fisher).eigenvectors[:, :, 0]
    backward = direction[:, 1] < 0
    direction = torch.where(backward[:, None], -direction, direction)
    extent = torch.stack(
        [_line(quadrature, target, centre, sign * direction, loss) for sign in (-1, 1)], dim=1
    )
    return fisher, direction, extent, _reach(quadrature, target, centre, loss)


def _reach(quadrature: Quadrature, target: Target, centre: Tensor, loss: float) -> Tensor:
    """Largest moves of each parameter in the region, (B, 3).

    A region that touches q = 1 is bent there, and holds the point with exchanged spins, or
    nearly: its ends are looked for once more from that point and from where q is largest.
    """
    reach, ends = _searches(quadrature, target, centre, _unshifted(centre), loss)
    touching = torch.nonzero(ends[(0, -1.0)][:, 0] <= quadrature.bounds[0, 0] + _NO_ROOM)[:, 0]
    if not len(touching):
        return reach
    some, middle = pick(target, touching), centre[touching]
    widest, mirror = ends[(0, 1.0)][touching], _unshifted(middle[:, [0, 2, 1]])
    for point in (widest, mirror):
        # Two steps of the shift alone, then is it in the region?
        for _ in range(2):
            state = quadrature.compare(some, point)
            point[:, 3] -= state.gradient[:, 3] / state.hessian[:, 3, 3]
        inside = quadrature.compare(some, point).cost <= loss
        again, _ = _searches(
            quadrature, some, middle, torch.where(inside[:, None], point, widest), loss
        )
        reach[touching] = torch.maximum(reach[touching], again)
    return reach


def _searches(
    quadrature: Quadrature, target: Target, centre: Tensor, point: Tensor, loss: float
) -> tuple[Tensor, dict[tuple[int, float], Tensor]]:
    """The farthest of each parameter, both ways, from ``point``: moves (B, 3), and the ends."""
    reach = torch.zeros_like(centre)
    ends: dict[tuple[int, float], Tensor] = {}
    for goal in itertools.product(range(3), (-1.0, 1.0)):
        moves, ends[goal] = _farthest(quadrature, target, centre, point, goal, loss)
        reach = torch.maximum(reach, moves)
    return reach, ends


def _unshifted(parameters: Tensor) -> Tensor:
    """(q, s1, s2) -> (q, s1, s2, tau = 0), (B, 4)."""
    return torch.cat([parameters, torch.zeros(len(parameters), 1)], dim=1)


def _line(
    quadrature: Quadrature, target: Target, centre: Tensor, unit: Tensor, loss: float
) -> Tensor:
    """Length of the line from ``centre`` along ``unit`` inside the level and domain, (B,).

    A safeguarded Newton iteration for 1 - O = loss, the time shift being solved for on the way.
    """
    low, high = (torch.from_numpy(edge) - centre for edge in quadrature.bounds.T)
    room = torch.where(unit > 0, high / unit, torch.where(unit < 0, low / unit, torch.inf))
    room = room.amin(1).clamp(min=0)
    # By (length, tau) instead of (q, s1, s2, tau).
    chain = torch.zeros(len(unit), 4, 2, dtype=torch.float64)
    chain[:, :3, 0], chain[:, 3, 1] = unit, 1.0
    length, inside, outside = torch.zeros_like(room), torch.zeros_like(room), room
    tau, origin, best_tau, drift = (torch.zeros_like(room) for _ in range(4))
    for step in range(_LINE_STEPS):
        state = quadrature.compare(target, _inside(quadrature, centre, length, unit, tau))
        gradient = (chain.mT @ state.gradient[:, :, None])[:, :, 0]
        hessian = chain.mT @ state.hessian @ chain
        late = -gradient[:, 1] / hessian[:, 1, 1]  # the shift that is best here
        cost = state.cost + gradient[:, 1] * late / 2
        slope = gradient[:, 0] + hessian[:, 0, 1] * late
        change = -hessian[:, 0, 1] / hessian[:, 1, 1]
        curve = (hessian[:, 0, 0] + hessian[:, 0, 1] * change).clamp(min=1e-300)
        good = cost <= loss
        inside = torch.where(good, length, inside)
        outside = torch.where(good, outside, length)
        # The shift is carried on from the longest good line: of a bad one it means nothing.
        nearer = good | (state.cost < 2 * loss)
        origin, best_tau, drift = (
            torch.where(nearer, new, old)
            for new, old in ((length, origin), (tau + late, best_tau), (change, drift))
        )
        aim = loss * _GROWTH[min(step, len(_GROWTH) - 1)]
        root = (slope**2 + 2 * curve * (aim - cost)).clamp(min=0).sqrt()
        newton = length + (root - slope) / curve
        middle = torch.where(inside > 0, (inside + outside) / 2, outside / 8)
        usable = (newton > inside) & (newton < outside)
        new = torch.where(usable, newton, torch.where(good & (newton > room), outside, middle))
        new = torch.where(inside >= room, room, new)
        if (new - length).abs().max() <= _NO_ROOM:
            break
        length = new
        tau = (best_tau + drift * (length - origin)).clamp(-SHIFT_MAX, SHIFT_MAX)
    return length.abs()  # no -0


def _farthest(
    quadrature: Quadrature,
    target: Target,
    centre: Tensor,
    point: Tensor,
    goal: tuple[int, float],
    loss: float,
) -> tuple[Tensor, Tensor]:
    """Move one parameter as far as it can be, from points (q, s1, s2, tau) inside the region.

    Returns:
        the largest moves of all parameters from ``centre`` on the way, (B, 3), and the end, (B, 4).
    """
    bounds = torch.from_numpy(quadrature.bounds.T.copy())  # (2, 3)
    axis, sign = goal
    point = point.clone()
    state = quadrature.compare(target, point)
    trust = torch.full((len(centre),), _TRUST, dtype=torch.float64)
    reach = (point[:, :3] - centre).abs()
    active = torch.arange(len(centre))
    for k in range(_STEPS):
        here, at, room = pick(state, active), point[active], trust[active]
        gradient, hessian = _without_shift(here)
        late = -here.gradient[:, 3] / here.hessian[:, 3, 3]
        cost = here.cost + here.gradient[:, 3] * late / 2
        aim = loss * _GROWTH[min(k // 2, len(_GROWTH) - 1)]
        # An ellipsoid inside the model's, no longer than the trust: flat directions mean little.
        inner = hessian + torch.diag_embed((2 * loss / room**2)[:, None].expand(-1, 3))
        box = bounds[0] - at[:, :3], bounds[1] - at[:, :3]
        step = _extreme(goal, aim - cost, gradient, inner, box)
        drift = -(here.hessian[:, 3, :3] * step).sum(1) / here.hessian[:, 3, 3]
        tau = (at[:, 3] + late + drift).clamp(-SHIFT_MAX, SHIFT_MAX)
        moved = torch.minimum(torch.maximum(at[:, :3] + step, bounds[0]), bounds[1])
        moved = torch.cat([moved, tau[:, None]], dim=1)
        there = quadrature.compare(pick(target, active), moved)
        # A bent region's model can lead astray inside of it: then, too, shorter steps are tried.
        onward = (step[:, axis] * sign >= 0) | (cost > aim)
        good = (there.cost <= _EXCESS * loss) & onward
        chosen = active[good]
        for old, new in zip(state, there, strict=True):
            old[chosen] = new[good]
        point[chosen] = moved[good]
        reach[chosen] = torch.maximum(reach[chosen], (moved[good, :3] - centre[chosen]).abs())
        trust[active] = room * torch.where(good, 2.0, 0.35)
        if k >= 2 * len(_GROWTH):
            active = active[step.abs().amax(1) > _SETTLED]
            if not len(active):
                break
    return reach, point


def _extreme(
    goal: tuple[int, float],
    spare: Tensor,
    gradient: Tensor,
    hessian: Tensor,
    box: tuple[Tensor, Tensor],
) -> Tensor:
    """The step d (B, 3) in the box that moves one parameter most, g d + d H d / 2 <= spare.

    Parameters that cross the domain's bounds on the way are fixed there, one round after another.
    Where even the minimum exceeds ``spare`` the step leads to the minimum.
    """
    axis, sign = goal
    low, high = box
    wanted = torch.zeros_like(gradient)
    wanted[:, axis] = sign
    step, fixed = torch.zeros_like(gradient), torch.zeros_like(gradient, dtype=torch.bool)
    for _ in range(4):
        middle = fixed_minimum(gradient, hessian, fixed, step)
        least = (gradient * middle).sum(1) + 0.5 * quadratic(hessian, middle)
        towards = fixed_minimum(-wanted, hessian, fixed, torch.zeros_like(step))
        size = (towards * wanted).sum(1).clamp(min=1e-300)
        radius = (2 * (spare - least)).clamp(min=0).sqrt()
        step = middle + (radius / size.sqrt())[:, None] * towards
        crossed = ~fixed & ((step < low - _NO_ROOM) | (step > high + _NO_ROOM))
        step = torch.minimum(torch.maximum(step, low), high)
        if not crossed.any():
            break
        fixed |= crossed
    return step


def _without_shift(state: Comparison) -> tuple[Tensor, Tensor]:
    """Gradient (B, 3) and Hessian (B, 3, 3) by (q, s1, s2), the shift at its best for each."""
    gain = state.hessian[:, :3, 3] / state.hessian[:, 3:, 3]  # (B, 3)
    gradient = state.gradient[:, :3] - gain * state.gradient[:, 3:]
    hessian = state.hessian[:, :3, :3] - gain[:, :, None] * state.hessian[:, None, 3, :3]
    return gradient, (hessian + hessian.mT) / 2


def _inside(
    quadrature: Quadrature, centre: Tensor, length: Tensor, unit: Tensor, tau: Tensor
) -> Tensor:
    """Points (q, s1, s2, tau) on the line, freed of roundings across the domain's bounds."""
    low, high = torch.from_numpy(quadrature.bounds.T.copy())
    point = torch.minimum(torch.maximum(centre + length[:, None] * unit, low), high)
    return torch.cat([point, tau[:, None]], dim=1)
