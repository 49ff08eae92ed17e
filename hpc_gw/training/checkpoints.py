"""The checkpoints of a run: written beside the loop, the newest few kept, damaged ones skipped."""

from __future__ import annotations

import contextlib
import re
import sys
from concurrent import futures
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hpc_gw.errors import CheckpointError
from hpc_gw.files import make_folder
from hpc_gw.training import checkpoint

FOLDER, BEST = "checkpoints", "best.pt"
_NAME = re.compile(r"step-(\d{9})\.pt")


def paths(run: Path) -> list[Path]:
    """Checkpoints of a run's folder, the newest first."""
    found = (path for path in (run / FOLDER).glob("step-*.pt") if _NAME.fullmatch(path.name))
    return sorted(found, reverse=True)


def newest(
    run: Path, device: torch.device | str = "cpu", *, quiet: bool = False
) -> tuple[Path, dict[str, Any]] | None:
    """The newest checkpoint that can be read, and its path; None where the run has none at all.

    Args:
        run: the run's folder.
        device: where its tensors go.
        quiet: do not say on standard error which damaged ones are passed over.

    Raises:
        CheckpointError: there are some, but all are damaged.
    """
    damaged = None
    for path in paths(run):
        try:
            return path, checkpoint.load(path, device)
        except CheckpointError as error:
            damaged = error
            if not quiet:
                line = f"hpc-gw: {error}; going back to the checkpoint before"
                print(line, file=sys.stderr, flush=True)
    if damaged is not None:
        raise CheckpointError(
            f"{run / FOLDER}: no checkpoint of it can be read; remove the folder to begin anew"
        ) from damaged
    return None


class Checkpoints:
    """Writes the checkpoints of a run in a thread; the loop waits only for a copy in memory.

    As a context it lets the last one get to disk, however the run ends.

    Args:
        run: the run's folder.
        keep: how many of the newest stay.
    """

    def __init__(self, run: Path, keep: int) -> None:
        self._run, self._keep = run, keep
        self._thread = futures.ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending: futures.Future[None] | None = None

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, *error: object) -> None:
        if self._pending is not None:
            futures.wait([self._pending])  # its own error, if any, comes after that of the run

    def save(self, step: int, content: dict[str, Any], *, best: bool) -> None:
        """Publish ``content`` as the checkpoint of a step, and as the best if it is.

        Its tensors are copied now, and may change afterwards. Waits for the one before.

        Raises:
            StorageError: this one's folder, or the one before, could not be written.
        """
        self.wait()
        make_folder(self._run / FOLDER)
        self._pending = self._thread.submit(self._write, step, _copy(content), best)

    def wait(self) -> None:
        """Return when everything is on disk."""
        if self._pending is not None:
            pending, self._pending = self._pending, None
            pending.result()

    def _write(self, step: int, content: dict[str, Any], best: bool) -> None:
        image = checkpoint.to_bytes(content)
        if best:  # before the other: who resumes from that step finds its best
            checkpoint.publish(self._run / BEST, image)
        checkpoint.publish(self._run / FOLDER / f"step-{step:09d}.pt", image)
        # Later ones are of a run that went on from before them: damaged, or to be done again.
        known = {path: int(path.stem.removeprefix("step-")) for path in paths(self._run)}
        kept = [path for path, number in known.items() if number <= step][: self._keep]
        for old in known.keys() - set(kept):
            with contextlib.suppress(FileNotFoundError):
                old.unlink()


def _copy(node: Any) -> Any:
    """The same containers with tensors of their own, in the memory of the CPU."""
    if isinstance(node, Tensor):
        return node.detach().to("cpu", copy=True)
    if isinstance(node, dict):
        return {key: _copy(value) for key, value in node.items()}
    if isinstance(node, (list, tuple)):
        return [_copy(value) for value in node]
    return node
