"""The network: a gated, dilated, non-causal convolutional root, and two leaves.

B waveforms, T samples, S steps (S = T without a stem), C residual and G gate channels.
Shapes are (B, C, S) throughout; in memory the blocks keep the channels last on CPUs.

References:
    Khan, Huerta & Das, arXiv:2004.09524, and the training code published with it;
    van den Oord et al., WaveNet, arXiv:1609.03499.
"""

from __future__ import annotations

import itertools
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
from hpc_gw.models.physics_head import difference_moments, from_difference, manifold_moments
from hpc_gw.models.quadrature import QuadratureStem
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
    """Hidden layers, one as published; (B, features) -> (B, outputs)."""

    def __init__(self, config: ModelConfig, features: int, outputs: int) -> None:
        activation = nn.ReLU if config.leaf_activation == "relu" else nn.SiLU
        sizes = [features] + [config.leaf_width] * config.leaf_layers
        hidden = ((nn.Linear(*pair), activation()) for pair in itertools.pairwise(sizes))
        last = nn.Linear(config.leaf_width, outputs)
        super().__init__(*itertools.chain.from_iterable(hidden), last)


class WaveNet(nn.Module):
    """Re h22 -> (q, s1, s2, sigma_eff, S_eff), the order of ``constants.QUANTITIES``.

    The answers are the leaves' own five numbers, the first leaf's q and the second's other four;
    ``models.physics_head.quantities`` makes them consistent. With ``answers: difference`` they are
    that already.

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
        self.stem: nn.Module = nn.Identity()
        first, coordinates = 1, 0
        if config.quadrature:
            self.stem = QuadratureStem(config.quadrature, config.input_steps)
            first, coordinates = 2, config.quadrature.coordinates * config.quadrature.direct
        elif config.has_stem:
            self.stem, first = Stem(config), config.stem_channels
        dilations = config.dilations * config.stacks
        self.blocks = nn.ModuleList(
            Block(config, channels if i else first, dilation)
            for i, dilation in enumerate(dilations)
        )
        self.root = self._make_root() if dilations else None
        features = coordinates + (config.root_steps * config.root_outputs if dilations else 0)
        three = config.answers == "difference"
        self.leaf_q = Leaf(config, features, 1)
        self.leaf_spins = Leaf(config, features, 2 if three else len(QUANTITIES) - 1)
        moments = manifold_moments() if config.standardize else IDENTITY
        if three:
            moments = difference_moments()
        for name, moment in zip(("mean", "spread"), moments, strict=True):
            self.register_buffer(name, torch.tensor(moment, dtype=torch.float32))
        self.mean: Tensor
        self.spread: Tensor
        self.reset_parameters()

    def _make_root(self) -> nn.Sequential:
        config = self.config
        return nn.Sequential(
            nn.ReLU(),
            nn.Conv1d(config.residual_channels, config.root_channels, 1),
            make_norm(config, config.root_channels),
            nn.ReLU(),
            nn.Dropout(config.dropout),
            nn.Conv1d(config.root_channels, config.root_outputs, 1),
            make_norm(config, config.root_outputs),
        )

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
        # BatchNorm's statistics in training are of every step that there is.
        crop = not (self.training and self.config.norm == "batch")
        if crop:
            x = x[:, -self.cone :]
        features = self._features(x, crop)
        with torch.autocast(x.device.type, enabled=False):
            features = features.to(self.mean.dtype)
            leaves = torch.cat((self.leaf_q(features), self.leaf_spins(features)), dim=1)
            answers = self.mean + self.spread * leaves  # (B, 5) or (B, 3)
            return from_difference(answers) if self.config.answers == "difference" else answers

    def _features(self, x: Tensor, crop: bool) -> Tensor:
        """What the leaves read of (B, T): the root's last steps, and the stem's coordinates."""
        coordinates: list[Tensor] = []
        if isinstance(self.stem, QuadratureStem):
            x, z = self.stem(x)  # (B, 2, S), (B, K)
            coordinates = [z] if self.stem.config.direct else []
        else:
            x = self.stem(x.unsqueeze(1))  # (B, 1, T) -> (B, C, S)
        if self.root is None:
            return coordinates[0]
        skips: Tensor | float = 0.0
        for block in self.blocks:
            x, skip = self._call(block, x)  # (B, C, S), (B, C, S)
            skips = skips + skip
        assert isinstance(skips, Tensor)
        kept = self.config.root_steps
        skips = to_plain(skips[..., -kept:] if crop else skips)
        root = self._call(self.root, skips)  # (B, root_outputs, S)
        return torch.cat((root[..., -kept:].flatten(1), *coordinates), dim=1)

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
