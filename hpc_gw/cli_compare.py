"""``hpc-gw compare``, thin: the network judged on waveforms of other engines."""

from __future__ import annotations

from pathlib import Path

from hpc_gw.cli_data import ENGINES, Arguments, Verbs, alone
from hpc_gw.errors import ConfigError

PLOTS = (".png", ".pdf")


def compare_verb(verbs: Verbs) -> None:
    """Add ``compare`` to the command."""
    text = "judge a network on waveforms of other engines than the one it was trained on"
    compare = verbs.add_parser("compare", help=text, description=text)
    compare.add_argument(
        "--engines",
        nargs="+",
        choices=ENGINES,
        default=["phenomt"],
        metavar="ENGINE",
        help=f"of {', '.join(ENGINES)}; default: phenomt (extra: lal)",
    )
    compare.add_argument("--count", type=int, default=200, help="points (200)")
    compare.add_argument("--seed", type=int, default=0, help="of the points (0)")
    compare.add_argument(
        "--model",
        type=Path,
        metavar="CHECKPOINT",
        help="best.pt of a run, or the name of a shipped network; default: robust",
    )
    compare.add_argument(
        "--surrogate",
        metavar="FILE",
        help="makes the answers' waveforms; default: $HPC_GW_SURROGATE, else the embedded one",
    )
    compare.add_argument("-o", "--output", type=Path, metavar="FILE.json", help="every number")
    compare.add_argument("--plot", type=Path, metavar="FILE", help="quartiles: .png or .pdf")
    compare.set_defaults(run=_compare)


def _compare(arguments: Arguments) -> None:
    alone(arguments)
    plot: Path | None = arguments.plot
    if plot is not None and plot.suffix.lower() not in PLOTS:
        raise ConfigError(f"--plot {plot}: writes {' or '.join(PLOTS)}")
    from hpc_gw.files import write_json  # noqa: PLC0415
    from hpc_gw.generalisation import generalise, random_points  # noqa: PLC0415
    from hpc_gw.waveforms.engines import SURROGATES, EngineConfig  # noqa: PLC0415

    file = arguments.surrogate
    found = generalise(
        [
            EngineConfig(kind=kind, file=file if kind in SURROGATES else None)
            for kind in dict.fromkeys(arguments.engines)
        ],
        random_points(arguments.count, arguments.seed),
        arguments.model,
        surrogate=EngineConfig(file=file),
    )
    print(found.to_markdown())
    if arguments.output:
        write_json(arguments.output, found.to_dict())
        print(f"numbers: {arguments.output}")
    if plot is not None:
        from hpc_gw.evaluation.engine_figure import overlaps_by_engine  # noqa: PLC0415
        from hpc_gw.evaluation.figures import save  # noqa: PLC0415

        values = {judged.kind: judged.overlaps[judged.made] for judged in found.judgements}
        save(overlaps_by_engine(values), plot.parent, plot.stem, (plot.suffix[1:].lower(),))
        print(f"plot: {plot}")
