"""``hpc-gw predict``: what a network says of waveforms from files, or of every row of a set."""

from __future__ import annotations

import json
from pathlib import Path

from hpc_gw.cli_data import Arguments, Verbs, alone, engine_config, engine_options
from hpc_gw.errors import ConfigError
from hpc_gw.files import kind_of


def predict_verb(verbs: Verbs) -> None:
    """Add ``predict`` to the command."""
    text = "the parameters of a waveform, or of every row of a set (mpiexec and torchrun too)"
    predict = verbs.add_parser("predict", help=text, description=text)
    predict.add_argument(
        "data",
        nargs="+",
        metavar="DATA",
        help="waveform files, FILE.h5:DATASET, FOLDER:ROW of a set, or the folder of a set",
    )
    predict.add_argument(
        "--model",
        type=Path,
        metavar="CHECKPOINT",
        help="best.pt of a run, or a shipped network's name; default: robust, of sets compact",
    )
    predict.add_argument(
        "-o", "--output", type=Path, help="of a set: the file to write; default: predictions.h5"
    )
    predict.add_argument("--extend", action="store_true", help="continue a start that is missing")
    predict.add_argument("--plot", type=Path, metavar="FILE", help="input and answer: .png or .pdf")
    predict.add_argument("--json", action="store_true", help="print a list of objects")
    predict.add_argument(
        "--order", metavar="N4", help="of SXS files: N4, N3, N2 or outermost; default: the first"
    )
    predict.add_argument(
        "--total-mass",
        type=float,
        metavar="MSUN",
        help="times are in seconds; the redshifted total mass in solar masses",
    )
    predict.add_argument(
        "--distance", type=float, metavar="MPC", help="values are strain; needs --total-mass"
    )
    predict.add_argument(
        "--refine",
        action="store_true",
        help="fit each waveform from the answer on; converged: overlap at least 0.99999, which "
        "waveforms of other models seldom reach",
    )
    engine_options(predict)
    predict.set_defaults(run=_predict)


def _predict(arguments: Arguments) -> None:
    data: list[str] = arguments.data
    for path in map(Path, data):
        if path.suffix == ".pt":
            raise ConfigError(f"{path}: is a checkpoint; name it with --model {path}")
    folders = [Path(name) for name in data if kind_of(name) == "folder"]
    if not folders:
        _ask(arguments)
        return
    given = (arguments.order, arguments.total_mass, arguments.distance)
    for_files = arguments.plot or arguments.json or arguments.extend or arguments.refine
    if len(data) > 1 or for_files or any(value is not None for value in given):
        raise ConfigError(
            f"{folders[0]}: is a folder; give one set, without --plot, --json, --extend, "
            f"--refine, --order, --total-mass and --distance, which are for waveforms, or name a "
            f"row, as {folders[0]}:0"
        )
    if arguments.surrogate or arguments.engine != "surrogate":
        raise ConfigError(
            f"{folders[0]}: is a folder, whose predictions make no waveforms; leave out --engine "
            f"and --surrogate, or give them to hpc-gw overlap"
        )
    from hpc_gw import assess  # noqa: PLC0415
    from hpc_gw.distributed import any_world  # noqa: PLC0415

    output = arguments.output or Path("predictions.h5")
    with any_world() as world:
        assess.predict(arguments.model, folders[0], output, world)
        if world.rank == 0:
            print(f"predictions: {output}")


def _ask(arguments: Arguments) -> None:
    alone(arguments)
    if arguments.output:
        raise ConfigError(f"-o {arguments.output}: is for a set; for waveform files use --json")
    from hpc_gw.answer import ask  # noqa: PLC0415
    from hpc_gw.waveforms.readers import ReadOptions  # noqa: PLC0415

    answers = ask(
        arguments.data,
        arguments.model,
        engine_config(arguments),
        extend=arguments.extend,
        plot=arguments.plot,
        refine=arguments.refine,
        options=ReadOptions(arguments.order, arguments.total_mass, arguments.distance),
    )
    if arguments.json:
        print(json.dumps([answer.to_dict() for answer in answers], indent=1, allow_nan=False))
    else:
        print("\n".join(str(answer) for answer in answers))
        if arguments.plot:
            print(f"plot: {arguments.plot}")
