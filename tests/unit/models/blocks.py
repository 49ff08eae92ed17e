"""Residual blocks of many shapes, and what they give: for the CPU's tests and a GPU's."""

import dataclasses

import torch

from hpc_gw.models.block import Block
from hpc_gw.models.presets import COMPACT

NORMS = ("none", "batch", "layer")
SHAPES = {
    # channels in, C, G, B, S, kernel, dilation
    "compact": (32, 32, 32, 4, 48, 2, 4),
    "one to the right": (5, 6, 7, 3, 20, 2, 1),
    "odd kernel": (3, 16, 20, 2, 33, 3, 2),
    "even kernel": (4, 5, 8, 2, 30, 4, 3),
    "longer than the input": (4, 12, 9, 3, 30, 2, 40),
    "one waveform of one channel": (1, 16, 32, 1, 64, 2, 8),
    "wide": (40, 33, 48, 17, 24, 3, 2),
}


def make(norm, shape, dtype, device="cpu"):
    """A block with nothing at its start value, and an input."""
    inputs, channels, gates, batch, steps, kernel, dilation = shape
    config = dataclasses.replace(
        COMPACT, norm=norm, kernel=kernel, residual_channels=channels, gate_channels=gates
    )
    torch.manual_seed(3)
    block = Block(config, inputs, dilation).to(device, dtype)
    with torch.no_grad():
        for p in block.parameters():
            p.add_(0.2 * torch.randn_like(p))
    return block, torch.randn(batch, inputs, steps, dtype=dtype, device=device)


def results(block, x, call=None):
    """Both outputs and the gradients of a sum over them, of x and of all parameters."""
    torch.manual_seed(4)
    x = x.detach().requires_grad_()
    outputs = (call or block)(x)
    # Not randn_like, which fills in the order of memory: that is not the same everywhere.
    seeds = [torch.randn(y.shape, dtype=y.dtype, device=y.device) for y in outputs]
    gradients = torch.autograd.grad(outputs, [x, *block.parameters()], seeds)
    return [y.detach() for y in outputs], gradients
