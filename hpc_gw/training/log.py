"""What a run shows: a progress bar, a JSON-lines log and TensorBoard curves."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from tqdm import tqdm

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
        path = folder / LOG
        kept = [line for line in _lines(path) if json.loads(line)["step"] <= step] if step else []
        path.write_text("".join(line + "\n" for line in kept))
        self._file = path.open("a", buffering=1)
        if tensorboard:
            from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415

            self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=step)

    def step(self, **shown: float) -> None:
        """One more step is done; show some numbers beside the bar."""
        self._bar.update()
        if shown:
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
        self._file.write(json.dumps(record) + "\n")
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)

    def close(self) -> None:
        """Flush and close everything."""
        self._bar.close()
        if self._file is not None:
            self._file.close()
        if self._board is not None:
            self._board.close()


def _lines(path: Path) -> list[str]:
    """Whole lines of a log; a last one that a crash cut short is left out."""
    if not path.exists():
        return []
    text = path.read_text()
    return text[: text.rfind("\n") + 1].splitlines()
