"""Steps whose gradient is not finite: written down, and skipped or fatal."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from hpc_gw.errors import HpcGwError
from hpc_gw.files import published, storage_error

NONFINITE = "nonfinite.jsonl"


class DivergedError(HpcGwError):
    """The loss or its gradient is not a number any more."""


class Health:
    """What is done about such steps.

    Args:
        folder: of the run; rank 0 writes ``nonfinite.jsonl`` there.
        policy: ``stop`` or ``skip``.
        max_skips: so many in a row stop the run.
        active: whether this rank writes.
    """

    def __init__(self, folder: Path, policy: str, max_skips: int, *, active: bool) -> None:
        self._path, self._policy, self._max_skips = folder / NONFINITE, policy, max_skips
        self._active, self._in_a_row = active, 0

    def begin(self, step: int) -> None:
        """Forget what is written of ``step`` and later ones: they will be done again."""
        if not self._active or not self._path.exists():
            return
        kept = []
        for line in self._path.read_text().splitlines():
            with contextlib.suppress(ValueError, KeyError, TypeError):  # a line cut by a crash
                if json.loads(line)["step"] < step:
                    kept.append(line + "\n")
        with published(self._path) as temporary:
            temporary.write_text("".join(kept))

    def good(self) -> None:
        """A step was finite."""
        self._in_a_row = 0

    def bad(self, step: int, rows: np.ndarray, **values: float) -> None:
        """A step was not: ``rows`` are those of its global batch; returns if it is skipped.

        Raises:
            DivergedError: the run must stop.
        """
        self._in_a_row += 1
        stop = self._policy == "stop" or self._in_a_row >= self._max_skips
        if self._active:
            self._write(
                {
                    "step": step,
                    "action": "stop" if stop else "skip",
                    "values": {k: repr(v) for k, v in values.items()},
                    "rows": rows.tolist(),
                }
            )
        if stop:
            times = f", {self._in_a_row} in a row" if self._in_a_row > 1 else ""
            raise DivergedError(
                f"step {step}: the gradient is not finite{times}; the batch's rows are in "
                f"{self._path}, the checkpoints are of before; lower the learning rate "
                f"(train.optimizer.lr), bound the gradients (train.optimizer.max_grad_norm), or "
                f"skip such steps (train.on_nan: skip)"
            )

    def _write(self, record: dict[str, Any]) -> None:
        try:
            with self._path.open("a") as stream:
                stream.write(json.dumps(record) + "\n")
        except OSError as error:
            raise storage_error(self._path, error) from error
