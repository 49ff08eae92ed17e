"""The command ``hpc-gw``: thin, one function for each verb."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from hpc_gw import __version__
from hpc_gw.allocator import keep_freed_memory
from hpc_gw.cli_compare import compare_verb
from hpc_gw.cli_data import Arguments, Verbs, alone, data_verb, engine_config, engine_options
from hpc_gw.cli_evaluate import evaluation_verbs
from hpc_gw.cli_jobs import jobs_verb
from hpc_gw.cli_predict import predict_verb
from hpc_gw.cli_runs import runs_verb
from hpc_gw.cli_scaling import scaling_verb
from hpc_gw.cli_stress import stress_verb
from hpc_gw.cli_submit import submit_verb
from hpc_gw.errors import ConfigError, HpcGwError

_PRINTING = ("runs", "jobs", "report", "surrogate", "waveform")
"""Verbs whose output may be cut short (``| head``) without anything being left undone."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0, 2 for bad input, 75 for 'start again'."""
    arguments = _parser().parse_args(argv)
    keep_freed_memory()
    try:
        arguments.run(arguments)
    except HpcGwError as error:
        from hpc_gw.distributed import abort_ranks  # noqa: PLC0415

        if str(error):  # empty where another rank says it
            print(f"{_who()}: {error}", file=sys.stderr, flush=True)
        abort_ranks(error.exit_code)
        return error.exit_code
    except KeyboardInterrupt:
        from hpc_gw.distributed import abort_ranks  # noqa: PLC0415

        print("hpc-gw: interrupted; the same command goes on where it can", file=sys.stderr)
        abort_ranks(130)
        return 130
    except BrokenPipeError:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        if arguments.verb in _PRINTING:  # whoever read has seen enough
            return 0
        from hpc_gw.distributed import abort_ranks  # noqa: PLC0415

        abort_ranks(1)
        return 1
    except Exception:
        # A defect of ours, not bad input: show where, and do not leave other ranks waiting.
        from hpc_gw.distributed import abort_ranks  # noqa: PLC0415

        traceback.print_exc()
        abort_ranks(1)
        return 1
    return 0


def command() -> NoReturn:
    """The entry point of ``hpc-gw``: run one command and end the process."""
    code = main()
    if "torch" in sys.modules:
        from hpc_gw.distributed import leave  # noqa: PLC0415

        leave(code)
    sys.exit(code)


def _who() -> str:
    """``hpc-gw``, with the rank where there are several."""
    from hpc_gw.distributed import detect_launch  # noqa: PLC0415

    try:
        launch = detect_launch()
    except HpcGwError:  # the launcher's variables are what is wrong
        return "hpc-gw"
    return f"hpc-gw (rank {launch.rank} of {launch.size})" if launch.size > 1 else "hpc-gw"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="hpc-gw", description="Learn dense waveform manifolds: generate, train, evaluate."
    )
    parser.add_argument("--version", action="version", version=f"hpc-gw {__version__}")
    verbs = parser.add_subparsers(required=True, metavar="COMMAND", dest="verb")
    run = _job_verb(verbs, "run", _run, "a whole job: generate, train, predict, overlap, report")
    _dry_run(run)
    generate = _job_verb(verbs, "generate", _generate, "write the sets of waveforms (mpiexec too)")
    generate.add_argument(
        "--sets",
        nargs="+",
        metavar="SET",
        help="train, validation, test; default: what the job needs",
    )
    _dry_run(generate)
    train = _job_verb(verbs, "train", _train, "train the network (torchrun too)")
    _dry_run(train)
    _job_verb(verbs, "evaluate", _evaluate, "predict and overlap a job's test set (mpiexec too)")
    predict_verb(verbs)
    evaluation_verbs(verbs)
    data_verb(verbs)
    runs_verb(verbs)
    compare_verb(verbs)
    stress_verb(verbs)
    submit_verb(verbs)
    jobs_verb(verbs)
    scaling_verb(verbs)
    _waveform_verb(verbs)
    _surrogate_verb(verbs)
    return parser


def _job_verb(verbs: Verbs, name: str, run: object, text: str) -> argparse.ArgumentParser:
    verb = verbs.add_parser(name, help=text, description=text)
    verb.add_argument("config", type=Path, help="the job's YAML file")
    verb.add_argument("--output", metavar="FOLDER", help="instead of the job's own output folder")
    verb.add_argument(
        "--set",
        dest="assignments",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change a key of the job, for instance train.epochs=3; may be repeated",
    )
    verb.set_defaults(run=run)
    return verb


def _dry_run(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--dry-run", action="store_true", help="say what would be done and what it costs, and stop"
    )


def _waveform_verb(verbs: Verbs) -> None:
    waveform = verbs.add_parser("waveform", help="one waveform: numbers, a file, a plot")
    waveform.add_argument("-q", "--mass-ratio", type=float, required=True, help="m1/m2 >= 1")
    waveform.add_argument(
        "--s1z", type=float, default=0.0, help="spin of the heavier body (--s1z=-0.2)"
    )
    waveform.add_argument(
        "--s2z", type=float, default=0.0, help="spin of the lighter body (--s2z=-0.2)"
    )
    waveform.add_argument("--output", type=Path, help="write t/M, Re h22, Im h22 as text columns")
    waveform.add_argument("--plot", type=Path, help="draw it: .png or .pdf")
    engine_options(waveform)
    waveform.set_defaults(run=_waveform)


def _surrogate_verb(verbs: Verbs) -> None:
    surrogate = verbs.add_parser("surrogate", help="show, build or fetch a surrogate file")
    actions = surrogate.add_subparsers(required=True, metavar="ACTION")
    show = actions.add_parser("show", help="what a surrogate file holds")
    show.add_argument("file", nargs="?", help="default: $HPC_GW_SURROGATE, else the embedded one")
    show.set_defaults(run=_surrogate_show)
    pull = actions.add_parser("pull", help="fetch the genuine NRHybSur3dq8.h5, 213 MB")
    pull.add_argument("-o", "--output", type=Path, default=Path(), metavar="FOLDER")
    pull.set_defaults(run=_surrogate_pull)
    build = actions.add_parser("build", help="train a surrogate on SEOBNRv5HM (extra: nr)")
    build.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER")
    for option, default, text in (
        ("--points", 512, "training waveforms"),
        ("--held-out", 400, "waveforms to judge it by"),
        ("--phase-nodes", 12, "empirical nodes of the phase"),
        ("--amplitude-nodes", 12, "empirical nodes of the amplitude"),
        ("--seed", 2020, "of the training and held-out points"),
        ("--workers", 2, "processes"),
    ):
        build.add_argument(option, type=int, default=default, help=f"{text} ({default})")
    build.set_defaults(run=_surrogate_build)


def _job(arguments: Arguments):  # type: ignore[no-untyped-def]
    from hpc_gw.job import load_job  # noqa: PLC0415

    job = load_job(arguments.config, arguments.assignments)
    return job.with_output(arguments.output) if arguments.output else job


def _planned(arguments: Arguments) -> bool:
    """Print the plan and its cost where a dry run is asked for."""
    if arguments.dry_run:
        from hpc_gw.plan import describe  # noqa: PLC0415

        print(describe(_job(arguments)))
    return bool(arguments.dry_run)


def _run(arguments: Arguments) -> None:
    if not _planned(arguments):
        from hpc_gw.pipeline import run_job  # noqa: PLC0415

        options = [item for text in arguments.assignments for item in ("--set", text)]
        if arguments.output:
            options += ["--output", arguments.output]
        run_job(_job(arguments), [str(arguments.config), *options])


def _generate(arguments: Arguments) -> None:
    if _planned(arguments):
        return
    from hpc_gw import stages  # noqa: PLC0415
    from hpc_gw.job import SETS  # noqa: PLC0415

    job = _job(arguments)
    names = tuple(arguments.sets or stages.needed_sets(job))
    for name in names:
        if name not in SETS:
            raise ConfigError(f"--sets {name}: choose from {', '.join(SETS)}")
    stages.generate_sets(job, names)


def _train(arguments: Arguments) -> None:
    if not _planned(arguments):
        from hpc_gw import stages  # noqa: PLC0415

        stages.train(_job(arguments))


def _evaluate(arguments: Arguments) -> None:
    from hpc_gw import assess  # noqa: PLC0415
    from hpc_gw.distributed import any_world  # noqa: PLC0415

    job = _job(arguments)
    with any_world() as world:
        assess.evaluate(job, world)
        if world.rank == 0:
            print(f"results: {job.folder / assess.RESULTS}; go on with hpc-gw report")


def _waveform(arguments: Arguments) -> None:
    alone(arguments)
    from hpc_gw.show import show_waveform  # noqa: PLC0415

    point = (arguments.mass_ratio, arguments.s1z, arguments.s2z)
    print(show_waveform(engine_config(arguments), point, arguments.output, arguments.plot))


def _surrogate_show(arguments: Arguments) -> None:
    from hpc_gw.show import show_surrogate  # noqa: PLC0415

    print(show_surrogate(arguments.file))


def _surrogate_pull(arguments: Arguments) -> None:
    from hpc_gw.waveforms.engines import ENVIRONMENT, pull_surrogate  # noqa: PLC0415

    path = pull_surrogate(arguments.output)
    print(f"{path}: use it with --surrogate, engine.file in a job, or {ENVIRONMENT}")


def _surrogate_build(arguments: Arguments) -> None:
    from hpc_gw.show import show_surrogate  # noqa: PLC0415
    from hpc_gw.waveforms.builder.build import NAME, build_surrogate  # noqa: PLC0415

    build_surrogate(
        arguments.output,
        points=arguments.points,
        held_out=arguments.held_out,
        phase_nodes=arguments.phase_nodes,
        amplitude_nodes=arguments.amplitude_nodes,
        seed=arguments.seed,
        workers=arguments.workers,
    )
    print(show_surrogate(str(arguments.output / f"{NAME}.h5")))
