"""What a job may train on: sets without common points, and batches that can be dealt."""

import runpy
from pathlib import Path

import pytest
import yaml

from hpc_gw.config import build
from hpc_gw.errors import ConfigError
from hpc_gw.job import SETS, JobConfig, load_job

ROOT = Path(__file__).resolve().parents[2]
BASE = {"name": "x", "output": "y"}


@pytest.mark.parametrize("path", sorted((ROOT / "jobs").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_shipped_job_has_sets_without_common_points(path):
    assert load_job(path).name == path.stem


def test_the_integration_tests_job_has_sets_without_common_points():
    tiny = runpy.run_path(str(ROOT / "tests/integration/conftest.py"))["TINY"]
    assert build(JobConfig, {"output": "y", **yaml.safe_load(tiny)}).name == "tiny"


@pytest.mark.parametrize(
    ("sets", "pair", "point"),
    [
        ({"validation": {"kind": "grid", "split": "test"}}, "validation and test", "(1.04, -0.79"),
        (
            {"test": {"kind": "grid", "split": "train", "stride": [8, 8, 8]}},
            "train and test",
            "(1.24, -0.76",
        ),
        (
            {name: {"kind": "draws", "seed": 1, "count": n} for n, name in enumerate(SETS[:2], 9)},
            "train and validation",
            "(",
        ),
    ],
)
def test_sets_with_a_common_point_are_refused_in_one_line(sets, pair, point):
    with pytest.raises(ConfigError) as caught:
        build(JobConfig, {**BASE, "train": {"batch": 8}, "sets": sets})
    line = str(caught.value)
    assert line.startswith(f"config: sets: {pair}: both hold (q, s1, s2) = {point}")
    assert "different seeds" in line and "\n" not in line


@pytest.mark.parametrize(
    ("batch", "shuffle", "words"),
    [
        (40, {"kind": "runs"}, "train.batch = 40: shuffle takes as many rows from each of 16"),
        (48, {"kind": "runs", "window": 2}, "16 x 2 x 16 = 512 rows"),
    ],
)
def test_a_batch_that_the_shuffle_cannot_deal_is_refused_in_one_line(batch, shuffle, words):
    with pytest.raises(ConfigError) as caught:
        build(JobConfig, {**BASE, "train": {"batch": batch, "shuffle": shuffle}})
    assert words in str(caught.value) and "\n" not in str(caught.value)
    assert build(JobConfig, {**BASE, "train": {"batch": batch}}).train.shuffle.kind == "global"
