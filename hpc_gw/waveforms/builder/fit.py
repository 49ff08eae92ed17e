"""From waveforms to data pieces: sparse times, empirical interpolation, Gaussian processes.

The mathematical form is that of NRHybSur3dq8 (Varma et al., Phys. Rev. D 99, 064045 (2019),
arXiv:1812.07865), for the (2,2) mode.
"""

from __future__ import annotations

import warnings

import numpy as np

from hpc_gw.manifold.physics import eta, sigma_eff
from hpc_gw.waveforms.builder.seobnr import require
from hpc_gw.waveforms.surrogate_file import DataPiece, GPFit

T_FIRST, T_LAST = -10_900.0, 137.0
"""Ends of the sparse times [M]: beyond the served grid, so that no spline ends within it."""

T_ALIGN = -1000.0
"""Where the phase is 0 [M]."""

T_REF = 1000.0
"""Reference time of the TaylorT3 term [M]."""

HYPERPARAMETER_POINTS = 500
"""Training points that a kernel is chosen on: the likelihood costs their number cubed."""


def sparse_times() -> tuple[np.ndarray, int]:
    """The times that the surrogate is built on, and the index of ``T_ALIGN`` in them.

    Spacing 0.5 M after t = -100 M, growing by 0.008 M per M before; ``T_ALIGN`` and 0 are
    among them, and 8 or more lie before -10,000 M: an evaluation that starts there splines
    from 6 points before.

    Returns:
        float64 (nt,) in M, increasing; int
    """
    fine, growth, bend = 0.5, 0.008, -100.0

    def count(t: float) -> float:
        """Number of steps from ``t`` to ``bend``, the integral of 1/spacing; negative after."""
        if t >= bend:
            return (bend - t) / fine
        return float(np.log1p(growth * (bend - t) / fine)) / growth

    def time(steps: np.ndarray) -> np.ndarray:
        before = bend - fine / growth * np.expm1(growth * np.maximum(steps, 0))
        return np.where(steps > 0, before, bend - fine * steps)

    parts = []
    for first, last in ((T_FIRST, T_ALIGN), (T_ALIGN, 0.0), (0.0, T_LAST)):
        steps = int(np.ceil(count(first) - count(last)))
        part = time(np.linspace(count(first), count(last), steps + 1))
        part[0], part[-1] = first, last
        parts.append(part[:-1])
    times = np.concatenate([*parts, [T_LAST]])
    return times, int(np.flatnonzero(times == T_ALIGN)[0])


def taylor_t3(times: np.ndarray, align_index: int, t_ref: float = T_REF) -> np.ndarray:
    """The phase's leading TaylorT3 term without eta^(-3/8), 0 at the alignment, float64 (nt,).

    F(t) - F(t_align), F(t) = -2 ((t_ref - t) / 5)^(5/8).
    """
    term = -2 * ((t_ref - times) / 5) ** 0.625
    return np.asarray(term - term[align_index])


def fit_variables(parameters: np.ndarray) -> np.ndarray:
    """(q, s1, s2) to what the fits take, [ln q, chi_hat, (s1 - s2)/2], float64 (B, 3).

    chi_hat = (sigma_eff - 38 eta/113 (s1 + s2)) / (1 - 76 eta/113), from Khan et al.,
    Phys. Rev. D 93, 044007 (2016), arXiv:1508.07253, equation 3.
    """
    q, s1, s2 = np.asarray(parameters, dtype=np.float64).T
    nu = eta(q)
    chi_hat = (sigma_eff(q, s1, s2) - 38 * nu / 113 * (s1 + s2)) / (1 - 76 * nu / 113)
    return np.stack([np.log(q), chi_hat, (s1 - s2) / 2], axis=1)


def phase_residual(
    phase: np.ndarray, parameters: np.ndarray, times: np.ndarray, align_index: int
) -> np.ndarray:
    """Phases (B, nt) at the sparse ``times`` without their TaylorT3 term, 0 at the alignment."""
    scale = eta(np.asarray(parameters)[:, :1]) ** -0.375
    aligned = phase - phase[:, align_index : align_index + 1]
    return np.asarray(aligned - scale * taylor_t3(times, align_index))


def empirical_interpolation(
    data: np.ndarray, nodes: int, weights: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Basis and node indices with data ~ data[:, indices] @ basis.

    The reduced basis is the leading right singular vectors; each node is where the next
    vector is worst interpolated from the nodes so far (Field et al., Phys. Rev. X 4, 031006
    (2014), algorithm 2).

    Args:
        data: float64 (B, nt).
        nodes: how many, at most min(B, nt).
        weights: positive float64 (nt,), what a deviation at each time costs; 1 if None.

    Returns:
        basis float64 (nodes, nt), the identity at the nodes; indices int (nodes,), increasing.
    """
    cost = np.ones(data.shape[1]) if weights is None else weights
    vectors = np.linalg.svd(data * cost, full_matrices=False)[2][:nodes]  # (nodes, nt)
    indices: list[int] = []
    for vector in vectors:
        residual = vector
        if indices:
            known = vectors[: len(indices)]
            residual = vector - np.linalg.solve(known[:, indices].T, vector[indices]) @ known
        indices.append(int(np.argmax(np.abs(residual))))
    chosen = np.sort(indices)
    basis = np.linalg.solve(vectors[:, chosen], vectors) * cost[chosen, None] / cost
    return basis, chosen


def fit_data_piece(
    inputs: np.ndarray,
    data: np.ndarray,
    nodes: int,
    seed: int,
    weights: np.ndarray | None = None,
) -> DataPiece:
    """Empirical interpolant of ``data`` with a Gaussian process per node.

    A linear fit is subtracted and the rest normalised. Each node has a kernel of its own:
    early amplitudes are a thousand times smoother functions of the parameters than late ones,
    which carry the kinks of the model's merger attachment.

    Args:
        inputs: float64 (B, 3), from ``fit_variables``.
        data: float64 (B, nt).
        nodes: number of nodes.
        seed: seed of the choice of points that hyperparameters are found on.
        weights: see ``empirical_interpolation``.
    """
    basis, indices = empirical_interpolation(data, nodes, weights)
    subset = np.random.default_rng(seed).permutation(len(inputs))[:HYPERPARAMETER_POINTS]
    return DataPiece(
        ei_basis=basis, fits=tuple(fit_node(inputs, data[:, j], subset) for j in indices)
    )


def fit_node(inputs: np.ndarray, values: np.ndarray, subset: np.ndarray) -> GPFit:
    """Linear fit plus Gaussian process (constant x RBF + white) through ``values`` (B,).

    Hyperparameters maximise the likelihood of the rows ``subset``; the weights alpha then come
    from all rows.
    """
    kernels = require("sklearn.gaussian_process.kernels", "scikit-learn")
    regressor = require("sklearn.gaussian_process", "scikit-learn").GaussianProcessRegressor
    design = np.concatenate([inputs, np.ones((len(inputs), 1))], axis=1)
    linear = np.linalg.lstsq(design, values, rcond=None)[0]  # (4,)
    rest = values - design @ linear
    mean, std = float(rest.mean()), float(rest.std()) or 1.0
    targets = (rest - mean) / std
    kernel = kernels.ConstantKernel(100.0, (1e-2, 1e5)) * kernels.RBF(
        [1.0, 1.0, 1.0], (1e-1, 1e2)
    ) + kernels.WhiteKernel(1e-6, (1e-11, 1e-1))
    with warnings.catch_warnings():
        # a hyperparameter at its bound is fine: what counts are the held-out mismatches
        warnings.simplefilter("ignore")
        found = regressor(kernel, alpha=0.0).fit(inputs[subset], targets[subset]).kernel_
        process = regressor(found, alpha=0.0, optimizer=None).fit(inputs, targets)
    return GPFit(
        x_train=inputs,
        alpha=np.asarray(process.alpha_, dtype=np.float64).ravel(),
        constant=float(found.k1.k1.constant_value),
        length_scale=np.asarray(found.k1.k2.length_scale, dtype=np.float64),
        y_mean=0.0,
        y_std=1.0,
        data_mean=mean,
        data_std=std,
        coef=linear[:3],
        intercept=float(linear[3]),
        noise=float(found.k2.noise_level),
    )
