"""``hpc-gw evaluate``, ``overlap`` and ``report``, thin: what comes after the training."""

from __future__ import annotations

import argparse
from pathlib import Path

from hpc_gw.cli_data import Arguments, Verbs, alone, engine_config, engine_options


def evaluation_verbs(verbs: Verbs) -> None:
    """Add ``overlap`` and ``report`` to the command."""
    text = "overlap the waveforms of predictions and truths (mpiexec and torchrun too)"
    overlap = verbs.add_parser("overlap", help=text, description=text)
    overlap.add_argument("predictions", type=Path, help="predictions.h5")
    overlap.add_argument("-o", "--output", type=Path, default=Path("results.h5"))
    overlap.add_argument(
        "--refine", action="store_true", help="also fit each waveform from the answer on"
    )
    overlap.add_argument(
        "--valleys", action="store_true", help="also how far each answer can move unseen"
    )
    overlap.add_argument(
        "--noise",
        default="flat",
        metavar="CURVE",
        help="of a detector: aligo, or a file of f/Hz and ASD; default: flat, as in the paper",
    )
    overlap.add_argument("--total-mass", type=float, metavar="MSUN", help="with --noise (60)")
    overlap.add_argument("--f-low", type=float, metavar="HZ", help="with --noise (20)")
    engine_options(overlap)
    overlap.set_defaults(run=_overlap)
    text = "tables, figures and pages of results"
    report = verbs.add_parser("report", help=text, description=text)
    report.add_argument("results", type=Path, help="results.h5")
    report.add_argument("-o", "--output", type=Path, default=Path("report"))
    report.add_argument("--log", type=Path, help="train.jsonl, for the learning curve")
    report.add_argument(
        "--compare", type=Path, metavar="FILE", help="JSON of hpc-gw compare, for its figure"
    )
    report.add_argument(
        "--scaling", type=Path, metavar="FILE", help="JSON of hpc-gw scaling run, for figure 7"
    )
    report.add_argument(
        "--quick", action="store_true", help="without the figures that need many waveforms"
    )
    engine_options(report)
    report.set_defaults(run=_report)


def _overlap(arguments: Arguments) -> None:
    from hpc_gw import assess  # noqa: PLC0415
    from hpc_gw.config import build  # noqa: PLC0415
    from hpc_gw.distributed import any_world  # noqa: PLC0415
    from hpc_gw.errors import ConfigError  # noqa: PLC0415
    from hpc_gw.job import EvaluationConfig  # noqa: PLC0415

    given = {"total_mass": arguments.total_mass, "f_low": arguments.f_low}
    noise = {key: value for key, value in given.items() if value is not None}
    if noise and arguments.noise == "flat":
        raise ConfigError("--total-mass and --f-low: are of a detector's noise; give --noise too")
    values = {
        "noise": {"curve": arguments.noise, **noise},
        "refine": arguments.refine,
        "valleys": arguments.valleys,
    }
    more = build(EvaluationConfig, values, where="hpc-gw overlap")
    with any_world() as world:
        assess.overlap(
            arguments.predictions, arguments.output, engine_config(arguments), world, more=more
        )
        if world.rank == 0:
            print(f"results: {arguments.output}")


def _report(arguments: argparse.Namespace) -> None:
    alone(arguments)
    from hpc_gw import assess  # noqa: PLC0415
    from hpc_gw.evaluation.tables import to_text  # noqa: PLC0415
    from hpc_gw.generalisation import read_overlaps  # noqa: PLC0415
    from hpc_gw.scaling.points import speed_ups  # noqa: PLC0415

    summary = assess.report(
        arguments.results,
        arguments.output,
        engine_config(arguments),
        arguments.log,
        engines=read_overlaps(arguments.compare) if arguments.compare else None,
        scaling=speed_ups(arguments.scaling) if arguments.scaling else None,
        quick=arguments.quick,
    )
    print(to_text(summary))
    print(f"report: {arguments.output / 'report.html'}")
