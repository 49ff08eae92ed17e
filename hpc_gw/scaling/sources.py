"""What a forecast starts from: a sweep's training points, or a network and a step's time."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from hpc_gw.config import build
from hpc_gw.errors import ConfigError
from hpc_gw.job import JobConfig
from hpc_gw.models.config import cone
from hpc_gw.models.presets import model_config
from hpc_gw.scaling.points import Sweep
from hpc_gw.scaling.workload import Workload, gradients_of, norm_messages

PAPER_ROWS, PAPER_EPOCHS, PAPER_BATCH = 1_580_128, 100.0, 64
"""The published training set, the most epochs of its code, and waveforms of a GPU."""

_DOUBLE = 8


def from_sweep(sweep: Sweep) -> Workload:
    """The training that a sweep measured, at its fewest ranks.

    Raises:
        ConfigError: it measured no training.
    """
    points = [p for p in sweep.points if p.what == "train"]
    if not points:
        raise ConfigError("the sweep measured no training: run it with --what train")
    job = build(JobConfig, sweep.settings["job"], where="the sweep's job")
    fewest = min(p.ranks for p in points)
    here = [p for p in points if p.ranks == fewest]
    kind = "weak" if any(p.kind == "weak" for p in here) else "strong"
    here = [p for p in here if p.kind == kind]
    batch = job.train.batch if kind == "weak" else job.train.batch // fewest
    spread = np.concatenate([np.array(p.busy_s) / np.median(p.busy_s) for p in here])
    samples = cone(job.model) if job.train.crop else job.time_grid.size
    stored = math.prod(job.storage.shape(1, samples)) * job.storage.numpy_dtype.itemsize
    return Workload(
        name=job.name,
        compute_s=tuple(float(np.median(p.busy_s)) for p in here),
        spread=tuple(spread.tolist()),
        gradients=gradients_of(job.model, samples),
        batch=batch,
        rows=job.sets.train.size,
        epochs=job.train.epochs,
        input_bytes=float(stored) if job.train.source == "shards" else 0.0,
        bucket_mb=job.train.parallel.bucket_mb,
        small_messages=norm_messages(job.model) if job.train.sync_norm else 0,
    )


def from_model(preset: str, step_s: Sequence[float], *, crop: bool = False) -> Workload:
    """A published network on the paper's set, whose step takes so long on one GPU.

    As published: whole waveforms in double precision, BatchNorm of each GPU's own, no spread.

    Raises:
        ConfigError: no such network, or no time of a step.
    """
    model = model_config(preset)
    if not step_s:
        raise ConfigError(f"--model {preset}: give the seconds of a step on one GPU, --step-time")
    samples = cone(model) if crop else model.input_steps
    return Workload(
        name=preset,
        compute_s=tuple(step_s),
        gradients=gradients_of(model, samples),
        batch=PAPER_BATCH,
        rows=PAPER_ROWS,
        epochs=PAPER_EPOCHS,
        input_bytes=_DOUBLE * samples,
    )


def changed(work: Workload, **options: Any) -> Workload:
    """A workload with the options that are given (not None) in place of its own.

    Raises:
        ConfigError: an impossible value.
    """
    given = {name: value for name, value in options.items() if value is not None}
    fields = {f.name: getattr(work, f.name) for f in dataclasses.fields(work)}
    return build(Workload, {**fields, **given}, where="forecast")
