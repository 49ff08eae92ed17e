"""The gate, and a whole residual block without normalisation, as Triton kernels.

For CUDA tensors; imported only where there is Triton. Matrices have channels as rows and steps
as columns: a tile is TILE of the N = B S steps of all waveforms, and a tap that leaves its own
waveform reads zero. Nothing between the block's input and its results is written in forward:
backward computes it again, tile by tile, in three kernels,

    gate_gradients    gradients of out and of (f, g), which are written,
    tap_gradients     gradients of the dilated convolution's weight, one tap a program,
    mix_gradients     gradients of mix and of x.

Each program sums its own share of the tiles, and the shares are summed in the end: gradients do
not depend on who was first. Matrix products take TensorFloat-32 where torch's convolutions
do, else three of them for one, which is float32 to 1e-6.
"""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager
from typing import Any

import torch
import triton
from torch import Tensor
from torch.autograd.function import once_differentiable

from hpc_gw.models import fused_kernels as kernels

_TILE = 64
_PROGRAMS = 264
"""Programs that share the tiles in backward: two for each multiprocessor of the largest GPUs."""
_WIDEST, _TAPS = 32, 8  # channels and taps that fit into registers
_ELEMENTS = 1024

Layer = tuple[Tensor, Tensor]


def fits(x: Tensor, mix: Layer, gated: Layer, out: Layer, pad: tuple[int, int], step: int) -> bool:
    """Whether ``gated_block`` takes these.

    float32, at most 32 channels anywhere and 8 taps; on a GPU with TensorFloat-32.
    """
    if x.is_cuda and (torch.version.hip or torch.cuda.get_device_capability(x.device) < (8, 0)):
        return False
    channels, gates = out[0].shape[:2]
    widest = max(channels, gates, mix[0].shape[1])
    return x.dtype == torch.float32 and widest <= _WIDEST and gated[0].shape[2] <= _TAPS


def gate(both: Tensor) -> Tensor:
    """tanh(f) sigmoid(g) of both = (f, g); (B, 2 G, S) -> (B, G, S)."""
    with _device(both):
        result: Tensor = _Gate.apply(both)  # type: ignore[no-untyped-call]
    return result


def gated_block(
    x: Tensor, mix: Layer, gated: Layer, out: Layer, pad: tuple[int, int], step: int
) -> tuple[Tensor, Tensor]:
    """A residual block; arguments and results are those of ``models.fused.gated_block``.

    Kept for backward: x alone.
    """
    with _device(x):
        results: tuple[Tensor, Tensor] = _Block.apply(  # type: ignore[no-untyped-call]
            x, *mix, *gated, *out, pad[0], step
        )
    return results


def _device(x: Tensor) -> AbstractContextManager[Any]:
    """Kernels are started on the current device; autograd sees to it in backward."""
    return torch.cuda.device(x.device) if x.is_cuda else contextlib.nullcontext()


class _Gate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, both: Tensor) -> Tensor:
        both = both.contiguous()
        z = both.new_empty(both.shape[0], both.shape[1] // 2, *both.shape[2:])
        ctx.save_for_backward(both)
        kernels.gate_forward[_grid(z)](both, z, z.numel(), z[0].numel(), ELEMENTS=_ELEMENTS)
        return z

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dz: Tensor) -> Tensor:
        (both,) = ctx.saved_tensors
        dz, d_both = dz.contiguous(), torch.empty_like(both)
        sizes = dz.numel(), dz[0].numel()
        kernels.gate_backward[_grid(dz)](both, dz, d_both, *sizes, ELEMENTS=_ELEMENTS)
        return d_both


class _Block(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, w3: Tensor,
        b3: Tensor, left: int, step: int,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        x, *weights = (t.contiguous() for t in (x, w1, b1, w2, b2, w3, b3))
        following = x.new_empty(x.shape[0], w1.shape[0], x.shape[2])
        skip = torch.empty_like(following)
        sizes = _sizes(x, w2, w3, left, step)
        tiles = triton.cdiv(x.shape[0] * x.shape[2], _TILE)
        kernels.block_forward[(tiles,)](x, *weights, following, skip, **sizes)
        ctx.save_for_backward(x, *weights)
        ctx.left, ctx.step = left, step
        return following, skip

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_next: Tensor, d_skip: Tensor) -> tuple[Any, ...]:
        x, w1, b1, w2, b2, w3, b3 = ctx.saved_tensors
        d_next, d_skip = d_next.contiguous(), d_skip.contiguous()
        (batch, inputs, steps), taps = x.shape, w2.shape[2]
        channels, gates = w3.shape[:2]
        sizes = _sizes(x, w2, w3, ctx.left, ctx.step)
        programs = min(triton.cdiv(batch * steps, _TILE), _PROGRAMS)

        d_both = x.new_empty(batch, 2 * gates, steps)
        dw3 = x.new_empty(programs, channels, gates)
        db3, db2 = x.new_empty(programs, channels), x.new_empty(programs, 2 * gates)
        kernels.gate_gradients[(programs,)](
            x, w1, b1, w2, b2, w3, b3, d_next, d_skip, d_both, dw3, db3, db2, **sizes
        )
        dw2 = x.new_empty(programs, 2 * gates, channels, taps)
        kernels.tap_gradients[(programs, taps)](x, w1, b1, d_both, dw2, **sizes)
        dx, db1 = torch.empty_like(x), x.new_empty(programs, channels)
        dw1 = x.new_empty(programs, channels, inputs)
        kernels.mix_gradients[(programs,)](x, w1, b1, w2, d_next, d_both, dx, dw1, db1, **sizes)
        sums = [t.sum(0) for t in (dw1, db1, dw2, db2, dw3, db3)]
        sums[0], sums[4] = sums[0].unsqueeze(2), sums[4].unsqueeze(2)
        return dx, *sums, None, None


def _grid(z: Tensor) -> tuple[int]:
    return (triton.cdiv(z.numel(), _ELEMENTS),)


def _sizes(x: Tensor, w2: Tensor, w3: Tensor, left: int, step: int) -> dict[str, Any]:
    """What all kernels of the block are compiled for, and the lengths that they are given."""
    channels, gates = w3.shape[:2]
    precision = "tf32" if torch.backends.cudnn.allow_tf32 else "tf32x3"

    def wide(count: int) -> int:  # of a matrix product's operand
        return max(16, int(triton.next_power_of_2(count)))

    return {
        "total": x.shape[0] * x.shape[2], "steps": x.shape[2], "left": left, "step": step,
        "X": x.shape[1], "C": channels, "G": gates, "TAPS": w2.shape[2],
        "XW": wide(x.shape[1]), "CW": wide(channels), "GW": wide(gates),
        "TILE": _TILE, "PRECISION": precision,
    }  # fmt: skip
