"""How much of a GPU a training uses: floating-point operations against what a product reaches."""

from __future__ import annotations

import time

import torch

from hpc_gw.models.config import ModelConfig
from hpc_gw.models.flops import training_flops

_SIZE, _ROUNDS = 8192, 10


class Utilisation:
    """Operations a second of this rank, and their share of the device's ceiling.

    The ceiling is measured once, on a large product of matrices in the training's own precision:
    what the card gives, not what its data sheet says. On a CPU nothing is measured or reported.

    Args:
        model: the network.
        samples: of each waveform that it is given.
        device: of this rank.
        precision: ``float32``, ``tf32`` or ``bf16``; of the first two, what torch is set to.
    """

    def __init__(
        self, model: ModelConfig, samples: int, device: torch.device, precision: str
    ) -> None:
        self._active = device.type == "cuda"
        if not self._active:
            return
        self._operations = training_flops(model, samples)
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        self._ceiling = product_rate(device, dtype)

    def report(self, waveforms: float, seconds: float) -> dict[str, float]:
        """For a log: ``tflops``, 10^12 operations a second, and their share, ``utilisation``.

        Args:
            waveforms: that this rank trained on.
            seconds: that it took.
        """
        if not self._active or seconds <= 0:
            return {}
        rate = self._operations * waveforms / seconds
        return {"tflops": rate / 1e12, "utilisation": rate / self._ceiling}


def product_rate(
    device: torch.device, dtype: torch.dtype, size: int = _SIZE, rounds: int = _ROUNDS
) -> float:
    """Operations a second of a product of two matrices (size, size)."""
    a = torch.randn(size, size, device=device, dtype=dtype)
    torch.mm(a, a)
    _wait(device)
    start = time.perf_counter()
    for _ in range(rounds):
        torch.mm(a, a)
    _wait(device)
    return 2 * size**3 * rounds / (time.perf_counter() - start)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
