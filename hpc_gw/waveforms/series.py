"""The Gaussian-process fits as Chebyshev series, for the fast path.

A fit is a sum of hundreds of Gaussians, one about each of its training points, and each costs an
exponential. But these are wide, a third of the domain and more, and therefore smooth: in one
variable, the Chebyshev series of one falls below double precision within 40 terms. A Gaussian in
three variables is the product of three in one, so the coefficients of a fit's series are sums of
products of such coefficients: one matrix product, without any fitting.

Of the terms those are kept whose loss could matter: what is dropped adds up to at most ``PHASE``
or ``AMPLITUDE`` at every node and everywhere in the domain. With the embedded surrogate 2,516
terms, shared by all 24 fits, take the place of 12,288 exponentials.
"""

from __future__ import annotations

import dataclasses
import functools
import math

import numpy as np
import torch
from torch import Tensor

from hpc_gw.threads import one_thread
from hpc_gw.waveforms.surrogate_file import GPFit, SurrogateData

PHASE, AMPLITUDE = 1e-7, 2.5e-7
"""Most that is dropped at a node, of phases [rad] and of amplitudes [r h / M]. Signs alternate:
measured were 6e-9 and 3e-8."""

ORDERS = 36
"""Terms in each variable before any is dropped."""

_EDGE, _NEGLIGIBLE = 4, 0.1
"""A series has converged if its last orders together are this share of what may be dropped."""

Box = tuple[tuple[float, float], ...]


def variables_box(bounds: tuple[tuple[float, float], ...]) -> Box:
    """Least and largest (ln q, chi_hat, chi_a) where (q, s1, s2) are in ``bounds``.

    chi_hat is a mean of the spins, with weights that are positive for every q >= 1.
    """
    (q_low, q_high), (s1_low, s1_high), (s2_low, s2_high) = bounds
    return (
        (math.log(q_low), math.log(q_high)),
        (min(s1_low, s2_low), max(s1_high, s2_high)),
        ((s1_low - s2_high) / 2, (s1_high - s2_low) / 2),
    )


@dataclasses.dataclass(frozen=True, eq=False)
class Terms:
    """The terms that are kept of the series of n fits.

    Attributes:
        box: of the fits' variables.
        orders: of each term in the three variables, int64 (P, 3).
        coefficients: float64 (P, n).
        dropped: bound on what the others add to each fit, (n,).
    """

    box: Box
    orders: np.ndarray
    coefficients: np.ndarray
    dropped: np.ndarray


@functools.lru_cache(maxsize=4)
def fit_terms(data: SurrogateData) -> Terms | None:
    """Of all fits of a surrogate, phase first; None where their kernels are the cheaper way.

    So they are where a fit is too rough for ``ORDERS``, or has few training points. It takes 0.1 s.
    """
    box = variables_box(data.bounds)
    fits = (*data.phase.fits, *data.amplitude.fits)
    tolerance = np.repeat([PHASE, AMPLITUDE], [len(data.phase.fits), len(data.amplitude.fits)])
    with one_thread():  # else waveforms would hang on the number of threads
        every = np.stack([_coefficients(fit, box) for fit in fits], axis=-1)
    size = np.abs(every) / tolerance  # (ORDERS, ORDERS, ORDERS, n)
    if max(np.moveaxis(size, d, 0)[-_EDGE:].sum((0, 1, 2)).max() for d in range(3)) > _NEGLIGIBLE:
        return None
    flat = size.reshape(-1, len(fits))
    order = np.argsort(flat.max(axis=1))  # the smallest first
    lost = np.cumsum(flat[order], axis=0)
    count = int((lost.max(axis=1) <= 1).sum())
    kept = np.sort(order[count:])
    if 2 * len(fits) * kept.size > 12 * sum(len(fit.alpha) for fit in fits):
        return None
    orders = np.stack(np.unravel_index(kept, size.shape[:3]), axis=1).astype(np.int64)
    return Terms(box, orders, every.reshape(-1, len(fits))[kept], lost[count - 1] * tolerance)


def _coefficients(fit: GPFit, box: Box) -> np.ndarray:
    """Chebyshev coefficients of a fit, (ORDERS, ORDERS, ORDERS)."""
    angle = (np.arange(ORDERS) + 0.5) * np.pi / ORDERS
    transform = 2 / ORDERS * np.cos(np.outer(np.arange(ORDERS), angle))
    transform[0] /= 2
    middle, half = np.mean(box, axis=1), np.diff(box)[:, 0] / 2
    places = middle[:, None] + half[:, None] * np.cos(angle)  # (3, ORDERS)
    one, other, last = (
        _product(transform, np.exp(-0.5 * ((places[d][:, None] - fit.x_train[:, d]) / scale) ** 2))
        for d, scale in enumerate(fit.length_scale)
    )  # (ORDERS, n_train) each
    weights = fit.data_std * fit.y_std * fit.constant * np.asarray(fit.alpha)
    pairs = (one[:, None] * other * weights).reshape(-1, len(weights))
    found = _product(pairs, last.T).reshape(ORDERS, ORDERS, ORDERS)
    linear = np.asarray(fit.coef)
    found[0, 0, 0] += fit.intercept + fit.data_mean + fit.data_std * fit.y_mean + linear @ middle
    for d, place in enumerate(((1, 0, 0), (0, 1, 0), (0, 0, 1))):
        found[place] += linear[d] * half[d]
    return found


def _product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a @ b by torch, whose threads can be told; NumPy's cannot."""
    one, other = (torch.from_numpy(np.ascontiguousarray(x)) for x in (a, b))
    return np.asarray((one @ other).numpy())


class FitSeries:
    """All fits of a surrogate, evaluated together.

    Args:
        terms: of their series.
        device: where the arithmetic happens, in double precision.
    """

    def __init__(self, terms: Terms, device: torch.device) -> None:
        def tensor(values: np.ndarray) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(values)).to(device)

        one, other, last = terms.orders.T
        self._sizes = int(one.max()) + 1, int(other.max()) + 1
        self._pair, self._last = tensor(one * self._sizes[1] + other), tensor(last)
        self._coefficients = tensor(terms.coefficients)  # (P, n)
        self._order = torch.arange(int(terms.orders.max()) + 1, device=device).double()
        low, high = tensor(np.array(terms.box)).unbind(1)
        self._low, self._scale = low, 2 / (high - low)

    def polynomials(self, variables: Tensor, chunk: int) -> Tensor:
        """Chebyshev polynomials at rows (B, 3), float64 (B / ``chunk``, 3, orders, ``chunk``).

        A variable outside of its range, by a rounding, counts as the range's end.
        """
        scaled = ((variables - self._low) * self._scale - 1).clamp(-1, 1)
        # Contiguous, or products and gathers go against the memory's order: 6 times as long.
        angle = torch.arccos(scaled.view(-1, chunk, 3).transpose(1, 2).contiguous())
        return torch.cos(angle[:, :, None] * self._order[:, None])

    def __call__(self, polynomials: Tensor) -> Tensor:
        """One chunk of ``polynomials`` (3, orders, B) -> the fits (B, n), phase first."""
        one, other, last = polynomials.unbind()
        pairs = one[: self._sizes[0], None] * other[: self._sizes[1]]
        terms = pairs.flatten(0, 1).index_select(0, self._pair)  # (P, B)
        terms *= last.index_select(0, self._last)
        return terms.T @ self._coefficients
