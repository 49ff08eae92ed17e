"""What a job would do and cost, said before anything is done."""

from __future__ import annotations

import numpy as np
import torch

from hpc_gw.files import readable_bytes
from hpc_gw.job import SETS, JobConfig
from hpc_gw.manifold.populations import GridConfig
from hpc_gw.models.config import ModelConfig, cone, receptive_field
from hpc_gw.models.wavenet import WaveNet
from hpc_gw.stages import needed_sets
from hpc_gw.waveforms.engines import surrogate_path
from hpc_gw.waveforms.surrogate import check_rows, check_times
from hpc_gw.waveforms.surrogate_file import SurrogateData, read_surrogate


def describe(job: JobConfig) -> str:
    """The plan of a job, line by line; builds no waveform and no weights.

    Raises:
        HpcGwError: whatever would stop the job at its start, such as a missing surrogate.
    """
    data = check(job)
    grid, model, train = job.time_grid, job.model, job.train
    with torch.device("meta"):
        parameters = sum(p.numel() for p in WaveNet(model).parameters())
    lines = [
        f"job {job.name} -> {job.folder}",
        f"waveforms: {data.label} ({job.engine.kind}), SHA-256 {data.checksum[:12]}",
        f"time grid: {grid.size:,} samples, {grid.kind}, [{grid.t_min:g}, {grid.t_max:g}] M",
        *(_set_line(job, name, data.label, data.checksum) for name in SETS),
        f"network: {parameters:,} trainable parameters; {_reach_line(model)}",
        _training_line(job),
        f"optimizer: {train.optimizer.kind}, lr {train.optimizer.lr:g}, "
        f"schedule {train.schedule.kind}; loss: {train.loss.kind}",
        f"evaluation: {job.sets.test.size:,} waveforms regenerated and overlapped on "
        f"{job.evaluation.time_grid.size:,} samples",
    ]
    return "\n".join(lines)


def _reach_line(model: ModelConfig) -> str:
    """What of its input the network uses."""
    if stem := model.quadrature:
        steps, samples = stem.steps(model.input_steps), model.input_steps
        return (
            f"phase and amplitude at {steps} positions of all {samples:,} samples, and their "
            f"{stem.coordinates} principal components"
        )
    left, right = receptive_field(model)
    return (
        f"an output sees {left} samples to its left and {right} to its right; the last "
        f"{cone(model):,} samples can reach the leaves"
    )


def check(job: JobConfig) -> SurrogateData:
    """Refuse, before anything is done, what the job's surrogate cannot give; returns that.

    Raises:
        SurrogateError: the file is missing, truncated or of another layout.
        ParameterError: a set or a time grid reaches out of the surrogate's domain.
    """
    data = read_surrogate(surrogate_path(job.engine.file))
    for grid in (job.time_grid, job.evaluation.time_grid):
        check_times(grid.times(), grid.t_min, data.domain)
    for name in SETS:
        box = np.array(getattr(job.sets, name).box)
        check_rows(box.T, np.asarray(data.bounds), data.label)
    return data


def _set_line(job: JobConfig, name: str, engine: str, checksum: str) -> str:
    spec = job.spec(name, engine, checksum)
    population = spec.population
    if isinstance(population, GridConfig):
        rows = " x ".join(str(n) for n in population.shape) + f" = {population.size:,}"
    else:
        rows = f"{population.size:,} draws, seed {population.seed}"
    if name not in needed_sets(job):
        return f"{name}: {rows}; made on the fly, nothing stored"
    storage = spec.storage
    return (
        f"{name}: {rows}; {readable_bytes(spec.bytes)} ({storage.values}, {storage.dtype}) in "
        f"{spec.shards:,} shard" + "s" * (spec.shards > 1)
    )


def _training_line(job: JobConfig) -> str:
    train = job.train
    rows = job.sets.train.size
    steps = min(rows // train.batch, train.steps) if train.steps else rows // train.batch
    total = steps * train.epochs
    return (
        f"training: at most {train.epochs} epochs of {steps:,} steps of {train.batch} waveforms = "
        f"{total * train.batch:,} samples, source {train.source}"
    )
