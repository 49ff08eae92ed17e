"""What a training step asks of a machine: arithmetic, gradients in their order, input."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from pydantic import Field
from pydantic.dataclasses import dataclass

from hpc_gw.config import STRICT
from hpc_gw.errors import ConfigError
from hpc_gw.models.config import ModelConfig, cone

BACKWARD = 2 / 3
"""Share of a step's arithmetic that backward does: gradients of weights and of inputs."""

_GAIN = 2
"""PowerSGD's hook leaves matrices whole that it would not make twice smaller."""


class Gradient(NamedTuple):
    """A parameter's: its shape, and a measure of the backward work that makes it."""

    shape: tuple[int, ...]
    work: float

    @property
    def size(self) -> int:
        """Numbers."""
        return math.prod(self.shape)


class Bucket(NamedTuple):
    """Gradients that travel together, and the share of backward after which all are there."""

    gradients: tuple[Gradient, ...]
    ready: float


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Compression:
    """Of gradients on their way, as ``train.parallel.compression``."""

    kind: str
    rank: int = Field(default=0, ge=0)

    def messages(self, gradients: Sequence[Gradient]) -> list[float]:
        """Bytes of each all-reduce that a bucket of float32 gradients becomes.

        PowerSGD (Vogels et al., arXiv:1905.13727) sends what stays whole, then both factors.
        """
        if self.kind != "powersgd":
            return [(4.0 if self.kind == "none" else 2.0) * sum(g.size for g in gradients)]
        whole, left, right = 0, 0, 0
        for gradient in gradients:
            n, m = gradient.shape[0], gradient.size // gradient.shape[0]
            if len(gradient.shape) > 1 and (n + m) * self.rank * _GAIN < n * m:
                left, right = left + n * self.rank, right + m * self.rank
            else:
                whole += gradient.size
        return [4.0 * numbers for numbers in (whole, left, right) if numbers]


def parse_compression(text: str) -> Compression:
    """``none``, ``fp16``, ``bf16`` or ``powersgd-R``.

    Raises:
        ConfigError: another word.
    """
    kind, _, rank = text.partition("-")
    if kind in ("none", "fp16", "bf16") and not rank:
        return Compression(kind=kind)
    if kind == "powersgd" and rank.isdigit() and int(rank) > 0:
        return Compression(kind=kind, rank=int(rank))
    raise ConfigError(f"--compression {text}: choose none, fp16, bf16 or powersgd-4 (its rank)")


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Workload:
    """A training on one GPU, and its data.

    Attributes:
        name: what is trained.
        compute_s: seconds of a step on one GPU, one value for each measurement.
        spread: times of single steps over their median: what makes stragglers. (1.0,): none.
        gradients: in the order of the forward pass.
        batch: waveforms of a GPU and step.
        input_bytes: that a waveform is read with; 0: made on the fly.
        rows: waveforms of an epoch.
        epochs: of a training.
        bucket_mb: gradients travel in portions of this size, MiB.
        small_messages: all-reduces of some bytes that nothing hides (BatchNorm over all ranks).
    """

    name: str
    compute_s: tuple[float, ...]
    gradients: tuple[Gradient, ...]
    batch: int = Field(ge=1)
    rows: int = Field(ge=1)
    epochs: float = Field(gt=0)
    spread: tuple[float, ...] = (1.0,)
    input_bytes: float = Field(default=0.0, ge=0)
    bucket_mb: float = Field(default=25.0, gt=0)
    small_messages: int = Field(default=0, ge=0)

    def __post_init__(self) -> None:
        if not self.compute_s or min(self.compute_s) <= 0:
            raise ValueError(f"compute_s = {self.compute_s}: seconds of a step, above 0, needed")
        if not self.spread or min(self.spread) <= 0:
            raise ValueError("spread: times of steps over their median, above 0, needed")

    @property
    def gradient_bytes(self) -> int:
        """In float32."""
        return 4 * sum(gradient.size for gradient in self.gradients)


def gradients_of(model: ModelConfig, samples: int | None = None) -> tuple[Gradient, ...]:
    """A network's parameters in their order, with the multiplications behind each.

    Args:
        model: the network.
        samples: of its input; None: the cone.
    """
    import torch  # noqa: PLC0415

    from hpc_gw.models.wavenet import WaveNet  # noqa: PLC0415

    steps = -(-(samples or cone(model)) // model.stem_stride)
    with torch.device("meta"):
        shapes = [tuple(p.shape) for p in WaveNet(model).parameters()]
    # A convolution's weights (out, in, taps) are used at each step, a leaf's (out, in) once.
    return tuple(Gradient(s, math.prod(s) * (steps if len(s) == 3 else 1)) for s in shapes)


def buckets(gradients: Sequence[Gradient], bucket_mb: float) -> list[Bucket]:
    """Portions in which gradients leave: in the order of backward, closed once they are full.

    As DistributedDataParallel lays them out after its first step (torch 2.13: for khan2020 at 25
    MiB buckets of 40,974,356 and 207,948 bytes).
    """
    total = sum(gradient.work for gradient in gradients) or 1.0
    found: list[Bucket] = []
    held: list[Gradient] = []
    done, size = 0.0, 0
    for gradient in reversed(gradients):
        held.append(gradient)
        done, size = done + gradient.work, size + 4 * gradient.size
        if size >= bucket_mb * 2**20:
            found.append(Bucket(tuple(held), done / total))
            held, size = [], 0
    return [*found, Bucket(tuple(held), 1.0)] if held else found


def norm_messages(model: ModelConfig) -> int:
    """All-reduces of a step for BatchNorm over all ranks: each layer's, forward and backward."""
    if model.norm != "batch":
        return 0
    blocks = model.stacks * len(model.dilations)
    return 2 * (3 * blocks + 2 + model.has_stem)
