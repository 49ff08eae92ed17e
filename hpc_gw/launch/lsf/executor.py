"""Submission through bsub, as a plugin of submitit.

Real LSF was not available where this was written.
"""

from __future__ import annotations

import copy
import inspect
import re
import shlex
import shutil
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from submitit.core import core, utils

from hpc_gw.errors import ConfigError, LaunchError
from hpc_gw.launch.lsf.jobs import LsfJob
from hpc_gw.launch.lsf.script import submission_text

_OWN = {"command", "folder", "map_count"}  # not the user's to set


class LsfExecutor(core.PicklingExecutor):
    """Runs functions as LSF jobs; ``AutoExecutor(folder, cluster="lsf")`` makes one.

    A function with a ``checkpoint`` method is told by a signal before its time is over, and the
    job is requeued with what that method returns, at most ``max_num_timeout`` times. brequeue by
    somebody else tells nothing: the function starts again as it was submitted, or as it was at
    the last requeue of its own, and has to find its last checkpoint by itself.

    Args:
        folder: for scripts, logs, results; every node must see it.
        max_num_timeout: requeues of a job.
        max_pickle_size_gb: of functions with their arguments.
        python: how a rank starts Python, for a shell; None: this one.
        text: makes the script from ``command``, ``folder``, ``map_count`` (elements of the array,
            or None) and the parameters set with ``update_parameters``, all by keyword. Its header
            may be any; see ``script_body`` for the rest.

    Raises:
        LaunchError: there is no bsub here.
    """

    job_class = LsfJob

    def __init__(
        self,
        folder: str | Path,
        max_num_timeout: int = 3,
        max_pickle_size_gb: float = 1.0,
        python: str | None = None,
        text: Callable[..., str] = submission_text,
    ) -> None:
        super().__init__(folder, max_num_timeout, max_pickle_size_gb)
        self.python = shlex.quote(sys.executable) if python is None else python
        self._text = text
        if self.affinity() < 0:
            raise LaunchError("bsub is not found: submit where LSF is, or load its module")

    @classmethod
    def _equivalence_dict(cls) -> core.EquivalenceDict:
        return {
            "name": "job_name",
            "timeout_min": "time",
            "mem_gb": "mem",
            "nodes": "nodes",
            "cpus_per_task": "cpus_per_task",
            "gpus_per_node": "gpus_per_node",
            "tasks_per_node": "tasks_per_node",
        }

    @classmethod
    def _valid_parameters(cls) -> set[str]:
        return set(inspect.signature(submission_text).parameters) - _OWN

    def _convert_parameters(self, params: dict[str, Any]) -> dict[str, Any]:
        params = super()._convert_parameters(params)
        if isinstance(params.get("mem"), int | float):
            params["mem"] = f"{params['mem']:g}GB"
        return params

    def _internal_update_parameters(self, **kwargs: Any) -> None:
        """Set parameters of the script.

        Raises:
            ConfigError: one that the text function does not take, or a value it refuses.
        """
        parameters = inspect.signature(self._text).parameters
        if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            valid = set(parameters) - _OWN
            if unknown := sorted(set(kwargs) - valid):
                raise ConfigError(
                    f"{', '.join(unknown)}: no parameter of LSF jobs; there are "
                    f"{', '.join(sorted(valid))}"
                )
        tentative = copy.copy(self)
        tentative.parameters = self.parameters | kwargs
        tentative._make_submission_file_text("true", "")
        super()._internal_update_parameters(**kwargs)

    def _internal_process_submissions(
        self, delayed_submissions: list[utils.DelayedSubmission]
    ) -> list[core.Job[Any]]:
        """One submission is a job, several are an array."""
        if len(delayed_submissions) == 1:
            return super()._internal_process_submissions(delayed_submissions)
        folder = utils.JobPaths.get_first_id_independent_folder(self.folder)
        folder.mkdir(parents=True, exist_ok=True)
        pickles = []
        for delayed in delayed_submissions:
            delayed.set_timeout(self.parameters.get("time", 60), self.max_num_timeout)
            pickles.append(folder / f"{uuid.uuid4().hex}.pkl")
            delayed.dump(pickles[-1])
        array = copy.copy(self)
        array.parameters = self.parameters | {"map_count": len(pickles)}
        self._throttle()
        first = array._submit_command(self._submitit_command_str)
        jobs: list[core.Job[Any]] = [
            LsfJob(self.folder, f"{first.job_id}_{i}", range(first.num_tasks))
            for i in range(len(pickles))
        ]
        # The array as a whole is nothing to ask for: its elements are.
        LsfJob.watcher._registered.discard(first.job_id)
        for job, pickle in zip(jobs, pickles, strict=True):
            job.paths.move_temporary_file(pickle, "submitted_pickle")
        return jobs

    @property
    def _submitit_command_str(self) -> str:
        return f"{self.python} -u -m hpc_gw.launch.lsf.rank {shlex.quote(str(self.folder))}"

    def _make_submission_file_text(self, command: str, uid: str) -> str:
        parameters = {"map_count": None} | self.parameters
        return self._text(command=command, folder=self.folder, **parameters)

    def _num_tasks(self) -> int:
        parameters = self.parameters
        return int(parameters.get("nodes", 1)) * int(parameters.get("tasks_per_node", 1))

    def _make_submission_command(self, submission_file_path: Path) -> list[str]:
        """bsub reads the script from its standard input."""
        return ["bash", "-c", 'exec bsub < "$1"', "bsub", str(submission_file_path)]

    @staticmethod
    def _get_job_id_from_submission_command(string: bytes | str) -> str:
        text = string if isinstance(string, str) else string.decode()
        if found := re.search(r"Job <(\d+)> is submitted", text):
            return found.group(1)
        raise utils.FailedSubmissionError(
            f"bsub answered {text.strip()!r} instead of 'Job <N> is submitted to queue <...>'; "
            f"see with bjobs whether there is a job"
        )

    @classmethod
    def affinity(cls) -> int:
        """Whether there is LSF here, to be preferred to running on this machine."""
        return -1 if shutil.which("bsub") is None else 2
