"""The network: a gated, dilated, non-causal convolutional root, and two leaves.

B waveforms, T samples, S steps (S = T without a stem), C residual and G gate channels.
Shapes are (B, C, S) throughout; in memory the blocks keep the channels last on CPUs.

References:
    Khan, Huerta & Das, arXiv:2004.09524, and the training code published with it;
    van den Oord et al., WaveNet, arXiv:1609.03499.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from hpc_gw.constants import QUANTITIES
from hpc_gw.errors import ConfigError
from hpc_gw.models.block import Block
from hpc_gw.models.config import ModelConfig, cone
from hpc_gw.models.fused import to_plain
from hpc_gw.models.layers import glorot_, make_norm
from hpc_gw.models.physics_head import manifold_moments
from hpc_gw.models.recompute import recomputed

IDENTITY = ([0.0] * len(QUANTITIES), [1.0] * len(QUANTITIES))
"""Mean and spread of outputs that stay as the leaves give them."""


class Stem(nn.Module):
    """Strided convolution from samples to steps; (B, 1, T) -> (B, C, S), S = ceil(T / stride).

    The last step ends at the last sample, and zeros are padded on the left only, so that an
    input which lost some of its first samples has the same last steps.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.kernel, self.stride = config.stem_kernel, config.stem_stride
        self.conv = nn.Conv1d(1, config.stem_channels, self.kernel, stride=self.stride)
        self.norm = make_norm(config, config.stem_channels)

    def forward(self, x: Tensor) -> Tensor:
        lead = -x.shape[-1] % self.stride + self.kernel - self.stride
        x = self.conv(F.pad(x, (lead, 0)))  # (B, 1, lead + T) -> (B, C, S)
        return F.relu(self.norm(x))


class Leaf(nn.Sequential):
    """One hidden layer; (B, F) -> (B, outputs)."""

    def __init__(self, features: int, width: int, outputs: int) -> None:
        super().__init__(nn.Linear(features, width), nn.ReLU(), nn.Linear(width, outputs))


class WaveNet(nn.Module):
    """Re h22 -> (q, s1, s2, sigma_eff, S_eff), the order of ``constants.QUANTITIES``.

    The answers are the leaves' own five numbers; ``models.physics_head.quantities`` makes them
    consistent. The first leaf answers q, the second the other four.

    What cannot reach the outputs is dropped before it costs anything: samples before the cone,
    and steps of the root that the leaves do not read. Only BatchNorm in training sees all steps
    that it is given, for its statistics are of them; crop the input to the ``cone``, and they are
    of the cone.

    Under ``torch.autocast`` the root runs in the lower precision and the leaves in the
    parameters' own, so that the answers are not rounded to its three digits.
    """

    checkpoint = False
    """Compute each block's activations again in backward instead of keeping them: no number
    changes (``models.recompute``). A compiled network decides that by itself."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.cone = cone(config)
        channels = config.residual_channels
        self.stem = Stem(config) if config.has_stem else nn.Identity()
        first = config.stem_channels if config.has_stem else 1
        dilations = config.dilations * config.stacks
        self.blocks = nn.ModuleList(
            Block(config, channels if i else first, dilation)
            for i, dilation in enumerate(dilations)
        )
        self.root = nn.Sequential(
            nn.ReLU(),
            nn.Conv1d(channels, config.root_channels, 1),
            make_norm(config, config.root_channels),
            nn.ReLU(),
            nn.Dropout(config.dropout),
            nn.Conv1d(config.root_channels, config.root_outputs, 1),
            make_norm(config, config.root_outputs),
        )
        features = config.root_steps * config.root_outputs
        self.leaf_q = Leaf(features, config.leaf_width, 1)
        self.leaf_spins = Leaf(features, config.leaf_width, len(QUANTITIES) - 1)
        moments = manifold_moments() if config.standardize else IDENTITY
        for name, moment in zip(("mean", "spread"), moments, strict=True):
            self.register_buffer(name, torch.tensor(moment, dtype=torch.float32))
        self.mean: Tensor
        self.spread: Tensor
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialise as the published network was, from torch's global generator."""
        for module in self.modules():
            if isinstance(module, nn.Conv1d | nn.Linear):
                glorot_(module.weight, module.bias)
            elif isinstance(module, nn.BatchNorm1d | nn.LayerNorm):
                module.reset_parameters()
        for module in self.modules():
            if isinstance(module, Block):
                glorot_(module.gated.weight, module.gated.bias, parts=2)

    def forward(self, x: Tensor) -> Tensor:
        """Args: x: (B, T) real waveforms, the last T samples of the grid, cone <= T <= all.

        Returns:
            (B, 5) outputs, in the units of the quantities.

        Raises:
            ConfigError: another number of samples, or of dimensions.
        """
        self._check(x)
        kept = self.config.root_steps
        # BatchNorm's statistics in training are of every step that there is.
        crop = not (self.training and self.config.norm == "batch")
        if crop:
            x = x[:, -self.cone :]
        x = self.stem(x.unsqueeze(1))  # (B, 1, T) -> (B, C, S)
        skips: Tensor | float = 0.0
        for block in self.blocks:
            x, skip = self._call(block, x)  # (B, C, S), (B, C, S)
            skips = skips + skip
        assert isinstance(skips, Tensor)
        skips = to_plain(skips[..., -kept:] if crop else skips)
        root = self._call(self.root, skips)  # (B, root_outputs, S)
        features = root[..., -kept:].flatten(1)  # (B, root_outputs * root_steps)
        with torch.autocast(x.device.type, enabled=False):
            features = features.to(self.mean.dtype)
            leaves = (self.leaf_q(features), self.leaf_spins(features))  # (B, 1), (B, 4)
            return self.mean + self.spread * torch.cat(leaves, dim=1)  # (B, 5)

    def _call(self, module: nn.Module, x: Tensor) -> Any:
        again = self.checkpoint and torch.is_grad_enabled() and not torch.compiler.is_compiling()
        return recomputed(module, x) if again else module(x)

    def _check(self, x: Tensor) -> None:
        if x.dim() != 2 or not self.cone <= x.shape[1] <= self.config.input_steps:
            raise ConfigError(
                f"input of shape {tuple(x.shape)}: this model reads (B, T) with T from {self.cone} "
                f"(its cone) to {self.config.input_steps} samples (model.input_steps); give it "
                "the last samples of its time grid"
            )
