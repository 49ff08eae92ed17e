"""The steps of a job after training: predictions, overlaps, report. Each can be run again.

The first two are shared by the ranks of MPI or torchrun, and resumed where they were stopped.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from hpc_gw.closer import quadrature
from hpc_gw.config import build, to_dict
from hpc_gw.data.manifest import MANIFEST, Manifest
from hpc_gw.data.sources import ShardSource, truths
from hpc_gw.distributed import SerialWorld, World
from hpc_gw.errors import ConfigError, DataError
from hpc_gw.evaluation.blocks import Columns, in_blocks
from hpc_gw.evaluation.degeneracy import valleys
from hpc_gw.evaluation.evaluate import Judge, compute_overlaps
from hpc_gw.evaluation.figures_scaling import Points
from hpc_gw.evaluation.noise import describe_noise
from hpc_gw.evaluation.records import Overlaps, Predictions, Refined, Results, Valleys
from hpc_gw.evaluation.refine import refine
from hpc_gw.evaluation.report import write_report
from hpc_gw.evaluation.results import (
    columns_of,
    part_of,
    read_predictions,
    read_results,
    write_predictions,
    write_results,
)
from hpc_gw.evaluation.statistics import Summary, summary
from hpc_gw.files import sha256
from hpc_gw.job import EvaluationConfig, JobConfig
from hpc_gw.models.physics_head import quantities
from hpc_gw.pretrained import checkpoint_path, load_network
from hpc_gw.provenance import recipe
from hpc_gw.stages import quarantine_line
from hpc_gw.threads import one_thread
from hpc_gw.training.checkpoints import BEST
from hpc_gw.training.log import LOG
from hpc_gw.waveforms.engines import EngineConfig, load_engine, surrogate_path
from hpc_gw.waveforms.surrogate_file import read_surrogate
from hpc_gw.waveforms.timegrid import TimeGrid

PREDICTIONS, RESULTS, REPORT = "predictions.h5", "results.h5", "report"

_BATCH = 256
"""Waveforms that a network reads at once."""


def predict(checkpoint: Path | None, data: Path, output: Path, world: World | None = None) -> None:
    """Predict every row of a dataset with a trained network; rank 0 publishes predictions.

    Without a checkpoint, the network that ships with the package answers.

    Raises:
        CheckpointError: the checkpoint cannot be used.
        DataError: the dataset is on another time grid than the network was trained on.
    """
    world = world or SerialWorld()
    checkpoint = checkpoint_path(checkpoint)
    network = load_network(checkpoint)
    model, grid, loss = network.model, network.grid, network.loss
    first = world.rank == 0
    source = ShardSource(data, samples=model.cone, part=(world.rank, world.size), progress=first)
    if source.spec.time_grid != grid:
        raise DataError(
            f"{data}: is on {source.spec.time_grid}, the network reads {grid}; generate the set "
            f"with the network's time grid"
        )
    rows = np.setdiff1d(np.arange(source.spec.population.size), source.excluded)
    if source.excluded.size and first:
        print(quarantine_line(data, Manifest.read(data)), file=sys.stderr, flush=True)

    def compute(block: slice) -> Columns:
        mine, answers = rows[block], []
        for start in range(0, mine.size, _BATCH):
            waveforms = source.load(mine[start : start + _BATCH])
            answers.append(model(waveforms.real if waveforms.is_complex() else waveforms))
        values = quantities(torch.cat(answers).double(), loss.head, damping=loss.damping)
        return {"row": mine, "truth": truths(source.spec, mine), "prediction": values.numpy()}

    inputs = {
        checkpoint.name: sha256(checkpoint),
        "manifest": sha256(data / MANIFEST),
        "engine": source.spec.engine_checksum,
    }

    def publish(columns: Columns) -> None:
        made_by = recipe(config=network.content["context"], inputs=inputs)
        write_predictions(output, Predictions(**cast(Any, columns)), made_by)

    with torch.no_grad(), one_thread():
        in_blocks(
            output,
            rows.size,
            compute,
            world,
            belongs_to=inputs,
            what="predict",
            publish=publish,
        )


def overlap(
    predictions: Path,
    output: Path,
    engine: EngineConfig,
    world: World | None = None,
    *,
    more: EvaluationConfig | None = None,
    grid: TimeGrid | None = None,
) -> None:
    """Regenerate the waveforms of truths and predictions, and overlap them; writes results.

    Args:
        predictions, output, engine, world: what is judged, where to, by what, on which ranks.
        more: noise, fits and valleys; its time grid does not count.
        grid: that is judged on; by default that of the job that made the predictions.

    Raises:
        DataError: the predictions cannot be read, or were made of another surrogate's waveforms.
    """
    world = world or SerialWorld()
    found = read_predictions(predictions)
    if output.resolve() == predictions.resolve():
        raise ConfigError(f"-o {output}: is the file of the predictions; name another")
    grid = grid or _evaluation_grid(found.recipe)
    more = replace(more or EvaluationConfig(), time_grid=grid)
    judge = Judge(lambda times: load_engine(engine, times), grid.times(), more.noise)
    made_with = (found.recipe.get("inputs") or {}).get("engine")
    if made_with not in (None, judge.checksum):
        raise DataError(
            f"{predictions}: the test waveforms are of another surrogate (SHA-256 "
            f"{str(made_with)[:12]}) than the one to judge with ({judge.checksum[:12]}); name "
            f"theirs with --surrogate or $HPC_GW_SURROGATE"
        )

    fits = None
    if more.refine or more.valleys:  # what it refuses is said before any work
        fits = quadrature(engine, grid.t_min, grid.t_max, grid.dt)

    def compute(block: slice) -> Columns:
        part = Predictions(found.row[block], found.truth[block], found.prediction[block])
        columns = columns_of("overlaps", compute_overlaps(part, judge))
        answer, truth = part.prediction[:, :3], part.truth[:, :3]
        if fits and more.refine:
            columns |= columns_of("refined", refine(fits, part.row, truth, answer))
        if fits and more.valleys:
            columns |= columns_of("valleys", valleys(fits, part.row, answer))
        return columns

    judged = {"engine": to_dict(engine), **to_dict(more)}
    config = {**(found.recipe.get("config") or {}), "judged": judged}
    inputs = {
        **(found.recipe.get("inputs") or {}),
        predictions.name: sha256(predictions),
        "engine": judge.checksum,
    }

    def publish(columns: Columns) -> None:
        results = Results(
            predictions=found,
            overlaps=Overlaps(**part_of("overlaps", columns)),
            refined=Refined(**part_of("refined", columns)) if more.refine else None,
            valleys=Valleys(**part_of("valleys", columns)) if more.valleys else None,
            engine=judge.name,
        )
        write_results(output, results, recipe(config=config, inputs=inputs))

    with one_thread():
        in_blocks(
            output,
            len(found),
            compute,
            world,
            belongs_to={**inputs, "judged": judged},
            what="overlaps",
            publish=publish,
        )


def _evaluation_grid(made_by: Any) -> TimeGrid:
    """The grid that the job behind the predictions is judged on; the paper's if it says none."""
    config = made_by.get("config") or {}
    said = config.get("judged") or config.get("evaluation") or {}
    return build(TimeGrid, said.get("time_grid", {}), where="predictions")


def report(
    results: Path,
    folder: Path,
    engine: EngineConfig,
    log: Path | None,
    *,
    engines: Mapping[str, np.ndarray] | None = None,
    scaling: Mapping[str, Points] | None = None,
    quick: bool = False,
) -> Summary:
    """Write the tables, figures and pages of a results file; returns the numbers behind them.

    Args:
        results, folder, engine, log: what is shown, where to, with which waveforms.
        engines, scaling: see ``evaluation.gallery``.
        quick: without the figures that need many waveforms.

    Raises:
        DataError: a file is missing, damaged or something else.
    """
    found = read_results(results)
    times = _evaluation_grid(found.recipe).times()
    judge = Judge(lambda some: load_engine(engine, some), times)
    made_with = (found.recipe.get("inputs") or {}).get("engine")
    if made_with not in (None, judge.checksum):
        raise DataError(
            f"{results}: was judged with another engine (checksum {str(made_with)[:12]}) than the "
            f"one to draw with ({judge.checksum[:12]}); name it with --surrogate or --engine"
        )
    noise = ((found.recipe.get("config") or {}).get("judged") or {}).get("noise") or {}
    surrogate = read_surrogate(surrogate_path(engine.file))
    write_report(
        folder,
        results=found,
        engine=judge.engine(),
        recipe=recipe(config=found.recipe, inputs={results.name: sha256(results)}),
        log=log,
        surrogate=surrogate if surrogate.checksum == judge.checksum else None,
        maps=judge.engine(judge.coarsest),
        noise=describe_noise(noise),
        engines=engines,
        scaling=scaling,
        quick=quick,
        progress=True,
    )
    return summary(found)


def evaluate(job: JobConfig, world: World | None = None) -> None:
    """Predict and overlap a job's test set, on all ranks; what exists already is made anew."""
    folder = job.folder
    predict(folder / BEST, job.set_folder("test"), folder / PREDICTIONS, world)
    more = job.evaluation
    overlap(
        folder / PREDICTIONS, folder / RESULTS, job.engine, world, more=more, grid=more.time_grid
    )


def report_job(job: JobConfig) -> Summary:
    """Tables, figures and pages of a job's results."""
    folder = job.folder
    quick = job.evaluation.quick
    return report(folder / RESULTS, folder / REPORT, job.engine, folder / LOG, quick=quick)
