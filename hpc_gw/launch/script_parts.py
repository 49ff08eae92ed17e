"""What the scripts of all schedulers have in common."""

from __future__ import annotations

from hpc_gw import __version__
from hpc_gw.launch.plans import StepPlan
from hpc_gw.launch.quoting import command, comment, quote

_SHOWN = 3


def head(plan: StepPlan) -> list[str]:
    """What this is, for who reads it."""
    lines = [
        comment(f"{plan.step} on {plan.site.name}: {_size(plan)}, at most {plan.walltime_min} min"),
        comment(f"written by hpc-gw {__version__}; each rank runs"),
    ]
    lines += [comment(f"  hpc-gw {command(words)}") for words in plan.commands[:_SHOWN]]
    if (more := len(plan.commands) - _SHOWN) > 0:
        lines.append(comment(f"  and {more} more, an element of the array each"))
    return lines


def _size(plan: StepPlan) -> str:
    gpus = f", {plan.gpus_per_node} GPUs a node" if plan.gpus_per_node else ""
    nodes = "1 node" if plan.nodes == 1 else f"{plan.nodes} nodes"
    ranks = "1 rank" if plan.tasks_per_node == 1 else f"{plan.tasks_per_node} ranks"
    return f"{nodes} x {ranks}{gpus}"


def preparation(plan: StepPlan) -> list[str]:
    """Modules, variables and the site's own lines."""
    lines = []
    if plan.site.modules:
        lines += ["", *(f"module load {quote(name)}" for name in plan.site.modules)]
    if plan.site.setup:
        lines += ["", *plan.site.setup]
    variables = dict(plan.environment)
    if plan.site.scheduler != "local":  # there the user's own counts, or the ranks share the cores
        variables = {"OMP_NUM_THREADS": str(plan.cpus_per_task), **variables}
    lines += ["", *(f"export {key}={quote(value)}" for key, value in variables.items())]
    if plan.site.scratch:
        lines.append(f'export HPC_GW_SCRATCH="{plan.site.scratch}"')
    if plan.site.scheduler != "lsf":  # its plugin says so itself
        lines.append(f"export SUBMITIT_EXECUTOR={plan.site.scheduler}")
    lines.append("export SUBMITIT_LOG_LEVEL=WARNING")
    return lines


def gpu_option(plan: StepPlan) -> str:
    """What asks for the GPUs; empty where nothing need be said."""
    if not plan.gpus_per_node:
        return ""
    return plan.site.gpu_request.replace("{gpus}", str(plan.gpus_per_node))


def text(lines: list[str]) -> str:
    """A script of these lines."""
    return "\n".join(["#!/bin/bash", *lines, ""])
