"""``hpc-gw submit`` and ``hpc-gw jobs`` on this machine: real processes, no scheduler."""

import json
import time
from pathlib import Path

import pytest

from hpc_gw.cli import main


@pytest.fixture(autouse=True)
def registry(tmp_path, monkeypatch):
    """A registry of this test's own, and a known current folder."""
    monkeypatch.setenv("HPC_GW_JOBS", str(tmp_path / "registry"))
    monkeypatch.chdir(tmp_path)


def submit(capsys, *words):
    """Ids of the jobs of a submission to this machine."""
    assert main(["submit", *words, "--site", "local", "--json"]) == 0
    return [job["id"] for job in json.loads(capsys.readouterr().out)]


def told(capsys, *words):
    """What ``hpc-gw jobs`` prints, as JSON."""
    capsys.readouterr()
    assert main(["jobs", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.slow
def test_a_pipeline_goes_from_waveforms_to_report(tiny, capsys):
    pytest.importorskip("submitit")
    ids = submit(capsys, "pipeline", "--config", str(tiny), "--time", "20")
    assert len(ids) == 4
    tiny.write_text("name: changed since\n")  # what is queued is what was submitted
    assert main(["jobs", "wait", *ids]) == 0
    assert "report" in capsys.readouterr().out
    jobs = told(capsys, "ls")
    assert [job["state"] for job in jobs] == ["COMPLETED"] * 4
    assert [job["dependencies"] for job in jobs] == [[], *([i] for i in ids[:3])]
    assert (Path(jobs[0]["output"]) / "report" / "report.html").exists()
    assert json.loads((Path(jobs[0]["output"]) / "run.json").read_text())["ranks"] == 2
    assert main(["jobs", "cancel", *ids]) == 0
    assert "nothing to cancel" in capsys.readouterr().out


@pytest.mark.slow
def test_a_failed_job_says_why_and_takes_those_that_wait_for_it_along(tiny, capsys):
    pytest.importorskip("submitit")
    (train,) = submit(capsys, "train", "--config", str(tiny), "--set", "ranks.train=1")
    (report,) = submit(capsys, "report", "--config", str(tiny), "--after", train)
    assert main(["jobs", "wait", train, report, "--quiet"]) == 2
    line = capsys.readouterr().err
    assert line.startswith(f"hpc-gw: train {train}: FAILED; hpc-gw: ") and "no dataset" in line
    assert [job["state"] for job in told(capsys, "show", train, report)] == ["FAILED", "CANCELLED"]
    assert main(["jobs", "show", train]) == 0
    assert "exit code 2" in (shown := capsys.readouterr().out) and "generate it first" in shown
    assert main(["jobs", "logs", "--follow", train]) == 0
    assert "generate it first" in capsys.readouterr().out


@pytest.mark.slow
def test_a_cancelled_job_ends_with_those_that_wait_for_it(tiny, capsys):
    pytest.importorskip("submitit")
    ids = submit(capsys, "pipeline", "--config", str(tiny), "--set", "sets.train.count=1000000")
    assert main(["jobs", "cancel", ids[0]]) == 0
    assert main(["jobs", "wait", *ids, "--quiet"]) == 2
    assert {job["state"] for job in told(capsys, "ls")} == {"CANCELLED"}
    for job in told(capsys, "ls"):
        for _ in range(100):
            if not Path(f"/proc/{job['id']}").exists():
                break
            time.sleep(0.1)


@pytest.mark.parametrize("site", ["local", "test", "perlmutter"])
def test_a_dry_run_prints_plan_cost_and_scripts_and_writes_nothing(site, tiny, tmp_path, capsys):
    before = sorted(tmp_path.rglob("*"))
    words = ["submit", "pipeline", "--site", site, "--config", str(tiny), "--dry-run"]
    assert main([*words, "--site-set", "price=2"]) == 0
    out = capsys.readouterr().out
    assert "node hours" in out and "USD" in out and "samples" in out
    assert out.count("#!/bin/bash") == 4 and "ID_OF_EVALUATE" in out
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["train", "--site", "nowhere"], "there are delta"),
        (["train", "--site", "test", "--site-set", "partitoin=x"], "did you mean 'partition'"),
        (["train", "--site", "test", "--nodes", "many"], "--nodes many: write a number"),
        (["train", "--site", "test", "--nodes", "tarin=2"], "--nodes tarin=2: write a number"),
        (["train", "--site", "test", "--nodes", "2"], "test has at most 1"),
        (["train", "--site", "test", "--requeues", "-1"], "must be 0 or more"),
        (["train", "--site", "test", "--set", "train.epoch=2"], "did you mean 'epochs'"),
        (["pipeline", "--site", "test", "--sweep", "train.seed=1,2"], "--sweep varies trainings"),
        (["train", "--site", "test", "--after", "1;id"], "without spaces and other marks"),
        (["train", "--site", "summit", "--set", "train.batch=32"], "divide evenly over 1 x 6"),
    ],
)
def test_what_cannot_be_submitted_is_one_line(words, line, tiny, tmp_path, capsys):
    assert main(["submit", *words, "--config", str(tiny), "--dry-run"]) == 2
    error = capsys.readouterr().err
    assert line in error and error.count("\n") == 1


def test_without_the_scheduler_one_line_says_so(tiny, tmp_path, capsys, monkeypatch):
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", "/nowhere")
    assert main(["submit", "train", "--site", "test", "--config", str(tiny)]) == 2
    error = capsys.readouterr().err
    assert "there is no slurm on this machine" in error and error.count("\n") == 1
    assert not list((tmp_path / "registry").iterdir())


def test_a_list_of_no_jobs_is_none(capsys):
    assert main(["jobs", "ls"]) == 0
    assert "submit some" in capsys.readouterr().out
    assert told(capsys, "ls") == []
    assert main(["jobs", "show", "12"]) == 2
    assert main(["jobs", "wait"]) == 0
    capsys.readouterr()
    assert main(["jobs", "cancel", "12_3"]) == 2
    assert "cancelled as a whole; give 12" in capsys.readouterr().err
