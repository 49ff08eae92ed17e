"""The network of a training before its first step."""

import dataclasses
import importlib.util

import numpy as np
import pytest
import torch

from hpc_gw.data.manifest import DatasetSpec, StorageConfig
from hpc_gw.data.sources import EngineSource
from hpc_gw.distributed.parallel import SerialParallel
from hpc_gw.errors import MissingDependencyError
from hpc_gw.manifold.populations import DrawsConfig, GridConfig
from hpc_gw.models.presets import LEAVES
from hpc_gw.models.wavenet import WaveNet
from hpc_gw.training.network import _choose_kernels, calibrate, make_network
from hpc_gw.waveforms.surrogate import SurrogateEngine
from hpc_gw.waveforms.timegrid import TimeGrid
from tests.unit.training.conftest import CPU, MODEL

GRID = TimeGrid(kind="chirp", samples=768)


@pytest.fixture(scope="module")
def engine(surrogate):
    return SurrogateEngine(surrogate, GRID.times())


def source(engine, population):
    return EngineSource(
        DatasetSpec("set", population, GRID, 768, StorageConfig(), engine.name, engine.checksum),
        engine,
    )


def test_a_stem_is_measured_all_over_a_grid_whose_rows_are_in_order(engine, monkeypatch):
    monkeypatch.setattr("hpc_gw.training.network.WAVEFORMS", 512)
    network = WaveNet(LEAVES)
    grid = GridConfig(split="train", stride=(4, 4, 4))  # its first 512 rows all have q = 1
    calibrate(network, source(engine, grid), SerialParallel(CPU))
    drawn = DrawsConfig(count=400, seed=3).parameters(np.arange(400))
    _, z = network.stem(engine.h22_real(drawn))
    assert z.std(0).min() > 0.6 and z.std(0).max() < 1.4


def test_rows_without_a_waveform_are_not_measured(engine):
    rows = source(engine, DrawsConfig(count=40))
    rows.excluded = np.array([3, 5])
    asked = []
    load = rows.load
    rows.load = lambda wanted: load(asked.append(wanted) or wanted)
    calibrate(WaveNet(LEAVES), rows, SerialParallel(CPU))
    assert asked[0].tolist() == [row for row in range(40) if row not in (3, 5)]


@pytest.mark.parametrize(("precision", "rounded"), [("float32", False), ("tf32", True)])
def test_float32_is_float32_unless_tf32_is_asked_for(make_run, precision, rounded):
    flags = torch.backends.cudnn, torch.backends.cuda.matmul
    before = [flag.allow_tf32 for flag in flags]
    try:
        make_network(make_run(precision=precision), SerialParallel(CPU))
        assert [flag.allow_tf32 for flag in flags] == [rounded, rounded]
    finally:
        for flag, value in zip(flags, before, strict=True):
            flag.allow_tf32 = value


def test_kernels_are_chosen_where_there_is_a_gpu(make_run):
    network, _ = make_network(make_run(kernels="triton"), SerialParallel(CPU))
    assert not any(block.triton for block in network.blocks)
    if importlib.util.find_spec("triton") is None:
        with pytest.raises(MissingDependencyError, match="kernels: triton needs 'triton'"):
            _choose_kernels(WaveNet(MODEL), triton=True)
    else:
        _choose_kernels(network, triton=True)
        assert all(block.triton for block in network.blocks)


def test_the_first_weights_are_the_seed_s(make_run):
    one, again, other = (
        make_network(dataclasses.replace(run, config=dataclasses.replace(run.config, seed=seed)),
                     SerialParallel(CPU))[0].state_dict()
        for run, seed in ((make_run(), 1), (make_run(), 1), (make_run(), 2))
    )  # fmt: skip
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)
