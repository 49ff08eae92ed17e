"""A whole job on this machine: each step in its own processes, started as a user would."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType

from hpc_gw.assess import REPORT, report_job
from hpc_gw.distributed import detect_launch, gpus
from hpc_gw.errors import HpcGwError, LaunchError, MissingDependencyError
from hpc_gw.evaluation.tables import to_text
from hpc_gw.job import JobConfig
from hpc_gw.plan import check


class StepError(HpcGwError):
    """A step of the job ended in an error, which it has printed itself."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def run_job(job: JobConfig, arguments: Sequence[str]) -> None:
    """Generate, train, evaluate and report; steps that are done already are not done again.

    Args:
        job: the job.
        arguments: of ``hpc-gw generate``, ``train`` and ``evaluate`` that give this very job.

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
    check(job)
    generate = [*mpiexec(job.ranks.generate), *_command("generate", arguments)]
    _finish("generate", run_processes([(generate, {})]))
    train = [sys.executable, *_command("train", arguments)]
    _finish("train", run_processes([(train, v) for v in rank_variables(_training_ranks(job))]))
    evaluate = [*mpiexec(job.ranks.evaluate), *_command("evaluate", arguments)]
    _finish("evaluate", run_processes([(evaluate, {})]))
    summary = report_job(job)
    print()
    print(to_text(summary))
    print(f"\nreport: {job.folder / REPORT / 'report.html'}")
    print(f"the whole job took {(time.monotonic() - started) / 60:.1f} minutes")


def _training_ranks(job: JobConfig) -> int:
    """The job's training ranks, but no more than GPUs where there are some.

    The global batches, and so the result, are the same on fewer ranks.
    """
    ranks, found = job.ranks.train, gpus()
    if 0 < found < ranks:
        print(f"training on {found} ranks instead of {ranks}: one for each GPU", file=sys.stderr)
        return found
    return ranks


def _command(verb: str, arguments: Sequence[str]) -> list[str]:
    return ["-m", "hpc_gw", verb, *arguments]


def _finish(name: str, code: int) -> None:
    if code:
        raise StepError(
            f"{name} ended with exit code {code}; mend what it says above and give the same "
            f"command again: it goes on from there",
            code if code in (2, 75) else 1,
        )


def run_processes(started: Sequence[tuple[Sequence[str], Mapping[str, str]]]) -> int:
    """Run commands side by side, each with variables of its own; the first exit code but 0.

    When one fails the others are ended. Signals to stop are handed on, so that training ranks
    write their checkpoint.
    """
    children = [
        subprocess.Popen(command, env={**os.environ, **variables}) for command, variables in started
    ]

    def hand_on(number: int, _frame: FrameType | None) -> None:
        for child in children:
            child.send_signal(number)

    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)
    previous = {number: signal.signal(number, hand_on) for number in numbers}
    try:
        while any(child.poll() is None for child in children):
            if any(child.returncode for child in children):
                _end(children)
            time.sleep(0.05)
    finally:
        _end(children)
        for number, handler in previous.items():
            signal.signal(number, handler)
    return next((child.returncode for child in children if child.returncode), 0)


def _end(children: Sequence[subprocess.Popen[bytes]], grace_s: float = 10.0) -> None:
    """Let children end by themselves for a while (they fail alike), then end them."""
    deadline = time.monotonic() + grace_s
    for child in children:
        try:
            child.wait(max(deadline - time.monotonic(), 0.1))
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def rank_variables(ranks: int) -> list[dict[str, str]]:
    """What torchrun would set for each of ``ranks`` processes on this machine; none for one.

    Not torchrun itself: it hides the ranks' exit code, and adds its own traceback to their line.
    """
    if ranks == 1:
        return [{}]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    common = {"WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    threads = os.environ.get("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // ranks)))
    return [
        {**common, "RANK": str(rank), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": threads}
        for rank in range(ranks)
    ]


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
            f"a step on {ranks} ranks",
            'pip install "hpc_gw[mpi]", or use one: --set ranks.generate=1 ranks.evaluate=1',
        )
    return [launcher, "-n", str(ranks), sys.executable]
