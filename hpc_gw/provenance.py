"""How a result was made: configuration, versions, commit, seeds and checksums of inputs."""

from __future__ import annotations

import datetime
import functools
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import hpc_gw

_PACKAGES = ("torch", "numpy", "scipy", "h5py", "mpi4py", "gwsurrogate")


def versions() -> dict[str, str]:
    """Versions of Python, this package and the packages that shape its numbers."""
    found = {"python": platform.python_version(), "hpc_gw": hpc_gw.__version__}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


@functools.cache
def commit() -> str:
    """Commit of the checkout that this package runs from, ``+changes`` if edited, or ``''``."""
    root = Path(__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return ""

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return ""


def recipe(*, config: Any = None, inputs: dict[str, str] | None = None) -> dict[str, Any]:
    """The record that every result file carries.

    Args:
        config: the validated configuration as plain dicts and lists.
        inputs: name of each input file to its SHA-256.
    """
    return {
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "versions": versions(),
        "commit": commit(),
        "machine": {"system": f"{platform.system()} {platform.machine()}", "cpus": os.cpu_count()},
        "config": config,
        "inputs": inputs or {},
    }
