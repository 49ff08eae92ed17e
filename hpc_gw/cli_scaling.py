"""``hpc-gw scaling``, thin: measure how a job scales, and forecast it for other machines."""

from __future__ import annotations

from pathlib import Path

from hpc_gw.cli_data import Arguments, Verbs, alone
from hpc_gw.errors import ConfigError

PLOTS = (".png", ".pdf")


def scaling_verb(verbs: Verbs) -> None:
    """Add ``scaling`` with its actions to the command."""
    scaling = verbs.add_parser("scaling", help="measure how a job scales, and forecast it")
    actions = scaling.add_subparsers(required=True, metavar="ACTION", dest="action")
    _run_action(actions)
    _forecast_action(actions)
    show = actions.add_parser("show", help="the table of a sweep")
    show.add_argument("file", type=Path, metavar="scaling.json")
    show.set_defaults(run=_show)


def _run_action(actions: Verbs) -> None:
    text = "run a job's steps on more and more ranks"
    run = actions.add_parser("run", help=text, description=text)
    run.add_argument("config", type=Path, metavar="JOB.yaml")
    run.add_argument("--what", nargs="+", default=["train"], metavar="STEP",
                     help="generate, train, evaluate; default: train")  # fmt: skip
    run.add_argument("--ranks", nargs="+", type=int, default=[1, 2], metavar="N",
                     help="numbers of processes (1 2)")  # fmt: skip
    run.add_argument("--kind", nargs="+", default=["weak"], metavar="KIND",
                     help="weak: as much for each rank; strong: for all (weak)")  # fmt: skip
    run.add_argument("--repeats", type=int, default=3, help="turns (3)")
    run.add_argument("--steps", type=int, default=64, help="of each training (64)")
    run.add_argument("--rows", type=int, default=1024,
                     help="waveforms of a rank, of generate and evaluate (1024)")  # fmt: skip
    run.add_argument("--threads", type=int, default=1, help="of each rank (1)")
    run.add_argument("--no-bind", action="store_true", help="do not keep each rank to one core")
    run.add_argument("--launcher", default="auto", choices=("auto", "local", "srun", "jsrun"),
                     help="auto: srun or jsrun in an allocation, else this machine")  # fmt: skip
    run.add_argument("--launcher-options", default="", metavar="WORDS",
                     help="for srun or jsrun, such as --launcher-options='--mpi=pmi2'")  # fmt: skip
    run.add_argument("--set", dest="assignments", action="append", default=[],
                     metavar="KEY=VALUE", help="change a key of the job")  # fmt: skip
    run.add_argument("-o", "--output", type=Path, default=Path("scaling.json"), metavar="FILE.json",
                     help="beside it: .md, .png and .pdf (scaling.json)")  # fmt: skip
    run.set_defaults(run=_run)


def _forecast_action(actions: Verbs) -> None:
    text = "predict step time, efficiency and time to train on a machine"
    forecast = actions.add_parser("forecast", help=text, description=text)
    forecast.add_argument("measured", nargs="?", type=Path, metavar="scaling.json",
                          help="a sweep with training; beside --model: its spread")  # fmt: skip
    forecast.add_argument("--machine", required=True, help="a name of the package's, or a YAML")
    forecast.add_argument("--gpus", nargs="+", type=int, metavar="N",
                          help="default: 64 1536 6144 27360, as many as there are")  # fmt: skip
    forecast.add_argument("--compression", nargs="+", default=["none"], metavar="HOW",
                          help="none, fp16, bf16, powersgd-4, ... (none)")  # fmt: skip
    forecast.add_argument("--model", metavar="PRESET", help="instead of a sweep, with --step-time")
    forecast.add_argument("--step-time", nargs="+", type=float, metavar="SECONDS",
                          help="of one GPU, instead of the measured")  # fmt: skip
    forecast.add_argument("--crop", action="store_true", help="with --model: only its cone")
    for option, kind, words in (
        ("--batch", int, "waveforms of a GPU and step"),
        ("--rows", int, "waveforms of an epoch"),
        ("--epochs", float, "of a training"),
        ("--bucket-mb", float, "gradients travel in portions of this size, MiB"),
        ("--small-messages", int, "all-reduces in the middle of a pass; 100: khan2020's sync_norm"),
        ("--input-bytes", float, "that a waveform is read with; 0: made on the fly"),
    ):
        forecast.add_argument(option, type=kind, metavar="N", help=words)
    forecast.add_argument("-o", "--output", type=Path, metavar="FILE.json")
    forecast.add_argument("--plot", type=Path, metavar="FILE", help=".png or .pdf")
    forecast.set_defaults(run=_forecast)


def _run(arguments: Arguments) -> None:
    alone(arguments)
    from hpc_gw.config import build  # noqa: PLC0415
    from hpc_gw.evaluation.figures import save  # noqa: PLC0415
    from hpc_gw.evaluation.figures_scaling import measured_scaling  # noqa: PLC0415
    from hpc_gw.files import published  # noqa: PLC0415
    from hpc_gw.scaling.bench import SweepConfig  # noqa: PLC0415
    from hpc_gw.scaling.launchers import choose_launcher  # noqa: PLC0415
    from hpc_gw.scaling.points import summarise  # noqa: PLC0415
    from hpc_gw.scaling.sweep import sweep  # noqa: PLC0415
    from hpc_gw.scaling.tables import sweep_table  # noqa: PLC0415

    output: Path = arguments.output
    if output.suffix != ".json":
        raise ConfigError(f"-o {output}: a sweep is a JSON file; give it that ending")
    options = {
        "what": tuple(dict.fromkeys(arguments.what)),
        "kinds": tuple(dict.fromkeys(arguments.kind)),
        "ranks": tuple(sorted(set(arguments.ranks))),
        "repeats": arguments.repeats,
        "steps": arguments.steps,
        "rows": arguments.rows,
        "threads": arguments.threads,
        "bind": not arguments.no_bind,
        "launcher": choose_launcher(arguments.launcher),
        "options": arguments.launcher_options,
    }
    config = build(SweepConfig, options, where="scaling run")
    found = sweep(arguments.config, config, output, arguments.assignments)
    summary = summarise(found.points)
    table = sweep_table(summary)
    with published(output.with_suffix(".md")) as temporary:
        temporary.write_text(table + "\n")
    save(measured_scaling(summary), output.parent, output.stem)
    print(table)
    print(f"points: {output}; figure: {output.with_suffix('.png')}")


def _show(arguments: Arguments) -> None:
    alone(arguments)
    from hpc_gw.scaling.points import read_sweep, summarise  # noqa: PLC0415
    from hpc_gw.scaling.tables import sweep_table  # noqa: PLC0415

    print(sweep_table(summarise(read_sweep(arguments.file).points)))


def _forecast(arguments: Arguments) -> None:
    alone(arguments)
    from hpc_gw.scaling.forecast import forecast  # noqa: PLC0415
    from hpc_gw.scaling.machines import load_machine  # noqa: PLC0415
    from hpc_gw.scaling.points import read_sweep  # noqa: PLC0415
    from hpc_gw.scaling.sources import changed, from_model, from_sweep  # noqa: PLC0415
    from hpc_gw.scaling.tables import forecast_table  # noqa: PLC0415
    from hpc_gw.scaling.workload import parse_compression  # noqa: PLC0415

    plot: Path | None = arguments.plot
    if plot is not None and plot.suffix.lower() not in PLOTS:
        raise ConfigError(f"--plot {plot}: writes {' or '.join(PLOTS)}")
    if arguments.measured is None and arguments.model is None:
        raise ConfigError("scaling forecast: give a sweep's file, or --model with --step-time")
    machine = load_machine(arguments.machine)
    times = arguments.step_time
    found = from_sweep(read_sweep(arguments.measured)) if arguments.measured else None
    work = found
    if arguments.model:
        work = from_model(arguments.model, times or (), crop=arguments.crop)
    assert work is not None
    work = changed(
        work,
        compute_s=tuple(times) if times else None,
        spread=found.spread if found else None,
        batch=arguments.batch,
        rows=arguments.rows,
        epochs=arguments.epochs,
        bucket_mb=arguments.bucket_mb,
        small_messages=arguments.small_messages,
        input_bytes=arguments.input_bytes,
    )
    gpus = arguments.gpus or [n for n in (64, 1536, 6144, 27360) if n <= machine.gpus]
    ways = [parse_compression(text) for text in arguments.compression]
    rows = forecast(work, machine, gpus or [machine.gpus], ways)
    print(f"{work.name} on {machine.name}: {work.gradient_bytes:,} bytes of gradients, "
          f"{work.batch} waveforms a GPU")  # fmt: skip
    print(forecast_table(rows))
    if arguments.output:
        _write(arguments.output, work, machine, rows)
        print(f"numbers: {arguments.output}")
    if plot is not None:
        from hpc_gw.evaluation.figures import save  # noqa: PLC0415
        from hpc_gw.evaluation.figures_scaling import forecast_scaling  # noqa: PLC0415

        save(forecast_scaling(rows, machine.name), plot.parent, plot.stem,
             (plot.suffix[1:].lower(),))  # fmt: skip
        print(f"plot: {plot}")


def _write(path: Path, work: object, machine: object, rows: list[dict[str, object]]) -> None:
    from hpc_gw.config import to_dict  # noqa: PLC0415
    from hpc_gw.files import write_json  # noqa: PLC0415
    from hpc_gw.provenance import recipe  # noqa: PLC0415

    config = {"workload": to_dict(work), "machine": to_dict(machine)}
    write_json(path, {"format": "hpc_gw forecast 1", "rows": rows, "recipe": recipe(config=config)})
