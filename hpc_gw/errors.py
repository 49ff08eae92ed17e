"""The package's exceptions: each message is one line with the value, the rule and the remedy.

The command line prints ``hpc-gw: <message>`` and exits with ``exit_code``.
"""

from __future__ import annotations


class HpcGwError(Exception):
    """Base of everything that a user can cause and mend."""

    exit_code = 2

    def __str__(self) -> str:
        return " ".join(super().__str__().split())


class ParameterError(HpcGwError, ValueError):
    """A physical parameter is out of its domain (q < 1, |s| > 1, NaN, ...)."""


class ConfigError(HpcGwError, ValueError):
    """A configuration has an unknown key, a wrong type or an impossible combination."""


class SurrogateError(HpcGwError):
    """A surrogate file is missing, truncated or of another layout."""


class DataError(HpcGwError):
    """A dataset, shard or result file is missing, damaged or of another run."""


class CheckpointError(HpcGwError):
    """A checkpoint is damaged or belongs to another architecture."""


class LaunchError(HpcGwError):
    """Ranks were started in a way that cannot work."""


class RanksLostError(HpcGwError):
    """Another rank of the training is gone, or silent for longer than the timeout."""

    exit_code = 75  # EX_TEMPFAIL: the same command goes on from the last checkpoint


class StorageError(HpcGwError):
    """The disk is full, or a folder cannot be written."""


class MissingDependencyError(HpcGwError, ImportError):
    """An optional package is needed and not installed.

    Args:
        package: its name.
        purpose: what it is needed for, the subject of a sentence.
        install: the line that installs it.
    """

    def __init__(self, package: str, purpose: str, install: str) -> None:
        super().__init__(f"{purpose} needs '{package}', which is not installed: {install}")
