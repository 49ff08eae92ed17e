"""Site profiles: strict, found by name or path, one place for all."""

import dataclasses
from pathlib import Path

import pytest

from hpc_gw.errors import ConfigError
from hpc_gw.launch.sites import FOLDER, Site, load_site, site_names

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("name", site_names())
def test_every_shipped_profile_loads_and_says_how_far_it_was_tried(name):
    site = load_site(name)
    assert site.name == name and site.about.endswith(".")
    assert site.scheduler == "local" or site.launcher.kind in ("srun", "jsrun")
    if site.gpus_per_node and site.scheduler == "slurm":
        assert "{gpus}" in site.gpu_request


def test_the_sites_that_are_wanted_are_there():
    wanted = {"local", "test", "hal", "summit", "perlmutter", "frontier", "delta"}
    assert wanted <= set(site_names())


def test_the_top_level_folder_shows_the_packaged_profiles():
    assert (ROOT / "slurm" / "sites").resolve() == Path(str(FOLDER)).resolve()


def test_a_profile_is_read_by_path_and_changed_by_assignments(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("scheduler: slurm\nenvironment: {NCCL_DEBUG: 1}\n")
    site = load_site(path, ["account=abc", "steps.train.nodes=4"])
    assert (site.name, site.account, site.steps.train.nodes) == ("mine", "abc", 4)
    assert site.environment == {"NCCL_DEBUG": "1"}


def test_an_account_that_is_a_number_is_text(tmp_path):
    assert load_site("hal", ["account=4711"]).account == "4711"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("partitoin: gpu", "did you mean 'partition'"),
        ("steps: {train: {node: 2}}", "did you mean 'nodes'"),
        ("cores_per_node: 0", "cores_per_node"),
        ("launcher: {kind: jsrun}", "launcher.kind = jsrun: not with scheduler = slurm"),
        ("partition: 'a; rm -rf ~'", "without spaces and other marks"),
        ("environment: {'A B': x}", "not a variable's name"),
        ('options: ["--mem=0\\n#SBATCH --uid=0"]', "control character"),
        ("scratch: '$(id)'", "no plain path"),
    ],
)
def test_what_is_wrong_is_one_line_with_the_remedy(tmp_path, text, line):
    path = tmp_path / "mine.yaml"
    path.write_text(f"scheduler: slurm\n{text}\n")
    with pytest.raises(ConfigError) as error:
        load_site(path)
    assert line in str(error.value) and "\n" not in str(error.value)


def test_an_unknown_site_names_those_that_there_are():
    with pytest.raises(ConfigError, match="perlmutter"):
        load_site("permutter")


def test_every_field_of_a_site_is_documented():
    for field in dataclasses.fields(Site):
        assert field.name in (Site.__doc__ or ""), field.name
