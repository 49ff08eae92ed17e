"""submitit's executors, made to submit our own text."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from submitit.core import plugins
from submitit.core.core import Job, PicklingExecutor
from submitit.core.utils import DelayedSubmission, FailedJobError, FailedSubmissionError
from submitit.local.local import LocalExecutor, LocalJob
from submitit.slurm.slurm import SlurmExecutor, SlurmJob

from hpc_gw.errors import LaunchError
from hpc_gw.launch.plans import StepPlan
from hpc_gw.launch.step import Step

Submissions = list[DelayedSubmission]


class SlurmScriptExecutor(SlurmExecutor):
    """Slurm, with a script of ours."""

    text = ""

    def _make_submission_file_text(self, command: str, uid: str) -> str:
        return self.text

    def _internal_process_submissions(self, delayed_submissions: Submissions) -> list[Job[Any]]:
        if len(delayed_submissions) == 1:
            return super()._internal_process_submissions(delayed_submissions)
        # submitit makes a plain SlurmExecutor for an array, which would write its own text.
        self.folder.mkdir(parents=True, exist_ok=True)
        files = []
        for delayed in delayed_submissions:
            files.append(self.folder / f"{uuid.uuid4().hex}.pkl")
            delayed.set_timeout(self.parameters["time"], self.max_num_timeout)
            delayed.dump(files[-1])
        first: Job[Any] = self._submit_command(self._submitit_command_str)
        jobs = [SlurmJob[Any](self.folder, f"{first.job_id}_{i}") for i in range(len(files))]
        for job, file in zip(jobs, files, strict=True):
            job.paths.move_temporary_file(file, "submitted_pickle")
        return list(jobs)


class LocalScriptExecutor(LocalExecutor):
    """This machine: the script is started, in a session of its own, and outlives us."""

    text = ""

    def _submit_command(self, command: str) -> LocalJob[Any]:
        self.folder.mkdir(parents=True, exist_ok=True)
        script = self.folder / "submission.sh"
        script.write_text(self.text)
        with (self.folder / "controller.log").open("ab") as log:
            process = subprocess.Popen(
                ["bash", str(script)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return LocalJob(self.folder, str(process.pid), process=process)


def _executor(plan: StepPlan, text: str) -> PicklingExecutor:
    kind = plan.site.scheduler
    if kind == "local":
        cls: Any = LocalScriptExecutor
    elif kind == "slurm":
        cls = SlurmScriptExecutor
    else:
        found = plugins.get_executors().get("lsf")
        if found is None:
            raise LaunchError(
                "submitit knows no executor 'lsf': its plugin comes with hpc_gw, and is found when "
                'the package is installed: pip install "hpc_gw[jobs]"'
            )
        cls = found
    try:
        executor: PicklingExecutor = cls(plan.folder, max_num_timeout=plan.requeues)
    except RuntimeError as error:  # no srun here
        raise LaunchError(
            f"{plan.site.name}: there is no {kind} on this machine ({error}); submit on a login "
            f"node of the site, or look at the script with --dry-run"
        ) from error
    if kind == "lsf":
        executor._text = lambda **parameters: text  # type: ignore[attr-defined]
    else:
        executor.text = text  # type: ignore[attr-defined]
    generic = {
        "name": plan.name,
        "timeout_min": plan.walltime_min,
        "nodes": plan.nodes,
        "tasks_per_node": plan.tasks_per_node if plan.spread else 1,
        "cpus_per_task": plan.cpus_per_task,
        "gpus_per_node": plan.gpus_per_node,
    }
    executor.update_parameters(**executor._convert_parameters(generic))
    return executor


def _steps(plan: StepPlan) -> list[Step]:
    common: dict[str, Any] = {
        "step": plan.step,
        "nodes": plan.nodes,
        "ranks": plan.tasks,
        "inside": plan.inside,
        "mpiexec": plan.site.launcher.kind == "mpiexec",
        "arguments": plan.site.launcher.arguments,
        "requeues": plan.requeues,
    }
    if plan.step == "scaling":  # one process that starts ranks itself
        common |= {"inside": True, "ranks": 1}
    if plan.site.scheduler == "local":  # one after the other
        return [Step(commands=plan.commands, **common)]
    return [Step(commands=(words,), **common) for words in plan.commands]


def start(plan: StepPlan, text: str) -> tuple[str, Path]:
    """Hand a plan with its script to the scheduler; the job's id and the script's path.

    Raises:
        LaunchError: the scheduler is not here, or refuses the job.
    """
    executor, steps = _executor(plan, text), _steps(plan)
    try:
        jobs: Sequence[Job[Any]] = (
            executor.submit_array(steps) if len(steps) > 1 else [executor.submit(steps[0])]
        )
    except (FailedJobError, FailedSubmissionError, OSError, subprocess.SubprocessError) as error:
        raise LaunchError(
            f"{plan.site.name} refuses {plan.step}: {error}; correct the site's profile, or change "
            f"it with --site-set KEY=VALUE"
        ) from error
    job_id = jobs[0].job_id.split("_")[0]
    if plan.site.scheduler == "local":
        return job_id, plan.folder / "submission.sh"
    return job_id, jobs[0].paths.submission_file
