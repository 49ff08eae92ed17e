"""A job so small that the whole chain runs in seconds."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpc_gw.cli import main

TINY = """
name: tiny
time_grid: {kind: chirp, samples: 64}
storage: {shard_bytes: 16384}
sets:
  train: {kind: draws, count: 256, seed: 1}
  validation: {kind: draws, count: 64, seed: 2}
  test: {kind: grid, split: test, stride: [22, 33, 33]}
model: {preset: strided, input_steps: 64, stem_channels: 4, stem_kernel: 8, stem_stride: 4,
        dilations: [1, 2], residual_channels: 4, gate_channels: 4, root_channels: 8,
        root_outputs: 2, root_steps: 16, leaf_width: 16}
train:
  batch: 16
  epochs: 2
  optimizer: {kind: lamb, lr: 1.0e-3}
  schedule: {kind: cosine, warmup: 0.1, stop_after: 0}
  loss: {kind: physics, standardize: true, mismatch_weight: 0.2}
  log_steps: 2
  tensorboard: false
evaluation: {time_grid: {dt: 1.0}, quick: true}
ranks: {train: 2}
"""


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """The YAML file of the job; its output goes beside it."""
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY + f"output: {tmp_path / 'run'}\n")
    return path


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of the job, run once through the command line; do not write to it."""
    folder = tmp_path_factory.mktemp("finished")
    path = folder / "tiny.yaml"
    path.write_text(TINY + f"output: {folder / 'run'}\n")
    assert main(["run", str(path)]) == 0
    return folder / "run"
