"""Named networks."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from hpc_gw.errors import ConfigError
from hpc_gw.models.config import ModelConfig, QuadratureConfig

KHAN2020 = ModelConfig()
"""The network of arXiv:2004.09524: 10,295,576 trainable parameters."""

STRIDED = ModelConfig(
    input_steps=768,
    stem_channels=32,
    stem_kernel=32,
    stem_stride=16,
    stacks=1,
    dilations=(1, 2, 4, 8, 16),
    residual_channels=32,
    gate_channels=32,
    root_channels=64,
    root_outputs=8,
    root_steps=48,
    leaf_width=256,
    dropout=0.0,
    norm="none",
    standardize=True,
)
"""The same class at a size that trains in minutes on two CPU cores, on a warped time grid, with a
stem that is learned.

Without normalisation: at this size it trains to a lower loss and takes a third less time, and
what each of several ranks computes is what one would."""

COMPACT = ModelConfig(
    input_steps=768,
    quadrature=QuadratureConfig(every=8),
    stacks=1,
    dilations=(1, 2, 4, 8),
    residual_channels=16,
    gate_channels=16,
    root_channels=32,
    root_outputs=4,
    root_steps=23,
    leaf_width=256,
    leaf_layers=3,
    leaf_activation="silu",
    answers="difference",
    dropout=0.0,
    norm="none",
)
"""The same again behind a quadrature stem: it reads phase and amplitude, whitened, and its leaves
see them beside what the root makes of them."""

LEAVES = dataclasses.replace(COMPACT, dilations=())
"""The leaves alone behind the quadrature stem: what the root adds is the difference."""

PRESETS: dict[str, ModelConfig] = {
    "khan2020": KHAN2020,
    "strided": STRIDED,
    "compact": COMPACT,
    "leaves": LEAVES,
}


def model_config(spec: str | Mapping[str, Any] | ModelConfig) -> ModelConfig:
    """A configuration from a preset's name, or from fields.

    Fields may start from a preset: ``{"preset": "compact", "leaf_width": 128}``; so may those of
    its quadrature stem.

    Raises:
        ConfigError: no such preset.
        ValueError: a field is unknown, of a wrong type or out of range.
    """
    if isinstance(spec, ModelConfig):
        return spec
    fields: dict[str, Any] = {"preset": spec} if isinstance(spec, str) else dict(spec)
    name = fields.pop("preset", "khan2020")
    if name not in PRESETS:
        raise ConfigError(f"model preset '{name}' is unknown: choose from {', '.join(PRESETS)}")
    stem, given = PRESETS[name].quadrature, fields.get("quadrature")
    if stem and isinstance(given, Mapping):
        fields["quadrature"] = dataclasses.asdict(stem) | dict(given)
    return dataclasses.replace(PRESETS[name], **fields)
