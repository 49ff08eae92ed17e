"""One generator at a time in a dataset's folder."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from hpc_gw.distributed import World
from hpc_gw.locks import held, is_held

LOCK = ".generating"


def generating(folder: Path, world: World) -> AbstractContextManager[bool]:
    """Hold ``folder`` for the ranks of ``world``; as ``locks.held``."""
    return held(folder / LOCK, world, "generator")


def is_generating(folder: Path) -> bool:
    """Whether a generator is at work in ``folder`` now (as far as its file system tells)."""
    return bool(is_held(folder / LOCK))
