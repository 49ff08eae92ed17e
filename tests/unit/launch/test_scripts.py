"""Batch scripts: pinned whole, equivalent on Slurm and LSF, safe whatever a user typed."""

import os
import re
import shlex
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hpc_gw import __version__
from hpc_gw.errors import ConfigError
from hpc_gw.launch import quoting
from hpc_gw.launch.plans import STEPS
from hpc_gw.launch.render_lsf import render_lsf
from hpc_gw.launch.render_slurm import render_slurm
from hpc_gw.launch.scripts import render
from hpc_gw.launch.sites import LauncherConfig, Site, StepDefaults, StepsDefaults, site_names
from tests.unit.launch.conftest import plan

GOLDEN = Path(__file__).resolve().parents[2] / "golden"


def test_every_script_is_the_one_that_was_read_and_approved(every_plan):
    """To approve changed scripts: HPC_GW_GOLDEN=write pytest tests/unit/launch."""
    text = render(every_plan).replace(f"hpc-gw {__version__};", "hpc-gw VERSION;")
    path = GOLDEN / f"{every_plan.site.name}-{every_plan.step}.sh"
    if os.environ.get("HPC_GW_GOLDEN") == "write":
        path.write_text(text)
    assert text == path.read_text()


def test_no_golden_script_is_left_over():
    wanted = {f"{site}-{step}.sh" for site in site_names() for step in STEPS}
    assert {path.name for path in GOLDEN.glob("*.sh")} == wanted


def test_bash_can_parse_every_script(every_plan):
    done = subprocess.run(["bash", "-n"], input=render(every_plan), text=True, capture_output=True)
    assert done.returncode == 0, done.stderr


def read_slurm(text):
    """What a Slurm script asks for."""
    options = dict(re.findall(r"^#SBATCH --([\w-]+)=(.*)$", text, re.MULTILINE))
    hours, minutes, seconds = map(int, options["time"].split(":"))
    srun = dict(re.findall(r"--([\w-]+)=(\S+)", text[text.index("\nsrun ") :]))
    return {
        "nodes": int(options["nodes"]),
        "ranks": int(srun["ntasks"]),
        "ranks_per_node": int(options["ntasks-per-node"]),
        "cores": int(options["cpus-per-task"]),
        "gpus_per_node": int(options.get("gpus-per-node", 0)),
        "seconds": 3600 * hours + 60 * minutes + seconds,
        "lead": int(options["signal"].removeprefix("USR2@")),
        "after": options["dependency"].removeprefix("afterok:").split(":"),
        "again": "#SBATCH --requeue\n" in text,
    }


def read_lsf(text):
    """What an LSF script asks for."""
    options = dict(re.findall(r"^#BSUB -(\w+) ?(.*)$", text, re.MULTILINE))
    jsrun = dict(re.findall(r"--(\w+)=(\S+)", text[text.index("\njsrun ") :]))
    hours, minutes = map(int, options["W"].split(":"))
    signal, lead = re.fullmatch(r"(\w+) -wt (\d+)", options["wa"]).groups()
    assert signal == "USR2" and jsrun["tasks_per_rs"] == "1"
    return {
        "nodes": int(options["nnodes"]),
        "ranks": int(jsrun["nrs"]),
        "ranks_per_node": int(jsrun["rs_per_host"]),
        "cores": int(jsrun["cpu_per_rs"]),
        "gpus_per_node": int(jsrun["gpu_per_rs"]) * int(jsrun["rs_per_host"]),
        "seconds": 3600 * hours + 60 * minutes,
        "lead": 60 * int(lead),
        "after": re.findall(r"done\((\d+)\)", options["w"]),
        "again": "#BSUB -r\n" in text,
    }


@pytest.mark.parametrize("step", ["generate", "train", "evaluate", "report"])
@pytest.mark.parametrize(("nodes", "minutes", "lead"), [(1, 30, 120), (256, 725, 300)])
def test_slurm_and_lsf_are_asked_for_the_same_job(step, nodes, minutes, lead):
    common = {
        "cores_per_node": 42, "gpus_per_node": 6, "gpu_request": "--gpus-per-node={gpus}",
        "walltime_min": minutes, "signal_lead_s": lead,
    }  # fmt: skip
    srun = Site("s", "slurm", launcher=LauncherConfig("srun"), **common)
    jsrun = Site("j", "lsf", launcher=LauncherConfig("jsrun"), **{**common, "gpu_request": ""})
    job = plan("summit", step, nodes=nodes, dependencies=("12", "13"))
    job = replace(job, walltime_min=minutes, signal_lead_s=lead)
    one, other = render_slurm(replace(job, site=srun)), render_lsf(replace(job, site=jsrun))
    assert read_slurm(one) == read_lsf(other)
    assert read_slurm(one)["ranks"] == job.tasks


def test_the_comparison_of_slurm_and_lsf_can_fail():
    one = read_slurm(render_slurm(plan("delta", "train")))
    assert one != read_lsf(render_lsf(plan("summit", "train")))


def test_the_scripts_of_an_array_name_its_elements():
    commands = (("train", "a.yaml"), ("train", "b.yaml"), ("train", "c.yaml"))
    slurm = render(plan("delta", "train", commands=commands, parallel=2))
    assert "#SBATCH --array=0-2%2\n" in slurm and "%A_%a_0_log.out" in slurm
    lsf = render(plan("summit", "train", commands=commands))
    assert '#BSUB -J "paper-train[1-3]"' in lsf and "%J_%I_lsf.out" in lsf


def test_lsf_without_jsrun_asks_for_slots():
    steps = StepsDefaults(train=StepDefaults(partition="gpuq"))
    site = Site("x", "lsf", launcher=LauncherConfig("mpiexec"), steps=steps,
                gpu_request='-gpu "num={gpus}"')  # fmt: skip
    text = render(replace(plan("summit", "train"), site=site))
    assert '#BSUB -n 84\n#BSUB -R "span[ptile=42]"\n#BSUB -gpu "num=6"' in text
    assert "#BSUB -q gpuq" in text and "jsrun" not in text


@pytest.mark.parametrize("site", ["test", "summit"])
@pytest.mark.parametrize("folder", ["/a b", "/a;id", "/a'b", "/a\nb", "/$(id)", "/`id`", "/a%jb"])
def test_a_folder_that_directives_cannot_hold_is_refused(site, folder):
    with pytest.raises(ConfigError, match=r"write it without|choose a folder"):
        render(plan(site, "train", folder=Path(folder)))


NASTY = st.text(
    st.sampled_from(list("ab7 '\"\\$`;&|<>(){}[]*?!#~%=\n\r\t\x1b\x7f-")) | st.characters(
        exclude_categories=["Cs"], exclude_characters="\0"
    ),
    max_size=20,
)  # fmt: skip
SHOW = '#!/bin/bash\nprintf "%s\\0" "$@" > "$ARGV"; env -0 > "$ENVIRONMENT"\n'


@pytest.fixture(scope="module")
def stub(tmp_path_factory):
    """A folder with an srun and a python that write down what they were given."""
    folder = tmp_path_factory.mktemp("stub")
    for name in ("srun", "jsrun", "python", "module"):
        (folder / name).write_text(SHOW if name != "module" else "#!/bin/bash\n")
        (folder / name).chmod(0o755)
    return folder


def run(text, stub):
    """Words and variables that the last command of a script gets."""
    argv, environment = stub / "argv", stub / "environment"
    argv.unlink(missing_ok=True)
    variables = {"PATH": f"{stub}:{os.environ['PATH']}", "ARGV": str(argv),
                 "ENVIRONMENT": str(environment), "LSB_JOBID": "7",
                 "LC_ALL": "C.UTF-8"}  # fmt: skip
    subprocess.run(["bash", "-n"], input=text.encode(), check=True)
    subprocess.run(["bash"], input=text.encode(), check=True, env=variables, cwd=stub)
    words = argv.read_bytes().decode().split("\0")[:-1]
    pairs = environment.read_bytes().decode().split("\0")[:-1]
    return words, dict(pair.split("=", 1) for pair in pairs)


@settings(
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(word=NASTY, value=NASTY, launcher=NASTY, python=NASTY)
def test_whatever_is_typed_reaches_its_program_verbatim_on_slurm(
    stub, word, value, launcher, python
):
    site = Site("x", "slurm", launcher=LauncherConfig("srun", (launcher,)),
                container=("env", python), environment={"TYPED": value})  # fmt: skip
    job = plan("test", "train", commands=(("train", word),))
    text = render(replace(job, site=site, environment=dict(site.environment)))
    words, variables = run(text, stub)
    assert words[5:8] == [launcher, "env", python] and variables["TYPED"] == value
    assert words[-1] == str(job.folder)


@settings(
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(word=NASTY, value=NASTY, folder=NASTY.map(lambda t: t.replace("%", "").replace("/", "")))
def test_whatever_is_typed_reaches_its_program_verbatim_on_this_machine(stub, word, value, folder):
    job = plan("local", "train", commands=(("train", word),), folder=Path("/x") / folder)
    site = replace(job.site, python="python")
    job = replace(job, site=site, environment={"TYPED": value}, directory=stub, dependencies=())
    words, variables = run(render(job), stub)
    assert words == ["-m", "submitit.local._local", str(job.folder)]
    assert variables["TYPED"] == value
    command = shlex.split(variables["SUBMITIT_LOCAL_COMMAND"])
    assert command == ["python", "-u", "-m", "submitit.core._submit", str(job.folder)]


@settings(
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(word=NASTY, value=NASTY)
def test_whatever_is_typed_reaches_its_program_verbatim_on_lsf(stub, word, value):
    job = plan("summit", "train", commands=(("train", word),), folder=stub)
    words, variables = run(render(replace(job, environment={"TYPED": value})), stub)
    assert words[-1] == str(stub) and variables["TYPED"] == value


def test_what_no_program_can_be_given_is_refused():
    for word in ("a\0b", "a\udc80b"):
        with pytest.raises(ConfigError):
            quoting.quote(word)


@given(NASTY)
def test_a_comment_is_one_line(text):
    assert len(quoting.comment(text).splitlines()) == 1
