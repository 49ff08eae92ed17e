"""Small trainings on the fly, for several test files."""

import dataclasses
import os
import signal

import pytest
import torch

from hpc_gw.data.manifest import DatasetSpec, StorageConfig
from hpc_gw.data.sources import EngineSource
from hpc_gw.distributed.parallel import SerialParallel
from hpc_gw.manifold.populations import DrawsConfig
from hpc_gw.models.config import ModelConfig
from hpc_gw.training.config import TrainConfig
from hpc_gw.training.lamb import OptimizerConfig
from hpc_gw.training.loop import Trainer
from hpc_gw.training.losses import LossConfig
from hpc_gw.training.objective import make_objective
from hpc_gw.training.run import Run
from hpc_gw.training.schedule import ScheduleConfig
from hpc_gw.waveforms.engines import EngineConfig
from hpc_gw.waveforms.timegrid import TimeGrid

GRID = TimeGrid(kind="chirp", samples=64)
MODEL = ModelConfig(
    input_steps=64, stem_channels=4, stem_kernel=8, stem_stride=4, stacks=1, dilations=(1, 2),
    residual_channels=4, gate_channels=4, root_channels=8, root_outputs=2, root_steps=16,
    leaf_width=16, dropout=0.1, norm_momentum=0.1, standardize=True,
)  # fmt: skip
CONFIG = TrainConfig(
    source="on_the_fly", batch=8, epochs=3, optimizer=OptimizerConfig(lr=1e-3),
    schedule=ScheduleConfig(kind="cosine", warmup=0.1, stop_after=0),
    loss=LossConfig(kind="physics", standardize=True), checkpoint_steps=5, log_steps=2,
    tensorboard=False,
)  # fmt: skip
CPU = torch.device("cpu")


def spec_of(engine, rows, seed, values="real"):
    return DatasetSpec(
        name="set", population=DrawsConfig(count=rows, seed=seed), time_grid=GRID, samples=64,
        storage=StorageConfig(values=values, shard_bytes=3000), engine=engine.name,
        engine_checksum=engine.checksum,
    )  # fmt: skip


@pytest.fixture
def make_run(tmp_path, chirp_engine):
    def make(name="run", model=MODEL, values="real", rows=64, **changes):
        config = dataclasses.replace(CONFIG, **changes)
        return Run(
            model=model,
            config=config,
            train=EngineSource(spec_of(chirp_engine, rows, 1, values), chirp_engine),
            validation=EngineSource(spec_of(chirp_engine, 16, 2, values), chirp_engine),
            objective=make_objective(config.loss, EngineConfig(file="embedded"), GRID, CPU),
            folder=tmp_path / name,
            context={"name": name},
        )

    return make


def fit(run):
    trainer = Trainer(run, SerialParallel(CPU))
    trainer.fit()
    return trainer


def stop_after(trainer, step):
    """Ask the trainer to stop as a batch system does, after a number of steps."""
    original = trainer._optimise

    def optimise(batch):
        parts = original(batch)
        if trainer.step + 1 == step:
            os.kill(os.getpid(), signal.SIGTERM)
        return parts

    trainer._optimise = optimise


def same_weights(one, other):
    pairs = zip(one.model.state_dict().items(), other.model.state_dict().values(), strict=True)
    return all(torch.equal(value, twin) for (_, value), twin in pairs)
