"""Trainings in LSF jobs and outside; real LSF was not available."""

import shutil
import subprocess
import sys

import pytest
import torch

from hpc_gw.cli import main
from hpc_gw.launch.lsf import LsfJob
from hpc_gw.launch.plans import plan_step
from hpc_gw.launch.sites import Site
from hpc_gw.launch.submission import submit
from tests.integration.conftest import TINY
from tests.lsf import functions

PLAYED = Site(
    name="played", scheduler="lsf", launcher={"kind": "jsrun"}, cores_per_node=1, walltime_min=400
)


@pytest.fixture(scope="module")
def trained(lsf, tmp_path_factory):
    """A tiny training done outside, in a job, and by a submission that was stopped midway.

    The weights that the first left, and the other two's folders and jobs.
    """
    base = tmp_path_factory.mktemp("trainings")
    folders = {name: base / name for name in ("outside", "job", "submission")}
    yaml = base / "tiny.yaml"
    yaml.write_text(TINY + f"output: {folders['outside']}\n")
    assert main(["generate", str(yaml)]) == 0
    for name in ("job", "submission"):
        shutil.copytree(folders["outside"], folders[name])
    # One thread each: two would add in another order.
    fixed = ("--set", "train.epochs=40", "--set", "train.threads=1")
    words = {
        name: ("train", str(yaml), *fixed, "--output", str(folder))
        for name, folder in folders.items()
    }
    plan = plan_step(
        "train", PLAYED, (words["submission"],), folder=base / "submitted",
        output=folders["submission"], directory=base, name="tiny", tasks_per_node=1, requeues=1,
    )  # fmt: skip
    submission = LsfJob(plan.folder, submit(plan).id)
    job = lsf.executor("train").submit(functions.train, list(words["job"]))
    lsf.until(lambda: (folders["submission"] / "train.jsonl").read_text().count("\n") > 5)
    submission._interrupt()
    # Meanwhile, in a process of its own as theirs are.
    subprocess.run([sys.executable, "-m", "hpc_gw", *words["outside"]], check=True, timeout=600)
    jobs = {"job": job, "submission": submission}
    return weights(folders["outside"]), {name: (folders[name], jobs[name]) for name in jobs}


def weights(folder):
    last = sorted((folder / "checkpoints").glob("*.pt"))[-1]
    return torch.load(last, weights_only=False)["weights"]


@pytest.mark.parametrize("name", ["job", "submission"])
def test_a_training_has_the_same_weights_with_lsf_and_without(trained, name):
    expected, others = trained
    folder, job = others[name]
    assert job.result() == 0, job.stderr()
    found = weights(folder)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in expected)


def test_a_training_stopped_midway_was_queued_again(lsf, trained):
    _, job = trained[1]["submission"]
    assert job.result() == 0
    assert lsf.history(job)[:4] == ["PEND", "RUN", "PEND", "RUN"]
    assert "queued again, 0 times left" in job.stdout()
