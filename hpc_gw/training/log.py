"""What a run shows: a progress bar, a JSON-lines log and TensorBoard curves."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

from hpc_gw.errors import StorageError
from hpc_gw.files import published, storage_error

LOG = "train.jsonl"


class RunLog:
    """Records of a run, on rank 0; on other ranks every call does nothing.

    Args:
        folder: the run's folder; the log is ``train.jsonl``, TensorBoard's files go beside it.
        step: where the run starts; later records of an interrupted run are dropped, for those
            steps will be done again.
        total: steps of the whole run.
        active: whether this rank shows anything.
        tensorboard: write TensorBoard curves too.
    """

    def __init__(
        self, folder: Path, step: int, total: int, *, active: bool, tensorboard: bool
    ) -> None:
        self._bar = tqdm(
            total=total, initial=step, unit="step", desc="train", disable=not active, smoothing=0.05
        )
        self._file = None
        self._board = None
        self._start, self._start_step = time.monotonic(), step
        if not active:
            return
        self._path = folder / LOG
        kept = [line for line in _lines(self._path) if json.loads(line)["step"] <= step]
        with published(self._path) as temporary:
            temporary.write_text("".join(line + "\n" for line in kept) if step else "")
        with self._storage():
            self._file = self._path.open("a", buffering=1)
            if tensorboard:
                from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415

                self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=step)

    def __enter__(self) -> RunLog:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        try:
            self.close()
        except StorageError:
            if error is None:  # else the first error is the one to tell
                raise

    @contextlib.contextmanager
    def _storage(self) -> Iterator[None]:
        """A full disk in words."""
        try:
            yield
        except OSError as error:
            raise storage_error(self._path, error) from error

    def step(self) -> None:
        """One more step is done."""
        self._bar.update()

    def show(self, **shown: float) -> None:
        """Show some numbers beside the bar."""
        self._bar.set_postfix({k: f"{v:.3g}" for k, v in shown.items()}, refresh=False)

    def record(self, epoch: int, step: int, samples: int, **values: float) -> None:
        """Write a record; ``samples`` are the waveforms used since this process started."""
        if self._file is None:
            return
        seconds = time.monotonic() - self._start
        record: dict[str, Any] = {
            "epoch": epoch,
            "step": step,
            "seconds": round(seconds, 3),
            "samples_per_s": round(samples / seconds, 1) if seconds else 0.0,
        }
        # JSON has no NaN: a loss that is not finite is recorded as null.
        record |= {k: v if abs(v) < float("inf") else None for k, v in values.items()}
        with self._storage():
            self._file.write(json.dumps(record) + "\n")
            if self._board is not None:
                for name, value in values.items():
                    self._board.add_scalar(name, value, step)

    def close(self) -> None:
        """Flush and close everything."""
        self._bar.close()
        if self._file is None:
            return
        with self._storage():
            self._file.close()
            if self._board is not None:
                self._board.close()


def read_log(path: Path) -> list[dict[str, Any]]:
    """Records of a log, up to a line that a crash left damaged; none where there is no log."""
    return [json.loads(line) for line in _lines(path)]


def _lines(path: Path) -> list[str]:
    """Records of a log, up to a line that a crash left damaged."""
    if not path.exists():
        return []
    lines = []
    for line in path.read_text(errors="replace").splitlines():
        try:
            json.loads(line)["step"]
        except (ValueError, KeyError, TypeError):
            break
        lines.append(line)
    return lines
