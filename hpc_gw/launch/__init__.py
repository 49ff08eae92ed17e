"""Jobs on batch systems: site profiles, batch scripts, submission, and what became of it.

    site = load_site("hal")                    # sites.py: WHERE, a short YAML file
    plan = StepPlan(...)                       # plans.py: WHAT, on how many nodes, how long
    text = render(plan)                        # scripts.py: the batch script, a pure function
    record = submit(plan)                      # submission.py: through submitit; in the registry
    status(record)                             # states.py: with or without accounting

``StepPlan`` holds its site. On the node submitit starts a ``Step`` (step.py) in each task, which
runs ``hpc_gw.cli.main`` there. submitit is known to this room only, and is imported when something
is submitted: sites and scripts need no scheduler, and but for LSF no submitit.

For plugins of submitit: ``render_lsf(plan)`` is the text that ``bsub`` reads.
"""

from hpc_gw.launch.plans import STEPS, StepPlan
from hpc_gw.launch.render_lsf import render_lsf
from hpc_gw.launch.render_slurm import render_slurm
from hpc_gw.launch.scripts import render
from hpc_gw.launch.sites import Site, load_site, site_names

__all__ = [
    "STEPS",
    "Site",
    "StepPlan",
    "load_site",
    "render",
    "render_lsf",
    "render_slurm",
    "site_names",
]
