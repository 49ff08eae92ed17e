"""LAMB, the layerwise adaptive optimizer for large batches, and the choice of an optimizer.

References:
    You et al., Large Batch Optimization for Deep Learning, arXiv:1904.00962;
    the variant is NVIDIA Apex's FusedLAMB, which clips the global gradient norm first.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal, cast

import torch
from pydantic.dataclasses import dataclass
from torch import Tensor

from hpc_gw.config import STRICT
from hpc_gw.errors import ConfigError, MissingDependencyError

DEFAULTS: dict[str, tuple[float, float]] = {
    "adam": (1e-8, 0.0),
    "adamw": (1e-8, 0.01),
    "lamb": (1e-6, 0.01),
}
"""(eps, weight_decay) of each kind where the configuration gives none."""

APEX_INSTALL = (
    "build it from source, https://github.com/NVIDIA/apex, with its CUDA extensions "
    "(PyPI's 'apex' is another project), or set fused: false for the package's own LAMB"
)


@dataclass(frozen=True, config=STRICT)
class OptimizerConfig:
    """An optimizer; the defaults are the published ones."""

    kind: Literal["adam", "adamw", "lamb"] = "adam"
    """``lamb`` for large batches."""
    lr: float = 5e-4
    """Step size, before any schedule."""
    weight_decay: float | None = None
    """Of tensors with two dimensions or more; absent: 0 for adam, 0.01 for adamw and lamb."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Decay of the two moments."""
    eps: float | None = None
    """Added to the root of the second moment; absent: 1e-8, 1e-6 for lamb."""
    max_grad_norm: float | None = None
    """Bound on the global gradient norm; 0: none; absent: 1 for lamb, none for the others."""
    use_nvlamb: bool = False
    """Trust ratios for tensors without weight decay too (lamb only)."""
    fused: bool = False
    """torch's fused kernels (adam, adamw), or NVIDIA Apex's FusedLAMB, which must be installed."""

    @property
    def clip(self) -> float:
        """The bound on the global gradient norm in force; 0: none."""
        if self.max_grad_norm is not None:
            return self.max_grad_norm
        return 1.0 if self.kind == "lamb" else 0.0

    def __post_init__(self) -> None:
        """Raises ValueError with the value, the rule and the remedy."""
        if not (math.isfinite(self.lr) and self.lr > 0):
            raise ValueError(f"lr = {self.lr}: must be a number > 0, such as 5e-4")
        for name in ("weight_decay", "eps", "max_grad_norm"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name} = {value}: must be >= 0; leave it out for the default")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas = {list(self.betas)}: both must lie in [0, 1): [0.9, 0.999]")


class Lamb(torch.optim.Optimizer):
    """LAMB with the semantics of Apex's FusedLAMB, step k = 1, 2, ...:

    g  = grad / max(1, ||all grads|| / max_grad_norm)
    m  = beta1 m + beta3 g,  beta3 = 1 - beta1 (1 without ``grad_averaging``)
    v  = beta2 v + (1 - beta2) g^2
    u  = [m / (1 - beta1^k)] / [sqrt(v / (1 - beta2^k)) + eps] + weight_decay p
    p -= lr r u,  r = ||p|| / ||u||, or 1 where either norm is 0

    with r = 1 for tensors without weight decay unless ``use_nvlamb``, and no clamp on it. The
    norms are per tensor, except the gradient's, which is over all groups.

    Args:
        params: tensors or groups; each group may set its own lr, betas, eps, weight_decay.
        lr: step size.
        betas: decay of the two moments.
        eps: added to the root of the second moment.
        weight_decay: decoupled weight decay.
        bias_correction: divide the moments by 1 - beta^k.
        grad_averaging: see beta3.
        max_grad_norm: bound on the global gradient norm; 0: none.
        use_nvlamb: trust ratios for tensors without weight decay too.

    After a step, ``grad_norm`` (scalar, before clipping) and ``trust_ratios`` (one for each
    tensor that had a gradient, in order) are tensors on the parameters' device, not yet waited
    for.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.01,
        *,
        bias_correction: bool = True,
        grad_averaging: bool = True,
        max_grad_norm: float = 1.0,
        use_nvlamb: bool = False,
    ) -> None:
        for name, value in (("lr", lr), ("eps", eps), ("weight_decay", weight_decay),
                            ("max_grad_norm", max_grad_norm)):  # fmt: skip
            if not value >= 0:
                raise ConfigError(f"LAMB's {name} = {value}: must be >= 0")
        if not all(0 <= beta < 1 for beta in betas):
            raise ConfigError(f"LAMB's betas = {betas}: both must lie in [0, 1)")
        defaults = {
            "lr": lr,
            "betas": tuple(betas),
            "eps": eps,
            "weight_decay": weight_decay,
            "bias_correction": bias_correction,
            "grad_averaging": grad_averaging,
            "use_nvlamb": use_nvlamb,
            "max_grad_norm": max_grad_norm,
            "step": 0,
        }
        super().__init__(params, defaults)
        self.grad_norm = torch.zeros(())
        self.trust_ratios = torch.zeros(0)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update; returns what ``closure``, if given, evaluated to."""
        value = None
        if closure is not None:
            with torch.enable_grad():
                value = closure()
        members = [
            (group, [p for p in group["params"] if p.grad is not None])
            for group in self.param_groups
        ]
        gradients = [p.grad for _, tensors in members for p in tensors if p.grad is not None]
        if not gradients:
            return value
        self.grad_norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
        bound = self.param_groups[0]["max_grad_norm"]  # of all groups together
        shrink = (self.grad_norm / bound).clamp(min=1).reciprocal() if bound > 0 else None
        ratios = [self._update(group, tensors, shrink) for group, tensors in members if tensors]
        self.trust_ratios = torch.cat(ratios)
        return value

    def spread(self) -> dict[str, float]:
        """Lowest, median and highest trust ratio of the last step, for a log."""
        if not self.trust_ratios.numel():
            return {}
        ratios = self.trust_ratios.float().sort().values
        found = (float(ratios[i]) for i in (0, len(ratios) // 2, -1))
        return dict(zip(("trust_min", "trust_median", "trust_max"), found, strict=True))

    def _update(
        self, group: dict[str, Any], tensors: list[Tensor], shrink: Tensor | None
    ) -> Tensor:
        """Update one group's ``tensors``; returns their trust ratios, (len(tensors),)."""
        group["step"] += 1
        beta1, beta2 = group["betas"]
        correction1 = correction2 = 1.0
        if group["bias_correction"]:
            correction1, correction2 = (1 - beta ** group["step"] for beta in (beta1, beta2))
        gradients = [p.grad for p in tensors if p.grad is not None]
        if shrink is not None:
            gradients = list(torch._foreach_mul(gradients, shrink))
        first, second = self._moments(tensors)

        torch._foreach_mul_(first, beta1)
        torch._foreach_add_(first, gradients, alpha=1 - beta1 if group["grad_averaging"] else 1)
        torch._foreach_mul_(second, beta2)
        torch._foreach_addcmul_(second, gradients, gradients, value=1 - beta2)

        root = torch._foreach_sqrt(second)
        torch._foreach_div_(root, math.sqrt(correction2))
        torch._foreach_add_(root, group["eps"])
        update = torch._foreach_div(first, root)
        torch._foreach_div_(update, correction1)
        if group["weight_decay"] != 0:
            torch._foreach_add_(update, tensors, alpha=group["weight_decay"])

        ratios = torch.ones(len(tensors), dtype=update[0].dtype, device=update[0].device)
        if group["weight_decay"] != 0 or group["use_nvlamb"]:
            p_norm, u_norm = (torch.stack(torch._foreach_norm(x)) for x in (tensors, update))
            ratios = torch.where((p_norm > 0) & (u_norm > 0), p_norm / u_norm, ratios)
            torch._foreach_mul_(update, list(ratios.unbind()))
        torch._foreach_add_(tensors, update, alpha=-group["lr"])
        return ratios

    def _moments(self, tensors: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """First and second moments of ``tensors``, zero at first."""
        for p in tensors:
            if not self.state[p]:
                self.state[p] = {"exp_avg": torch.zeros_like(p), "exp_avg_sq": torch.zeros_like(p)}
        states = [self.state[p] for p in tensors]
        return [s["exp_avg"] for s in states], [s["exp_avg_sq"] for s in states]


def make_optimizer(config: OptimizerConfig, parameters: Iterable[Tensor]) -> torch.optim.Optimizer:
    """The configured optimizer of the ``parameters`` that require gradients.

    Tensors of fewer than two dimensions (biases, normalisations) are not decayed, and so have
    no trust ratio in LAMB unless ``use_nvlamb``: they make up the second group.

    Raises:
        MissingDependencyError: ``fused`` LAMB without NVIDIA's Apex.
    """
    eps, decay = DEFAULTS[config.kind]
    eps = eps if config.eps is None else config.eps
    decay = decay if config.weight_decay is None else config.weight_decay
    trained = [p for p in parameters if p.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in trained if p.dim() > 1], "weight_decay": decay},
        {"params": [p for p in trained if p.dim() <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if config.kind != "lamb":
        kind = torch.optim.Adam if config.kind == "adam" else torch.optim.AdamW
        return kind(groups, lr=config.lr, betas=config.betas, eps=eps, fused=config.fused)
    lamb = _fused_lamb if config.fused else Lamb
    return lamb(
        groups,
        lr=config.lr,
        betas=config.betas,
        eps=eps,
        max_grad_norm=config.clip,
        use_nvlamb=config.use_nvlamb,
    )


def has_apex() -> bool:
    """Whether the ``apex`` that would be imported is NVIDIA's, judged without importing it."""
    spec = importlib.util.find_spec("apex")
    folders = spec.submodule_search_locations if spec else None
    return any((Path(f) / "optimizers" / "fused_lamb.py").is_file() for f in folders or ())


def _fused_lamb(groups: list[dict[str, Any]], **options: Any) -> torch.optim.Optimizer:
    """NVIDIA Apex's FusedLAMB."""
    if not has_apex():
        raise MissingDependencyError("apex (NVIDIA's)", "optimizer lamb with fused", APEX_INSTALL)
    module = importlib.import_module("apex.optimizers")
    try:
        return cast(torch.optim.Optimizer, module.FusedLAMB(groups, **options))
    except RuntimeError as error:  # built without its CUDA extensions
        raise MissingDependencyError(
            "apex with CUDA extensions", "optimizer lamb with fused", APEX_INSTALL
        ) from error
