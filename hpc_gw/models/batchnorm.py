"""Batch normalisation over the global batch: the same network on any number of ranks.

torch's own SyncBatchNorm refuses tensors on CPUs, and knows torch.distributed only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

Reduce = Callable[[Tensor], Tensor]
"""Sums a tensor over the ranks, in place, and returns it."""


class SyncedBatchNorm(nn.BatchNorm1d):
    """``nn.BatchNorm1d`` over the samples of all ranks; (B, C, S) or (B, C).

    B may differ from rank to rank. Forward and backward pass cost one all-reduce each, of
    2 C + 1 and 2 C numbers in float64. Running statistics are those of the global batch, the
    same on all ranks. In evaluation, and in its state_dict, it is nn.BatchNorm1d.

    Gradients of weight and bias are those of the rank's own samples, to be averaged over the
    ranks as all others.

    Args:
        channels: C.
        reduce: sums a tensor over the ranks, in place.
        options: those of nn.BatchNorm1d.
    """

    def __init__(self, channels: int, reduce: Reduce, **options: Any) -> None:
        super().__init__(channels, **options)

        def share(tensor: Tensor) -> Tensor:
            return reduce(tensor)

        self._reduce = share  # a function, not a method: a deep copy does not copy the ranks

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        self._check_input_dim(input)
        results: tuple[Tensor, ...] = _Normalise.apply(  # type: ignore[no-untyped-call]
            input, self.weight, self.bias, self.eps, self._reduce
        )
        output, count, mean, variance = results
        self._update(count, mean, variance)
        return output

    @torch.no_grad()
    def _update(self, count: Tensor, mean: Tensor, variance: Tensor) -> None:
        """Running statistics; ``count`` values for each channel, mean and variance (C,)."""
        if self.running_mean is None or self.running_var is None:
            return
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        share: Tensor | float = 0.0 if self.momentum is None else self.momentum
        if self.momentum is None and self.num_batches_tracked is not None:
            share = 1.0 / self.num_batches_tracked.double()  # the mean of all batches
        unbiased = variance * (count / (count - 1).clamp(min=1))
        for running, new in ((self.running_mean, mean), (self.running_var, unbiased)):
            running.copy_(running + share * (new - running))


class _Normalise(torch.autograd.Function):
    """x -> weight (x - mean) / sqrt(variance + eps) + bias, moments over all ranks.

    Each rank's moments are taken about its own mean; with n its values for each channel, all
    values have, in float64, where the subtraction costs at most 1e-16 mean^2 / variance,

        N = sum n,  mean = sum n mean_r / N,
        variance = sum n (variance_r + mean_r^2) / N - mean^2.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, reduce: Reduce
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        channels = x.shape[1]
        moments = torch.var_mean(_precise(x), dim=_others(x), correction=0)
        own_variance, own_mean = (moment.double() for moment in moments)  # (C,) each
        n = float(x.numel() // channels)
        packed = torch.cat(
            [n * own_mean, n * (own_variance + own_mean**2), own_mean.new_tensor([n])]
        )
        packed = reduce(packed)  # (2 C + 1,)
        count = packed[-1]
        mean, square = packed[:-1].view(2, channels) / count
        variance = (square - mean**2).clamp(min=0)
        inverse = (variance + eps).rsqrt()
        kind = x.dtype if weight is None else weight.dtype
        y = F.batch_norm(x, mean.to(kind), variance.to(kind), weight, bias, False, 0.0, eps)
        ctx.save_for_backward(x, weight, mean, inverse, count)
        ctx.reduce = reduce
        ctx.mark_non_differentiable(count, mean, variance)
        return y, count, mean, variance

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        """dx = weight inverse [dy - <dy> - xhat <dy xhat>], <> the mean over all ranks."""
        x, weight, mean, inverse, count = ctx.saved_tensors
        channels = x.shape[1]
        d_bias = _precise(dy).sum(_others(x)).double()  # (C,), this rank's
        d_weight = (dy * (x - _wide(mean, x))).sum(_others(x)).double() * inverse
        dx = None
        if ctx.needs_input_grad[0]:
            means = ctx.reduce(torch.cat([d_bias, d_weight])) / count  # (2 C,)
            mean_dy, mean_dy_xhat = means.view(2, channels)
            scale = inverse if weight is None else inverse * weight.double()
            slope = -scale * inverse * mean_dy_xhat
            offset = -scale * mean_dy - slope * mean
            dx = torch.addcmul(_wide(offset, x), dy, _wide(scale, x)).addcmul_(x, _wide(slope, x))
            dx = dx.to(x.dtype)
        if weight is None:
            return dx, None, None, None, None
        return dx, d_weight.to(weight.dtype), d_bias.to(weight.dtype), None, None


def _others(x: Tensor) -> list[int]:
    """All dimensions but the channels'."""
    return [i for i in range(x.dim()) if i != 1]


def _precise(x: Tensor) -> Tensor:
    """In float32 at least."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _wide(values: Tensor, x: Tensor) -> Tensor:
    """(C,) -> (1, C, 1), to go with x."""
    kind = torch.promote_types(x.dtype, torch.float32)
    return values.to(kind).view(1, -1, *[1] * (x.dim() - 2))


def synchronise(model: nn.Module, reduce: Reduce) -> None:
    """Let every nn.BatchNorm1d inside ``model`` normalise over all ranks.

    Parameters and buffers stay the same tensors, under the same names.
    """
    for parent in list(model.modules()):
        for name, old in list(parent.named_children()):
            if isinstance(old, nn.BatchNorm1d):
                new = SyncedBatchNorm(
                    old.num_features,
                    reduce,
                    eps=old.eps,
                    momentum=old.momentum,
                    affine=old.affine,
                    track_running_stats=old.track_running_stats,
                )
                new._parameters, new._buffers = old._parameters, old._buffers
                setattr(parent, name, new.train(old.training))
