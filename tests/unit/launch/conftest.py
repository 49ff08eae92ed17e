"""Plans of every step on every site, with fixed paths: they do not depend on this machine."""

from dataclasses import replace
from pathlib import Path

import pytest

from hpc_gw.launch.plans import STEPS, plan_step
from hpc_gw.launch.sites import load_site, site_names

RUN = Path("/scratch/me/runs/paper")


def plan(site, step, *, nodes=None, **changes):
    """The step of a job in ``/scratch/me``, as a site would run it."""
    profile = replace(load_site(site), python="/opt/hpc_gw/bin/python")
    if nodes is None:
        nodes = 1 if step == "report" or profile.max_nodes == 1 else 2
    if profile.scheduler == "local":
        nodes = 1
    folder = RUN / "jobs" / f"20260102-030405-{step}"
    made = plan_step(
        step,
        profile,
        ((step, str(folder / "job.yaml")),),
        folder=folder,
        output=RUN,
        directory=Path("/scratch/me"),
        name=f"paper-{step}",
        ranks=2,
        nodes=nodes,
        dependencies=() if step in ("generate", "scaling") else ("4711",),
    )
    return replace(made, **changes)


@pytest.fixture(params=[(site, step) for site in site_names() for step in STEPS], ids="-".join)
def every_plan(request):
    """One plan for each site and step."""
    return plan(*request.param)
