"""A whole job on this machine: each step in its own processes, started as a user would."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from hpc_gw.distributed import detect_launch
from hpc_gw.errors import HpcGwError, LaunchError, MissingDependencyError
from hpc_gw.evaluation.tables import to_text
from hpc_gw.job import JobConfig
from hpc_gw.stages import REPORT, evaluate


class StepError(HpcGwError):
    """A step of the job ended in an error, which it has printed itself."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def run_job(job: JobConfig, arguments: Sequence[str]) -> None:
    """Generate, train, evaluate and report; steps that are done already are not done again.

    Args:
        job: the job.
        arguments: of ``hpc-gw generate`` and ``hpc-gw train`` that give this very job.

    Raises:
        StepError: a step failed, with its exit code.
        LaunchError: this command itself was started on several ranks.
    """
    if detect_launch().size > 1:
        raise LaunchError(
            "hpc-gw run starts its ranks itself (ranks.generate, ranks.train of the job): start "
            "it once, without mpiexec, srun or torchrun"
        )
    started = time.monotonic()
    _step("generate", [*mpiexec(job.ranks.generate), *_command("generate", arguments)])
    _step("train", [*torchrun(job.ranks.train), *_command("train", arguments)])
    summary = evaluate(job)
    print()
    print(to_text(summary))
    print(f"\nreport: {job.folder / REPORT / 'report.html'}")
    print(f"the whole job took {(time.monotonic() - started) / 60:.1f} minutes")


def _command(verb: str, arguments: Sequence[str]) -> list[str]:
    return ["-m", "hpc_gw", verb, *arguments]


def _step(name: str, command: Sequence[str]) -> None:
    code = subprocess.run(command, check=False).returncode
    if code:
        raise StepError(
            f"{name} ended with exit code {code}; mend what it says above and give the same "
            f"command again: it goes on from there",
            code if code in (2, 75) else 1,
        )


def mpiexec(ranks: int) -> list[str]:
    """Words that start Python on ``ranks`` MPI ranks of this machine.

    Raises:
        MissingDependencyError: there is no mpi4py, or no mpiexec.
    """
    if ranks == 1:
        return [sys.executable]
    beside = Path(sys.executable).with_name("mpiexec")
    launcher = str(beside) if beside.exists() else shutil.which("mpiexec")
    if launcher is None or importlib.util.find_spec("mpi4py") is None:
        raise MissingDependencyError(
            "mpi4py" if launcher else "mpiexec",
            f"generating on {ranks} ranks",
            'pip install "hpc_gw[mpi]", or use one: --set ranks.generate=1',
        )
    return [launcher, "-n", str(ranks), sys.executable]


def torchrun(ranks: int) -> list[str]:
    """Words that start Python on ``ranks`` training ranks of this machine."""
    if ranks == 1:
        return [sys.executable]
    run = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
    return [sys.executable, *run]
