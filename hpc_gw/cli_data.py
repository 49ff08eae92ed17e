"""``hpc-gw data``, thin, one function for each action; and what all of the command's files use."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from hpc_gw.errors import ConfigError, DataError, LaunchError

if TYPE_CHECKING:
    from hpc_gw.distributed import World

Arguments = argparse.Namespace
ENGINES = ("surrogate", "gwsurrogate", "phenomt", "seobnrv4", "seobnrv5hm")
"""Kinds of ``EngineConfig``, whose file imports torch: too slow for ``--help``."""

Verbs: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def alone(arguments: Arguments) -> None:
    """Refuse several ranks for a command that would do everything on each."""
    from hpc_gw.distributed import detect_launch  # noqa: PLC0415

    launch = detect_launch()
    if launch.size > 1:
        command = " ".join(filter(None, (arguments.verb, getattr(arguments, "action", None))))
        raise LaunchError(
            f"hpc-gw {command} runs in one process: {launch.launcher} started {launch.size}, "
            f"which would all do the same"
        )


def engine_options(verb: argparse.ArgumentParser) -> None:
    """Add the options that choose an engine."""
    verb.add_argument(
        "--surrogate",
        metavar="FILE",
        help="NRHybSur3dq8.h5; default: $HPC_GW_SURROGATE, else the embedded surrogate",
    )
    verb.add_argument("--engine", choices=ENGINES, default="surrogate")


def engine_config(arguments: Arguments):  # type: ignore[no-untyped-def]
    """The ``EngineConfig`` that these options ask for."""
    from hpc_gw.config import build  # noqa: PLC0415
    from hpc_gw.waveforms.engines import EngineConfig  # noqa: PLC0415

    options = {"kind": arguments.engine, "file": arguments.surrogate}
    return build(EngineConfig, options, where="--engine, --surrogate")


def data_verb(verbs: Verbs) -> None:
    """Add ``data`` with its actions to the command."""
    data = verbs.add_parser("data", help="list, check, repair, copy and exchange datasets")
    actions = data.add_subparsers(required=True, metavar="ACTION", dest="action")
    _ls_action(actions)
    verify = _action(actions, "verify", _verify, "check the shards' bytes (mpiexec too)")
    verify.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="datasets")
    verify.add_argument(
        "--threads", type=int, default=0, metavar="N", help="that read; default: up to 8"
    )
    verify.add_argument(
        "--sample", type=int, default=0, metavar="N", help="also make N rows anew and compare"
    )
    engine_options(verify)
    repair = _action(actions, "repair", _repair, "make damaged shards anew (mpiexec too)")
    repair.add_argument("folder", type=Path, metavar="FOLDER", help="a dataset")
    repair.add_argument("--retry", action="store_true", help="also rows without a waveform")
    engine_options(repair)
    stage = _action(actions, "stage", _stage, "copy shards to a node's own storage (srun too)")
    stage.add_argument("folder", type=Path, metavar="FOLDER", help="a dataset")
    stage.add_argument("--to", type=Path, required=True, metavar="TARGET", help="local folder")
    stage.add_argument("--limit", metavar="BYTES", help="use at most so much, such as 200GB")
    stage.add_argument("--check", action="store_true", help="read the copies there already")
    export = _action(actions, "export", _export, "write a dataset as one HDF5 file")
    export.add_argument("folder", type=Path, metavar="FOLDER", help="a dataset")
    export.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.h5")
    export.add_argument("--part", choices=("real", "imag"), help="of complex waveforms; real")
    export.add_argument("--force", action="store_true", help="write over FILE.h5")
    _import_action(actions)


def _action(actions: Verbs, name: str, run: object, text: str) -> argparse.ArgumentParser:
    action = actions.add_parser(name, help=text, description=text)
    action.set_defaults(run=run)
    return action


def _ls_action(actions: Verbs) -> None:
    ls = _action(actions, "ls", _ls, "describe datasets, without reading their shards")
    ls.add_argument(
        "folders",
        nargs="*",
        type=Path,
        default=[Path("runs")],
        metavar="FOLDER",
        help="datasets, or folders with datasets below; default: runs",
    )
    ls.add_argument("--json", action="store_true", help="a list of objects")
    ls.add_argument("--quarantine", action="store_true", help="each row without a waveform too")


def _import_action(actions: Verbs) -> None:
    imported = _action(actions, "import", _import, "make a dataset of one HDF5 file")
    imported.add_argument("file", type=Path, metavar="FILE", help="with data and labels")
    imported.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER")
    imported.add_argument("--name", help="of the set; default: the file's, else FOLDER's")
    for option, text in (
        ("--t-min", "first time [M]; default: the file's, else the paper's -10000"),
        ("--t-max", "end of the times, exclusive [M]; 130"),
        ("--dt", "sampling interval [M]; 0.1"),
    ):
        imported.add_argument(option, type=float, metavar="T", help=text)
    imported.add_argument("--engine-name", metavar="TEXT", help="what made the waveforms")
    imported.add_argument("--dtype", choices=("float32", "float64"), help="to store them in")
    imported.add_argument("--shard-bytes", metavar="BYTES", help="largest shard, such as 1GiB")


def _ls(arguments: Arguments) -> None:
    alone(arguments)
    from hpc_gw.data.listing import describe, find_datasets  # noqa: PLC0415

    found, broken = [], []
    for folder in find_datasets(arguments.folders):
        try:
            listing = describe(folder)
        except DataError as error:
            broken.append(str(error))
            found.append({"folder": str(folder), "state": "damaged", "reason": str(error)})
            continue
        found.append(listing.as_dict(quarantine=arguments.quarantine))
        if not arguments.json:
            print(listing.as_text(quarantine=arguments.quarantine))
    if arguments.json:
        print(json.dumps(found, indent=1))
    if broken:
        raise DataError(f"{len(broken)} of {len(found)} datasets are damaged: {broken[0]}")


def _at_least(least: int, option: str, value: int) -> None:
    if value < least:
        raise ConfigError(
            f"{option} {value}: must be {least} or more; leave it out for the default"
        )


def _verify(arguments: Arguments) -> None:
    _at_least(0, "--threads", arguments.threads)
    _at_least(0, "--sample", arguments.sample)
    from hpc_gw.distributed import mpi_world  # noqa: PLC0415

    world = mpi_world()
    found = [_fault(folder, arguments, world) for folder in arguments.folders]
    if any(found) and world.rank == 0:
        raise DataError("; ".join(filter(None, found)))


def _fault(folder: Path, arguments: Arguments, world: World) -> str | None:
    """Check a dataset and print what is found; what is wrong with it on the whole, if anything."""
    from hpc_gw.data.listing import read_current  # noqa: PLC0415
    from hpc_gw.data.manifest import shard_name  # noqa: PLC0415
    from hpc_gw.data.verify import verify  # noqa: PLC0415
    from hpc_gw.files import readable_bytes  # noqa: PLC0415

    manifest, part = read_current(folder), (world.rank, world.size)
    bad = set()
    for fault in verify(
        folder, manifest, part=part, threads=arguments.threads, progress=world.rank == 0
    ):
        print(f"{folder / fault.shard}: {fault.reason}", flush=True)
        bad.add(fault.shard)
    mine = list(enumerate(manifest.shards))[world.rank :: world.size]
    size = sum(shard.bytes for i, shard in mine if shard and shard_name(i) not in bad)
    faults, size = int(world.sum(len(bad))), int(world.sum(size))
    if world.rank == 0:
        count = manifest.spec.shards
        whole = f"{count - faults:,} of {count:,} shards are whole, {readable_bytes(size)}"
        print(f"{folder}: {whole}", flush=True)
    if faults:
        return (
            f"{folder}: {faults:,} of {manifest.spec.shards:,} shards are missing or damaged; make "
            f"them anew with hpc-gw data repair {folder}"
        )
    return _deviation(folder, arguments, world) if arguments.sample else None


def _deviation(folder: Path, arguments: Arguments, world: World) -> str | None:
    """Compare rows with the engine, and print how well they agree; what is wrong, if anything."""
    from hpc_gw.stages import compare_dataset  # noqa: PLC0415

    found = compare_dataset(folder, engine_config(arguments), arguments.sample, world)
    if world.rank == 0:
        print(f"{folder}: {found.rows:,} rows made anew, largest |difference| {found.largest:.2g}")
    if not found.bad:
        return None
    return (
        f"{folder}: {found.bad:,} of {found.rows:,} rows are not what the engine makes (largest "
        f"|difference| {found.largest:.2g}); generate the set anew in another folder"
    )


def _repair(arguments: Arguments) -> None:
    from hpc_gw import stages  # noqa: PLC0415
    from hpc_gw.distributed import mpi_world  # noqa: PLC0415

    world, folder = mpi_world(), arguments.folder
    manifest, made = stages.repair_dataset(folder, engine_config(arguments), arguments.retry, world)
    if world.rank == 0:
        print(f"{folder}: {made:,} of {manifest.spec.shards:,} shards were made anew")
        if manifest.quarantine:
            print(stages.quarantine_line(folder, manifest))


def _stage(arguments: Arguments) -> None:
    from hpc_gw.data.stage import stage  # noqa: PLC0415
    from hpc_gw.distributed import detect_launch  # noqa: PLC0415
    from hpc_gw.files import parse_bytes  # noqa: PLC0415

    launch = detect_launch()
    local = stage(
        arguments.folder,
        arguments.to,
        part=(launch.local_rank, launch.size),  # fewer on a node: they begin nearer to another
        limit=parse_bytes(arguments.limit, what="--limit") if arguments.limit else None,
        check=arguments.check,
        progress=launch.local_rank == 0,
    )
    if launch.local_rank == 0:
        print(local)


def _export(arguments: Arguments) -> None:
    alone(arguments)
    from hpc_gw.data.exchange import export_dataset  # noqa: PLC0415
    from hpc_gw.data.manifest import Manifest  # noqa: PLC0415

    if arguments.output.exists() and not arguments.force:
        raise DataError(
            f"{arguments.output}: exists already; --force writes over it, or choose another -o"
        )
    rows, left_out = export_dataset(
        arguments.folder, arguments.output, part="imag" if arguments.part == "imag" else "real"
    )
    print(f"{arguments.output}: {rows:,} rows, {left_out:,} without a waveform left out")
    if Manifest.read(arguments.folder).spec.storage.values == "complex" and not arguments.part:
        print("note: this is Re h22 of a complex set; --part imag writes Im h22", file=sys.stderr)


def _import(arguments: Arguments) -> None:
    alone(arguments)
    from hpc_gw.config import build  # noqa: PLC0415
    from hpc_gw.data.deduce import ImportOptions  # noqa: PLC0415
    from hpc_gw.data.exchange import import_dataset  # noqa: PLC0415
    from hpc_gw.files import parse_bytes  # noqa: PLC0415
    from hpc_gw.waveforms.timegrid import TimeGrid  # noqa: PLC0415

    times = {"t_min": arguments.t_min, "t_max": arguments.t_max, "dt": arguments.dt}
    given = {key: value for key, value in times.items() if value is not None}
    size = arguments.shard_bytes
    options = ImportOptions(
        name=arguments.name,
        time_grid=build(TimeGrid, given, where="--t-min, --t-max, --dt") if given else None,
        engine=arguments.engine_name,
        dtype=arguments.dtype,
        shard_bytes=parse_bytes(size, what="--shard-bytes") if size else None,
    )
    manifest = import_dataset(arguments.file, arguments.output, options)
    failed = f"{len(manifest.quarantine):,} rows without a waveform"
    print(f"{arguments.output}: {manifest.spec.population.size:,} rows, {failed}")
    for row in manifest.quarantine[:1]:
        print(f"the first is row {row.row}: {row.reason}", file=sys.stderr)
