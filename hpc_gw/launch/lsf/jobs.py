"""A submitted LSF job: its state, its result, its end.

Real LSF was not available where this was written; what bjobs answers is from IBM's
documentation of LSF 10.1.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from submitit.core import core, logger, utils
from submitit.core.job_environment import JobEnvironment

from hpc_gw.errors import LaunchError

STATES = {
    "PEND": "PENDING", "PROV": "PENDING", "WAIT": "PENDING", "PSUSP": "PENDING",
    "RUN": "RUNNING", "ZOMBI": "RUNNING", "USUSP": "PREEMPTED", "SSUSP": "PREEMPTED",
    "DONE": "COMPLETED", "EXIT": "FAILED",
}  # fmt: skip
"""LSF's states in submitit's words; any other (UNKWN: the host is out of reach) is UNKNOWN."""

_PAUSES_S = (0.5, 2.0)  # before bjobs is asked once more
_NOT_FOUND = re.compile(r"Job <(\d+)[^>]*> is not found")


class LsfInfoWatcher(core.InfoWatcher):
    """Asks bjobs for all jobs at once, and has patience with it."""

    def __init__(self, delay_s: int = 60) -> None:
        super().__init__(delay_s=delay_s)
        self._absences: dict[str, int] = {}

    def _make_command(self) -> list[str] | None:
        jobs = sorted({name.split("_")[0] for name in self._registered - self._finished}, key=int)
        if not jobs:
            return None
        return ["bjobs", "-a", "-noheader", "-o", "jobid jobindex stat delimiter='|'", *jobs]

    def get_state(self, job_id: str, mode: str = "standard") -> str:
        """PENDING, RUNNING, PREEMPTED, COMPLETED, FAILED, VANISHED or UNKNOWN.

        VANISHED: LSF has forgotten the job (its CLEAN_PERIOD is over, an hour by default), and
        only its result can tell how it ended.
        """
        return self.get_info(job_id, mode=mode).get("State", "UNKNOWN")

    def read_info(self, string: bytes | str) -> dict[str, dict[str, str]]:
        """What bjobs said, by job: elements of arrays count from 0 as in submitit."""
        text = string if isinstance(string, str) else string.decode()
        found: dict[str, dict[str, str]] = {}
        for line in text.splitlines():
            words = [word.strip() for word in line.split("|")]
            if len(words) != 3 or not words[0].isdigit():
                continue
            job, index, state = words
            element = int(index) if index.isdigit() else 0
            name = f"{job}_{element - 1}" if element else job
            found[name] = {"JobID": name, "State": STATES.get(state, "UNKNOWN"), "LSF": state}
        return found

    def update(self) -> None:
        """Ask bjobs once; a failure leaves what is known as it is."""
        command = self._make_command()
        if command is None:
            return
        self._num_calls += 1
        answer = _patiently(command)
        self._last_status_check = time.time()
        if answer is None:
            return
        self._output = answer.stdout.encode()
        self._info_dict.update(self.read_info(answer.stdout))
        self._note_absences(set(_NOT_FOUND.findall(answer.stderr)))
        for name in self._registered - self._finished:
            if self.is_done(name, mode="cache"):
                self._finished.add(name)

    def _note_absences(self, absent: set[str]) -> None:
        """A job that LSF twice does not know has vanished."""
        self._absences = {job: self._absences.get(job, 0) + 1 for job in absent}
        for name in self._registered - self._finished:
            if self._absences.get(name.split("_")[0], 0) >= 2:
                self._info_dict[name] = {"JobID": name, "State": "VANISHED", "LSF": ""}


def _patiently(command: list[str]) -> subprocess.CompletedProcess[str] | None:
    """The answer, also if it is that some jobs are not found; None where LSF is away."""
    reason = ""
    for pause in (*_PAUSES_S, None):
        try:
            answer = subprocess.run(
                command, capture_output=True, text=True, timeout=60, check=False
            )
            if answer.returncode == 0 or _NOT_FOUND.search(answer.stderr):
                return answer
            reason = answer.stderr.strip() or f"exit code {answer.returncode}"
        except (OSError, subprocess.TimeoutExpired) as error:
            reason = str(error)
        if pause is not None:
            time.sleep(pause)
    logger.get_logger().warning(f"{command[0]} does not answer ({reason}); asked again later")
    return None


class LsfJob(core.Job[core.R]):
    """A job, or an element of an array: 12_3 is LSF's 12[4]."""

    _cancel_command = "bkill"
    watcher = LsfInfoWatcher(delay_s=60)

    @property
    def lsf_id(self) -> str:
        """As LSF's commands take it."""
        job, *element = self.job_id.split("_")
        return f"{job}[{int(element[0]) + 1}]" if element else job

    @property
    def report(self) -> Path:
        """What LSF itself wrote of the job: the reason of its end, and errors of its script."""
        job, name = self.job_id.split("_")[0], self.lsf_id.replace("[", "_").replace("]", "")
        folder = utils.JobPaths.get_first_id_independent_folder(self.paths._folder)
        own = folder / f"{name}_lsf.out"
        return own if own.exists() else folder / f"{job}_lsf.out"

    def cancel(self, check: bool = True) -> None:
        """bkill.

        Raises:
            LaunchError: it failed, with ``check``.
        """
        self._bkill([], check)

    def _interrupt(self, timeout: bool = True) -> None:
        """Warn the job as LSF does before its end; it writes its checkpoint and is requeued."""
        self._bkill(["-s", JobEnvironment.USR_SIG], check=True)

    def _bkill(self, options: list[str], check: bool) -> None:
        command = [self._cancel_command, *options, self.lsf_id]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if check and done.returncode:
            raise LaunchError(
                f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}; see bjobs "
                f"{self.lsf_id}"
            )

    def _get_outcome_and_result(self) -> tuple[str, Any]:
        try:
            return super()._get_outcome_and_result()
        except utils.UncompletedJobError as error:
            if not self.report.exists():
                raise
            lines = self.report.read_text(errors="replace").splitlines()[-40:]
            raise utils.UncompletedJobError(
                "\n".join([str(error), f"LSF's report ({self.report}):", "-" * 40, *lines])
            ) from error


def after(jobs: Iterable[core.Job[Any]]) -> str:
    """The dependency of a job that needs others' success: "done(12) && done(13[1])"."""
    return " && ".join(f"done({job.lsf_id})" for job in jobs if isinstance(job, LsfJob))
