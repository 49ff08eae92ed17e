"""Inside a running LSF job: who this rank is, on which hosts, and how the job is requeued.

Real LSF was not available where this was written.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

from submitit.core import logger
from submitit.core.job_environment import JobEnvironment, SignalHandler
from submitit.core.utils import DelayedSubmission, JobPaths

_RANK = ("JSM_NAMESPACE_RANK", "OMPI_COMM_WORLD_RANK", "PMIX_RANK")
_SIZE = ("JSM_NAMESPACE_SIZE", "OMPI_COMM_WORLD_SIZE")
_LOCAL_RANK = ("JSM_NAMESPACE_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_RANK")


class LsfJobEnvironment(JobEnvironment):
    """A rank of an LSF job, from the variables of LSF and of jsrun or mpirun."""

    _env = {"job_id": "LSB_JOBID"}  # noqa: RUF012

    @property
    def array_job_id(self) -> str | None:
        """Of the whole array; None for a single job."""
        return self.raw_job_id if _element() else None

    @property
    def array_task_id(self) -> str | None:
        """The element, from 0 as in submitit (LSF counts from 1, and 0 means no array)."""
        return str(_element() - 1) if _element() else None

    @property
    def lsf_id(self) -> str:
        """As LSF's commands take it: 12, or 12[4] for the fourth element."""
        return f"{self.raw_job_id}[{_element()}]" if _element() else self.raw_job_id

    @property
    def global_rank(self) -> int:
        """Among all ranks of the job."""
        return _first(_RANK, 0)

    @property
    def local_rank(self) -> int:
        """Among those on this node."""
        return _first(_LOCAL_RANK, 0)

    @property
    def num_tasks(self) -> int:
        """Ranks of the job."""
        return _first(_SIZE, 1)

    @property
    def hostnames(self) -> list[str]:
        """The hosts that ranks run on, in LSF's order.

        Where jsrun is used, LSF lists the launch node first, with a single slot; no rank runs
        there.
        """
        slots = _slots()
        hosts = list(slots)
        if len(hosts) > 1 and slots[hosts[0]] == 1 and slots[hosts[1]] > 1:
            hosts = hosts[1:]
        return hosts or [self.hostname]

    @property
    def num_nodes(self) -> int:
        """Hosts that ranks run on."""
        return len(self.hostnames)

    @property
    def node(self) -> int:
        """This host among them; 0 if it goes by another name there."""
        names = [name.split(".")[0] for name in self.hostnames]
        own = self.hostname.split(".")[0]
        return names.index(own) if own in names else 0

    def _set_meeting_point(self) -> None:
        """MASTER_ADDR and MASTER_PORT for torch.distributed, unless somebody has set them."""
        if self.num_tasks == 1 or "MASTER_ADDR" in os.environ:
            return
        hosts = self.hostnames
        port = 20_000 + (int(self.raw_job_id) + 101 * _element()) % 20_000
        os.environ["MASTER_ADDR"] = "127.0.0.1" if len(hosts) == 1 else hosts[0]
        os.environ.setdefault("MASTER_PORT", str(port))

    def _handle_signals(self, paths: JobPaths, submission: DelayedSubmission) -> None:
        handler = _EveryWarningCounts(self, paths, submission)
        signal.signal(signal.SIGTERM, handler.bypass)
        signal.signal(signal.SIGCONT, handler.bypass)
        signal.signal(self._usr_sig(), handler.checkpoint_and_try_requeue)
        self._set_meeting_point()
        self.release_warning()  # one that came too early comes now

    @classmethod
    def hold_warning(cls) -> None:
        """Keep the warning signal until ``release_warning``, instead of dying of it."""
        signal.pthread_sigmask(signal.SIG_BLOCK, {cls._usr_sig()})

    @classmethod
    def release_warning(cls) -> None:
        """Let the warning signal through."""
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {cls._usr_sig()})

    def _requeue(self, countdown: int) -> None:
        """brequeue, or, where this node has no such command, leave it to the job's script."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # brequeue's first word to this job
        if shutil.which("brequeue"):
            subprocess.run(["brequeue", self.lsf_id], check=True, timeout=60, stdout=2)
        else:
            folder = JobPaths.get_first_id_independent_folder(os.environ["SUBMITIT_FOLDER"])
            (folder / f"{self.job_id}_requeue").touch()
        logger.get_logger().info(f"Requeued job {self.lsf_id} ({countdown} remaining timeouts)")


class _EveryWarningCounts(SignalHandler):
    """Each requeue is one of the at most N.

    submitit's own rule, that a warning before 80 % of the time is a preemption and costs
    nothing, could requeue for ever a job whose warning comes that early. LSF warns only of an
    end.
    """

    def has_timed_out(self) -> bool:
        """Yes."""
        return True


def _element() -> int:
    return int(os.environ.get("LSB_JOBINDEX") or 0)


def _first(names: tuple[str, ...], default: int) -> int:
    return next((int(os.environ[name]) for name in names if os.environ.get(name)), default)


def _slots() -> dict[str, int]:
    """Slots of each host of the job."""
    slots: dict[str, int] = {}
    file = os.environ.get("LSB_DJOB_HOSTFILE")
    if file and Path(file).is_file():  # a line for each slot
        for host in Path(file).read_text().split():
            slots[host] = slots.get(host, 0) + 1
        return slots
    words = os.environ.get("LSB_MCPU_HOSTS", "").split()  # host slots host slots ...
    for host, count in zip(words[::2], words[1::2], strict=True):
        slots[host] = slots.get(host, 0) + int(count)
    return slots
