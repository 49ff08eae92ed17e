"""Batch scripts: one text for each step and scheduler, a pure function of its plan."""

from __future__ import annotations

from hpc_gw.launch.plans import StepPlan
from hpc_gw.launch.render_local import render_local
from hpc_gw.launch.render_lsf import render_lsf
from hpc_gw.launch.render_slurm import render_slurm

_RENDER = {"slurm": render_slurm, "lsf": render_lsf, "local": render_local}


def render(plan: StepPlan) -> str:
    """The script that the site's scheduler is given.

    Raises:
        ConfigError: something that the scheduler's directives cannot express.
    """
    return _RENDER[plan.site.scheduler](plan)
