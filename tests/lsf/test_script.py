"""What bsub would be given; real LSF was not available to read it."""

import pytest

from hpc_gw.errors import ConfigError, LaunchError
from hpc_gw.launch.lsf import LsfExecutor, submission_text

SUMMIT = """\
#!/bin/bash
#BSUB -J "wavenet[1-10]%4"
#BSUB -o "/scratch/runs/%J_%I_lsf.out"
#BSUB -W 120
#BSUB -wa USR2
#BSUB -wt 10
#BSUB -r
#BSUB -w "done(12) && done(13[4])"
#BSUB -ti
#BSUB -q "batch"
#BSUB -P "AST123"
#BSUB -alloc_flags "smt1"
#BSUB -nnodes 2

# LSF's warning reaches this shell, too; the ranks are those who act on it.
trap : USR2
export SUBMITIT_EXECUTOR=lsf
module load open-ce
jsrun -n 12 -r 6 -a 1 -c 7 -g 1 -b rs python -u worker.py
status=$?
"""


def test_the_script_for_summit():
    text = submission_text(
        "python -u worker.py", "/scratch/runs", map_count=10, job_name="wavenet", time=120,
        nodes=2, tasks_per_node=6, cpus_per_task=7, gpus_per_node=6, array_parallelism=4,
        dependency="done(12) && done(13[4])", queue="batch", project="AST123",
        alloc_flags="smt1", setup=["module load open-ce"],
    )  # fmt: skip
    assert text.startswith(SUMMIT)


def test_where_there_is_no_jsrun_slots_are_asked_for():
    text = submission_text(
        "true", "/x", nodes=2, tasks_per_node=4, gpus_per_node=4, launcher="mpirun", mem="8GB",
        rerunnable=False, launcher_args=["--map-by", "node"], additional=["-app dl"],
    )  # fmt: skip
    for line in (
        "#BSUB -n 8", '#BSUB -R "span[ptile=4]"', '#BSUB -gpu "num=4"', "#BSUB -rn",
        '#BSUB -R "rusage[mem=8GB]"', "#BSUB -app dl", "mpirun -n 8 --map-by node true",
        '#BSUB -o "/x/%J_lsf.out"',
    ):  # fmt: skip
        assert line in text.splitlines()
    assert "jsrun" not in text and "-nnodes" not in text and "-ti" not in text


@pytest.mark.parametrize(("time", "lead"), [(2, 1), (7, 1), (10, 2), (60, 10), (1440, 10)])
def test_the_warning_comes_a_fifth_before_the_end_but_within_minutes(time, lead):
    assert f"#BSUB -wt {lead}\n" in submission_text("true", "/x", time=time)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"time": 1}, "time = 1 min"),
        ({"time": 30, "warning_min": 30}, "warning 30 min"),
        ({"gpus_per_node": 6, "tasks_per_node": 4}, "choose a multiple"),
        ({"job_name": "a[1-9]"}, "job_name = "),
        ({"partition": "batch"}, r"partition: no parameter .* there are additional, .* queue"),
    ],
)
def test_what_cannot_work_is_refused_when_it_is_set(lsf, parameters, message):
    executor = LsfExecutor(lsf.folder / "refused")
    with pytest.raises(ConfigError, match=message):
        executor.update_parameters(**parameters)


def test_without_bsub_the_executor_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert LsfExecutor.affinity() == -1
    with pytest.raises(LaunchError, match="bsub is not found"):
        LsfExecutor(tmp_path)


def test_memory_is_given_in_gigabytes(lsf):
    executor = LsfExecutor(lsf.folder / "memory")
    assert executor._convert_parameters({"mem_gb": 1.5, "timeout_min": 9}) == {
        "mem": "1.5GB",
        "time": 9,
    }
