"""``hpc-gw runs``, thin: what trainings there are, and how they stand."""

from __future__ import annotations

import argparse
from pathlib import Path

from hpc_gw.cli_data import Arguments, Verbs, alone
from hpc_gw.errors import DataError


def runs_verb(verbs: Verbs) -> None:
    """Add ``runs`` with its actions to the command."""
    runs = verbs.add_parser("runs", help="list trainings and their state")
    actions = runs.add_subparsers(required=True, metavar="ACTION", dest="action")
    ls = actions.add_parser("ls", help="the trainings in and below folders")
    ls.add_argument("folders", nargs="*", type=Path, default=[Path("runs")], metavar="FOLDER")
    show = actions.add_parser("show", help="one training in more words")
    show.add_argument("folder", type=Path, metavar="FOLDER")
    for action, run in ((ls, _ls), (show, _show)):
        action.add_argument("--json", action="store_true", help="for programs")
        action.set_defaults(run=run)


def _ls(arguments: argparse.Namespace) -> None:
    alone(arguments)
    from hpc_gw.training.runs import find_runs, read_run, table, to_json  # noqa: PLC0415

    for folder in arguments.folders:
        if not folder.is_dir():
            raise DataError(f"{folder}: no such folder; name one that holds trainings")
    runs, broken = [], []
    for folder in find_runs(arguments.folders):
        try:
            runs.append(read_run(folder))
        except DataError as error:
            broken.append(str(error))
    print(to_json(runs) if arguments.json else table(runs))
    if broken:
        raise DataError(f"{len(broken)} of {len(runs) + len(broken)} cannot be read: {broken[0]}")


def _show(arguments: Arguments) -> None:
    alone(arguments)
    from hpc_gw.training.runs import describe, read_run, to_json  # noqa: PLC0415

    run = read_run(arguments.folder)
    print(to_json([run]) if arguments.json else describe(run))
