"""The script that is started on this machine, where there is no scheduler."""

from __future__ import annotations

import shlex

from hpc_gw.errors import ConfigError
from hpc_gw.launch.plans import StepPlan
from hpc_gw.launch.quoting import command, quote
from hpc_gw.launch.script_parts import head, preparation, text


def render_local(plan: StepPlan) -> str:
    """The whole text: it waits for the jobs before it, and becomes submitit's local controller.

    Raises:
        ConfigError: a folder that submitit would take for a pattern.
    """
    if "%" in str(plan.folder):
        raise ConfigError(
            f"{plan.folder}: submitit reads % as a number of the job; choose a folder without it"
        )
    variables = {
        "SUBMITIT_LOCAL_NTASKS": "1",
        "SUBMITIT_LOCAL_JOB_NUM_NODES": "1",
        "SUBMITIT_LOCAL_NODEID": "0",
        "SUBMITIT_LOCAL_COMMAND": shlex.join(plan.worker),
        "SUBMITIT_LOCAL_TIMEOUT_S": str(60 * plan.walltime_min),
        "SUBMITIT_LOCAL_SIGNAL_DELAY_S": str(plan.signal_lead_s),
        "SUBMITIT_STDERR_TO_STDOUT": "",
        "SUBMITIT_LOCAL_WITH_SHELL": "",
    }
    lines = [*head(plan), f"cd {quote(str(plan.directory))} || exit", *preparation(plan)]
    lines += [f"export {key}={quote(value)}" for key, value in variables.items()]
    lines.append("")
    if plan.dependencies:
        ids = [f"{plan.site.name}:{number}" for number in plan.dependencies]
        waiting = (*plan.python, "-m", "hpc_gw", "jobs", "wait", "--quiet", *ids)
        lines.append(f"{command(waiting)} || exit")
    controller = (*plan.python, "-m", "submitit.local._local", str(plan.folder))
    return text([*lines, f"exec {command(controller)}"])
