"""Where jobs stand, asked of the scheduler; also where it keeps no accounts.

Slurm: ``sacct`` for all jobs at once; what it does not know, or all where there is no accounting,
``scontrol show job``, which forgets a job some minutes after its end. LSF: ``bjobs``. What the
scheduler no longer knows is told by the job's own file (outcome.py).
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from hpc_gw.launch.outcome import Outcome
from hpc_gw.launch.registry import Record

ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "STOPPED", "NODE_FAIL", "OUT_OF_MEMORY")
"""States that a job does not leave; STOPPED: in time, it goes on when submitted again."""

_TIMEOUT_S = 60
_SPELLINGS = {
    "DEADLINE": "TIMEOUT", "BOOT_FAIL": "NODE_FAIL", "REVOKED": "CANCELLED",
    "COMPLETING": "RUNNING", "CONFIGURING": "RUNNING", "SUSPENDED": "RUNNING",
    "PREEMPTED": "PENDING", "REQUEUED": "PENDING", "REQUEUE_HOLD": "PENDING",
    "PEND": "PENDING", "PROV": "PENDING", "WAIT": "PENDING", "PSUSP": "PENDING",
    "RUN": "RUNNING", "USUSP": "RUNNING", "SSUSP": "RUNNING", "DONE": "COMPLETED", "EXIT": "FAILED",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Status:
    """Where a job stands.

    Attributes:
        state: PENDING, RUNNING, UNKNOWN, or one of ``ENDED``.
        code: exit code, where known.
        reason: why it waits or ended, in the scheduler's words.
        nodes: where it runs.
        attempt: how many times it was queued again.
    """

    state: str
    code: int | None = None
    reason: str = ""
    nodes: str = ""
    attempt: int = 0


def statuses(jobs: Iterable[Record]) -> dict[Record, Status]:
    """Where jobs stand; of an array, the worst of its elements."""
    jobs = list(jobs)
    found = {**_slurm(_ids(jobs, "slurm")), **_lsf(_ids(jobs, "lsf"))}
    return {job: _worst(elements(job, found)) for job in jobs}


def elements(job: Record, found: dict[str, Status] | None = None) -> list[Status]:
    """Where the elements of an array stand, or the one job."""
    if found is None:
        ids = [job.id]
        found = _slurm(ids) if job.scheduler == "slurm" else {}
        found |= _lsf(ids) if job.scheduler == "lsf" else {}
    return [_of_element(job, i, found) for i in job.elements]


def _ids(jobs: list[Record], scheduler: str) -> list[str]:
    return [job.id for job in jobs if job.scheduler == scheduler]


def _of_element(job: Record, element: str, found: dict[str, Status]) -> Status:
    said = Outcome.read(Path(job.folder), element)
    if job.scheduler == "local":
        status = _local(job, said)
    else:
        # A pending array is told as a whole.
        status = found.get(element) or found.get(job.id) or _by_itself(job, said)
    if said:
        status = dataclasses.replace(status, attempt=said.attempt)
        if status.state == "FAILED":
            status = dataclasses.replace(status, code=said.code or status.code)
    if status.state == "FAILED" and status.code == 75:
        status = dataclasses.replace(status, state="STOPPED")
    if job.cancelled and status.state in ("FAILED", "STOPPED", "UNKNOWN"):
        status = dataclasses.replace(status, state="CANCELLED")
    return status


def _by_itself(job: Record, said: Outcome | None) -> Status:
    """A job that the scheduler does not know (any more)."""
    if said is None or said.code is None:
        return Status("UNKNOWN", reason="the scheduler does not know it, and it left no word")
    return Status("FAILED" if said.code else "COMPLETED", code=said.code)


def _local(job: Record, said: Outcome | None) -> Status:
    if said and said.code is not None:
        return Status("FAILED" if said.code else "COMPLETED", code=said.code, nodes="here")
    if _alive(job):
        waiting = said is None and job.dependencies
        return Status("PENDING" if waiting else "RUNNING", nodes="" if waiting else "here")
    if said is None and job.dependencies:
        return Status("CANCELLED", reason=f"{' '.join(job.dependencies)} did not succeed")
    return Status("FAILED", reason="it ended without a word; see its log")


def _alive(job: Record) -> bool:
    """Whether a local job's process runs, and is no other that got its number."""
    number = int(job.id)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(number, os.WNOHANG)  # where this very process had started it
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return False
    line = Path(f"/proc/{number}/cmdline")
    try:
        return job.folder.encode() in line.read_bytes()
    except OSError:
        return not line.parent.parent.joinpath("self").exists()  # no /proc to ask


def _worst(all_of_them: list[Status]) -> Status:
    """What a whole array is: not ended before all are; then as bad as the worst."""
    order = ("UNKNOWN", "RUNNING", "PENDING", *(s for s in ENDED if s != "COMPLETED"), "COMPLETED")
    return min(all_of_them, key=lambda s: order.index(s.state) if s.state in order else 0)


def _ask(command: Sequence[str]) -> str | None:
    """What a command prints; None where it is missing, or fails."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=_TIMEOUT_S
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


def _slurm(ids: list[str]) -> dict[str, Status]:
    if not ids:
        return {}
    fields = "JobID,State,ExitCode,NodeList"
    told = _ask(["sacct", "-X", "-n", "-P", "-D", "-o", fields, "-j", ",".join(ids)])
    found = parse_sacct(told or "")
    for job_id in ids:
        if not any(key.split("_")[0] == job_id for key in found):
            found |= parse_scontrol(_ask(["scontrol", "show", "job", "-o", job_id]) or "")
    return found


def parse_sacct(text: str) -> dict[str, Status]:
    """The lines of ``sacct -n -P -o JobID,State,ExitCode,NodeList``; a job's last one counts."""
    found = {}
    for line in text.splitlines():
        job_id, state, code, nodes = [*line.split("|"), "", "", "", ""][:4]
        for number in _array_ids(job_id):
            found[number] = Status(
                normal(state), _code(code, state), nodes=nodes if "None" not in nodes else ""
            )
    return found


def parse_scontrol(text: str) -> dict[str, Status]:
    """The lines of ``scontrol show job -o``."""
    found = {}
    for line in text.splitlines():
        fields: dict[str, str] = dict(re.findall(r"(\S+?)=(\S*)", line))
        if "JobId" not in fields:
            continue
        number = fields.get("ArrayJobId", fields["JobId"])
        if "ArrayTaskId" in fields:
            number += f"_[{fields['ArrayTaskId']}]"
        status = Status(
            normal(fields.get("JobState", "")),
            _code(fields.get("ExitCode", ""), fields.get("JobState", "")),
            reason=fields.get("Reason", "None").replace("None", ""),
            nodes=fields.get("NodeList", "").replace("(null)", ""),
        )
        for element in _array_ids(number):
            found[element] = status
    return found


def _lsf(ids: list[str]) -> dict[str, Status]:
    if not ids:
        return {}
    fields = "jobid jobindex stat exit_code exec_host delimiter='|'"
    return parse_bjobs(_ask(["bjobs", "-a", "-noheader", "-o", fields, *ids]) or "")


def parse_bjobs(text: str) -> dict[str, Status]:
    """The lines of ``bjobs -a -noheader -o "jobid jobindex stat exit_code exec_host ..."``."""
    found = {}
    for line in text.splitlines():
        job_id, index, state, code, hosts = [*line.split("|"), *[""] * 5][:5]
        if job_id.isdigit():
            element = f"{job_id}_{int(index) - 1}" if index.isdigit() and int(index) else job_id
            number = int(code) if code.isdigit() else None
            found[element] = Status(normal(state), number, nodes=hosts.replace("-", ""))
    return found


def normal(state: str) -> str:
    """One word of ours for a scheduler's: ``CANCELLED by 1000`` is CANCELLED."""
    word = state.partition(" ")[0].rstrip("+").upper()
    word = _SPELLINGS.get(word, word)
    return word if word in (*ENDED, "PENDING", "RUNNING") else "UNKNOWN"


def _code(text: str, state: str) -> int | None:
    """Slurm's ``2:0`` is 2, and ``0:9``, ended by signal 9, is 137; None of what has not ended."""
    match = re.fullmatch(r"(\d+):(\d+)", text)
    if not match or normal(state) not in ENDED:
        return None
    code, number = map(int, match.groups())
    return code or (128 + number if number else 0)


def _array_ids(text: str) -> list[str]:
    """``12``, ``12_3``; ``12_[0-2,5%4]`` is 12_0, 12_1, 12_2, 12_5."""
    match = re.fullmatch(r"(\d+)_\[([\d,-]+)(?:%\d+)?\]", text)
    if not match:
        return [text] if re.fullmatch(r"\d+(_\d+)?", text) else []
    numbers: list[int] = []
    for part in match[2].split(","):
        first, _, last = part.partition("-")
        numbers += range(int(first), int(last or first) + 1)
    return [f"{match[1]}_{i}" for i in numbers]
