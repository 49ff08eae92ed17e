"""The gate, and a whole residual block without normalisation, as one autograd node each.

Rows: tensors (N, C) with N = B S and the channels last, so that a 1x1 convolution is one matrix
product, and the dilated one runs in oneDNN's fastest layout. On one CPU core the hyperbolic
tangent takes ten times as long as the sigmoid, so that the gate is, with a = sigmoid(-2 f) and
b = sigmoid(g),

    z = tanh(f) sigmoid(g) = (1 - 2 a) b,
    dz/df = 4 b a (1 - a),  dz/dg = (1 - 2 a) b (1 - b).

Near f = 0 this is exact to the rounding of 1, which the sums that follow have anyway.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torch.autograd.function import once_differentiable

_aten = torch.ops.aten

_SMALL = 32 * 32 * 6000
"""Products of a 1x1 convolution, weights times rows, under which a matrix product is faster than
oneDNN; below 32 x 32 weights it always is."""


def to_rows(x: Tensor) -> Tensor:
    """(B, C, S) -> (B S, C); no copy where the channels are last in memory."""
    return x.transpose(1, 2).reshape(-1, x.shape[1])


def from_rows(rows: Tensor, batch: int) -> Tensor:
    """(B S, C) -> (B, C, S), a view."""
    return rows.view(batch, -1, rows.shape[1]).transpose(1, 2)


def to_plain(x: Tensor) -> Tensor:
    """(B, C, S) with the steps last in memory; its gradient comes back with the channels last.

    For the way out of a chain of blocks: all of them get the one gradient of their summed skips,
    and each would reorder it for itself.
    """
    if x.is_contiguous():
        return x
    result: Tensor = _Plain.apply(x)  # type: ignore[no-untyped-call]
    return result


def gate(both: Tensor) -> Tensor:
    """tanh(f) sigmoid(g) of both = (f, g); (B, 2 G, ...) or rows (N, 2 G) -> half as many."""
    result: Tensor = _Gate.apply(both)  # type: ignore[no-untyped-call]
    return result


def conv(
    rows: Tensor, weight: Tensor, bias: Tensor | None, batch: int, pad: tuple[int, int] = (0, 0),
    step: int = 1,
) -> Tensor:  # fmt: skip
    """Convolution with zeros (left, right) = ``pad`` about each sequence, keeping its length.

    Args:
        rows: (B S, C).
        weight: (O, C, K).
        bias: (O,), or none.
        batch: B.
        pad: zeros to the left and right, (K - 1) ``step`` in all.
        step: steps from one tap to the next.

    Returns:
        (B S, O).
    """
    if _is_small(rows, weight):
        return F.linear(rows, weight[:, :, 0], bias)
    image, within = _padded(rows, batch, pad)
    found = F.conv2d(image, weight.unsqueeze(2), bias, padding=(0, within), dilation=(1, step))
    return found.permute(0, 2, 3, 1).reshape(-1, weight.shape[0])


def gated_block(
    x: Tensor,
    mix: tuple[Tensor, Tensor],
    gated: tuple[Tensor, Tensor],
    out: tuple[Tensor, Tensor],
    pad: tuple[int, int],
    step: int,
) -> tuple[Tensor, Tensor]:
    """A residual block without normalisation; its next input and its skip, (B, C, S) each.

        h = relu(mix x),  z = gate(gated h),  skip = relu(out z),  next = h + skip.

    Kept for backward: x, h, both sigmoids and the skip; the gate's output is computed again.

    Args:
        x: (B, C_in, S); results have their channels last in memory, and so are taken best.
        mix: weight (C, C_in, 1) and bias (C,).
        gated: weight (2 G, C, K), the filter's rows first, and bias (2 G,).
        out: weight (C, G, 1) and bias (C,).
        pad: zeros to the left and right of each sequence, (K - 1) ``step`` in all.
        step: dilation, in steps.
    """
    results: tuple[Tensor, Tensor] = _Block.apply(  # type: ignore[no-untyped-call]
        x, *mix, *gated, *out, pad, step
    )
    return results


class _Plain(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.contiguous()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return from_rows(to_rows(gradient), gradient.shape[0])


class _Gate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, both: Tensor) -> Tensor:
        (f, g), kept = both.chunk(2, 1), torch.empty_like(both)
        a, b = kept.chunk(2, 1)
        torch.mul(f, -2.0, out=a)
        a.sigmoid_()
        torch.sigmoid(g, out=b)
        ctx.save_for_backward(kept)
        return _open(kept)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dz: Tensor) -> Tensor:
        (kept,) = ctx.saved_tensors
        both = _close(kept, dz)
        both.chunk(2, 1)[0].mul_(4.0)
        return both


class _Block(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, w3: Tensor,
        b3: Tensor, pad: tuple[int, int], step: int,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        batch, gates = x.shape[0], w3.shape[1]
        rows = to_rows(x)  # (N, C_in)
        h = conv(rows, w1, b1, batch).relu_()  # (N, C)
        both = conv(h, _scaled(w2, gates, -2.0), _scaled(b2, gates, -2.0), batch, pad, step)
        kept = both.sigmoid_()  # (N, 2 G)
        skip = conv(_open(kept), w3, b3, batch).relu_()  # (N, C)
        ctx.save_for_backward(rows, h, kept, skip, w1, w2, w3)
        ctx.batch, ctx.pad, ctx.step, ctx.contiguous = batch, pad, step, x.is_contiguous()
        ctx.set_materialize_grads(False)
        return from_rows(h + skip, batch), from_rows(skip, batch)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_next: Tensor | None, d_skip: Tensor | None) -> tuple[Any, ...]:
        rows, h, kept, skip, w1, w2, w3 = ctx.saved_tensors
        batch, gates = ctx.batch, w3.shape[1]
        given = [to_rows(d) for d in (d_next, d_skip) if d is not None]
        if not given:
            return (None,) * 9
        dy = _behind_relu(given[0] + given[1] if len(given) > 1 else given[0].clone(), skip)
        dz, dw3, db3 = _conv_backward(dy, _open(kept), w3, batch)
        both = _close(kept, dz)  # (N, 2 G), the filter's over 4
        quadruple = _scaled(w2, gates, 4.0)
        dh, dw2, db2 = _conv_backward(both, h, quadruple, batch, ctx.pad, ctx.step)
        if d_next is not None:
            dh = dh.add_(given[0])
        wanted = ctx.needs_input_grad[0]
        dx, dw1, db1 = _conv_backward(_behind_relu(dh, h), rows, w1, batch, wanted=wanted)
        if wanted:
            dx = from_rows(dx, batch)
            dx = dx.contiguous() if ctx.contiguous else dx  # as whoever made x will want it
        dw2, db2 = _scaled(dw2, gates, 4.0), _scaled(db2, gates, 4.0)
        return dx, dw1, db1, dw2, db2, dw3, db3, None, None


def _is_small(rows: Tensor, weight: Tensor) -> bool:
    count = weight.numel()
    return weight.shape[2] == 1 and (count < 32 * 32 or count * rows.shape[0] < _SMALL)


def _open(kept: Tensor) -> Tensor:
    """The gate's output from its two sigmoids (a, b): (1 - 2 a) b."""
    a, b = kept.chunk(2, 1)
    return torch.addcmul(b, a, b, value=-2.0)


def _close(kept: Tensor, dz: Tensor) -> Tensor:
    """Gradients of (f, g), the first over 4, from that of the gate's output."""
    a, b = kept.chunk(2, 1)
    both = torch.empty_like(kept)
    first, second = both.chunk(2, 1)
    torch.mul(dz, b, out=first)
    torch.addcmul(dz, dz, a, value=-2.0, out=second)
    _aten.sigmoid_backward.grad_input(both, kept, grad_input=both)
    return both


def _behind_relu(gradient: Tensor, result: Tensor) -> Tensor:
    """``gradient``, set to zero in place where the rectifier's ``result`` is."""
    _aten.threshold_backward.grad_input(gradient, result, 0, grad_input=gradient)
    return gradient


def _scaled(tensor: Tensor, gates: int, factor: float) -> Tensor:
    """A copy whose first ``gates`` rows, the filter's, are multiplied by ``factor``."""
    tensor = tensor.clone()
    tensor[:gates] *= factor
    return tensor


def _padded(rows: Tensor, batch: int, pad: tuple[int, int]) -> tuple[Tensor, int]:
    """Rows as images (B, C, 1, S), and the zeros that the convolution itself is to add."""
    image = rows.view(batch, 1, -1, rows.shape[1]).permute(0, 3, 1, 2)
    left, right = pad
    return (image, left) if left == right else (F.pad(image, pad), 0)


def _conv_backward(
    dy: Tensor, rows: Tensor, weight: Tensor, batch: int, pad: tuple[int, int] = (0, 0),
    step: int = 1, *, wanted: bool = True,
) -> tuple[Any, Tensor, Tensor]:  # fmt: skip
    """Gradients of ``conv``'s rows (None unless ``wanted``), weight and bias.

    Args:
        dy: gradient of its output, (B S, O).
        rows, weight, batch, pad, step: as ``conv`` had them.
        wanted: whether rows need one.
    """
    if _is_small(rows, weight):
        dx = dy @ weight[:, :, 0] if wanted else None
        return dx, (dy.t() @ rows).unsqueeze(2), dy.sum(0)
    image, within = _padded(rows, batch, pad)
    gradient, _ = _padded(dy, batch, (0, 0))
    dx, dw, db = _aten.convolution_backward(
        gradient, image, weight.unsqueeze(2), [weight.shape[0]], [1, 1], [0, within], [1, step],
        False, [0, 0], 1, [wanted, True, True],
    )  # fmt: skip
    if wanted and not within:  # zeros that were added here
        dx = dx[..., pad[0] : dx.shape[3] - pad[1]]
    return to_rows(dx.squeeze(2)) if wanted else None, dw.squeeze(2), db
