"""Which command starts a step on so many ranks, here or in an allocation."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from hpc_gw.errors import ConfigError, MissingDependencyError
from hpc_gw.pipeline import mpiexec, rank_variables

LAUNCHERS = ("auto", "local", "srun", "jsrun")
_ALLOCATIONS = {"SLURM_JOB_ID": "srun", "LSB_JOBID": "jsrun"}

Started: TypeAlias = "list[tuple[Sequence[str], Mapping[str, str]]]"


def choose_launcher(name: str, environment: Mapping[str, str] = os.environ) -> str:
    """``auto``: srun inside an allocation of Slurm, jsrun of LSF, else this machine.

    Raises:
        MissingDependencyError: srun or jsrun is not there.
    """
    if name == "auto":
        found = (launcher for key, launcher in _ALLOCATIONS.items() if key in environment)
        name = next(found, "local")
    if name != "local" and shutil.which(name) is None:
        raise MissingDependencyError(
            name, f"--launcher {name}", "start inside an allocation, or with --launcher local"
        )
    return name


def commands(
    launcher: str, words: Sequence[str], ranks: int, *, mpi: bool, bind: bool, options: str = ""
) -> Started:
    """Commands with their variables that run ``python WORDS`` on ``ranks`` ranks.

    Args:
        launcher: local, srun or jsrun.
        words: for Python.
        ranks: how many.
        mpi: they meet over MPI; otherwise by torch.distributed's variables.
        bind: keep each to one core (local, without MPI; MPI's ranks do it themselves).
        options: more words for srun or jsrun.

    Raises:
        ConfigError: ``options`` cannot be split into words.
    """
    if launcher != "local":
        try:
            more = shlex.split(options)
        except ValueError as error:
            raise ConfigError(f"--launcher-options {options}: {error}") from error
        each = ["-a", "1"] if launcher == "jsrun" else []
        return [([launcher, "-n", str(ranks), *each, *more, sys.executable, *words], {})]
    if mpi:
        return [([*mpiexec(ranks), *words], {})]
    cores = sorted(os.sched_getaffinity(0))
    taskset = shutil.which("taskset") if bind else None
    return [
        (
            [
                *([taskset, "-c", str(cores[rank % len(cores)])] if taskset else []),
                *(sys.executable, *words),
            ],
            variables,
        )
        for rank, variables in enumerate(rank_variables(ranks))
    ]
