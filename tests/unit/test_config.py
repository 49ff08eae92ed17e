"""Configurations: YAML, overrides, and errors that name the key, the rule and the remedy."""

from pathlib import Path

import pytest

from hpc_gw.config import build, override, read_yaml, to_dict
from hpc_gw.errors import ConfigError
from hpc_gw.job import JobConfig, load_job

JOBS = sorted((Path(__file__).resolve().parents[2] / "jobs").glob("*.yaml"))


@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.stem)
def test_every_shipped_job_loads_and_survives_a_round_trip(path):
    job = load_job(path)
    assert build(JobConfig, to_dict(job)) == job


def test_the_papers_job_has_the_papers_settings():
    job = load_job(next(p for p in JOBS if p.stem == "paper"))
    assert job.sets.train.size == 1_580_128 and job.sets.test.size == 197_516
    assert job.time_grid.size == 101_300 == job.model.input_steps
    assert (job.train.batch, job.train.epochs) == (64, 100)
    assert (job.train.optimizer.kind, job.train.optimizer.lr) == ("adam", 5e-4)
    schedule = job.train.schedule
    assert (schedule.kind, schedule.factor, schedule.patience, schedule.stop_after) == (
        "plateau", 0.5, 3, 7,
    )  # fmt: skip
    assert job.train.loss.kind == "direct" and not job.train.loss.standardize


@pytest.mark.parametrize(
    ("mapping", "words"),
    [
        ({"trian": {}}, "unknown key 'trian'; did you mean 'train'?"),
        ({"train": {"epoch": 3}}, "unknown key 'train.epoch'; did you mean 'epochs'?"),
        ({"train": {"epochs": "many"}}, "train.epochs = 'many'"),
        ({"train": {"optimizer": {"lrate": 1}}}, "unknown key 'train.optimizer.lrate'"),
        ({"sets": {"test": {"kind": "grid", "strid": [1, 1, 1]}}}, "did you mean 'stride'?"),
        ({"sets": {"test": {"kind": "gird"}}}, "sets.test"),
        ({"model": {"preset": "khan2021"}}, "khan2020"),
        ({"model": {"preset": "compact", "stem_strde": 4}}, "did you mean 'stem_stride'?"),
        ({"model": "compact"}, "model.input_steps = 768: the time grid has 101300"),
        ({"train": {"augment": {"phase": True}}}, "storage.values: complex"),
        ({"train": {"optimizer": {"lr": float("nan")}}}, "lr"),
        ({"time_grid": {"t_min": 200}}, "must be below"),
    ],
)
def test_bad_input_is_one_line_that_names_the_key(mapping, words):
    with pytest.raises(ConfigError) as caught:
        build(JobConfig, {"name": "x", "output": "y", **mapping}, where="job.yaml")
    assert words in str(caught.value)
    assert str(caught.value).startswith("job.yaml: ") and "\n" not in str(caught.value)


def test_overrides_change_nested_keys_and_leave_the_original():
    config = {"train": {"epochs": 3}}
    changed = override(config, ["train.epochs=5", "train.optimizer.lr=1e-3", "name=a b; c"])
    assert changed == {
        "train": {"epochs": 5, "optimizer": {"lr": "1e-3"}},  # YAML 1.1 reads 1e-3 as a string
        "name": "a b; c",
    }
    assert config == {"train": {"epochs": 3}}


def test_numbers_in_exponent_notation_are_read_as_numbers():
    mapping = override({"name": "x", "output": "y"}, ["train.optimizer.lr=1e-3"])
    assert build(JobConfig, mapping).train.optimizer.lr == 1e-3


@pytest.mark.parametrize("assignment", ["epochs", "=3", "name.first=3"])
def test_an_override_that_makes_no_sense_is_refused(assignment):
    with pytest.raises(ConfigError, match="--set"):
        override({"name": "x"}, [assignment])


def test_files_that_are_no_mapping_are_refused(tmp_path):
    for content, words in (("- 1\n", "mapping"), ("a: [\n", "not valid YAML"), (None, "read")):
        path = tmp_path / "job.yaml"
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_text(content)
        with pytest.raises(ConfigError, match=words):
            read_yaml(path)


def test_yaml_cannot_make_python_objects(tmp_path):
    path = tmp_path / "job.yaml"
    path.write_text("name: !!python/object/apply:os.system ['true']\n")
    with pytest.raises(ConfigError, match="not valid YAML"):
        read_yaml(path)
