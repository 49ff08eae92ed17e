"""The residual block of the network, and which way it is computed.

B waveforms, S steps, C residual and G gate channels; shapes are (B, C, S) throughout.

References:
    van den Oord et al., WaveNet, arXiv:1609.03499; Khan, Huerta & Das, arXiv:2004.09524.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from hpc_gw.models.config import ModelConfig, padding
from hpc_gw.models.fused import conv, from_rows, gate, gated_block, to_rows
from hpc_gw.models.layers import make_norm

FEWEST = 512
"""Steps of all waveforms together from which on ``models.fused`` pays on a CPU core."""


class Block(nn.Module):
    """Residual block; (B, C_in, S) -> the next block's input and the skip, both (B, C, S).

    The dilated convolutions of filter and gate are one, whose first G output channels are the
    filter's; so is their normalisation. Numerically they are two.
    """

    fused: bool = True
    """On CPUs, compute by ``models.fused`` where that pays: the same to rounding. Compiled, or
    under autocast, a block is always its modules."""
    triton: bool = False
    """On GPUs, compute by ``models.fused_triton`` where it can; ``benchmarks/blocks.py --device
    cuda`` tells whether it pays there."""

    def __init__(self, config: ModelConfig, in_channels: int, dilation: int) -> None:
        super().__init__()
        channels, gates = config.residual_channels, config.gate_channels
        self.pad = padding(config.kernel, dilation)
        self.plain = config.norm == "none"
        self.mix = nn.Conv1d(in_channels, channels, 1)
        self.mix_norm = make_norm(config, channels)
        self.gated = nn.Conv1d(channels, 2 * gates, config.kernel, dilation=dilation)
        self.gated_norm = make_norm(config, 2 * gates)
        self.out = nn.Conv1d(gates, channels, 1)
        self.out_norm = make_norm(config, channels)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if not self._may_fuse(x):
            return self._eager(x, _gate)
        if x.device.type == "cpu":
            return gated_block(x, *self._arguments()) if self.plain else self._rows(x)
        kernels = _triton()
        if self.plain and kernels.fits(x, *self._arguments()):
            whole: tuple[Tensor, Tensor] = kernels.gated_block(x, *self._arguments())
            return whole
        return self._eager(x, kernels.gate)

    def _may_fuse(self, x: Tensor) -> bool:
        kind = x.device.type
        if not self.fused or torch.compiler.is_compiling() or torch.is_autocast_enabled(kind):
            return False
        if x.dtype not in (torch.float32, torch.float64) or x.dtype != self.mix.weight.dtype:
            return False
        if kind == "cpu":
            return x.shape[0] * x.shape[2] >= FEWEST
        return kind == "cuda" and self.triton and _triton() is not None

    def _arguments(self) -> tuple[Any, ...]:
        layers = [(layer.weight, layer.bias) for layer in (self.mix, self.gated, self.out)]
        return (*layers, self.pad, self.gated.dilation[0])

    def _rows(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """With the channels last, and normalisations between; N = B S rows."""
        (mix, mix_bias), (gated, bias), (out, out_bias), pad, dilation = self._arguments()
        batch = x.shape[0]
        h = F.relu(self.mix_norm(conv(to_rows(x), mix, mix_bias, batch)))  # (N, C)
        both = self.gated_norm(conv(h, gated, bias, batch, pad, dilation))  # (N, 2 G)
        z = F.relu(self.out_norm(conv(gate(both), out, out_bias, batch)))  # (N, C)
        return from_rows(h + z, batch), from_rows(z, batch)

    def _eager(self, x: Tensor, gate: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        x = F.relu(self.mix_norm(self.mix(x)))  # (B, C, S)
        z = gate(self.gated_norm(self._dilated(x)))  # (B, 2 G, S) -> (B, G, S)
        z = F.relu(self.out_norm(self.out(z)))  # (B, C, S)
        return x + z, z

    def _dilated(self, x: Tensor) -> Tensor:
        """The convolution under TensorFlow's 'same' padding; (B, C, S) -> (B, 2 G, S)."""
        left, right = self.pad
        weight, bias, dilation = self.gated.weight, self.gated.bias, self.gated.dilation
        if left == right:  # the convolution pads by itself, without a copy
            return F.conv1d(x, weight, bias, padding=left, dilation=dilation)
        return F.conv1d(F.pad(x, self.pad), weight, bias, dilation=dilation)


def _gate(both: Tensor) -> Tensor:
    """tanh(f) sigmoid(g) of both = (f, g); (B, 2 G, S) -> (B, G, S)."""
    f, g = both.chunk(2, dim=1)
    return torch.tanh(f) * torch.sigmoid(g)


@functools.cache
def _triton() -> Any:
    """``models.fused_triton``, or None where Triton is missing."""
    if importlib.util.find_spec("triton") is None:
        return None
    return importlib.import_module("hpc_gw.models.fused_triton")
