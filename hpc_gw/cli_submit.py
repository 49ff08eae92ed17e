"""``hpc-gw submit``, thin: steps of a job to a batch system."""

from __future__ import annotations

import argparse
import json
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from hpc_gw.cli_data import Arguments, Verbs
from hpc_gw.errors import ConfigError

if TYPE_CHECKING:
    from hpc_gw.launch.compose import Request
    from hpc_gw.launch.plans import StepPlan

_STEPS = ("generate", "train", "evaluate", "report", "scaling", "pipeline")


def submit_verb(verbs: Verbs) -> None:
    """Add ``submit`` to the command."""
    text = "submit a step of a job, or its pipeline, to Slurm, LSF or this machine"
    submit = verbs.add_parser("submit", help=text, description=text)
    submit.add_argument("step", choices=_STEPS, metavar="STEP", help=", ".join(_STEPS))
    submit.add_argument(
        "--site", required=True, help="name of a profile (slurm/sites), or the path of one"
    )
    submit.add_argument(
        "--config", type=Path, required=True, metavar="JOB.yaml", help="the job's YAML file"
    )
    for option, metavar, text in (
        ("--nodes", "N", "nodes; of a pipeline also train=8,generate=2"),
        ("--time", "MIN", "minutes; of a pipeline also train=600,generate=60"),
        ("--tasks-per-node", "N", "ranks on each node; also train=4,generate=32"),
    ):
        submit.add_argument(option, metavar=metavar, help=text)
    submit.add_argument("--output", metavar="FOLDER", help="instead of the job's own output folder")
    _repeated(submit, "--set", "assignments", "KEY=VALUE", "change a key of the job")
    _repeated(submit, "--site-set", "site_assignments", "KEY=VALUE", "change a key of the site")
    _repeated(submit, "--after", "after", "ID", "begin when this job has succeeded")
    _repeated(
        submit,
        "--sweep",
        "sweep",
        "KEY=A,B",
        "with train: one training for each value, in folders of their own, as a job array",
    )
    submit.add_argument(
        "--parallel", type=int, default=0, metavar="N", help="of a sweep, at the same time; all"
    )
    submit.add_argument(
        "--requeues", type=int, metavar="N", help="times that it is queued again at most"
    )
    submit.add_argument("--json", action="store_true", help="the jobs' records, for programs")
    submit.add_argument(
        "--dry-run", action="store_true", help="print plan, cost and scripts, and stop"
    )
    submit.set_defaults(run=_submit)


def _repeated(verb: argparse.ArgumentParser, option: str, dest: str, name: str, text: str) -> None:
    verb.add_argument(
        option,
        dest=dest,
        action="append",
        default=[],
        metavar=name,
        help=f"{text}; may be repeated",
    )


def _submit(arguments: Arguments) -> None:
    from hpc_gw.job import load_job  # noqa: PLC0415
    from hpc_gw.launch.compose import plan_job, share_data, sweep  # noqa: PLC0415
    from hpc_gw.launch.plans import PIPELINE  # noqa: PLC0415
    from hpc_gw.launch.sites import load_site  # noqa: PLC0415
    from hpc_gw.plan import check, describe  # noqa: PLC0415

    site = load_site(arguments.site, arguments.site_assignments)
    job = load_job(arguments.config, arguments.assignments)
    job = job.with_output(arguments.output) if arguments.output else job
    if arguments.sweep and arguments.step != "train":
        raise ConfigError("--sweep varies trainings: use it with hpc-gw submit train")
    check(job)
    variants = sweep(job, arguments.sweep) if arguments.sweep else []
    plans = plan_job(
        job,
        PIPELINE if arguments.step == "pipeline" else (arguments.step,),
        site,
        _request(arguments),
        stamp=datetime.now(timezone.utc).strftime("%Y%m%d-%H%M%S-%f"),
        directory=Path.cwd(),
        variants=variants,
    )
    if arguments.dry_run:
        print(describe(job))
        _show(plans, job)
        return
    from hpc_gw.launch.submission import submit_chain  # noqa: PLC0415

    share_data(job, variants)
    records = submit_chain(plans)
    if arguments.json:
        print(json.dumps([record.as_dict() for record in records], indent=1))
        return
    for record in records:
        after = f", after {' '.join(record.dependencies)}" if record.dependencies else ""
        print(f"{record.step}: job {record.id} on {record.site}{after}")
    print(f"see hpc-gw jobs ls, and hpc-gw jobs show | logs | cancel | wait {records[-1].id}")


def _request(arguments: Arguments) -> Request:
    from hpc_gw.launch.compose import Request  # noqa: PLC0415

    for option, value in (("--requeues", arguments.requeues), ("--parallel", arguments.parallel)):
        if value is not None and value < 0:
            raise ConfigError(f"{option} {value}: must be 0 or more")
    return Request(
        nodes=_by_step("--nodes", arguments.nodes),
        tasks_per_node=_by_step("--tasks-per-node", arguments.tasks_per_node),
        walltime_min=_by_step("--time", arguments.time),
        requeues=arguments.requeues,
        dependencies=tuple(arguments.after),
        parallel=arguments.parallel,
    )


def _by_step(option: str, text: str | None) -> dict[str, int]:
    """``8`` for every step, or ``train=8,generate=2``."""
    found: dict[str, int] = {}
    for part in text.split(",") if text else ():
        step, separator, number = part.rpartition("=")
        if not number.isdecimal() or int(number) < 1 or (separator and step not in _STEPS[:-1]):
            raise ConfigError(
                f"{option} {text}: write a number of 1 or more, or one for some steps, such as "
                f"train=8,generate=2"
            )
        found |= {name: int(number) for name in ([step] if step else _STEPS)}
    return found


def _show(plans: list[StepPlan], job: object) -> None:
    """Print what would be submitted, and what it costs."""
    from hpc_gw.launch.estimate import cost_lines, training_line  # noqa: PLC0415
    from hpc_gw.launch.plans import after  # noqa: PLC0415
    from hpc_gw.launch.scripts import render  # noqa: PLC0415

    site = plans[0].site
    print(f"site {site.name}: {' '.join(site.about.split())}")
    print("\n".join(cost_lines(plans)))
    for plan in plans:
        if plan.step == "train":
            print(training_line(job, plan))  # type: ignore[arg-type]
    before: tuple[str, ...] = ()
    for plan in plans:
        print(f"\n--- {plan.folder}: the script of {plan.step}\n")
        print(render(after(plan, (*plan.dependencies, *before))))
        before = (f"ID_OF_{plan.step.upper()}",)
