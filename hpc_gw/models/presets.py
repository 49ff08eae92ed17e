"""Named networks."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from hpc_gw.errors import ConfigError
from hpc_gw.models.config import ModelConfig

KHAN2020 = ModelConfig()
"""The network of arXiv:2004.09524: 10,295,576 trainable parameters."""

COMPACT = ModelConfig(
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
"""The same class at a size that trains in minutes on two CPU cores, on a warped time grid.

Without normalisation: at this size it trains to a lower loss and takes a third less time, and
what each of several ranks computes is what one would."""

PRESETS: dict[str, ModelConfig] = {"khan2020": KHAN2020, "compact": COMPACT}


def model_config(spec: str | Mapping[str, Any] | ModelConfig) -> ModelConfig:
    """A configuration from a preset's name, or from fields.

    Fields may start from a preset: ``{"preset": "compact", "leaf_width": 128}``.

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
    return dataclasses.replace(PRESETS[name], **fields)
