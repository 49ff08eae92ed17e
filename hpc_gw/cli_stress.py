"""``hpc-gw stress``, thin: a network under stress, and the flag of what it does not know."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from hpc_gw.cli_data import ENGINES, Arguments, Verbs, alone

PACKAGES = {"phenomt": "lalsimulation", "seobnrv4": "lalsimulation", "seobnrv5hm": "pyseobnr"}
"""Engines of other models, and what they need."""


def stress_verb(verbs: Verbs) -> None:
    """Add ``stress`` to the command."""
    text = "a network under phase, shift, noise and other engines, and the flag of its domain"
    verb = verbs.add_parser("stress", help=text, description=text)
    verb.add_argument(
        "--checkpoint",
        "--model",
        type=Path,
        metavar="FILE",
        help="best.pt of a run, or the name of a shipped network; default: robust",
    )
    verb.add_argument("--count", type=int, help="waveforms of each stress (400; quick: 48)")
    verb.add_argument("--seed", type=int, default=0, help="of waveforms and noise (0)")
    verb.add_argument(
        "--engine",
        action="append",
        choices=[kind for kind in ENGINES if kind in PACKAGES],
        help="another model; may be repeated; default: those installed, none if quick",
    )
    verb.add_argument(
        "--surrogate",
        metavar="FILE",
        help="makes the waveforms; default: $HPC_GW_SURROGATE, else the embedded one",
    )
    verb.add_argument(
        "--output", "-o", type=Path, default=Path("stress"), metavar="FOLDER", help="(stress)"
    )
    verb.add_argument("--quick", action="store_true", help="few waveforms: seconds")
    verb.add_argument(
        "--calibrate",
        action="store_true",
        help="make the flag's thresholds anew and write them into the card beside the checkpoint",
    )
    verb.set_defaults(run=_stress)


def _stress(arguments: Arguments) -> None:
    alone(arguments)
    from hpc_gw.evaluation.figures import save  # noqa: PLC0415
    from hpc_gw.evaluation.figures_stress import under_stress  # noqa: PLC0415
    from hpc_gw.files import make_folder, published, write_json  # noqa: PLC0415
    from hpc_gw.stress import stress, waveform_count  # noqa: PLC0415
    from hpc_gw.waveforms.engines import EngineConfig  # noqa: PLC0415

    options = {"quick": arguments.quick, "calibrated": arguments.calibrate}
    waveform_count(arguments.count, arguments.seed, **options)
    folder = make_folder(arguments.output)
    kinds = arguments.engine or ([] if arguments.quick else _installed())
    found = stress(
        arguments.checkpoint,
        count=arguments.count,
        seed=arguments.seed,
        engines=[EngineConfig(kind=kind) for kind in dict.fromkeys(kinds)],
        surrogate=EngineConfig(file=arguments.surrogate),
        **options,
        progress=sys.stderr.isatty(),
    )
    write_json(folder / "stress.json", found.to_dict())
    with published(folder / "stress.md") as temporary:
        temporary.write_text(found.to_markdown())
    save(under_stress(found), folder, "stress")
    print(found.to_markdown())
    print(f"numbers, tables, figure: {folder}/stress.json, .md, .pdf, .png")


def _installed() -> list[str]:
    """Engines whose packages can be imported."""
    return [kind for kind, package in PACKAGES.items() if importlib.util.find_spec(package)]
