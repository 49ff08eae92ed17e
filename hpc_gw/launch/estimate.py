"""What a plan costs: node hours, money, energy, and how far its time will reach."""

from __future__ import annotations

from collections.abc import Sequence

from hpc_gw.errors import DataError
from hpc_gw.job import JobConfig
from hpc_gw.launch.plans import StepPlan
from hpc_gw.launch.sites import Site
from hpc_gw.training.runs import read_run


def cost_lines(plans: Sequence[StepPlan]) -> list[str]:
    """A line for each step, and one for the whole; the time asked for is taken as used in full."""
    lines = []
    for plan in plans:
        each = f"{len(plan.commands)} elements x " if plan.array else ""
        gpus = f", {plan.nodes * plan.gpus_per_node} GPUs" if plan.gpus_per_node else ""
        lines.append(
            f"{plan.step}: {each}{plan.nodes} nodes x {plan.tasks_per_node} ranks{gpus}, at most "
            f"{plan.walltime_min} min: {plan.node_hours:,.2f} node hours{_price(plan)}"
        )
    hours = sum(plan.node_hours for plan in plans)
    site = plans[0].site
    lines.append(f"together at most {hours:,.2f} node hours{_price_of(site, hours)}")
    if requeues := max(plan.requeues for plan in plans):
        lines.append(
            f"a job that needs more time than that is queued again up to {requeues} times, each "
            f"time for as much again"
        )
    return lines


def _price(plan: StepPlan) -> str:
    return _price_of(plan.site, plan.node_hours)


def _price_of(site: Site, hours: float) -> str:
    price, power = site.price, site.power_kw
    money = f", {hours * price:,.2f} {site.currency}" if price is not None else ""
    energy = f", {hours * power:,.2f} kWh" if power is not None else ""
    return money + energy


def training_samples(job: JobConfig) -> int:
    """Waveforms that a whole training uses at most."""
    train = job.train
    whole = job.sets.train.size // train.batch
    return (min(whole, train.steps) if train.steps else whole) * train.batch * train.epochs


def training_line(job: JobConfig, plan: StepPlan) -> str:
    """How long the training will take, by the rate that a run in the job's folder had."""
    samples = training_samples(job)
    try:
        run = read_run(job.folder)
    except DataError:
        run = None
    if run is None or not run.samples_per_s:
        return (
            f"training: {samples:,} samples; {job.folder} holds no run to take a rate from, so "
            f"nothing is said of its time"
        )
    ranks = int(run.about.get("ranks", 1))
    rate = run.samples_per_s / ranks * plan.tasks
    left = samples * (1 - run.step / run.total) if run.total else samples
    minutes = left / rate / 60
    starts = minutes / plan.walltime_min
    return (
        f"training: {left:,.0f} of {samples:,} samples are left; measured {run.samples_per_s:,.0f} "
        f"samples/s on {ranks} ranks, and if each of {plan.tasks} ranks is as fast, "
        f"{minutes:,.1f} min, {max(1, -(-starts // 1)):.0f} starts of {plan.walltime_min} min"
    )
