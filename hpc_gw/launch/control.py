"""Waiting for jobs, cancelling them, and what their logs say."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from hpc_gw.errors import HpcGwError
from hpc_gw.launch.registry import Record, dependents, now, publish
from hpc_gw.launch.states import ENDED, Status, statuses

_MESSAGE = re.compile(r"hpc-gw(?: \(rank \d+ of \d+\))?: .*")


class JobsFailedError(HpcGwError):
    """Jobs that were waited for did not succeed."""

    exit_code = 2


class JobsUnfinishedError(HpcGwError):
    """Jobs stopped in time, and go on when submitted again; or they are still running."""

    exit_code = 75


def wait(
    jobs: Iterable[Record],
    *,
    timeout_s: float | None = None,
    poll_s: float = 2.0,
    show: Callable[[Record, Status], None] | None = None,
) -> None:
    """Wait until every job has ended.

    Args:
        jobs: to wait for.
        timeout_s: at most so long.
        poll_s: between questions to the scheduler at first; up to ten times as long later.
        show: told of each change.

    Raises:
        JobsFailedError: one failed, was cancelled, or is unknown to everybody.
        JobsUnfinishedError: one was stopped in time; or the time is over.
    """
    jobs, seen = list(jobs), dict[Record, Status]()
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    unknown, longest = 0, 10 * poll_s
    while True:
        found = statuses(jobs)
        for job, status in found.items():
            if show and seen.get(job) != status:
                show(job, status)
        seen = found
        states = [status.state for status in found.values()]
        # A scheduler may not know a job yet, or be out of reach for a moment.
        unknown = unknown + 1 if "UNKNOWN" in states else 0
        if all(state in ENDED or (state == "UNKNOWN" and unknown > 5) for state in states):
            break
        if deadline is not None and time.monotonic() > deadline:
            running = ", ".join(j.id for j, s in found.items() if s.state not in ENDED)
            raise JobsUnfinishedError(f"{running}: not ended after {timeout_s:g} s; wait again")
        time.sleep(poll_s)
        poll_s = min(poll_s * 1.2, longest)
    _judge(seen)


def _judge(found: dict[Record, Status]) -> None:
    bad = {j: s for j, s in found.items() if s.state not in ("COMPLETED", "STOPPED")}
    stopped = [job for job, status in found.items() if status.state == "STOPPED"]
    if bad:
        # What failed first tells more than what was cancelled because of it.
        job = next((j for j, s in bad.items() if s.state != "CANCELLED"), next(iter(bad)))
        lines = messages(job)
        why = lines[-1] if lines else bad[job].reason or f"see hpc-gw jobs logs {job.id}"
        raise JobsFailedError(f"{job.step} {job.id}: {bad[job].state}; {why}")
    if stopped:
        raise JobsUnfinishedError(
            f"{stopped[0].step} {stopped[0].id}: stopped in time, and not queued again; submit it "
            f"again: it goes on from where it is"
        )


def cancel(jobs: Iterable[Record]) -> list[Record]:
    """Cancel jobs and those that wait for them; returns all of these.

    Raises:
        HpcGwError: the scheduler refuses.
    """
    chosen = {d: None for job in jobs for d in [*reversed(dependents(job)), job]}
    cancelled = []
    for job, status in statuses(chosen).items():
        if status.state in ENDED:
            continue
        publish(marked := dataclasses.replace(job, cancelled=now()))
        cancelled.append(marked)
        if job.scheduler == "local":
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(int(job.id), signal.SIGTERM)
            continue
        command = ["scancel" if job.scheduler == "slurm" else "bkill", job.id]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
        except (OSError, subprocess.SubprocessError) as error:
            why = getattr(error, "stderr", "") or str(error)
            raise HpcGwError(f"{job.id}: {' '.join(command)} failed ({why.strip()})") from error
    return cancelled


def messages(job: Record) -> list[str]:
    """The lines that begin with ``hpc-gw`` in a job's errors, its elements one after the other."""
    found = []
    for errors in job.errors:
        found += [line for line in tail(errors, 1000) if _MESSAGE.match(line)]
    return found


def tail(path: Path, lines: int, block: int = 1 << 20) -> list[str]:
    """The last lines of a file, of its last MiB; none where it is missing."""
    try:
        with path.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, size - block))
            text = stream.read().decode(errors="replace")
    except OSError:
        return []
    # A progress bar writes over its line again and again: its last state is the line.
    kept = [line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n")]
    return kept[: -1 if kept and not kept[-1] else None][-lines:]
