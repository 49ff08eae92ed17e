"""How a job stands by its own account: a small file of rank 0 in the submission's folder."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path

from hpc_gw.errors import DataError, StorageError
from hpc_gw.files import read_json, write_json


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What rank 0 last said.

    Attributes:
        attempt: how many times the job was queued again.
        code: exit code; None while it has not ended, or is queued again.
    """

    attempt: int
    code: int | None

    def write(self, folder: Path, job_id: str) -> None:
        """Publish it; a full disk must not stop the job, whose result it does not change."""
        with contextlib.suppress(StorageError):
            write_json(_path(folder, job_id), dataclasses.asdict(self))

    @staticmethod
    def read(folder: Path, job_id: str) -> Outcome | None:
        """What a job said; None if it said nothing."""
        try:
            found = read_json(_path(folder, job_id))
            return Outcome(attempt=int(found["attempt"]), code=found["code"])
        except (DataError, KeyError, TypeError, ValueError):
            return None


def _path(folder: Path, job_id: str) -> Path:
    return folder / f"{job_id}_outcome.json"
