"""From a network's answer to the parameters whose waveform matches best: a fit of h22.

(q, s1, s2) and the time shift are fitted by Levenberg-Marquardt with closed-form derivatives,
inside the surrogate's domain; amplitude and phase are solved for. Two costs follow one another:
the unwrapped phase difference, which keeps growing however many cycles the waveforms are apart
and is nearly linear in the parameters, so that a poor start is no obstacle; then 1 - O itself.
Rows that don't arrive start again elsewhere.
"""

from __future__ import annotations

from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from hpc_gw.errors import ParameterError
from hpc_gw.evaluation.quadrature import Comparison, Quadrature, Target
from hpc_gw.evaluation.records import Refined

GOAL = 0.99999
"""Overlap that a fit must reach to count as converged."""

SHIFT_MAX = 100.0
"""Largest time shift that is looked for [M]; both waveforms peak near t = 0."""

_STEPS = 30  # evaluations at most, of each cost
_DAMPING = (1e-9, 1e-14, 1e3)  # first, smallest, largest: a part of the Hessian's diagonal
_GAIN = 1e-13  # a step that promises less (in 1 - O) ends a fit ...
_RELATIVE_GAIN = 1e-5  # ... or less than this part of 1 - O
_OTHER_STARTS = np.stack(
    np.meshgrid([1.2, 3.0, 6.5], [-0.5, 0.5], [-0.5, 0.5], indexing="ij"), -1
).reshape(-1, 3)
"""Where a row starts again whose own start has failed, (q, s1, s2), (12, 3)."""

Columns = TypeVar("Columns", Target, Comparison)


class Fit(NamedTuple):
    """The best waveforms found for B targets; float64 unless said otherwise."""

    parameters: Tensor
    """(q, s1, s2), (B, 3)."""

    overlap: Tensor
    """O, (B,)."""

    shift: Tensor
    """t_c [M], (B,): the model comes later than the target if positive."""

    phase: Tensor
    """phi_c [rad], (B,): target(t) ~ model(t + t_c) exp(-i phi_c)."""

    steps: Tensor
    """Evaluations of the waveform, int64 (B,)."""

    stationary: Tensor
    """Whether the fit came to a maximum, bool (B,)."""

    @property
    def converged(self) -> Tensor:
        """Whether it came to a maximum with overlap at least ``GOAL``, bool (B,)."""
        return self.stationary & (self.overlap >= GOAL)


def refine(
    quadrature: Quadrature,
    row: np.ndarray,
    truth: np.ndarray,
    start: np.ndarray,
    *,
    batch: int = 256,
    progress: bool = False,
) -> Refined:
    """Fit the surrogate's waveforms at ``truth``, from the network's answers ``start``.

    Args:
        row: row ids, (N,).
        truth, start: (q, s1, s2), (N, 3); a start outside of the domain begins at the nearest
            point inside, one that is not finite gives NaN, and is no convergence.

    Raises:
        ParameterError: a truth outside the domain, or shapes that do not belong together.
    """
    if not truth.shape == start.shape == (len(row), 3):
        raise ParameterError(
            f"{len(row)} rows with truths {truth.shape}, starts {start.shape}: need (N, 3) each"
        )
    usable = np.flatnonzero(np.isfinite(start).all(axis=1))
    parameters, found = np.full((len(row), 3), np.nan), np.full(len(row), np.nan)
    steps, converged = np.zeros(len(row), dtype=np.int32), np.zeros(len(row), dtype=bool)
    with tqdm(total=len(row), desc="refined", unit=" waveforms", disable=not progress) as bar:
        bar.update(len(row) - len(usable))
        for first in range(0, len(usable), batch):
            some = usable[first : first + batch]
            best = fit(quadrature, quadrature.target(truth[some]), start[some])
            parameters[some], found[some] = best.parameters.numpy(), best.overlap.numpy()
            steps[some], converged[some] = best.steps.numpy(), best.converged.numpy()
            bar.update(len(some))
    return Refined(row, parameters, found, steps, converged)


@torch.no_grad()
def fit(quadrature: Quadrature, target: Target, start: np.ndarray) -> Fit:
    """Fit B targets from B starts (q, s1, s2), (B, 3), finite.

    A row that doesn't reach ``GOAL`` starts again with its spins swapped and at twelve points
    all over the domain, until it does; the best is kept.
    """
    best = _from(quadrature, target, start)
    for k in range(-1, len(_OTHER_STARTS)):
        failed = torch.nonzero(~best.converged)[:, 0]
        if not len(failed):
            break
        again = start[failed.numpy()][:, [0, 2, 1]] if k < 0 else _OTHER_STARTS[[k] * len(failed)]
        other = _from(quadrature, pick(target, failed), again)
        spent = best.steps[failed] + other.steps
        better = other.overlap > best.overlap[failed]
        for old, new in zip(best, other, strict=True):
            old[failed[better]] = new[better]
        best.steps[failed] = spent
    return best


def _from(quadrature: Quadrature, target: Target, start: np.ndarray) -> Fit:
    """One fit of each row, without second chances."""
    low, high = (
        torch.cat([torch.from_numpy(edge), torch.tensor([limit], dtype=torch.float64)])
        for edge, limit in zip(quadrature.bounds.T, (-SHIFT_MAX, SHIFT_MAX), strict=True)
    )
    point = torch.cat([torch.from_numpy(start), torch.zeros(len(start), 1)], dim=1)
    point = torch.minimum(torch.maximum(point, low), high)
    steps = torch.zeros(len(start), dtype=torch.long)
    for unwrapped in (True, False):
        state, point, stationary = _descend(
            quadrature, target, point, (low, high), steps, unwrapped=unwrapped
        )
    return Fit(point[:, :3], state.overlap, point[:, 3], state.phase, steps, stationary)


def _descend(
    quadrature: Quadrature,
    target: Target,
    point: Tensor,
    box: tuple[Tensor, Tensor],
    steps: Tensor,
    *,
    unwrapped: bool,
) -> tuple[Comparison, Tensor, Tensor]:
    """Levenberg-Marquardt from ``point`` (B, 4); counts evaluations in ``steps``.

    Returns:
        the cost at the end, the end, and whether it is a minimum, (B,).
    """
    point = point.clone()
    state = quadrature.compare(target, point, unwrapped=unwrapped)
    steps += 1
    damping = torch.full((len(point),), _DAMPING[0], dtype=torch.float64)
    stationary = torch.zeros(len(point), dtype=torch.bool)
    active = torch.arange(len(point))
    for _ in range(_STEPS):
        here = pick(state, active)
        hessian = here.hessian + torch.diag_embed(
            damping[active, None] * here.hessian.diagonal(dim1=1, dim2=2)
        )
        low, high = (edge - point[active] for edge in box)
        step = bounded_minimum(here.gradient, hessian, low, high)
        gain = -(here.gradient * step).sum(1) - 0.5 * quadratic(hessian, step)
        done = gain <= _GAIN + _RELATIVE_GAIN * here.cost
        stationary[active[done]] = True
        active, step = active[~done], step[~done]
        if not len(active):
            break
        moved = torch.minimum(torch.maximum(point[active] + step, box[0]), box[1])
        there = quadrature.compare(pick(target, active), moved, unwrapped=unwrapped)
        steps[active] += 1
        better = there.cost < state.cost[active]
        for old, new in zip(state, there, strict=True):
            old[active[better]] = new[better]
        point[active[better]] = moved[better]
        damping[active] *= torch.where(better, 0.1, 10.0)
        damping[active] = damping[active].clamp(min=_DAMPING[1])
        active = active[damping[active] <= _DAMPING[2]]
    return state, point, stationary


def bounded_minimum(gradient: Tensor, hessian: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Minima d of g d + d H d / 2 with low <= d <= high, (B, k); low <= 0 <= high.

    The coordinate that crosses its bounds farthest is fixed there, one after another; one that is
    pulled back inside is let go. (On random problems 99.9 % end in the minimum.)
    """
    step, fixed = torch.zeros_like(gradient), torch.zeros_like(gradient, dtype=torch.bool)
    for _ in range(2 * gradient.shape[1]):
        step = fixed_minimum(gradient, hessian, fixed, step)
        excess = torch.maximum(low - step, step - high)
        worst = excess.amax(1, keepdim=True)
        crossed = (excess == worst) & (worst > 0) & ~fixed
        slope = gradient + (hessian @ step[:, :, None])[:, :, 0]
        pulled = ((step <= low) & (slope < 0)) | ((step >= high) & (slope > 0))
        pulled &= fixed & (low < high) & (worst <= 0)
        if not (crossed | pulled).any():
            break
        step = torch.where(crossed, torch.minimum(torch.maximum(step, low), high), step)
        fixed = (fixed | crossed) & ~pulled
    return torch.minimum(torch.maximum(step, low), high)


def fixed_minimum(gradient: Tensor, hessian: Tensor, fixed: Tensor, step: Tensor) -> Tensor:
    """Minima of g d + d H d / 2 over the coordinates that are not ``fixed`` at ``step``, (B, k)."""
    free = (~fixed).to(hessian.dtype)
    # Rows and columns of fixed coordinates become those of the unit matrix.
    system = hessian * free[:, :, None] * free[:, None, :] + torch.diag_embed(1 - free)
    known = torch.where(fixed, step, torch.zeros_like(step))
    right = -(gradient + (hessian @ known[:, :, None])[:, :, 0])
    return _solve(system, torch.where(fixed, known, right))


def quadratic(matrix: Tensor, vector: Tensor) -> Tensor:
    """v M v of each row, (B,)."""
    return torch.einsum("bi,bij,bj->b", vector, matrix, vector)


def _solve(matrix: Tensor, right: Tensor) -> Tensor:
    """Solve symmetric systems (B, k, k), scaled to a unit diagonal; a singular one gives 0."""
    diagonal = matrix.diagonal(dim1=1, dim2=2).clamp(min=1e-300).rsqrt()
    scaled = matrix * diagonal[:, :, None] * diagonal[:, None, :]
    found, _ = torch.linalg.solve_ex(scaled, (right * diagonal)[:, :, None])
    return torch.nan_to_num(found[:, :, 0] * diagonal, nan=0.0, posinf=0.0, neginf=0.0)


def pick(columns: Columns, rows: Tensor) -> Columns:
    """Some rows of every column."""
    return type(columns)(*(column[rows] for column in columns))
