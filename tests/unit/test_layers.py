"""Imports go downward only, and optional packages are imported only where they are used."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "hpc_gw"

# Lowest first; modules on one line may not import one another.
LAYERS = [
    ["constants", "errors", "allocator", "threads"],
    ["files"],
    ["provenance", "config"],
    ["distributed"],
    ["locks"],
    ["manifold"],
    ["waveforms"],
    ["data"],
    ["models"],
    ["training"],
    ["evaluation"],
    ["card", "card_page"],
    ["job", "pretrained", "shard_row", "closer"],
    ["comparison"],
    ["stages", "show", "answer", "generalisation", "stress"],
    ["assess"],
    ["plan"],
    ["pipeline"],
    ["scaling"],
    ["launch"],
    ["cli_data"],
    ["cli_runs", "cli_compare", "cli_evaluate", "cli_predict", "cli_stress"],
    ["cli_scaling", "cli_submit", "cli_jobs"],
    ["cli"],
    ["__main__"],
]
LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}

# What evaluation may not know: it sees predictions, not networks.
FORBIDDEN = {"evaluation": {"training", "models", "data"}, "models": {"data"}}

OWNERS = {
    "h5py": {
        "data/shards.py",
        "data/exchange.py",  # one file for all rows is another layout than a shard's
        "evaluation/results.py",
        "waveforms/surrogate_file.py",
        "waveforms/readers/hdf5.py",
        "waveforms/readers/lvcnr.py",
        "waveforms/readers/sxs.py",
    },
    "matplotlib": {"evaluation"},
    "mpi4py": {"distributed"},
    "torch.distributed": {"distributed"},
    "horovod": {"distributed"},
    "gwsurrogate": {"waveforms/gwsurrogate_engine.py", "waveforms/engines.py"},
    "lalsimulation": {"waveforms/lal_engine.py"},
    "pyseobnr": {"waveforms/pyseobnr_h22.py"},
    "submitit": {"launch"},
    "sklearn": {"waveforms/builder"},
    "triton": {"models/fused_triton.py", "models/fused_kernels.py"},
}

FILES = sorted(PACKAGE.rglob("*.py"))


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_nobody_imports_upward(path):
    here = room(path)
    if here == "__init__":
        return
    for name in imports(path):
        if not name.startswith("hpc_gw."):
            continue
        there = name.split(".")[1]
        if there not in LEVEL or there == here:  # hpc_gw.__version__
            continue
        assert LEVEL[there] < LEVEL[here], f"{here} imports {there}"
        assert there not in FORBIDDEN.get(here, ()), f"{here} imports {there}"


@pytest.mark.parametrize("package", OWNERS)
def test_each_outside_world_is_known_to_its_own_files_only(package):
    for path in FILES:
        users = [n for n in imports(path) if n == package or n.startswith(package + ".")]
        where = str(path.relative_to(PACKAGE))
        allowed = any(where == owner or where.startswith(owner + "/") for owner in OWNERS[package])
        assert not users or allowed, f"{where} imports {package}"


def test_every_room_has_its_level():
    rooms = {room(path) for path in FILES} - {"__init__"}
    assert rooms == set(LEVEL)


def test_no_file_outgrows_a_sitting():
    for path in FILES:
        assert path.read_text().count("\n") <= 350, f"{path.name}: split it"
