"""Normalisations and initial weights, as all parts of the network use them."""

from __future__ import annotations

import math

from torch import Tensor, nn

from hpc_gw.models.config import ModelConfig

NORM_EPS = 1e-3
"""Added to the variance in batch and layer normalisation (TensorFlow's default)."""


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of each step; (B, C, S) or rows (N, C), as given."""

    def forward(self, input: Tensor) -> Tensor:
        if input.dim() == 2:
            return super().forward(input)
        return super().forward(input.transpose(1, 2)).transpose(1, 2)


def make_norm(config: ModelConfig, channels: int) -> nn.Module:
    """The configured normalisation of (B, ``channels``, S), or of rows (B S, ``channels``)."""
    if config.norm == "batch":
        return nn.BatchNorm1d(channels, eps=NORM_EPS, momentum=config.norm_momentum)
    if config.norm == "layer":
        return ChannelNorm(channels, eps=NORM_EPS)
    return nn.Identity()


def glorot_(weight: Tensor, bias: Tensor | None, *, parts: int = 1) -> None:
    """Glorot-uniform weights and zero biases, as Keras initialises them.

    ``parts``: how many layers of the published network are fused in this one, each with its
    share of the output channels.
    """
    taps = weight[0, 0].numel()  # weight (out, in) or (out, in, taps)
    fan_in, fan_out = weight.shape[1] * taps, weight.shape[0] * taps // parts
    bound = math.sqrt(6.0 / (fan_in + fan_out))
    nn.init.uniform_(weight, -bound, bound)
    if bias is not None:
        nn.init.zeros_(bias)
