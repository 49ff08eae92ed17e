"""Bad input: one clear line, exit code 2, nothing written and nothing lost."""

import os
import shutil
import subprocess
import sys

import h5py
import numpy as np
import pytest
import torch

from hpc_gw.cli import main
from hpc_gw.waveforms.engines import surrogate_path


def refuse(capsys, *arguments):
    """Run a command that must be refused; its one line."""
    assert main([str(a) for a in arguments]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    last = lines[-1]
    assert last.startswith("hpc-gw: ")
    assert not any("Traceback" in line for line in lines)
    return last


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["-q", "0.5"], "swap the bodies"),
        (["-q", "nan"], "finite"),
        (["-q", "2", "--s1z", "1.5"], "[-1, 1]"),
        (["-q", "9"], "covers q in [1, 8]"),
        (["-q", "2", "--plot", "f.svg"], ".png or .pdf"),
        (["-q", "2", "--surrogate", "nowhere.h5"], "nowhere.h5"),
    ],
)
def test_waveform_refuses(capsys, options, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert words in refuse(capsys, "waveform", *options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["truncated", "text", "other layout"])
def test_surrogate_files_that_are_none_are_refused(capsys, tmp_path, kind):
    path = tmp_path / "NRHybSur3dq8.h5"
    if kind == "truncated":
        content = surrogate_path("embedded").read_bytes()
        path.write_bytes(content[: len(content) // 2])
    elif kind == "text":
        path.write_text("<html>404</html>")
    else:
        with h5py.File(path, "w") as file:
            file["domain"] = np.arange(3.0)
    for engine in ("surrogate", "gwsurrogate"):
        line = refuse(capsys, "waveform", "-q", 2, "--surrogate", path, "--engine", engine)
        assert str(path) in line


def test_the_environments_surrogate_is_used(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("HPC_GW_SURROGATE", str(tmp_path / "missing.h5"))
    assert "missing.h5" in refuse(capsys, "waveform", "-q", 2)
    shutil.copy(surrogate_path("embedded"), tmp_path / "missing.h5")
    assert main(["waveform", "-q", "2"]) == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--set", "train.epoch=3"], "did you mean 'epochs'"),
        (["--set", "train.epochs=0"], "train.epochs = 0"),
        (["--set", "train.batch=100000"], "only 256 rows"),
        (["--set", "train"], "key=value"),
        (["--set", "model.preset=nothing"], "khan2020"),
        (["--set", "time_grid.samples=32"], "make them equal"),
        (["--set", "engine.file=nowhere.h5"], "nowhere.h5"),
        (["--set", "train.optimizer.fused=true"], "NVIDIA"),
    ],
)
def test_a_job_that_cannot_be_done_is_refused(capsys, tiny, options, words):
    if "batch" in options[-1] or "fused" in options[-1]:
        assert main(["generate", str(tiny)]) == 0
        capsys.readouterr()
        verb = "train"
    else:
        verb = "generate"
    assert words in refuse(capsys, verb, tiny, *options)


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("sets.train.q=[1, 20]", "covers q"),
        ("time_grid.t_max=500", "covers"),
        ("evaluation.time_grid.t_max=500", "covers"),
        ("evaluation.time_grid.dt=1000000", "at least 2"),
        ("evaluation.time_grid.kind=chirp", "equally spaced"),
        ("ranks.train=3", "multiple of 3"),
        ("train.batch=99999", "only 256 rows"),
        ("model={preset: [1]}", "a name is needed"),
        ("train.seed=100000000000000000000000", "train.seed"),
        ("train.augment.max_shift=2.0", "storage.values: complex"),
        ("model.answers=difference", "set train.loss.kind: direct"),
        ("engine.file=nowhere.h5", "nowhere.h5"),
    ],
)
def test_a_dry_run_refuses_what_would_fail_later(capsys, tiny, assignment, words):
    assert words in refuse(capsys, "run", "--dry-run", tiny, "--set", assignment)
    assert words in refuse(capsys, "run", tiny, "--set", assignment)
    assert not (tiny.parent / "run").exists()


def test_a_report_of_something_else_is_refused(capsys, finished, tmp_path):
    words = ("report", finished / "predictions.h5", "-o", tmp_path / "r")
    assert "holds predictions, not results" in refuse(capsys, *words)
    missing = ("report", finished / "results.h5", "-o", tmp_path / "r",
               "--log", tmp_path / "no.jsonl")  # fmt: skip
    assert "no.jsonl" in refuse(capsys, *missing)
    assert not (tmp_path / "r").exists()


def test_another_surrogate_than_the_test_sets_may_not_judge(capsys, finished, tmp_path):
    other = tmp_path / "NRHybSur3dq8.h5"
    shutil.copy(surrogate_path("embedded"), other)
    with h5py.File(other, "a") as file:
        file.attrs["note"] = "another file"
    words = ("overlap", finished / "predictions.h5", "-o", tmp_path / "o.h5", "--surrogate", other)
    assert "another surrogate" in refuse(capsys, *words)


@pytest.mark.parametrize("content", ["{", "[1]", '{"held_out": 3}'])
def test_a_foreign_file_beside_a_surrogate_is_no_matter(capsys, tmp_path, content):
    shutil.copy(surrogate_path("embedded"), tmp_path / "x.h5")
    (tmp_path / "x.json").write_text(content)
    code = main(["surrogate", "show", str(tmp_path / "x.h5")])
    assert code == (2 if content == "{" else 0)
    assert "Traceback" not in capsys.readouterr().err


def test_commands_of_one_process_refuse_several_ranks(capsys, monkeypatch):
    monkeypatch.setenv("PMI_SIZE", "4")
    monkeypatch.setenv("PMI_RANK", "0")
    assert main(["waveform", "-q", "2"]) == 2
    assert "runs in one process" in capsys.readouterr().err
    monkeypatch.setenv("PMI_SIZE", "four")
    assert main(["waveform", "-q", "2"]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_a_missing_job_file_is_refused(capsys, tmp_path):
    assert "cannot be read" in refuse(capsys, "run", tmp_path / "none.yaml")


def test_training_without_data_says_what_to_do(capsys, tiny):
    assert "generate it first" in refuse(capsys, "train", tiny)


def test_an_output_folder_with_another_runs_data_is_refused(capsys, tiny):
    assert main(["generate", str(tiny)]) == 0
    before = {p: p.read_bytes() for p in tiny.parent.rglob("*") if p.is_file()}
    capsys.readouterr()
    line = refuse(capsys, "generate", tiny, "--set", "sets.train.seed=9")
    assert "holds another dataset" in line
    line = refuse(capsys, "train", tiny, "--set", "sets.validation.seed=9")
    assert "validation" in line
    assert {p: p.read_bytes() for p in tiny.parent.rglob("*") if p.is_file()} == before


def test_a_shard_with_a_flipped_byte_is_named(capsys, tiny):
    assert main(["generate", str(tiny)]) == 0
    shard = tiny.parent / "run" / "data" / "train" / "shard-00002.h5"
    content = bytearray(shard.read_bytes())
    content[-100] ^= 4
    shard.write_bytes(content)
    capsys.readouterr()
    line = refuse(capsys, "train", tiny)
    assert "shard-00002.h5" in line and "generate the set again" in line
    assert main(["generate", str(tiny)]) == 0
    assert main(["train", str(tiny)]) == 0


def test_a_checkpoint_of_another_architecture_is_refused(capsys, tiny):
    assert main(["generate", str(tiny)]) == 0
    assert main(["train", str(tiny)]) == 0
    capsys.readouterr()
    assert "model.leaf_width" in refuse(capsys, "train", tiny, "--set", "model.leaf_width=8")


def test_predictions_need_a_whole_checkpoint_and_the_right_grid(capsys, finished, tiny, tmp_path):
    data, output = finished / "data" / "test", tmp_path / "p.h5"
    broken = tmp_path / "broken.pt"
    broken.write_bytes((finished / "best.pt").read_bytes()[:5000])
    assert "not readable" in refuse(capsys, "predict", data, "--model", broken, "-o", output)
    torch.save({"weights": 1}, broken)
    assert "not a checkpoint" in refuse(capsys, "predict", data, "--model", broken, "-o", output)
    assert "no such" in refuse(capsys, "predict", data, "--model", tmp_path / "no.pt", "-o", output)
    assert main(["generate", str(tiny), "--sets", "test", "--set", "time_grid.t_max=100"]) == 0
    capsys.readouterr()
    other = tiny.parent / "run" / "data" / "test"
    assert "time" in refuse(capsys, "predict", other, "--model", finished / "best.pt", "-o", output)
    assert not output.exists()


def test_overlaps_of_something_else_are_refused(capsys, finished, tmp_path):
    line = refuse(capsys, "overlap", finished / "best.pt", "-o", tmp_path / "o.h5")
    assert "best.pt" in line
    assert not (tmp_path / "o.h5").exists()


def test_without_mpi_two_ranks_are_refused_with_the_install_line(capsys, tiny, monkeypatch):
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    monkeypatch.setenv("PMI_SIZE", "2")
    monkeypatch.setenv("PMI_RANK", "0")
    assert main(["generate", str(tiny)]) == 2
    error = capsys.readouterr().err
    assert "mpi4py" in error and "pip install" in error


def test_ranks_that_each_see_themselves_alone_are_refused(tiny):
    """A launcher says 2 ranks, MPI's world has 1: as with the mpiexec of another MPI."""
    pytest.importorskip("mpi4py")
    environment = {**os.environ, "OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "hpc_gw", "generate", str(tiny)],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "each would do the whole job" in done.stderr
    assert not (tiny.parent / "run").exists()


def test_run_is_not_started_under_a_launcher(capsys, tiny, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    assert main(["run", str(tiny)]) == 2
    assert "without mpiexec" in capsys.readouterr().err


def test_a_surrogate_cannot_be_pulled_without_network(capsys, tmp_path, monkeypatch):
    gwsurrogate = pytest.importorskip("gwsurrogate")

    def unreachable(name, sdir):
        raise OSError("Name or service not known")

    monkeypatch.setattr(gwsurrogate.catalog, "pull", unreachable)
    line = refuse(capsys, "surrogate", "pull", "-o", tmp_path)
    assert "3348115" in line and "check the network" in line
    assert not list(tmp_path.iterdir())
