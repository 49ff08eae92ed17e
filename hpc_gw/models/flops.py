"""How much arithmetic a training step is."""

from __future__ import annotations

from hpc_gw.constants import QUANTITIES
from hpc_gw.models.config import ModelConfig, cone


def training_flops(config: ModelConfig, samples: int | None = None) -> int:
    """Floating-point operations of forward and backward for one waveform of the last ``samples``.

    Of convolutions and matrix products, a multiplication and an addition being two; nothing
    computed twice; padded zeros count, as hardware multiplies them. Backward needs the gradient
    of each layer's weights and, but for the first layer, of its input.

    Args:
        config: of the network.
        samples: of the input; None: its cone.
    """
    given = cone(config) if samples is None else samples
    # As in WaveNet.forward: all steps in training with BatchNorm, else those that count.
    if config.norm != "batch":
        given = min(given, cone(config))
    fixed, first, others = 0, 0, 0  # without a backward, without a gradient of the input, others
    steps, inputs, features = -(-given // config.stem_stride), 1, 0
    if config.quadrature:
        positions = len(config.quadrature.positions(given))
        steps, inputs = config.quadrature.steps(given), 2
        coordinates = config.quadrature.coordinates
        features = coordinates * config.quadrature.direct
        fixed = 2 * given * positions + 2 * 2 * steps * coordinates
    elif config.has_stem:
        inputs = config.stem_channels
        first = steps * inputs * config.stem_kernel
    channels, gates = config.residual_channels, config.gate_channels
    blocks = config.stacks * len(config.dilations)
    if blocks:
        mix = steps * inputs * channels
        first, others = (first, mix) if first else (mix, 0)
        others += (blocks - 1) * steps * channels * channels
        others += blocks * steps * gates * (2 * channels * config.kernel + channels)
        root_steps = steps if config.norm == "batch" else config.root_steps
        others += root_steps * config.root_channels * (channels + config.root_outputs)
        features += config.root_steps * config.root_outputs
    width, answers = config.leaf_width, 3 if config.answers == "difference" else len(QUANTITIES)
    entry = 2 * features * width
    first, others = (first, others + entry) if blocks else (first + entry, others)
    others += 2 * (config.leaf_layers - 1) * width * width + width * answers
    return 2 * (fixed + 2 * first + 3 * others)
