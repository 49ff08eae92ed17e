"""The whole chain through the command line: what it writes, and what a second start does."""

import json
import signal
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest

from hpc_gw.cli import main
from hpc_gw.files import sha256
from hpc_gw.job import load_job
from hpc_gw.manifold.populations import GridConfig
from hpc_gw.training.checkpoints import paths


def test_every_result_is_there_and_says_how_it_was_made(finished):
    for name in ("best.pt", "run.json", "train.jsonl", "predictions.h5", "results.h5"):
        assert (finished / name).exists(), name
    report = finished / "report"
    for name in ("report.html", "table1.md", "table1.tex", "table1.json"):
        assert (report / name).stat().st_size > 0, name
    assert len(list((report / "figures").glob("*.pdf"))) >= 6
    with h5py.File(finished / "predictions.h5") as file:
        recipe = json.loads(file.attrs["recipe"])
        rows = file["row"][:]
        truth = file["truth"][:]
    assert recipe["config"]["train"]["batch"] == 16
    assert recipe["inputs"]["best.pt"] == sha256(finished / "best.pt")
    grid = GridConfig(split="test", stride=(22, 33, 33))
    assert np.array_equal(rows, np.arange(grid.size))
    assert np.allclose(truth[:, :3], grid.parameters(rows))
    with h5py.File(finished / "results.h5") as file:
        overlap, bound = file["overlaps/overlap"][:], file["overlaps/bound"][:]
        assert np.array_equal(file["predictions/truth"][:], truth)
        assert json.loads(file.attrs["recipe"])["inputs"]["predictions.h5"] == sha256(
            finished / "predictions.h5"
        )
    assert overlap.shape == rows.shape and (overlap > 0).all() and (overlap <= 1).all()
    assert (bound <= 1e-6).all()


def test_a_second_run_repeats_nothing_that_is_done(finished, tmp_path):
    before = {p: p.stat().st_mtime_ns for p in finished.rglob("shard-*.h5")}
    weights = sha256(finished / "best.pt")
    assert main(["run", str(finished.parent / "tiny.yaml")]) == 0
    assert {p: p.stat().st_mtime_ns for p in before} == before
    assert sha256(finished / "best.pt") == weights


def test_each_step_can_be_given_by_hand(finished, tmp_path, capsys):
    predictions, results = tmp_path / "p.h5", tmp_path / "r.h5"
    data = finished / "data" / "test"
    model = str(finished / "best.pt")
    assert main(["predict", str(data), "--model", model, "-o", str(predictions)]) == 0
    with h5py.File(predictions) as mine, h5py.File(finished / "predictions.h5") as theirs:
        assert np.array_equal(mine["prediction"][:], theirs["prediction"][:])
    assert main(["overlap", str(predictions), "-o", str(results)]) == 0
    assert main(["report", str(results), "--quick", "-o", str(tmp_path / "r")]) == 0
    assert "paper" in capsys.readouterr().out
    assert (tmp_path / "r" / "report.html").exists()


@pytest.mark.parametrize("verb", ["run", "generate", "train"])
def test_a_dry_run_says_the_cost_and_writes_nothing(tiny, capsys, verb):
    assert main([verb, "--dry-run", str(tiny), "--set", "train.epochs=7"]) == 0
    shown = capsys.readouterr().out
    assert "256 draws" in shown and "at most 7 epochs of 16 steps" in shown
    assert not (tiny.parent / "run").exists()


def test_the_papers_job_states_its_cost_without_doing_anything(root, capsys, monkeypatch):
    monkeypatch.chdir(root)
    assert main(["run", "--dry-run", "jobs/paper.yaml"]) == 0
    shown = capsys.readouterr().out
    # 1,580,128 x 101,300 x 8 bytes
    assert "1,580,128" in shown and "1.28 TB" in shown and "10,295,576" in shown
    assert "158,009,600 samples" in shown


def test_waveform_prints_writes_and_draws(tmp_path, capsys):
    columns, plot = tmp_path / "h.txt", tmp_path / "h.png"
    assert main(["waveform", "-q", "4", "--s1z", "0.3", "--s2z", "-0.2",
                 "--output", str(columns), "--plot", str(plot)]) == 0  # fmt: skip
    assert "eta = 0.160000, sigma_eff = 0.200000" in capsys.readouterr().out
    t, real, imaginary = np.loadtxt(columns).T
    assert t.size == 101_300 and real[0] > 0 and abs(imaginary[0]) < 1e-9
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_the_surrogate_is_shown_with_its_quality(capsys):
    assert main(["surrogate", "show"]) == 0
    shown = capsys.readouterr().out
    assert "SEOBNRv5HM" in shown and "median" in shown


@pytest.mark.parametrize(
    "command",
    [[], ["run"], ["generate"], ["train"], ["evaluate"], ["predict"], ["overlap"], ["report"],
     ["compare"], ["waveform"],
     ["data"], ["data", "ls"], ["data", "verify"], ["data", "repair"], ["data", "stage"],
     ["data", "export"], ["data", "import"], ["surrogate"],
     ["surrogate", "build"], ["surrogate", "pull"], ["surrogate", "show"]],
)  # fmt: skip
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([*command, "--help"])
    assert stopped.value.code == 0
    assert "usage: hpc-gw" in capsys.readouterr().out


def test_the_command_line_starts_without_importing_torch():
    code = "import sys; from hpc_gw.cli import main; main(['surrogate', '--help'])"
    probe = f"import atexit, sys; atexit.register(lambda: print('torch' in sys.modules)); {code}"
    done = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip().endswith("False")


def test_the_job_in_use_is_what_the_files_say(tiny):
    job = load_job(tiny, ["train.optimizer.lr=2e-3"])
    assert job.train.optimizer.kind == "lamb" and job.train.optimizer.lr == 2e-3


def test_a_stopped_run_hands_the_signal_on_and_resumes(tiny):
    """SIGTERM to `hpc-gw run` while two ranks train: a checkpoint, exit code 75, then the end."""
    words = [sys.executable, "-m", "hpc_gw", "run", str(tiny), "--set", "train.epochs=2000"]
    log = tiny.parent / "run" / "train.jsonl"
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as run:
        deadline = time.monotonic() + 600
        while not (log.exists() and log.read_text()) and time.monotonic() < deadline:
            time.sleep(0.1)
        run.send_signal(signal.SIGTERM)
        _, shown = run.communicate(timeout=600)
    assert run.returncode == 75, shown
    assert "checkpoint written" in shown and "Traceback" not in shown
    assert paths(tiny.parent / "run")


def test_shards_are_copied_to_local_storage_and_read_there(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("NODE", str(tmp_path / "node"))
    settings = ["--set", "train.local=$NODE", "--set", "train.epochs=1"]
    assert main(["generate", str(tiny)]) == 0
    assert main(["train", str(tiny), *settings]) == 0
    copies = sorted((tmp_path / "node").glob("*/shard-*.h5"))
    data = tiny.parent / "run" / "data"
    originals = [*(data / "train").glob("shard-*.h5"), *(data / "validation").glob("shard-*.h5")]
    assert sorted(map(sha256, copies)) == sorted(map(sha256, originals))


def test_an_error_in_a_step_keeps_its_exit_code(tiny, capfd):
    assert main(["run", str(tiny), "--set", "train.batch=15"]) == 2
    shown = capfd.readouterr().err
    assert "multiple of 2" in shown and "Traceback" not in shown
