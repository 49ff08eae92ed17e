"""What each process of a submitted job does: one step of ``hpc-gw``, and what follows from its end.

submitit starts it on a node, unpickled from the submission's folder. Two worlds meet here:
submitit takes USR2 for the end of the time and queues the job again at once; a training wants to
write its checkpoint first. So this step takes over submitit's handlers. The training replaces
them by its own while it runs, and ends with 75 once its checkpoint is written; every other step
may be stopped at any moment, for it publishes its files whole. In both cases rank 0 writes down
that this was one more start, and has the scheduler queue the job again **before** it ends: a job
that ends with 75 first would count as failed, and take those that wait for it along.
"""

from __future__ import annotations

import contextlib
import os
import pkgutil
import shutil
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from types import FrameType
from typing import Any, NoReturn

from submitit.core.job_environment import JobEnvironment
from submitit.core.utils import DelayedSubmission

from hpc_gw.files import published
from hpc_gw.launch.outcome import Outcome

_AGAIN = 75
_GRACE_S = 20.0


@dataclass(frozen=True)
class Step:
    """A callable for submitit, small and picklable.

    Attributes:
        step: generate, train, ...
        commands: words after ``hpc-gw``; several are done one after the other.
        nodes, ranks: of the job.
        inside: each process that the launcher started is a rank; else this one process starts
            the ranks itself.
        mpiexec: whether that starts the ranks of a training, too; else they are processes of this
            machine, as torchrun would start them.
        arguments: of mpiexec.
        requeues: at most so many.
        attempt: how many there were.
    """

    step: str
    commands: tuple[tuple[str, ...], ...]
    nodes: int = 1
    ranks: int = 1
    inside: bool = True
    mpiexec: bool = False
    arguments: tuple[str, ...] = ()
    requeues: int = 5
    attempt: int = 0

    def __call__(self) -> int:
        """Do the step; returns 0, or ends the process with another exit code."""
        job = _Job(self)
        with _signals_noted() as seen:
            job.take_signals()
            code = job.run()
        if code == 0:
            return job.done()
        job.stopped(code if code > 0 else 128 - code, seen)

    def checkpoint(self) -> DelayedSubmission:
        """What submitit is to start next time, if a signal comes before the step's own handlers."""
        return DelayedSubmission(replace(self, attempt=self.attempt + 1))


class _Job:
    """A step in its surroundings."""

    def __init__(self, step: Step) -> None:
        self.step = step
        self.environment = JobEnvironment()
        self.paths = self.environment.paths
        self.rank = self.environment.global_rank if step.inside else 0
        self._write(None)

    def _write(self, code: int | None, attempt: int | None = None) -> None:
        if self.rank == 0:
            attempt = self.step.attempt if attempt is None else attempt
            Outcome(attempt=attempt, code=code).write(self.paths.folder, str(self.paths.job_id))

    def take_signals(self) -> None:
        """Replace submitit's handlers, which would ignore SIGTERM."""
        signal.signal(signal.SIGUSR2, self._time_is_up)
        signal.signal(signal.SIGTERM, self._terminated)
        signal.signal(signal.SIGCONT, signal.SIG_DFL)

    def _time_is_up(self, number: int, frame: FrameType | None) -> None:
        if self.rank == 0:  # the others end with the job
            self._end_now(queued=self._queue_again())

    def _terminated(self, number: int, frame: FrameType | None) -> None:
        preempted = self.rank == 0 and _preempted(self.environment)
        self._end_now(queued=preempted and self._queue_again())

    def _end_now(self, *, queued: bool) -> None:
        """No Python, MPI or torch has a say any more: whatever they do may be half done."""
        if not queued:
            self._write(_AGAIN)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(_AGAIN)

    def run(self) -> int:
        """The exit code of the step's commands, the first but 0."""
        codes = []
        for words in self.step.commands:
            codes.append(self._inside(words) if self.step.inside else self._start(words))
            if codes[-1] in (_AGAIN, -signal.SIGUSR2, -signal.SIGTERM):
                break
        return next((code for code in codes if code), 0)

    def _inside(self, words: tuple[str, ...]) -> int:
        """This process is a rank."""
        main = pkgutil.resolve_name("hpc_gw.cli:main")  # by name: this room is below the command
        self._set_rendezvous()
        try:
            return int(main(words))
        except SystemExit as end:  # of argparse
            return end.code if isinstance(end.code, int) else int(end.code is not None)

    def _start(self, words: tuple[str, ...]) -> int:
        """This process starts the ranks, and hands signals on to them."""
        from hpc_gw.distributed import gpus  # noqa: PLC0415
        from hpc_gw.errors import HpcGwError  # noqa: PLC0415
        from hpc_gw.pipeline import mpiexec, rank_variables, run_processes  # noqa: PLC0415

        ranks, command = self.step.ranks, ["-m", "hpc_gw", *words]
        if self.step.step == "train" and not self.step.mpiexec:
            found = gpus()
            variables = rank_variables(min(ranks, found) if found else ranks)
            return run_processes([([sys.executable, *command], v) for v in variables])
        try:
            first, *others = mpiexec(ranks)
        except HpcGwError as error:
            print(f"hpc-gw: {error}", file=sys.stderr, flush=True)
            return error.exit_code
        if others:  # not Python itself, for a single rank
            self._set_rendezvous()
            others = [*self.step.arguments, *others]
        return run_processes([([first, *others, *command], {})])

    def _set_rendezvous(self) -> None:
        """Tell training ranks where to meet: on the first host of the job."""
        if self.step.ranks > 1:
            hosts = self.environment.hostnames
            address = hosts[0] if self.step.nodes > 1 else "127.0.0.1"
            number = zlib.crc32(str(self.paths.job_id).encode()) % 20_000
            os.environ.setdefault("MASTER_ADDR", address)
            os.environ.setdefault("MASTER_PORT", str(20_000 + number))

    def done(self) -> int:
        """The step is done; ranks but the first leave no file behind."""
        from hpc_gw.distributed import leave, leave_at_exit  # noqa: PLC0415

        self._write(0)
        if self.rank:
            leave(0)
        leave_at_exit()  # when submitit has written its result
        return 0

    def stopped(self, code: int, seen: set[int]) -> NoReturn:
        """End with a code; before, queue the job again if it was stopped in time, and may be."""
        asked = signal.SIGUSR2 in seen
        cancelled = not asked and bool(seen & {signal.SIGTERM, signal.SIGINT})
        if cancelled and self.rank == 0 and _preempted(self.environment):
            cancelled = False
        again = (code == _AGAIN and not cancelled) or (asked and code not in (1, 2))
        if again and self.rank == 0 and self._queue_again():
            raise SystemExit(_AGAIN)
        if again and self.rank:
            time.sleep(_GRACE_S)  # whoever ends first must not have rank 0 killed
        if again:
            code = _AGAIN  # mpiexec dies of the signal, and its ranks with it
        self._write(code)
        raise SystemExit(code)

    def _queue_again(self) -> bool:
        """Have the scheduler start this job once more, unless that was done often enough."""
        step, attempt = self.step, self.step.attempt + 1
        if attempt > step.requeues:
            print(
                f"hpc-gw: stopped for the {attempt}. time, and --requeues {step.requeues} allows "
                f"no more; submit it again: it goes on from where it is",
                file=sys.stderr,
                flush=True,
            )
            return False
        file = self.paths.submitted_pickle
        following = DelayedSubmission(replace(step, attempt=attempt))
        following.set_timeout(DelayedSubmission.load(file)._timeout_min, step.requeues - attempt)
        with published(file) as temporary:
            following.dump(temporary)
        self._write(None, attempt)
        print(f"hpc-gw: queued again, {step.requeues - attempt} times left", flush=True)
        self.environment._requeue(step.requeues - attempt)
        return True


@contextlib.contextmanager
def _signals_noted() -> Iterator[set[int]]:
    """Numbers of the signals that came, whoever handled them; complete when the block ends."""
    read, write = os.pipe()
    os.set_blocking(read, False)
    os.set_blocking(write, False)
    previous = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    seen: set[int] = set()
    try:
        yield seen
    finally:
        signal.set_wakeup_fd(previous)
        with contextlib.suppress(BlockingIOError):
            seen |= set(os.read(read, 4096))
        os.close(read)
        os.close(write)


def _preempted(environment: Any) -> bool:
    """Whether SIGTERM came from Slurm making room for another job, and not from scancel.

    Slurm gives such a job its grace time, and would not queue it again if it ended by itself.
    """
    if environment.name() != "slurm" or shutil.which("scontrol") is None:
        return False
    command = ["scontrol", "show", "job", "--oneliner", environment.job_id]
    found = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    fields = dict(f.partition("=")[::2] for f in found.stdout.split())
    return fields.get("PreemptTime", "None") not in ("None", "N/A", "Unknown")
