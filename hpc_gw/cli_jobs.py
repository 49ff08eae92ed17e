"""``hpc-gw jobs``, thin: what was submitted, and what became of it."""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import TYPE_CHECKING

from hpc_gw.cli_data import Arguments, Verbs
from hpc_gw.errors import ConfigError, DataError

if TYPE_CHECKING:
    from pathlib import Path

    from hpc_gw.launch.registry import Record
    from hpc_gw.launch.states import Status


def jobs_verb(verbs: Verbs) -> None:
    """Add ``jobs`` with its actions to the command."""
    jobs = verbs.add_parser("jobs", help="what was submitted, and what became of it")
    actions = jobs.add_subparsers(required=True, metavar="ACTION", dest="action")
    ls = _action(actions, "ls", _ls, "the newest submitted jobs, and how they stand")
    ls.add_argument("-n", "--number", type=int, default=20, metavar="N", help="of them; 20")
    ls.add_argument("--json", action="store_true", help="a list of objects")
    show = _action(actions, "show", _show, "a job in more words, and why it failed")
    _ids(show, "+")
    show.add_argument("--json", action="store_true", help="a list of objects")
    logs = _action(actions, "logs", _logs, "what a job printed")
    _ids(logs, "+")
    logs.add_argument("-n", "--lines", type=int, default=50, metavar="N", help="the last N; 50")
    logs.add_argument("-f", "--follow", action="store_true", help="go on until the job ends")
    _ids(
        _action(actions, "cancel", _cancel, "cancel jobs, and those that wait for them"),
        "+",
    )
    wait = _action(actions, "wait", _wait, "wait until jobs have ended; 0 if they all succeeded")
    _ids(wait, "*")
    wait.add_argument("--timeout", type=float, metavar="S", help="at most so many seconds")
    wait.add_argument("--quiet", action="store_true", help="do not tell of changes")


def _action(
    actions: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    run: object,
    text: str,
) -> argparse.ArgumentParser:
    action = actions.add_parser(name, help=text, description=text)
    action.set_defaults(run=run)
    return action


def _ids(action: argparse.ArgumentParser, count: str) -> None:
    action.add_argument("ids", nargs=count, metavar="ID", help="123, 123_4, or SITE:123")


def _ls(arguments: Arguments) -> None:
    from hpc_gw.launch.registry import folder, records  # noqa: PLC0415
    from hpc_gw.launch.states import statuses  # noqa: PLC0415

    found, broken = records()
    chosen = found[-arguments.number :] if arguments.number > 0 else found
    told = statuses(chosen)
    if arguments.json:
        print(json.dumps([_as_dict(job, status) for job, status in told.items()], indent=1))
    elif not told:
        print(f"no jobs in {folder()}; submit some with hpc-gw submit")
    for job, status in () if arguments.json else told.items():
        starts = f", start {status.attempt + 1}" if status.attempt else ""
        size = f"{job.nodes}x{job.tasks_per_node}"
        print(
            f"{job.id:>9}  {job.site:<11} {job.step:<9} {size:<8} {status.state + starts:<20} "
            f"{status.nodes:<12} {job.submitted[:16].replace('T', ' ')}  {job.output}"
        )
    for line in broken:
        print(f"hpc-gw: {line}", file=sys.stderr)


def _as_dict(job: Record, status: Status) -> dict[str, object]:
    import dataclasses  # noqa: PLC0415

    return {**job.as_dict(), **dataclasses.asdict(status)}


def _show(arguments: Arguments) -> None:
    from hpc_gw.launch.registry import find  # noqa: PLC0415
    from hpc_gw.launch.states import statuses  # noqa: PLC0415

    told = statuses(find(arguments.ids))
    if arguments.json:
        print(json.dumps([_as_dict(job, status) for job, status in told.items()], indent=1))
        return
    print("\n\n".join(_describe(job, status) for job, status in told.items()))


def _describe(job: Record, status: Status) -> str:
    """A job in some lines, with its error."""
    from hpc_gw.launch.quoting import command  # noqa: PLC0415
    from hpc_gw.launch.states import elements  # noqa: PLC0415

    code = f", exit code {status.code}" if status.code is not None else ""
    reason = f" ({status.reason})" if status.reason else ""
    lines = [
        f"job {job.id} on {job.site}: {job.step}, {status.state}{code}{reason}",
        f"  started     {status.attempt + 1} times, at most {job.requeues + 1}",
        f"  size        {job.nodes} nodes x {job.tasks_per_node} ranks, {job.walltime_min} min",
        f"  submitted   {job.submitted}" + (f", cancelled {job.cancelled}" * bool(job.cancelled)),
        f"  output      {job.output}",
        f"  script      {job.script}",
        *(f"  command     hpc-gw {command(words)}" for words in job.commands[:5]),
    ]
    if status.nodes:
        lines.append(f"  nodes       {status.nodes}")
    if job.dependencies:
        lines.append(f"  after       {' '.join(job.dependencies)}")
    lines += [f"  log         {path}" for pair in job.logs for path in pair if path.exists()]
    if len(job.elements) > 1:
        each = zip(job.elements, elements(job), strict=True)
        lines += [f"  element     {name}: {one.state}" for name, one in each]
    return "\n".join([*lines, *(f"  error       {line}" for line in _errors(job, status))])


def _errors(job: Record, status: Status) -> list[str]:
    """What a failed job said last: our own lines, else the end of its log."""
    from hpc_gw.launch.control import messages, tail  # noqa: PLC0415

    if status.state in ("COMPLETED", "RUNNING", "PENDING"):
        return []
    own = list(dict.fromkeys(messages(job)))
    return own[-5:] or [line for _, errors in job.logs for line in tail(errors, 10)][-10:]


def _logs(arguments: Arguments) -> None:
    from hpc_gw.launch.control import tail  # noqa: PLC0415
    from hpc_gw.launch.registry import find  # noqa: PLC0415

    found = find(arguments.ids)
    # 123_4 asks for one element's, 123 for those of all.
    wanted = {i for i in arguments.ids if "_" in i}
    paths = [
        path
        for job in found
        for element, pair in zip(job.elements, job.logs, strict=True)
        if not any(i.split("_")[0].endswith(job.id) for i in wanted)
        or any(i.endswith(element) for i in wanted)
        for path in pair
    ]
    there = [path for path in paths if path.exists()]
    for path in there:
        print(f"==> {path}")
        print("\n".join(tail(path, max(arguments.lines, 0)) if arguments.lines > 0 else []))
    if arguments.follow:
        _follow(found, paths, {path: path.stat().st_size for path in there})
    elif not there:
        raise DataError(f"{paths[0]}: no log yet; the job has not begun, or see hpc-gw jobs show")


def _follow(jobs: list[Record], paths: list[Path], done: dict[Path, int]) -> None:
    """Print what is added to the logs until the jobs have ended."""
    from hpc_gw.launch.states import ENDED, statuses  # noqa: PLC0415

    asked, ended = 0.0, False
    while True:
        for path in paths:
            if path.exists() and path.stat().st_size > done.get(path, 0):
                with path.open("rb") as stream:
                    stream.seek(done.get(path, 0))
                    added = stream.read()
                done[path] = done.get(path, 0) + len(added)
                print(added.decode(errors="replace"), end="", flush=True)
        if ended:
            return
        if time.monotonic() - asked > 5:
            ended = all(status.state in ENDED for status in statuses(jobs).values())
            asked = time.monotonic()
        time.sleep(0.5)


def _cancel(arguments: Arguments) -> None:
    from hpc_gw.launch.control import cancel  # noqa: PLC0415
    from hpc_gw.launch.registry import find  # noqa: PLC0415

    for job_id in arguments.ids:
        if "_" in job_id:
            raise ConfigError(
                f"{job_id}: an array is cancelled as a whole; give {job_id.partition('_')[0]}, or "
                f"end the element with the scheduler's own command"
            )
    cancelled = cancel(find(arguments.ids))
    for job in cancelled:
        print(f"{job.step} {job.id} on {job.site}: cancelled")
    if not cancelled:
        print("nothing to cancel: they have ended")


def _wait(arguments: Arguments) -> None:
    from hpc_gw.launch.control import wait  # noqa: PLC0415
    from hpc_gw.launch.registry import find, records  # noqa: PLC0415
    from hpc_gw.launch.states import ENDED, statuses  # noqa: PLC0415

    if arguments.ids:
        jobs = find(arguments.ids)
    else:
        told = statuses(records()[0]).items()
        jobs = [job for job, status in told if status.state not in (*ENDED, "UNKNOWN")]

    def tell(job: Record, status: Status) -> None:
        print(f"{job.step} {job.id} on {job.site}: {status.state}", flush=True)

    wait(jobs, timeout_s=arguments.timeout, show=None if arguments.quiet else tell)
