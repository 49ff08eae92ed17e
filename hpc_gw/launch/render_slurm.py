"""The script that sbatch is given."""

from __future__ import annotations

from hpc_gw.launch.plans import StepPlan
from hpc_gw.launch.quoting import command, path, plain
from hpc_gw.launch.script_parts import gpu_option, head, preparation, text


def render_slurm(plan: StepPlan) -> str:
    """The whole text of the script.

    Raises:
        ConfigError: a folder whose name Slurm's directives cannot hold.
    """
    site = plan.site
    number = "%A_%a" if plan.array else "%j"
    log = path(str(plan.folder), "--output") + f"/{number}_0_log"
    options = {
        "job-name": plain(plan.name, "name"),
        "partition": plan.partition,
        "account": site.account,
        "qos": site.qos,
        "constraint": site.constraint,
        "nodes": str(plan.nodes),
        "ntasks-per-node": str(plan.tasks_per_node if plan.spread else 1),
        "cpus-per-task": str(plan.cpus_per_task * (1 if plan.spread else plan.tasks_per_node)),
        "time": f"{plan.walltime_min // 60}:{plan.walltime_min % 60:02d}:00",
        # To the ranks; where the script itself becomes the one process, to that.
        "signal": f"{'' if plan.inside else 'B:'}USR2@{plan.signal_lead_s}",
        "requeue": None,
        "open-mode": "append",
        "chdir": path(str(plan.directory), "the current folder"),
        "output": f"{log}.out",
        "error": f"{log}.err",
    }
    lines = head(plan)
    for key, value in options.items():
        if value is None:
            lines.append(f"#SBATCH --{key}")
        elif value:
            lines.append(f"#SBATCH --{key}={value}")
    if gpu_option(plan):
        lines.append(f"#SBATCH {gpu_option(plan)}")
    if plan.array:
        bound = f"%{plan.parallel}" if plan.parallel else ""
        lines.append(f"#SBATCH --array=0-{plan.array - 1}{bound}")
    if plan.dependencies:
        ids = ":".join(plain(i, "--after") for i in plan.dependencies)
        lines += [f"#SBATCH --dependency=afterok:{ids}", "#SBATCH --kill-on-invalid-dep=yes"]
    lines += [f"#SBATCH {option}" for option in site.options]
    lines += [*preparation(plan), ""]
    if plan.inside:
        lines.append(f"{command(_srun(plan))} \\\n  {command(plan.worker)}")
    else:
        lines.append(f"exec {command(plan.worker)}")
    return text(lines)


def _srun(plan: StepPlan) -> list[str]:
    """srun does not take over --cpus-per-task from sbatch (since Slurm 22.05)."""
    return [
        "srun",
        f"--nodes={plan.nodes}",
        f"--ntasks={plan.tasks}",
        f"--ntasks-per-node={plan.tasks_per_node}",
        f"--cpus-per-task={plan.cpus_per_task}",
        "--unbuffered",
        *plan.site.launcher.arguments,
    ]
