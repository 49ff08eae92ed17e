"""Generators to be broken, and what must hold of the folders they leave."""

from __future__ import annotations

import multiprocessing
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np

from hpc_gw.data.generate import GenerateConfig, generate, record_path
from hpc_gw.data.lock import LOCK
from hpc_gw.data.manifest import DatasetSpec, Manifest, StorageConfig, shard_name
from hpc_gw.data.shards import checksum
from hpc_gw.distributed import SerialWorld
from hpc_gw.files import read_json, sha256
from hpc_gw.manifold.populations import DrawsConfig
from hpc_gw.provenance import commit
from hpc_gw.waveforms.engines import EngineConfig, load_engine
from hpc_gw.waveforms.timegrid import TimeGrid
from tests.integration.conftest import TINY

ROOT = Path(__file__).resolve().parents[2]
MPIEXEC = Path(sys.executable).with_name("mpiexec")
LAUNCHER = str(MPIEXEC) if MPIEXEC.exists() else shutil.which("mpiexec")
LAUNCHED = ("PMI", "OMPI", "SLURM", "MPI_LOCAL")

GRID = TimeGrid(kind="chirp", samples=64)


def environment(**more):
    clean = {k: v for k, v in os.environ.items() if not k.startswith(LAUNCHED)}
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return clean | {"UCX_NET_DEVICES": "lo", "OMP_NUM_THREADS": "1", "PYTHONPATH": path, **more}


def launched(ranks, words):
    """The words of a command, under mpiexec if ``ranks`` is not 0."""
    return [LAUNCHER, "-n", str(ranks), *words] if ranks else [*words]


def command(job, *options, ranks=0):
    words = [sys.executable, "-m", "hpc_gw", "generate", str(job), "--sets", "train", *options]
    return launched(ranks, words)


def begin(words, **more):
    return subprocess.Popen(
        words, env=environment(**more), text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def finish(words, **more):
    """Run to the end: exit code, and what was printed."""
    with begin(words, **more) as process:
        printed = process.communicate(timeout=600)[0]
    return process.returncode, printed


def write_job(folder, rows, shards, samples=512, **storage):
    """A job whose training set has so many rows of ``4 * samples`` bytes in so many shards."""
    folder.mkdir(parents=True, exist_ok=True)
    options = {"shard_bytes": -(-rows // shards) * samples * 4, **storage}
    text = TINY.replace("samples: 64", f"samples: {samples}")
    text = text.replace("input_steps: 64", f"input_steps: {samples}").replace("256", str(rows))
    text = text.replace("{shard_bytes: 16384}", str(options).replace("'", ""))
    path = folder / "job.yaml"
    path.write_text(text + f"output: {folder / 'run'}\n")
    return path


def train_folder(job):
    return job.parent / "run" / "data" / "train"


def spec_of(engine, rows=36, shard_rows=10, **storage):
    """A set of shards of 10, 10, 10, 6 rows of 64 samples."""
    storage = StorageConfig(**{"shard_bytes": shard_rows * 64 * 4, **storage})
    population = DrawsConfig(count=rows)
    return DatasetSpec("test", population, GRID, 64, storage, engine.name, engine.checksum)


def checksums(folder):
    return {p.name: sha256(p) for p in sorted(folder.glob("shard-*.h5"))}


def vouched(folder):
    """Inode and time of each shard that is what its record, beside or in the manifest, says."""
    if not (folder / "manifest.json").exists():
        return {}
    found = {}
    for index, record in enumerate(Manifest.read(folder).shards):
        path, beside = folder / shard_name(index), record_path(folder, index)
        promised = read_json(beside)["xxh128"] if beside.exists() else record and record.xxh128
        if path.exists() and checksum(path) == promised:
            state = path.stat()
            found[path.name] = (state.st_ino, state.st_mtime_ns)
    return found


def assert_finished(folder, wanted):
    """The set is whole, equal to ``wanted``, and nothing else is left in the folder."""
    assert checksums(folder) == wanted
    manifest = Manifest.read(folder)
    assert manifest.complete and manifest.precision is not None
    rows = []
    for index, record in enumerate(manifest.shards):
        assert record.xxh128 == checksum(folder / shard_name(index))
        with h5py.File(folder / shard_name(index)) as file:
            rows.append(file["row"][:])
    assert np.array_equal(np.concatenate(rows), np.arange(manifest.spec.population.size))
    assert {p.name for p in folder.iterdir()} == {*wanted, "manifest.json", LOCK}


def wait_for(condition, timeout=600.0):
    """The first true answer."""
    deadline = time.monotonic() + timeout
    while not (answer := condition()):
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(5e-3)
    return answer


def holder(folder):
    """Process id in the lock file, 0 where there is none; it may be of a dead process."""
    try:
        return int(read_json(folder / LOCK)["pid"])
    except Exception:
        return 0


def descendants(pid):
    """Processes that a process started, and those that they did."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found, new = set(), {pid}
    while new := {child for child, parent in parents.items() if parent in new}:
        found |= new
    return found


def ranks_of(mpiexec):
    """Process ids of the Python ranks under a running mpiexec."""

    def is_rank(pid):
        try:
            return b"hpc_gw" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            return False

    found = sorted(filter(is_rank, descendants(mpiexec)))
    return [pid for pid in found if not descendants(pid) & set(found)]


EFFECTS = [
    (tempfile, "mkstemp"),
    (os, "posix_fallocate"),
    (os, "fsync"),
    (os, "truncate"),
    (pathlib.Path, "write_text"),
    (pathlib.Path, "replace"),
    (pathlib.Path, "unlink"),
    (h5py.File, "close"),
]
"""What changes the folder: a process can be killed before each of them."""


def _killed_before(number):
    """Have this process killed before its effect ``number``, counted from 0."""
    met = 0

    def fatal(original):
        def effect(*args, **kwargs):
            nonlocal met
            if met == number:
                os.kill(os.getpid(), signal.SIGKILL)
            met += 1
            return original(*args, **kwargs)

        return effect

    for owner, name in EFFECTS:
        setattr(owner, name, fatal(getattr(owner, name)))


class Nursery:
    """Generators forked from a process that has loaded the engine: tens of milliseconds a start.

    It has one thread, which this one, with PyTorch's and others, may not be relied on to have.
    """

    def __init__(self):
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other,), daemon=True)
        self._process.start()

    def generate(self, folder, storage, config=None, *, kill_before):
        """Exit code of a generator that is killed before its effect of this number."""
        self._pipe.send((folder, storage, config or {}, kill_before))
        assert self._pipe.poll(600), "it hangs"
        return self._pipe.recv()

    def close(self):
        self._process.kill()
        self._process.join()


def _serve(pipe):
    engine = load_engine(EngineConfig(file="embedded"), GRID.times())
    commit()
    while True:
        folder, storage, config, kill_before = pipe.recv()
        if not (child := os.fork()):
            _killed_before(kill_before)
            spec, config = spec_of(engine, **storage), GenerateConfig(**config)
            try:
                generate(folder, spec, engine, SerialWorld(), config, progress=False)
                os._exit(0)
            finally:
                os._exit(1)
        pipe.send(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
