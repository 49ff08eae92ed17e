"""The network's configuration, and the arithmetic of which samples can reach its outputs.

Reference: Khan, Huerta & Das, arXiv:2004.09524, and the training code published with it. The
defaults are that network.
"""

from __future__ import annotations

from typing import Literal

from pydantic.dataclasses import dataclass

from hpc_gw.config import STRICT
from hpc_gw.constants import N_TIMES


@dataclass(frozen=True, config=STRICT)
class QuadratureConfig:
    """A fixed stem that turns Re h22 into whitened phase and amplitude (``models.quadrature``)."""

    stride: int = 4
    """Samples from one position to the next; between two the phase must differ from the mean
    carrier's by less than pi."""
    cycles: float = 0.5
    """Standard deviation of the windows, in cycles of the carrier."""
    lead: int = 28
    """Samples before the first position, at least: the windows' half-width."""
    tail: int = 34
    """Samples after the last position."""
    every: int = 1
    """Every so many-th position is kept, counted from the last, once the phase is unwrapped."""
    coordinates: int = 18
    """Principal components that are kept."""
    floor: float = 0.0
    """Standard deviation of a component below which it is no longer scaled up to 1."""
    limit: float = 8.0
    """Bound on a coordinate's size, in standard deviations."""
    direct: bool = True
    """The leaves read the coordinates beside the root's steps, not through the root alone."""

    def __post_init__(self) -> None:
        """Raises ValueError with the value, the rule and the remedy."""
        for name in ("stride", "every", "coordinates"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} = {getattr(self, name)}: must be a positive integer")
        for name in ("lead", "tail"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} = {getattr(self, name)}: must be an integer >= 0")
        if not 0.1 <= self.cycles <= 10:
            raise ValueError(f"cycles = {self.cycles}: must be from 0.1 to 10, such as 0.5")
        if not self.floor >= 0:
            raise ValueError(f"floor = {self.floor}: must be >= 0; 0 scales every component to 1")
        if not self.limit > 0:
            raise ValueError(f"limit = {self.limit}: must be > 0, such as 8")

    def positions(self, samples: int) -> range:
        """Samples at which phase and amplitude are taken; the last one is ``tail`` from the end."""
        last = samples - 1 - self.tail
        return range(last - (last - self.lead) // self.stride * self.stride, last + 1, self.stride)

    def steps(self, samples: int) -> int:
        """Positions that are kept of so many samples."""
        return -(-len(self.positions(samples)) // self.every)


@dataclass(frozen=True, config=STRICT)
class ModelConfig:
    """A WaveNet root with two leaves.

    The *rate* of the root is one step per sample, or one per ``stem_stride`` samples if there is
    a stem, an ordinary convolution before the first block (``stem_kernel`` = ``stem_stride`` = 1:
    no stem, as published).
    """

    input_steps: int = N_TIMES
    """Samples of the whole time grid; inputs may be cropped to its last ``cone(config)`` ones."""
    stem_channels: int = 16
    """Channels of the stem (unused without one)."""
    stem_kernel: int = 1
    """Samples that one step of the stem sees, at least ``stem_stride``."""
    stem_stride: int = 1
    """Samples from one step of the stem to the next; steps are aligned to the last sample."""
    quadrature: QuadratureConfig | None = None
    """A fixed stem instead of the convolution; the leaves then read its coordinates, too."""
    stacks: int = 2
    """Repetitions of the list of dilations."""
    dilations: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 128)
    """Dilations of the blocks of one stack, in steps. None at all, with a quadrature stem: there is
    no root, and the leaves read the coordinates alone."""
    kernel: int = 2
    """Taps of the dilated convolutions."""
    residual_channels: int = 16
    """Channels between the blocks, and of the skips."""
    gate_channels: int = 32
    """Channels of the filter, and of the gate."""
    root_channels: int = 128
    """Channels of the root's hidden 1x1 convolution."""
    root_outputs: int = 1
    """Channels of the root's output at each step."""
    root_steps: int = 10_000
    """Last steps of the root's output that the leaves read."""
    leaf_width: int = 512
    """Hidden width of each leaf."""
    leaf_layers: int = 1
    """Hidden layers of each leaf."""
    leaf_activation: Literal["relu", "silu"] = "relu"
    """After each hidden layer of a leaf; ``silu``, x sigmoid(x), suits smooth answers."""
    answers: Literal["five", "difference"] = "five"
    """``five``: the leaves answer all quantities, as published. ``difference``: ln q from one leaf,
    sigma_eff and s1 - s2 from the other; the rest follows, well conditioned at every q."""
    dropout: float = 0.2
    """Probability of dropping a hidden channel value of the root, in training."""
    norm: Literal["batch", "layer", "none"] = "batch"
    """``batch``: over batch and time; ``layer``: over the channels of each step."""
    norm_momentum: float = 0.01
    """Weight of the newest batch in the running statistics (TensorFlow's 0.99 is 0.01 here)."""
    standardize: bool = False
    """Give the leaves' outputs the mean and spread of the paper's manifold (fixed, not trained),
    so that leaves which answer O(1) numbers cover it. As published: no. Always for
    ``difference``."""

    def __post_init__(self) -> None:
        """Raises ValueError with the value, the rule and the remedy."""
        for name in (
            "input_steps", "stem_channels", "stem_kernel", "stem_stride", "stacks", "kernel",
            "residual_channels", "gate_channels", "root_channels", "root_outputs", "root_steps",
            "leaf_width", "leaf_layers",
        ):  # fmt: skip
            if getattr(self, name) < 1:
                raise ValueError(f"{name} = {getattr(self, name)}: must be a positive integer")
        if self.kernel < 2:
            raise ValueError(
                f"kernel = {self.kernel}: a dilated convolution needs at least 2 taps; use 2"
            )
        if min(self.dilations, default=1) < 1 or not (self.dilations or self.quadrature):
            raise ValueError(
                f"dilations = {list(self.dilations)}: need at least one, each a positive integer, "
                "such as [1, 2, 4, 8]"
            )
        if self.quadrature and (self.stem_kernel > 1 or self.stem_stride > 1):
            raise ValueError(
                f"stem_kernel = {self.stem_kernel}, stem_stride = {self.stem_stride} with a "
                "quadrature stem: a network has one stem; leave these at 1, or quadrature out"
            )
        if self.quadrature and not (self.dilations or self.quadrature.direct):
            raise ValueError(
                "dilations = [] with quadrature.direct: false: the leaves would read nothing; name "
                "dilations, or let the leaves read the coordinates"
            )
        if self.quadrature and len(self.quadrature.positions(self.input_steps)) < 2:
            raise ValueError(
                f"quadrature.lead = {self.quadrature.lead}, tail = {self.quadrature.tail}: leave "
                f"fewer than two positions of {self.input_steps} samples; lower them"
            )
        if self.quadrature and self.quadrature.coordinates > 2 * total_steps(self):
            raise ValueError(
                f"quadrature.coordinates = {self.quadrature.coordinates}: phase and amplitude at "
                f"{total_steps(self)} positions have {2 * total_steps(self)} components; keep at "
                "most these, or lower quadrature.every"
            )
        if self.stem_kernel < self.stem_stride:
            raise ValueError(
                f"stem_kernel = {self.stem_kernel} < stem_stride = {self.stem_stride}: samples "
                f"between two steps would never be read; use stem_kernel >= {self.stem_stride}"
            )
        if self.dilations and self.root_steps > total_steps(self):
            raise ValueError(
                f"root_steps = {self.root_steps}: the root has only {total_steps(self)} steps "
                f"({self.input_steps} samples at stem_stride {self.stem_stride}); keep at most "
                "these, or raise input_steps"
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(
                f"dropout = {self.dropout}: a probability in [0, 1); 0 switches it off"
            )
        if not 0 < self.norm_momentum <= 1:
            raise ValueError(
                f"norm_momentum = {self.norm_momentum}: a weight in (0, 1], such as 0.01"
            )

    @property
    def has_stem(self) -> bool:
        """Whether a convolution turns samples into steps before the first block."""
        return self.stem_kernel > 1 or self.stem_stride > 1


def padding(kernel: int, dilation: int) -> tuple[int, int]:
    """Zeros (left, right) that keep the length, by TensorFlow's 'same': the odd one goes right."""
    total = (kernel - 1) * dilation
    return total // 2, total - total // 2


def total_steps(config: ModelConfig) -> int:
    """Steps of the root for the whole time grid."""
    if config.quadrature:
        return config.quadrature.steps(config.input_steps)
    return -(-config.input_steps // config.stem_stride)


def _reach(config: ModelConfig) -> tuple[int, int]:
    """Steps to the (left, right) of an output step that the blocks let it see."""
    pads = [padding(config.kernel, dilation) for dilation in config.dilations * config.stacks]
    return sum(left for left, _ in pads), sum(right for _, right in pads)


def receptive_field(config: ModelConfig) -> tuple[int, int]:
    """Samples (left, right) of an output that can reach it, ends of the time grid aside.

    Counted from the last sample of the output's own step, which is itself one more:
    left + right + 1 samples in all; (254, 256) for the published network. Behind a quadrature stem
    they are steps of its series.
    """
    left, right = _reach(config)
    stride = config.stem_stride
    return left * stride + config.stem_kernel - 1, right * stride


def cone(config: ModelConfig) -> int:
    """How many of the last input samples can reach the outputs that the leaves read.

    10,254 for the published network: 10,000 kept steps and 254 to their left; what lies to the
    right of the last sample is zero padding. In evaluation, an input cropped to these samples
    (or any more of the last ones) gives the outputs of the whole. With a quadrature stem, which
    reads everything, it is the whole.
    """
    if config.quadrature:
        return config.input_steps
    left, _ = receptive_field(config)
    return min((config.root_steps - 1) * config.stem_stride + 1 + left, config.input_steps)
