"""submitit, an optional package."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from hpc_gw.errors import MissingDependencyError


@contextlib.contextmanager
def submitit_needed() -> Iterator[None]:
    """Around imports of what needs submitit.

    Raises:
        MissingDependencyError: it is not installed.
    """
    try:
        yield
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in ("submitit", "cloudpickle"):
            raise
        raise MissingDependencyError(
            "submitit", "submitting jobs", 'pip install "hpc_gw[jobs]"'
        ) from error
