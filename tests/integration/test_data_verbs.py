"""``hpc-gw data``: what each action says and does, and what it refuses."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from hpc_gw.cli import main
from hpc_gw.data.manifest import Manifest, shard_name
from hpc_gw.data.verify import verify
from hpc_gw.waveforms.engines import surrogate_path

MPIEXEC = Path(sys.executable).with_name("mpiexec")
LAUNCHER = str(MPIEXEC) if MPIEXEC.exists() else shutil.which("mpiexec")
needs_mpi = pytest.mark.skipif(LAUNCHER is None, reason="no mpiexec")

JOB = """
name: data
time_grid: {kind: chirp, samples: 64}
storage: {shard_bytes: 2560, dtype: DTYPE}
sets:
  train: {kind: draws, count: 36, seed: 1}
  validation: {kind: draws, count: 8, seed: 2}
  test: {kind: grid, split: test, stride: [22, 33, 33]}
train: {batch: 8}
model: {preset: strided, input_steps: 64, stem_channels: 4, stem_kernel: 8, stem_stride: 4,
        dilations: [1, 2], residual_channels: 4, gate_channels: 4, root_channels: 8,
        root_outputs: 2, root_steps: 16, leaf_width: 16}
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Folder with runs/data: sets of 36, 8 and 18 rows in shards of 10; do not write to it."""
    folder = tmp_path_factory.mktemp("made")
    job = folder / "job.yaml"
    job.write_text(JOB.replace("DTYPE", "float32") + f"output: {folder / 'runs'}\n")
    assert main(["generate", str(job)]) == 0
    return folder


@pytest.fixture
def train(made, tmp_path, monkeypatch):
    """A copy of the training set, runs/data/train in the working folder: 4 shards."""
    shutil.copytree(made / "runs", tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    return Path("runs/data/train")


def run(capsys, *words):
    """Exit code, standard output, last line on standard error."""
    code = main(["data", *map(str, words)])
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    return code, out, (err.strip().splitlines() or [""])[-1]


def hurt(path, damage):
    content = bytearray(path.read_bytes())
    content[-7] ^= 1
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(content if damage == "flipped" else content[:-100])


def test_ls_finds_the_sets_of_runs_by_default(train, capsys):
    code, out, _ = run(capsys, "ls")
    assert code == 0
    heads = [line for line in out.splitlines() if not line.startswith(" ")]
    sets = ("test", "train", "validation")
    assert heads == [f"runs/data/{name} ({name})" for name in sets]
    assert "36 of 36 rows" in out and "853aec958a6f" in out
    code, out, _ = run(capsys, "ls", "--json", train, "runs/data/test")
    found = json.loads(out)
    assert code == 0 and [entry["name"] for entry in found] == ["test", "train"]
    assert found[1]["rows"] == 36 and found[1]["shards"] == 4


def test_ls_tells_a_damaged_manifest_and_goes_on(train, capsys):
    (train / "manifest.json").write_text('{"format": ')
    code, out, line = run(capsys, "ls", "--json")
    assert code == 2 and [entry["state"] for entry in json.loads(out)][1] == "damaged"
    assert "1 of 3 datasets are damaged: runs/data/train/manifest.json" in line


def test_verify_says_how_many_are_whole(train, capsys):
    code, out, _ = run(capsys, "verify", train, "runs/data/test", "--threads", 2)
    assert code == 0
    size = sum(path.stat().st_size for path in train.glob("shard-*")) / 1000
    assert out.splitlines()[0] == f"{train}: 4 of 4 shards are whole, {size:.3g} kB"
    assert "runs/data/test: 2 of 2 shards are whole" in out


@pytest.mark.parametrize("damage", ["flipped", "truncated", "missing"])
def test_verify_names_what_is_bad_and_repair_makes_it_anew(train, capsys, damage):
    good = {path.name: path.read_bytes() for path in train.glob("shard-*")}
    for index in (1, 3):
        hurt(train / shard_name(index), damage)
    code, out, line = run(capsys, "verify", train)
    assert code == 2
    *faults, last = out.splitlines()
    assert [fault.split(":")[0] for fault in faults] == [
        f"{train}/{shard_name(1)}",
        f"{train}/{shard_name(3)}",
    ]
    assert last.startswith(f"{train}: 2 of 4 shards are whole, ")
    assert line == (
        f"hpc-gw: {train}: 2 of 4 shards are missing or damaged; make them anew with hpc-gw data "
        f"repair {train}"
    )
    code, out, _ = run(capsys, "repair", train)
    assert (code, out) == (0, f"{train}: 2 of 4 shards were made anew\n")
    assert {path.name: path.read_bytes() for path in train.glob("shard-*")} == good
    assert run(capsys, "repair", train)[1] == f"{train}: 0 of 4 shards were made anew\n"


def ranks(count, *words):
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PMI", "OMPI", "SLURM"))}
    clean |= {"UCX_NET_DEVICES": "lo", "OMP_NUM_THREADS": "1"}
    command = [LAUNCHER, "-n", str(count), sys.executable, "-m", "hpc_gw", "data", *words]
    return subprocess.run(
        list(map(str, command)), env=clean, capture_output=True, text=True, check=False, timeout=300
    )


@needs_mpi
@pytest.mark.parametrize("count", [1, 2])
def test_ranks_share_the_checking_and_the_repair(train, count):
    pytest.importorskip("mpi4py")
    done = ranks(count, "verify", train.resolve(), "--sample", "7")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("4 of 4 shards are whole") == 1
    assert done.stdout.count("7 rows made anew") == 1
    for index, damage in enumerate(("flipped", "truncated", "missing")):
        hurt(train / shard_name(index), damage)
    done = ranks(count, "verify", train.resolve())
    assert done.returncode == 2
    for index, words in enumerate(("XXH128 differs", "were published", "is missing")):
        (line,) = [line for line in done.stdout.splitlines() if shard_name(index) in line]
        assert words in line
    assert "1 of 4 shards are whole" in done.stdout
    assert done.stderr.count("3 of 4 shards are missing or damaged; make them anew") == 1
    done = ranks(count, "repair", train.resolve())
    assert done.returncode == 0 and "3 of 4 shards were made anew" in done.stdout, done.stderr
    assert not list(verify(train, Manifest.read(train), progress=False))


@needs_mpi
def test_what_one_process_does_is_refused_to_several(train):
    pytest.importorskip("mpi4py")
    done = ranks(2, "ls", train.resolve())
    assert done.returncode == 2
    assert "hpc-gw data ls runs in one process" in done.stderr


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_rows_made_anew_agree_and_a_forged_one_does_not(tmp_path, capsys, dtype):
    job = tmp_path / "job.yaml"
    job.write_text(JOB.replace("DTYPE", dtype) + f"output: {tmp_path / 'runs'}\n")
    assert main(["generate", str(job), "--sets", "train"]) == 0
    capsys.readouterr()
    folder = tmp_path / "runs" / "data" / "train"
    code, out, _ = run(capsys, "verify", folder, "--sample", 1000)
    found = re.search(r"36 rows made anew, largest \|difference\| (\S+)\n", out)
    assert code == 0 and float(found[1]) < 1e-6
    path = folder / shard_name(0)
    with h5py.File(path, "r+") as file:  # with a record that promises just that
        file["h22"][2, 40] += file["h22"].dtype.type(3e-6 if dtype != "float16" else 2.0)
    content = json.loads((folder / "manifest.json").read_text())
    from hpc_gw.data.shards import checksum  # noqa: PLC0415

    content["shards"][shard_name(0)]["xxh128"] = checksum(path)
    (folder / "manifest.json").write_text(json.dumps(content))
    code, out, line = run(capsys, "verify", folder, "--sample", 1000)
    assert code == 2 and "shards are whole" in out
    assert "1 of 36 rows are not what the engine makes (largest |difference| " in line


def test_another_engine_is_refused(train, tmp_path, capsys):
    other = tmp_path / "other.h5"
    shutil.copy(surrogate_path("embedded"), other)
    with h5py.File(other, "r+") as file:
        file.attrs["note"] = "other bytes, another checksum"
    hurt(train / shard_name(1), "missing")
    for words in (("repair", train), ("verify", "runs/data/test", "--sample", 2)):
        code, _, line = run(capsys, *words, "--surrogate", other)
        assert code == 2 and "853aec958a6f" in line and "--surrogate FILE" in line
    assert not (train / shard_name(1)).exists()


def test_repair_tries_rows_without_a_waveform_again(train, capsys):
    manifest = json.loads((train / "manifest.json").read_text())
    failed = {"row": 11, "parameters": [2.0, 0.1, 0.1], "reason": "RuntimeError: out of luck"}
    manifest["shards"][shard_name(1)]["quarantine"] = [failed]
    (train / "manifest.json").write_text(json.dumps(manifest))
    code, out, _ = run(capsys, "repair", train)
    assert code == 0 and "0 of 4 shards were made anew" in out
    assert "1 of 36 rows have no waveform" in out and "out of luck" in out
    assert "out of luck" in run(capsys, "ls", train, "--quarantine")[1]
    code, out, _ = run(capsys, "repair", train, "--retry")
    assert (code, out) == (0, f"{train}: 1 of 4 shards were made anew\n")
    assert not Manifest.read(train).quarantine


def test_stage_prints_the_local_folder(train, tmp_path, capsys):
    code, out, _ = run(capsys, "stage", train, "--to", tmp_path / "node")
    local = Path(out.strip())
    assert code == 0 and local.parent == tmp_path / "node"
    assert not list(verify(local, Manifest.read(local), progress=False))
    code, out, _ = run(capsys, "stage", train, "--to", "first", "--limit", "10kB")
    assert code == 0 and len(list(Path(out.strip()).glob("shard-*.h5"))) == 1
    hurt(local / shard_name(0), "flipped")
    assert run(capsys, "stage", train, "--to", tmp_path / "node", "--check")[0] == 0
    assert not list(verify(local, Manifest.read(local), progress=False))


def test_processes_of_a_node_need_no_mpi_to_share_the_staging(train, tmp_path):
    """What srun sets is enough; rank 0 of the node alone prints the folder."""
    words = [sys.executable, "-m", "hpc_gw", "data", "stage", train.resolve(), "--to", "node"]
    processes = [
        subprocess.Popen(
            list(map(str, words)),
            env=os.environ
            | {"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": str(2 + i), "SLURM_LOCALID": str(i)},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for i in range(2)
    ]
    outs = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert outs[1] == "" and len(list(Path(outs[0].strip()).glob("shard-*.h5"))) == 4


def test_export_and_import_make_the_same_set(train, capsys):
    code, out, _ = run(capsys, "export", train, "-o", "train.h5")
    assert (code, out) == (0, "train.h5: 36 rows, 0 without a waveform left out\n")
    code, _, line = run(capsys, "export", train, "-o", "train.h5")
    assert code == 2 and "exists already; --force" in line
    assert run(capsys, "export", train, "-o", "train.h5", "--force")[0] == 0
    code, out, _ = run(capsys, "import", "train.h5", "-o", "back")
    assert (code, out) == (0, "back: 36 rows, 0 rows without a waveform\n")
    assert Manifest.read(Path("back")).spec == Manifest.read(train).spec
    for path in train.glob("shard-*"):
        assert path.read_bytes() == (Path("back") / path.name).read_bytes()
    hurt(Path("back") / shard_name(2), "missing")
    assert "1 of 4 shards were made anew" in run(capsys, "repair", "back")[1]


def test_somebodys_file_is_imported_with_what_the_options_say(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with h5py.File("theirs.h5", "w") as file:
        file["data"] = np.random.default_rng(0).normal(size=(4, 20))
        file["labels"] = [[1, 0, 0], [2, 0, 0], [3, 0, 0], [4, 0, 0]]
    options = ["--t-min=-10", "--t-max", 10, "--dt", 1, "--name", "nr", "--engine-name", "SXS"]
    options += ["--dtype", "float32", "--shard-bytes", "240"]
    assert run(capsys, "import", "theirs.h5", "-o", "set", *options)[0] == 0
    spec = Manifest.read(Path("set")).spec
    assert (spec.name, spec.engine, spec.shards, spec.samples) == ("nr", "SXS", 2, 20)
    assert spec.storage.dtype == "float32" and spec.time_grid.t_min == -10
    code, _, line = run(capsys, "repair", "set")
    assert code == 2 and "was imported (xxh128:" in line and "import its file again" in line
    code, _, line = run(capsys, "import", "theirs.h5", "-o", "other")
    assert code == 2 and "20 samples; on [-10000, 130) M there are 101,300" in line


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["ls", "nowhere"], "nowhere: cannot be read (No such file"),
        (["ls", "empty"], "empty: no dataset here or below (no manifest.json)"),
        (["verify", "empty"], "empty: holds no dataset (no manifest.json); generate"),
        (["repair", "empty"], "empty: holds no dataset (no manifest.json); generate"),
        (["stage", "empty", "--to", "node"], "empty: holds no dataset"),
        (["export", "empty", "-o", "x.h5"], "empty: holds no dataset"),
        (["repair", "damaged"], "damaged/manifest.json: not readable as JSON"),
        (["verify", "{}", "--threads", "-1"], "--threads -1: must be 0 or more"),
        (["verify", "{}", "--sample", "-4"], "--sample -4: must be 0 or more"),
        (["stage", "{}", "--to", "node", "--limit", "much"], "--limit much: no size"),
        (["stage", "{}", "--to", "file/node"], "cannot be written"),
        (["export", "{}", "-o", "file/x.h5"], "cannot be written"),
        (["export", "{}", "-o", "x.h5", "--part", "imag"], "keeps Re h22 alone"),
        (["import", "file", "-o", "set"], "file: not readable as HDF5"),
        (["import", "bare.h5", "-o", "set"], "bare.h5: has no dataset 'data'"),
        (["import", "bare.h5", "-o", "s", "--dt", "0"], "--t-min, --t-max, --dt: dt = 0"),
        (["import", "bare.h5", "-o", "s", "--shard-bytes", "x"], "--shard-bytes x: no size"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_done_is_one_line(train, capsys, words, line):
    Path("empty").mkdir()
    Path("damaged").mkdir()
    Path("damaged/manifest.json").write_text("{")
    Path("file").write_text("no HDF5")
    with h5py.File("bare.h5", "w") as file:
        file["labels"] = np.ones((2, 3))
    before = sorted(map(str, Path().rglob("*")))
    code, _, found = run(capsys, *(str(train) if word == "{}" else word for word in words))
    assert code == 2 and found.startswith("hpc-gw: ") and line in found
    assert sorted(map(str, Path().rglob("*"))) == before  # nothing was written


@pytest.mark.parametrize(
    "words",
    [["import", "f", "-o", "s", "--dtype", "int8"], ["export", "f", "-o", "s", "--part", "x"]],
)
def test_unknown_choices_are_refused_with_the_valid_ones(words, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["data", *words])
    assert stopped.value.code == 2 and "choose from" in capsys.readouterr().err
