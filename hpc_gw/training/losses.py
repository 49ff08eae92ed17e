"""What the network is trained to minimise.

Rows are in the order of ``constants.QUANTITIES``: (q, s1, s2, sigma_eff, S_eff).

Both losses weigh the two leaves equally, as published: the mean squared error (MSE) of q plus
the mean of the four others' MSEs. *Scaling*: with ``standardize``, each error is divided by its
quantity's standard deviation over the paper's manifold (``manifold_moments``), so that an MSE of
1 is what answering the mean earns; without, as published, q (whose variance over the manifold is
4.1) weighs 19 times what a spin (0.21) does. ``weights`` then multiply the MSEs.

Reference: Khan, Huerta & Das, arXiv:2004.09524, section II.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic.dataclasses import dataclass
from torch import Tensor

from hpc_gw.config import STRICT
from hpc_gw.constants import QUANTITIES
from hpc_gw.errors import ConfigError
from hpc_gw.models.physics_head import DAMPING, Head, manifold_moments, solve_spins

Parts = dict[str, Tensor]
"""MSE of each quantity by name, scaled but not weighted, detached."""


@dataclass(frozen=True, config=STRICT)
class LossConfig:
    """Which loss, and how it weighs the quantities."""

    kind: Literal["direct", "physics"] = "direct"
    """``direct``: all five outputs; ``physics``: the spins that q, sigma_eff and S_eff imply."""
    weights: tuple[float, float, float, float, float] = (1.0, 1.0, 1.0, 1.0, 1.0)
    """Factors on the MSEs of q, s1, s2, sigma_eff, S_eff."""
    standardize: bool = False
    """Divide each error by the quantity's standard deviation over the manifold."""
    damping: float = DAMPING
    """Regularisation of the spin solve at q = 1 (``physics`` only)."""
    mismatch_weight: float = 0.0
    """Weight of the waveforms' mismatch beside the quantities' errors; 0: it isn't computed."""
    mismatch: Literal["phase", "fisher"] = "phase"
    """How: from the phases of both waveforms, at any distance; or by the metric at the truth,
    right for small errors and far cheaper."""
    mismatch_scale: float = 0.25
    """Mismatch above which it counts logarithmically. A tenth of it trained to a longer tail of
    low overlaps, a hundredth not at all in the time given."""

    def __post_init__(self) -> None:
        """Raises ValueError with the value, the rule and the remedy."""
        finite = all(math.isfinite(weight) and weight >= 0 for weight in self.weights)
        if not finite or not any(self.weights):
            raise ValueError(
                f"weights = {list(self.weights)}: five numbers >= 0 for {', '.join(QUANTITIES)}, "
                "at least one above 0"
            )
        if not (math.isfinite(self.damping) and self.damping > 0):
            raise ValueError(
                f"damping = {self.damping}: must be > 0, or the spin solve has no finite gradient "
                f"at q = 1; try {DAMPING}"
            )
        if not (math.isfinite(self.mismatch_weight) and self.mismatch_weight >= 0):
            raise ValueError(f"mismatch_weight = {self.mismatch_weight}: must be >= 0; 0: without")
        if not (math.isfinite(self.mismatch_scale) and self.mismatch_scale > 0):
            raise ValueError(f"mismatch_scale = {self.mismatch_scale}: must be > 0, such as 0.01")

    @property
    def head(self) -> Head:
        """How outputs that were trained on this loss become quantities (``physics_head``)."""
        return self.kind


def direct(
    outputs: Tensor, truth: Tensor, config: LossConfig | None = None
) -> tuple[Tensor, Parts]:
    """The published loss, on the five outputs as they are.

    Args:
        outputs: (B, 5), of the network.
        truth: (B, 5), of the same dtype and device.
        config: weights and scaling; the published ones if absent.

    Returns:
        (the scalar to minimise, MSE by quantity)
    """
    return _weighted(outputs, truth, config or LossConfig())


def physics(
    outputs: Tensor, truth: Tensor, config: LossConfig | None = None
) -> tuple[Tensor, Parts]:
    """The same on q, sigma_eff, S_eff and the spins that follow from them.

    Arguments and results as for ``direct``; the outputs s1, s2 are not looked at. The solve is
    that of ``physics_head.solve_spins``, and the true spins are passed through it too: at q = 1
    the effective spins see only s1 + s2, and what no answer can tell apart is not asked for. So
    the loss is zero exactly where q, sigma_eff and S_eff are right, and gradients are finite
    everywhere. q itself is compared without the floor at 1, which would leave
    answers below 1 without a gradient.
    """
    config = config or LossConfig(kind="physics")
    solved, target = (
        torch.cat((rows[:, :1], solve_spins(rows, damping=config.damping)[:, 1:]), dim=1)
        for rows in (outputs, truth)
    )  # (B, 5), (B, 5)
    return _weighted(solved, target, config)


def loss(outputs: Tensor, truth: Tensor, config: LossConfig) -> tuple[Tensor, Parts]:
    """The configured loss: ``direct`` or ``physics``, with their arguments and results.

    Raises:
        ConfigError: ``outputs`` and ``truth`` are not both (B, 5).
    """
    if outputs.shape != truth.shape or outputs.shape[1:] != (len(QUANTITIES),):
        raise ConfigError(
            f"outputs {tuple(outputs.shape)} and truth {tuple(truth.shape)}: both must be (B, 5), "
            f"rows of {', '.join(QUANTITIES)}"
        )
    return (direct if config.kind == "direct" else physics)(outputs, truth, config)


def _weighted(answer: Tensor, truth: Tensor, config: LossConfig) -> tuple[Tensor, Parts]:
    """(B, 5), (B, 5) -> (weighted total, MSE by quantity)."""
    spread = manifold_moments()[1].tolist() if config.standardize else [1.0] * len(QUANTITIES)
    errors = (answer - truth).square().mean(dim=0).unbind()  # five scalars
    parts = {
        name: error / scale**2
        for name, error, scale in zip(QUANTITIES, errors, spread, strict=True)
    }
    q, *spins = (weight * part for weight, part in zip(config.weights, parts.values(), strict=True))
    total = q + torch.stack(spins).mean()
    return total, {name: part.detach() for name, part in parts.items()}
