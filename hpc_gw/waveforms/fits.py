"""The Gaussian-process fits of a data piece in double precision, kernel by kernel."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hpc_gw.waveforms.surrogate_file import DataPiece

_CHUNK = 16
"""Rows whose kernels and derivatives fit a core's cache."""


class FitBank:
    """All Gaussian-process fits of a data piece, evaluated together: (B, 3) -> (B, n).

    Differentiable once, in closed form: autograd would keep each kernel and pass over it again.
    """

    def __init__(self, piece: DataPiece, device: torch.device) -> None:
        def tensor(values: object) -> Tensor:
            return torch.as_tensor(np.array(values), dtype=torch.float64, device=device)

        # Fits on the same training points share the squared differences, whatever their kernels.
        groups: dict[bytes, list[int]] = {}
        for j, fit in enumerate(piece.fits):
            groups.setdefault(np.asarray(fit.x_train).tobytes(), []).append(j)
        order = [j for members in groups.values() for j in members]
        self._restore = tensor(np.argsort(order)).long() if order != sorted(order) else None
        self._groups = []
        for members in groups.values():
            fits = [piece.fits[j] for j in members]
            points = tensor(fits[0].x_train).T.contiguous()  # (3, n_train)
            inverse = tensor([-0.5 / np.asarray(f.length_scale) ** 2 for f in fits])  # (k, 3)
            weights = tensor(
                [f.data_std * f.y_std * f.constant * np.asarray(f.alpha) for f in fits]
            )  # (k, n_train)
            # Powers of 2 are three times as fast as those of e.
            self._groups.append((points, inverse / math.log(2), weights))
        ordered = [piece.fits[j] for j in order]
        self._slope = tensor([f.coef for f in ordered]).T.contiguous()  # (3, n)
        self._offset = tensor([f.intercept + f.data_mean + f.data_std * f.y_mean for f in ordered])

    def __call__(self, mapped: Tensor) -> Tensor:
        if mapped.requires_grad and torch.is_grad_enabled():
            values: Tensor = _Differentiable.apply(mapped, self)  # type: ignore[no-untyped-call]
            return values
        parts = []
        for points, inverse, weights in self._groups:
            # By the direct difference: the expanded square loses half the digits.
            terms = _terms(mapped[:, :, None] - points, inverse, weights)
            parts.append(terms.sum(-1))  # (B, k, n_train) -> (B, k)
        nodes = torch.cat(parts, dim=1) + self._linear(mapped) + self._offset
        return nodes if self._restore is None else nodes[:, self._restore]

    def value_and_gradient(self, mapped: Tensor) -> tuple[Tensor, Tensor]:
        """The fits (B, n) and their derivatives by the three variables, (B, n, 3); no autograd."""
        parts = []
        for points, inverse, weights in self._groups:
            difference = mapped[:, :, None] - points  # (B, 3, n_train)
            terms = _terms(difference, inverse, weights)  # (B, k, n_train)
            sums = torch.bmm(terms, difference.transpose(1, 2))  # (B, k, 3)
            slope = sums * (2 * math.log(2) * inverse)
            parts.append(torch.cat([terms.sum(-1, keepdim=True), slope], dim=2))
        both = torch.cat(parts, dim=1)  # (B, n, 1 + 3)
        both[:, :, 0] += self._linear(mapped)
        both[:, :, 0] += self._offset
        both[:, :, 1:] += self._slope.T
        both = both if self._restore is None else both[:, self._restore]
        return both[:, :, 0], both[:, :, 1:]

    def _linear(self, mapped: Tensor) -> Tensor:
        return (mapped[:, :, None] * self._slope).sum(1)  # (B, 3, n) -> (B, n)


def _terms(difference: Tensor, inverse: Tensor, weights: Tensor) -> Tensor:
    """Weighted kernels (B, k, n_train) at differences (B, 3, n_train) from the training points.

    A product for each row: in one for all of them, the last rows may be rounded in another way.
    In place, for the kernels are larger than a core's cache.
    """
    exponent = torch.bmm(inverse.expand(len(difference), -1, -1), difference.square())
    return exponent.exp2_().mul_(weights)


class _Differentiable(torch.autograd.Function):
    """A bank's fits with their closed-form derivatives as their gradient."""

    @staticmethod
    def forward(ctx: Any, mapped: Tensor, bank: FitBank) -> Tensor:
        parts = [bank.value_and_gradient(chunk) for chunk in torch.split(mapped.detach(), _CHUNK)]
        values, gradients = (torch.cat(columns) for columns in zip(*parts, strict=True))
        ctx.save_for_backward(gradients)  # (B, n, 3)
        return values

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (slopes,) = ctx.saved_tensors
        return (gradient[:, :, None] * slopes).sum(1), None
