"""Submission of one plan, or of several that follow one another."""

from __future__ import annotations

from collections.abc import Sequence

from hpc_gw.errors import HpcGwError
from hpc_gw.files import make_folder, published
from hpc_gw.launch import registry
from hpc_gw.launch.needed import submitit_needed
from hpc_gw.launch.plans import StepPlan, after
from hpc_gw.launch.registry import Record, publish, record_of
from hpc_gw.launch.scripts import render


def submit(plan: StepPlan) -> Record:
    """Submit a plan and write it down.

    Raises:
        MissingDependencyError: submitit is not installed.
        LaunchError: the scheduler is not here, or refuses the job.
        ConfigError: something that its script cannot express.
        StorageError: a folder cannot be written.
    """
    with submitit_needed():
        from hpc_gw.launch import executors  # noqa: PLC0415
    text = render(plan)
    make_folder(registry.folder())  # before there is a job that could not be written down
    make_folder(plan.folder)
    for name, content in plan.files.items():
        with published(plan.folder / name) as temporary:
            temporary.write_text(content)
    job_id, script = executors.start(plan, text)
    record = record_of(plan, job_id, script)
    publish(record)
    return record


def submit_chain(plans: Sequence[StepPlan]) -> list[Record]:
    """Submit plans, each to begin when the one before has succeeded; all of them or none.

    Raises:
        HpcGwError: as ``submit``; what was submitted before is cancelled.
    """
    done: list[Record] = []
    for plan in plans:
        ids = (*plan.dependencies, *(record.id for record in done[-1:]))
        try:
            done.append(submit(after(plan, ids)))
        except HpcGwError:
            from hpc_gw.launch.control import cancel  # noqa: PLC0415

            cancel(done)
            raise
    return done
