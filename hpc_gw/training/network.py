"""The network of a training as it is before the first step."""

from __future__ import annotations

import importlib.util

import numpy as np
import torch

from hpc_gw.data.sources import Source
from hpc_gw.distributed import Parallel
from hpc_gw.errors import MissingDependencyError
from hpc_gw.models.batchnorm import synchronise
from hpc_gw.models.block import Block
from hpc_gw.models.quadrature import QuadratureStem
from hpc_gw.models.wavenet import WaveNet
from hpc_gw.training.average import Average
from hpc_gw.training.run import Run

WAVEFORMS = 8192
"""Of the set, drawn once, on which a quadrature stem's constants are measured."""


def make_network(run: Run, parallel: Parallel) -> tuple[WaveNet, Average | None]:
    """The network, the same on every rank, set to compute as configured; its average, if any.

    How products are rounded on a GPU is a setting of the whole process: it is made here.

    Raises:
        ConfigError: the training set is too small to measure what the network needs.
        MissingDependencyError: Triton's kernels are wanted, and it is not installed.
    """
    config = run.config
    torch.backends.cudnn.allow_tf32 = config.precision == "tf32"  # torch would allow it
    torch.backends.cuda.matmul.allow_tf32 = config.precision == "tf32"
    torch.manual_seed(config.seed)
    model = WaveNet(run.model).to(parallel.device)
    calibrate(model, run.train, parallel)
    average = Average(model, config.average) if config.average else None
    model.checkpoint = config.recompute
    _choose_kernels(model, triton=config.kernels == "triton" and parallel.device.type == "cuda")
    if config.sync_norm and parallel.world.size > 1:
        synchronise(model, parallel.sum)
    if config.compile:
        model.compile()
    return model, average


def _choose_kernels(model: WaveNet, *, triton: bool) -> None:
    if triton and importlib.util.find_spec("triton") is None:
        raise MissingDependencyError("triton", "train.kernels: triton", "pip install triton")
    for block in model.blocks:
        assert isinstance(block, Block)
        block.triton = triton


def calibrate(model: WaveNet, source: Source, parallel: Parallel) -> None:
    """Measure the constants of a quadrature stem, if there is one; the same on every rank.

    A resumed run takes its checkpoint's afterwards.

    Raises:
        ConfigError: the set is too small for them.
    """
    if isinstance(model.stem, QuadratureStem):
        waveforms = source.load(_sample(source)).to(parallel.device)
        model.stem.calibrate(waveforms.real if waveforms.is_complex() else waveforms)
        parallel.broadcast(model)


def _sample(source: Source) -> np.ndarray:
    """Rows all over the set, sorted: the first ones of a grid are all of one mass ratio."""
    size = source.spec.population.size
    drawn = np.random.default_rng(0).choice(size, min(WAVEFORMS, size), replace=False)
    return np.setdiff1d(drawn, source.excluded)
