"""From a job's YAML to plans: what each step asks for, sweeps, costs."""

from pathlib import Path

import pytest
import yaml

from hpc_gw.errors import ConfigError
from hpc_gw.job import load_job
from hpc_gw.launch.compose import Request, plan_job, share_data, sweep
from hpc_gw.launch.estimate import cost_lines, training_line, training_samples
from hpc_gw.launch.plans import PIPELINE, plan_step
from hpc_gw.launch.sites import load_site

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def job():
    """The job of the quickstart."""
    return load_job(ROOT / "jobs" / "quickstart.yaml", ["train.batch=96"])


def plans(job, steps=PIPELINE, site="delta", request=None, **changes):
    directory = Path("/scratch/me")
    return plan_job(
        job, steps, load_site(site), request or Request(), stamp="T", directory=directory, **changes
    )


@pytest.mark.parametrize("path", sorted((ROOT / "jobs").glob("*.yaml")), ids=lambda p: p.stem)
def test_the_job_in_the_submissions_folder_is_the_job(path, tmp_path):
    job = load_job(path)
    (made,) = plans(job, ["generate"])
    file = tmp_path / "job.yaml"
    file.write_text(made.files["job.yaml"])
    assert load_job(file) == job.with_output(f"/scratch/me/{job.output}")


def test_training_takes_the_gpus_and_other_steps_the_cores(job):
    generate, train, evaluate, report = plans(job)
    assert (train.tasks_per_node, train.gpus_per_node, train.cpus_per_task) == (4, 4, 16)
    assert (generate.tasks_per_node, generate.gpus_per_node, generate.cpus_per_task) == (64, 0, 1)
    assert evaluate.tasks_per_node == 64 and report.tasks == 1 and report.cpus_per_task == 64


def test_commands_name_the_job_and_the_report_its_files(job):
    *steps, report = plans(job)
    for plan in steps:
        assert plan.commands == ((plan.step, str(plan.folder / "job.yaml")),)
    folder = Path("/scratch/me") / job.output
    assert report.commands[0][:4] == (
        "report", str(folder / "results.h5"), "-o", str(folder / "report"),
    )  # fmt: skip


@pytest.mark.parametrize("quick", [False, True])
def test_a_quick_evaluation_is_quick_as_a_batch_job_too(quick):
    chosen = load_job(ROOT / "jobs" / "quickstart.yaml", [f"evaluation.quick={quick}".lower()])
    (report,) = plans(chosen, ["report"])
    assert ("--quick" in report.commands[0]) == quick


def test_requests_count_for_their_steps(job):
    request = Request(
        nodes={"train": 2}, walltime_min={"train": 600}, tasks_per_node={"generate": 8},
        requeues=0, dependencies=("7",),
    )  # fmt: skip
    generate, train, *_ = plans(job, request=request)
    assert (generate.nodes, generate.tasks_per_node, generate.dependencies) == (1, 8, ("7",))
    assert (train.nodes, train.walltime_min, train.requeues, train.dependencies) == (2, 600, 0, ())


@pytest.mark.parametrize(
    ("request_", "line"),
    [
        (Request(nodes={"train": 101}), "--nodes 101 for train: delta has at most 100"),
        (Request(walltime_min={"train": 9999}), "--time 9999"),
        (Request(tasks_per_node={"train": 5}), "--tasks-per-node 5"),
        (Request(nodes={"train": 5}), "train.batch = 96: does not divide evenly over 5 x 4"),
    ],
)
def test_more_than_the_site_has_is_refused(job, request_, line):
    with pytest.raises(ConfigError, match=line):
        plans(job, ["train"], request=request_)


def test_without_a_launcher_there_is_one_node(job):
    with pytest.raises(ConfigError, match="one node only"):
        plans(job, ["train"], site="local", request=Request(nodes={"train": 2}))


def test_the_lead_leaves_half_of_a_short_job(job):
    (plan,) = plans(job, ["train"], request=Request(walltime_min={"train": 1}))
    assert plan.signal_lead_s == 30


def test_a_name_is_one_that_every_scheduler_takes():
    made = plan_step(
        "report", load_site("test"), (("report",),), folder=Path("/f"), output=Path("/o"),
        directory=Path("/"), name="δ q=3; rm 'x'",
    )  # fmt: skip
    assert made.name == "q-3--rm--x"


def test_a_scaling_sweep_doubles_its_ranks(job):
    (plan,) = plans(job, ["scaling"], request=Request(nodes={"scaling": 3}))
    words = plan.commands[0]
    at = words.index("--ranks")
    assert words[at + 1 : at + 6] == ("1", "2", "4", "8", "12")
    assert words[-3:] == ("--launcher", "srun", "--launcher-options=--mpi=pmi2")
    assert not plan.inside and plan.spread


def test_a_sweep_is_an_array_of_jobs_in_folders_of_their_own(job, tmp_path):
    job = job.with_output(str(tmp_path / "run"))
    variants = sweep(job, ["train.optimizer.lr=1e-3,2e-3", "train.seed=1,2"])
    assert [v.train.optimizer.lr for v in variants] == [1e-3, 1e-3, 2e-3, 2e-3]
    assert len({v.folder for v in variants}) == 4
    assert variants[1].folder == tmp_path / "run" / "sweep" / "optimizer.lr=1e-3,seed=2"
    (plan,) = plans(job, ["train"], variants=variants)
    assert plan.array == 4
    third = yaml.safe_load(plan.files["job-2.yaml"])
    assert third["train"]["optimizer"]["lr"] == 2e-3 and third["output"].endswith("lr=2e-3,seed=1")
    share_data(job, variants)
    share_data(job, variants)
    (tmp_path / "run" / "data").mkdir()
    assert (variants[0].folder / "data").resolve() == tmp_path / "run" / "data"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("train.seed", "write key=value,value"),
        ("train.seed=1,,2", "write key=value,value"),
        ("train.seed=1,1", "twice"),
        ("train.sed=1,2", "did you mean 'seed'"),
        ("train.local=/a,/b", "names a folder"),
    ],
)
def test_a_sweep_that_cannot_be_is_one_line(job, text, line):
    with pytest.raises(ConfigError, match=line):
        sweep(job, [text])


def test_costs_are_hours_times_nodes():
    site = load_site("delta", ["price=2.5", "currency=EUR", "power_kw=2"])
    plan = plan_step(
        "train", site, (("train", "a"), ("train", "b")), folder=Path("/f"), output=Path("/o"),
        directory=Path("/"), name="x", nodes=3, walltime_min=90,
    )  # fmt: skip
    assert plan.node_hours == 9.0  # 3 nodes x 1.5 h x 2 elements
    assert "9.00 node hours, 22.50 EUR, 18.00 kWh" in cost_lines([plan])[0]


def test_the_time_of_a_training_comes_from_a_measured_rate(job, tmp_path):
    job = job.with_output(str(tmp_path))
    (plan,) = plans(job, ["train"])
    assert "holds no run to take a rate from" in training_line(job, plan)
    (tmp_path / "run.json").write_text(
        '{"format": "hpc_gw run 1", "state": "stopped", "step": 50, "total": 100, "ranks": 2}'
    )
    (tmp_path / "train.jsonl").write_text('{"step": 50, "samples_per_s": 10.0, "val_loss": 1.0}\n')
    minutes = training_samples(job) / 2 / (10 / 2 * 4) / 60
    assert f"{minutes:,.1f} min" in training_line(job, plan)
