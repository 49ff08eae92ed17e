"""What sbatch is really given, through submitit, and what is written down."""

import os
from dataclasses import replace

import pytest

pytest.importorskip("submitit", reason="submission to batch systems needs submitit")

from submitit.core.utils import DelayedSubmission

from hpc_gw.errors import LaunchError, MissingDependencyError
from hpc_gw.launch.needed import submitit_needed
from hpc_gw.launch.plans import after
from hpc_gw.launch.registry import find, records
from hpc_gw.launch.scripts import render
from hpc_gw.launch.submission import submit, submit_chain
from tests.unit.launch.conftest import plan

SBATCH = """#!/bin/bash
n=$(($(cat "$STUBS/count" 2> /dev/null || echo 40) + 1)); echo $n > "$STUBS/count"
[ $n = "$REFUSED" ] && { echo "sbatch: error: invalid partition" >&2; exit 1; }
cp "$1" "$STUBS/$n.sh"; echo "Submitted batch job $n"
"""


@pytest.fixture
def stubs(tmp_path, monkeypatch):
    """A Slurm that takes jobs 41, 42, ... and never runs them."""
    folder = tmp_path / "stubs"
    folder.mkdir()
    commands = {
        "sbatch": SBATCH, "srun": "#!/bin/bash\n",
        "scancel": '#!/bin/bash\necho "$@" >> "$STUBS/cancelled"\n',
        "sacct": '#!/bin/bash\necho "41|PENDING|0:0|"\n',
    }  # fmt: skip
    for name, text in commands.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("STUBS", str(folder))
    monkeypatch.setenv("REFUSED", "none")
    monkeypatch.setenv("HPC_GW_JOBS", str(tmp_path / "registry"))
    return folder


def here(made, tmp_path):
    return replace(made, folder=tmp_path / made.step, directory=tmp_path, dependencies=())


def test_sbatch_is_given_our_script_and_the_job_its_step(stubs, tmp_path):
    made = here(plan("test", "train", files={"job.yaml": "name: x\n"}), tmp_path)
    record = submit(made)
    assert record.id == "41" and (stubs / "41.sh").read_text() == render(made)
    assert (tmp_path / "train" / "job.yaml").read_text() == "name: x\n"
    assert find(["41"]) == [record] and record.script.endswith("train/41_submission.sh")
    step = DelayedSubmission.load(tmp_path / "train" / "41_submitted.pkl").function
    assert step.commands == made.commands and step.inside and step.ranks == 2
    assert step.requeues == made.requeues == 5


def test_an_array_is_one_submission_with_a_step_for_each_element(stubs, tmp_path):
    commands = (("train", "a"), ("train", "b"), ("train", "c"))
    made = here(plan("test", "train", commands=commands, parallel=2), tmp_path)
    record = submit(made)
    assert (stubs / "41.sh").read_text() == render(made) and not (stubs / "42.sh").exists()
    assert record.elements == ["41_0", "41_1", "41_2"]
    for i, words in enumerate(commands):
        file = tmp_path / "train" / f"41_{i}_submitted.pkl"
        assert DelayedSubmission.load(file).function.commands == (words,)


def test_each_step_of_a_chain_waits_for_the_one_before(stubs, tmp_path):
    plans = [here(plan("test", step), tmp_path) for step in ("generate", "train", "report")]
    chain = submit_chain(plans)
    assert [record.dependencies for record in chain] == [(), ("41",), ("42",)]
    assert (stubs / "43.sh").read_text() == render(after(plans[2], ("42",)))


def test_a_chain_of_which_one_is_refused_is_not_begun(stubs, tmp_path, monkeypatch):
    monkeypatch.setenv("REFUSED", "42")
    plans = [here(plan("test", step), tmp_path) for step in ("generate", "train", "report")]
    with pytest.raises(LaunchError, match=r"test refuses train: .*invalid partition"):
        submit_chain(plans)
    assert (stubs / "cancelled").read_text() == "41\n"
    assert [record.id for record in records()[0]] == ["41"] and records()[0][0].cancelled


def test_without_submitit_the_line_installs_it():
    line = r'pip install "hpc_gw\[jobs\]"'
    with pytest.raises(MissingDependencyError, match=line), submitit_needed():
        raise ImportError("no", name="submitit.core")
    with pytest.raises(ImportError, match="other"), submitit_needed():
        raise ImportError("other", name="numpy")
