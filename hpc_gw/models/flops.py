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
    steps = -(-given // config.stem_stride)
    root_steps = steps if config.norm == "batch" else config.root_steps
    channels, gates = config.residual_channels, config.gate_channels

    first = steps * config.stem_channels * config.stem_kernel if config.has_stem else 0
    inputs = config.stem_channels if config.has_stem else 1
    mixes = [steps * inputs * channels]
    mixes += [steps * channels * channels] * (config.stacks * len(config.dilations) - 1)
    if not config.has_stem:
        first, *mixes = mixes
    block = steps * gates * (2 * channels * config.kernel + channels)
    root = root_steps * config.root_channels * (channels + config.root_outputs)
    features = config.root_steps * config.root_outputs
    leaves = config.leaf_width * (2 * features + len(QUANTITIES))
    others = sum(mixes) + config.stacks * len(config.dilations) * block + root + leaves
    return 2 * (2 * first + 3 * others)
