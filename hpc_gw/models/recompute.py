"""Activations that are computed again in backward instead of kept: memory for time.

Reference: Chen et al., Training deep nets with sublinear memory cost, arXiv:1604.06174.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def recomputed(module: nn.Module, x: Tensor) -> Any:
    """``module(x)``, of which backward will keep only ``x``.

    Outputs, gradients, dropout and running statistics are those of a plain call: the random
    numbers of the first pass are drawn again, and the second pass leaves statistics alone.
    """
    return checkpoint(
        module,
        x,
        use_reentrant=False,
        context_fn=lambda: (contextlib.nullcontext(), held_statistics(module)),
    )


@contextlib.contextmanager
def held_statistics(module: nn.Module) -> Iterator[None]:
    """BatchNorm normalises by each batch as in training, but its running statistics stay.

    The momentum is 0 meanwhile, rather than ``track_running_stats`` off: backward would find
    other saved tensors than the first pass announced.
    """
    norms = [m for m in module.modules() if isinstance(m, nn.BatchNorm1d)]
    kept = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, batches) in zip(norms, kept, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, batches
