"""A step of a job on a site: everything that its batch script says."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

from hpc_gw.errors import ConfigError
from hpc_gw.launch.sites import Site

STEPS = ("generate", "train", "evaluate", "report", "scaling")
"""What can be submitted; a pipeline is the first four, each after the one before."""

PIPELINE = STEPS[:4]

_GPU_STEPS = ("train", "scaling")


@dataclass(frozen=True)
class StepPlan:
    """What is submitted, and what for.

    Attributes:
        step: generate, train, evaluate, report or scaling.
        site: where.
        commands: words after ``hpc-gw``; several make a job array, an element each.
        folder: of this submission: its script, log and pickles; absolute.
        output: folder of the job's results; absolute.
        directory: that the job starts in; absolute.
        name: shown by the scheduler.
        nodes: so many.
        tasks_per_node: ranks on each of them.
        cpus_per_task: cores of a rank.
        gpus_per_node: asked for.
        walltime_min: minutes.
        signal_lead_s: seconds before the end that the job gets USR2.
        requeues: at most so many times.
        dependencies: ids of jobs that must have succeeded before.
        parallel: elements of an array that run at the same time; 0: all.
        environment: variables of the job.
        files: name to text of what lies in ``folder`` when the job starts.
    """

    step: str
    site: Site
    commands: tuple[tuple[str, ...], ...]
    folder: Path
    output: Path
    directory: Path
    name: str = "hpc-gw"
    nodes: int = 1
    tasks_per_node: int = 1
    cpus_per_task: int = 1
    gpus_per_node: int = 0
    walltime_min: int = 60
    signal_lead_s: int = 120
    requeues: int = 5
    dependencies: tuple[str, ...] = ()
    parallel: int = 0
    environment: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)

    @property
    def tasks(self) -> int:
        """Ranks on all nodes."""
        return self.nodes * self.tasks_per_node

    @property
    def array(self) -> int:
        """Elements of the job array; 0 where it is a single job."""
        return len(self.commands) if len(self.commands) > 1 else 0

    @property
    def partition(self) -> str:
        """Partition or queue."""
        return getattr(self.site.steps, self.step).partition or self.site.partition

    @property
    def spread(self) -> bool:
        """Whether ranks are started on the nodes by the scheduler's own launcher."""
        return self.site.launcher.kind in ("srun", "jsrun")

    @property
    def inside(self) -> bool:
        """Whether that launcher starts every rank of the step, or there is one process first.

        The scaling sweep is such a process: it calls the launcher itself, again and again.
        """
        return self.spread and self.step != "scaling"

    @property
    def python(self) -> tuple[str, ...]:
        """Words that start Python on a node."""
        return (*self.site.container, self.site.python or sys.executable)

    @property
    def worker(self) -> tuple[str, ...]:
        """What each process of the job runs: submitit, which reads the step from the folder."""
        lsf = self.site.scheduler == "lsf"
        module = "hpc_gw.launch.lsf.rank" if lsf else "submitit.core._submit"
        return (*self.python, "-u", "-m", module, str(self.folder))

    @property
    def node_hours(self) -> float:
        """At most, of all elements, requeues not counted."""
        return self.nodes * self.walltime_min / 60 * len(self.commands)


def plan_step(
    step: str,
    site: Site,
    commands: tuple[tuple[str, ...], ...],
    *,
    folder: Path,
    output: Path,
    directory: Path,
    name: str,
    ranks: int | None = None,
    nodes: int | None = None,
    tasks_per_node: int | None = None,
    walltime_min: int | None = None,
    requeues: int | None = None,
    dependencies: tuple[str, ...] = (),
    parallel: int = 0,
    files: dict[str, str] | None = None,
) -> StepPlan:
    """A step with the site's defaults where nothing is asked for.

    Args:
        step, site, commands, folder, output, directory, name: as in ``StepPlan``.
        ranks: of the step as the job's YAML has them; counts where the site is ``local``.
        nodes, tasks_per_node, walltime_min, requeues: instead of the site's.
        dependencies, parallel, files: as in ``StepPlan``.

    Raises:
        ConfigError: more than the site has.
    """
    default = getattr(site.steps, step)
    gpus = default.gpus_per_node
    if gpus is None:
        gpus = site.gpus_per_node if step in _GPU_STEPS else 0
    if tasks_per_node is None:
        tasks_per_node = default.tasks_per_node
    if tasks_per_node is None and site.scheduler == "local":
        tasks_per_node = ranks or 1
    if tasks_per_node is None:
        tasks_per_node = gpus or site.cores_per_node
    nodes = nodes or default.nodes
    minutes = walltime_min or default.walltime_min or site.walltime_min
    plan = StepPlan(
        step=step,
        site=site,
        commands=commands,
        folder=folder,
        output=output,
        directory=directory,
        name=_job_name(name),
        nodes=nodes,
        tasks_per_node=tasks_per_node,
        cpus_per_task=max(1, site.cores_per_node // tasks_per_node),
        gpus_per_node=gpus,
        walltime_min=minutes,
        signal_lead_s=min(site.signal_lead_s, minutes * 60 // 2),
        requeues=site.requeues if requeues is None else requeues,
        dependencies=dependencies,
        parallel=parallel,
        environment=dict(site.environment),
        files=files or {},
    )
    _require_fit(plan)
    return plan


def _job_name(name: str) -> str:
    """A name that every scheduler takes."""
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "._+-") else "-" for c in name)
    return kept.strip("-.")[:60] or "hpc-gw"


def _require_fit(plan: StepPlan) -> None:
    site = plan.site
    for what, value, bound in (
        ("--nodes", plan.nodes, site.max_nodes),
        ("--time", plan.walltime_min, site.max_walltime_min),
        ("--tasks-per-node", plan.tasks_per_node, _ranks_at_most(plan)),
    ):
        if bound is not None and value > bound:
            raise ConfigError(
                f"{what} {value} for {plan.step}: {site.name} has at most {bound}; ask for less, "
                f"or correct the site's profile"
            )
    if plan.nodes > 1 and not plan.spread and site.launcher.kind == "none":
        raise ConfigError(
            f"--nodes {plan.nodes}: {site.name} has launcher.kind none, which starts the ranks of "
            f"one node only; set srun, jsrun or mpiexec in its profile"
        )


def _ranks_at_most(plan: StepPlan) -> int | None:
    if plan.site.scheduler == "local":
        return None
    if plan.gpus_per_node and plan.step in _GPU_STEPS:
        return plan.gpus_per_node
    return plan.site.cores_per_node


def after(plan: StepPlan, ids: tuple[str, ...]) -> StepPlan:
    """The same, to begin when the jobs ``ids`` have succeeded."""
    return replace(plan, dependencies=ids)
