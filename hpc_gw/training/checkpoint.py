"""Checkpoints: tensors, numbers and strings, published atomically, loaded without pickled code."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hpc_gw.config import build, first_difference, to_dict
from hpc_gw.errors import CheckpointError, ConfigError
from hpc_gw.files import published
from hpc_gw.models.config import ModelConfig
from hpc_gw.models.wavenet import WaveNet

FORMAT = "hpc_gw checkpoint 1"


def to_bytes(content: dict[str, Any]) -> memoryview:
    """A checkpoint's file; ``content`` holds tensors, containers, numbers and strings only."""
    image = io.BytesIO()  # in memory, so that a full disk is one plain OSError
    torch.save({"format": FORMAT, **content}, image)
    return image.getbuffer()


def publish(path: str | os.PathLike[str], image: memoryview) -> None:
    """Write a checkpoint's file atomically."""
    with published(path) as temporary:
        temporary.write_bytes(image)


def load(path: str | os.PathLike[str], device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read a checkpoint.

    Raises:
        CheckpointError: the file is missing, damaged, or no checkpoint of this version.
    """
    try:
        content = torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such checkpoint; train first, or check the path") from (
            error
        )
    except Exception as error:  # torch raises many kinds for a damaged file
        raise CheckpointError(
            f"{path}: not readable as a checkpoint ({type(error).__name__}); it is damaged or "
            f"another kind of file: use an earlier checkpoint, or train again"
        ) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CheckpointError(f"{path}: not a checkpoint of this version ('{FORMAT}')")
    return content


def require_same_model(path: str | os.PathLike[str], found: Any, wanted: ModelConfig) -> None:
    """CheckpointError naming the first difference where a checkpoint is of another network."""
    expected = to_dict(wanted)
    # both ways: a field that this version does not know is another architecture, too
    if key := first_difference(found, expected) or first_difference(expected, found):
        shown = found.get(key) if isinstance(found, dict) else found
        raise CheckpointError(
            f"{path}: holds another architecture (model.{key}: {shown}, configured: "
            f"{expected.get(key)}); use its own config, or another output folder"
        )


FREE = (
    "verify", "local", "threads", "log_steps", "checkpoint_steps", "tensorboard", "source", "keep",
    "recompute", "on_nan", "max_skips", "parallel",
)  # fmt: skip
"""Settings that may change when a run is resumed: they change no sample and no step."""


def require_same_run(
    path: str | os.PathLike[str], content: Any, train: dict[str, Any], data: dict[str, Any]
) -> None:
    """CheckpointError naming the first difference where a checkpoint is of another run.

    Args:
        path: of the checkpoint.
        content: of the checkpoint.
        train: the configured training, of which all but ``FREE`` must agree.
        data: everything that fixes the numbers of both sets.
    """
    fixed = {key: value for key, value in train.items() if key not in FREE}
    for what, known, wanted in (
        ("train", content["train"], fixed),
        ("training set", content["data"]["train"], data["train"]),
        ("validation set", content["data"]["validation"], data["validation"]),
    ):
        if key := first_difference(known, wanted):
            raise CheckpointError(
                f"{path}: belongs to another run ({what}.{key}: {known.get(key)}, configured: "
                f"{wanted[key]}); choose another output folder, or remove this one"
            )


def restore(path: str | os.PathLike[str], model: nn.Module, state: dict[str, Any]) -> None:
    """Put weights in a model; CheckpointError where names or shapes differ."""
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(f"{path}: the weights do not fit the network ({error})") from error


def load_model(path: str | os.PathLike[str]) -> tuple[WaveNet, dict[str, Any]]:
    """The network of a checkpoint, in evaluation mode, and everything else that it holds."""
    content = load(path)
    try:
        config = build(ModelConfig, content["model"], where=str(Path(path)))
    except (ConfigError, KeyError) as error:
        raise CheckpointError(f"{path}: holds no network of this version ({error})") from error
    model = WaveNet(config)
    restore(path, model, content["weights"])
    model.eval()
    return model, content
