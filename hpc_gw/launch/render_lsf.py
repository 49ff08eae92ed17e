"""The script that bsub reads from its standard input."""

from __future__ import annotations

import math

from hpc_gw.launch.needed import submitit_needed
from hpc_gw.launch.plans import StepPlan
from hpc_gw.launch.quoting import command, path, plain
from hpc_gw.launch.script_parts import gpu_option, head, preparation, text


def render_lsf(plan: StepPlan) -> str:
    """The whole text of the script.

    With jsrun, nodes are asked for as on Summit (``-nnodes``); else slots, ``span[ptile]``.

    Raises:
        ConfigError: a folder whose name LSF's directives cannot hold.
        MissingDependencyError: submitit is not installed, to which LSF's plugin belongs.
    """
    with submitit_needed():
        from hpc_gw.launch.lsf.script import script_body  # noqa: PLC0415

    site = plan.site
    folder = path(str(plan.folder), "--output")
    array = f"[1-{plan.array}]{f'%{plan.parallel}' if plan.parallel else ''}" if plan.array else ""
    lines = [*head(plan), f'#BSUB -J "{plain(plan.name, "name")}{array}"']
    if plan.partition:
        lines.append(f"#BSUB -q {plan.partition}")
    if site.account:
        lines.append(f"#BSUB -P {site.account}")
    if site.launcher.kind == "jsrun":
        lines.append(f"#BSUB -nnodes {plan.nodes}")
    else:
        lines.append(f"#BSUB -n {plan.tasks * plan.cpus_per_task}")
        lines.append(f'#BSUB -R "span[ptile={plan.tasks_per_node * plan.cpus_per_task}]"')
    if gpu_option(plan):
        lines.append(f"#BSUB {gpu_option(plan)}")
    lines += [
        f"#BSUB -W {plan.walltime_min // 60}:{plan.walltime_min % 60:02d}",
        f"#BSUB -wa USR2 -wt {max(1, math.ceil(plan.signal_lead_s / 60))}",
        "#BSUB -r",
        f"#BSUB -cwd {path(str(plan.directory), 'the current folder')}",
        f"#BSUB -o {folder}/%J{'_%I' if plan.array else ''}_lsf.out",
    ]
    if plan.dependencies:
        done = " && ".join(f"done({plain(i, '--after')})" for i in plan.dependencies)
        lines += [f'#BSUB -w "{done}"', "#BSUB -ti"]
    lines += [f"#BSUB {option}" for option in site.options]
    launch = f"{command(_jsrun(plan))} \\\n  " if plan.inside else ""
    body = script_body(f"{launch}{command(plan.worker)}", plan.folder)
    return text([*lines, *preparation(plan), "", body.rstrip("\n")])


def _jsrun(plan: StepPlan) -> list[str]:
    """A resource set for each rank."""
    return [
        "jsrun",
        f"--nrs={plan.tasks}",
        f"--rs_per_host={plan.tasks_per_node}",
        "--tasks_per_rs=1",
        f"--cpu_per_rs={plan.cpus_per_task}",
        f"--gpu_per_rs={math.ceil(plan.gpus_per_node / plan.tasks_per_node)}",
        *plan.site.launcher.arguments,
    ]
