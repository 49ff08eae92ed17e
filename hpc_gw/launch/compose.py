"""From a job's YAML to the plans of its steps."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import yaml

from hpc_gw.assess import REPORT, RESULTS
from hpc_gw.config import build, override, to_dict
from hpc_gw.errors import ConfigError
from hpc_gw.job import JobConfig
from hpc_gw.launch.plans import StepPlan, plan_step
from hpc_gw.launch.sites import Site
from hpc_gw.training.log import LOG

_JOB = "job.yaml"


@dataclass(frozen=True)
class Request:
    """What the command line asks for; of each step, by its name.

    Attributes:
        nodes, tasks_per_node, walltime_min: where they are not the site's.
        requeues: None: the site's.
        dependencies: ids of jobs that the first step waits for.
        parallel: elements of an array at the same time; 0: all.
    """

    nodes: Mapping[str, int] = field(default_factory=dict)
    tasks_per_node: Mapping[str, int] = field(default_factory=dict)
    walltime_min: Mapping[str, int] = field(default_factory=dict)
    requeues: int | None = None
    dependencies: tuple[str, ...] = ()
    parallel: int = 0


def plan_job(
    job: JobConfig,
    steps: Sequence[str],
    site: Site,
    request: Request,
    *,
    stamp: str,
    directory: Path,
    variants: Sequence[JobConfig] = (),
) -> list[StepPlan]:
    """The plans of a job's steps; the first waits for ``request.dependencies``.

    The job goes into each submission's folder as it is now: a change of its YAML file does not
    reach what is queued.

    Args:
        job, steps, site, request: what, where and how.
        stamp: names the submissions' folders.
        directory: the current one; paths in the job are relative to it.
        variants: jobs to do instead, in one array.

    Raises:
        ConfigError: more than the site has, or a batch that does not divide over the ranks.
    """
    job = _absolute(job, directory)
    plans: list[StepPlan] = []
    for step in steps:
        folder = job.folder / "jobs" / f"{stamp}-{step}"
        files, commands = {}, []
        for i, one in enumerate(variants or [job]):
            name = f"job-{i}.yaml" if variants else _JOB
            chosen = _absolute(one, directory)
            files[name] = yaml.safe_dump(to_dict(chosen), sort_keys=False)
            commands.append(_words(step, chosen, folder / name))
        plan = plan_step(
            step,
            site,
            tuple(commands),
            folder=folder,
            output=job.folder,
            directory=directory,
            name=f"{job.name}-{step}",
            ranks=getattr(job.ranks, step, job.ranks.train if step == "scaling" else 1),
            nodes=request.nodes.get(step),
            tasks_per_node=request.tasks_per_node.get(step),
            walltime_min=request.walltime_min.get(step),
            requeues=request.requeues,
            dependencies=request.dependencies if not plans else (),
            parallel=request.parallel,
            files=files,
        )
        for one in variants or [job]:
            _require_divisible(plan, one)
        plans.append(_swept(plan) if step == "scaling" else plan)
    return plans


def _absolute(job: JobConfig, directory: Path) -> JobConfig:
    return job.with_output(str(directory / job.folder))


def _words(step: str, job: JobConfig, file: Path) -> tuple[str, ...]:
    """Words after ``hpc-gw``; of a scaling sweep without what the plan knows."""
    folder = job.folder
    if step == "scaling":
        return ("scaling", "run", str(file), "-o", str(folder / "scaling.json"))
    if step != "report":
        return (step, str(file))
    options = ["--surrogate", job.engine.file] if job.engine.file else []
    options += ["--quick"] if job.evaluation.quick else []
    return (
        "report", str(folder / RESULTS), "-o", str(folder / REPORT), "--log", str(folder / LOG),
        "--engine", job.engine.kind, *options,
    )  # fmt: skip


def _swept(plan: StepPlan) -> StepPlan:
    """A scaling sweep on 1, 2, 4, ... ranks, up to all of the plan's."""
    launcher = plan.site.launcher
    ranks = [2**i for i in range(plan.tasks.bit_length()) if 2**i < plan.tasks] + [plan.tasks]
    words: list[str] = ["--ranks", *map(str, ranks)]
    words += ["--launcher", launcher.kind if plan.spread else "local"]
    if plan.spread and launcher.arguments:
        words.append(f"--launcher-options={shlex.join(launcher.arguments)}")
    return replace(plan, commands=((*plan.commands[0], *words),))


def _require_divisible(plan: StepPlan, job: JobConfig) -> None:
    parts = plan.tasks * job.train.accumulate
    if plan.step == "train" and job.train.batch % parts:
        raise ConfigError(
            f"train.batch = {job.train.batch}: does not divide evenly over {plan.nodes} x "
            f"{plan.tasks_per_node} ranks and {job.train.accumulate} micro-batches; choose a "
            f"multiple of {parts}, or other --nodes and --tasks-per-node"
        )


def sweep(job: JobConfig, texts: Sequence[str]) -> list[JobConfig]:
    """A job for each combination of values, in a folder of its own below the job's ``sweep``.

    Args:
        job: what they have in common.
        texts: ``key=value,value,...`` each; values are read as YAML.

    Raises:
        ConfigError: no such key, a bad value, or nothing to vary.
    """
    found: list[tuple[str, JobConfig]] = [("", job)]
    for text in texts:
        key, values = _values(text)
        found = [
            (
                f"{label},{key.removeprefix('train.')}={value}".lstrip(","),
                _changed(one, f"{key}={value}"),
            )
            for label, one in found
            for value in values
        ]
    for label, _ in found:
        if "/" in label:
            raise ConfigError(f"--sweep {label}: names a folder; write values without /")
    return [
        replace(one, output=str(job.folder / "sweep" / label), name=f"{job.name}-{label}")
        for label, one in found
    ]


def _values(text: str) -> tuple[str, list[str]]:
    key, separator, listed = text.partition("=")
    values = [value.strip() for value in listed.split(",")]
    if not separator or not key.strip() or not all(values):
        raise ConfigError(
            f"--sweep {text}: write key=value,value, for instance train.optimizer.lr=1e-3,2e-3"
        )
    if len(set(values)) != len(values):
        raise ConfigError(f"--sweep {text}: a value stands there twice")
    return key.strip(), values


def _changed(job: JobConfig, assignment: str) -> JobConfig:
    return build(JobConfig, override(to_dict(job), [assignment]), where=f"--sweep {assignment}")


def share_data(job: JobConfig, variants: Sequence[JobConfig]) -> None:
    """Let the variants read the job's own sets."""
    for one in variants:
        link = one.folder / "data"
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.exists() and not link.is_symlink():
            link.symlink_to(Path("..") / ".." / "data")
