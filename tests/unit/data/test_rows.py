"""Rows that an engine fails on: quarantined with their reasons, and never handed out."""

import dataclasses

import numpy as np
import pytest
import torch

from hpc_gw.data.generate import GenerateConfig, generate
from hpc_gw.data.manifest import DatasetSpec, Manifest, StorageConfig, shard_name
from hpc_gw.data.rows import stored_waveforms
from hpc_gw.data.sampler import Sampler
from hpc_gw.data.sources import EngineSource, ShardSource
from hpc_gw.distributed import SerialWorld
from hpc_gw.distributed.parallel import SerialParallel
from hpc_gw.errors import DataError
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
SERIAL = SerialWorld()


def spec_of(engine, rows=40, **storage):
    """Shards of 16, 16, 8 rows."""
    storage = StorageConfig(**{"shard_bytes": 16 * 64 * 4, **storage})
    return DatasetSpec(
        "test", DrawsConfig(count=rows), GRID, 64, storage, engine.name, engine.checksum
    )


class Sick:
    """The engine, but for some rows: {row: what it does to that row of its answer}."""

    def __init__(self, engine, sick, rows=40):
        self.name, self.checksum, self.times = engine.name, engine.checksum, engine.times
        self._engine, self.calls = engine, 0
        points = spec_of(engine, rows).population.parameters(np.arange(rows))
        self._sick = {tuple(points[row]): harm for row, harm in sick.items()}

    def h22(self, parameters):
        self.calls += 1
        h22 = self._engine.h22(parameters)
        for line, point in zip(h22, parameters, strict=True):
            if harm := self._sick.get(tuple(point)):
                harm(line)
        return h22


def refuse(line):
    raise ValueError("no root\nwas found")


def spoil(line):
    line[5:8] = float("nan")


def blow_up(line):
    line[-1] = float("inf")


HARMS = {3: refuse, 17: spoil, 20: blow_up, 39: refuse}


@pytest.fixture
def quarantined(tmp_path, chirp_engine):
    spec = spec_of(chirp_engine)
    generate(tmp_path, spec, Sick(chirp_engine, HARMS), SERIAL, progress=False)
    return tmp_path, spec


def times(folder):
    return {p.name: p.stat().st_mtime_ns for p in folder.glob("shard-*.h5")}


def test_just_the_rows_that_fail_are_quarantined_with_their_reasons(quarantined):
    folder, spec = quarantined
    found = Manifest.read(folder).quarantine
    assert [failed.row for failed in found] == [3, 17, 20, 39]
    for failed in found:
        assert failed.parameters == tuple(spec.population.parameters(np.array([failed.row]))[0])
    assert found[0].reason == found[3].reason == "ValueError: no root was found"
    assert found[1].reason == f"not finite from t = {GRID.times()[5]:g} M on, 3 of 64 samples"
    assert found[2].reason == f"not finite from t = {GRID.times()[63]:g} M on, 1 of 64 samples"
    assert '"quarantined": 4' in (folder / "manifest.json").read_text()


def test_the_other_rows_are_those_of_the_engine_bit_for_bit(quarantined, chirp_engine):
    folder, spec = quarantined
    source = ShardSource(folder, progress=False)
    assert source.excluded.tolist() == [3, 17, 20, 39]
    good = np.setdiff1d(np.arange(40), source.excluded)
    truth = chirp_engine.h22(spec.population.parameters(good)).real
    assert torch.equal(source.load(good), truth)
    assert torch.isnan(source.load(source.excluded)).all()


def test_no_sampler_hands_a_quarantined_row_out(quarantined):
    source = ShardSource(quarantined[0], progress=False)
    sampler = Sampler(40, 12, seed=0, excluded=source.excluded)
    order = np.concatenate([sampler.order(epoch) for epoch in range(20)])
    assert set(order.tolist()) == set(range(40)) - {3, 17, 20, 39}


def test_training_on_a_set_with_quarantined_rows_meets_no_nan(quarantined, tmp_path):
    source = ShardSource(quarantined[0], progress=False)
    model = ModelConfig(
        input_steps=64, stem_channels=4, stem_kernel=8, stem_stride=4, stacks=1, dilations=(1, 2),
        residual_channels=4, gate_channels=4, root_channels=8, root_outputs=2, root_steps=16,
        leaf_width=16, standardize=True,
    )  # fmt: skip
    config = TrainConfig(
        batch=12, epochs=2, optimizer=OptimizerConfig(lr=1e-3),
        schedule=ScheduleConfig(kind="cosine", warmup=0.1, stop_after=0),
        loss=LossConfig(kind="physics", standardize=True), tensorboard=False,
    )  # fmt: skip
    cpu = torch.device("cpu")
    objective = make_objective(config.loss, EngineConfig(file="embedded"), GRID, cpu)
    run = Run(model, config, source, source, objective, tmp_path / "run", {})
    trainer = Trainer(run, SerialParallel(cpu))
    trainer.fit()
    assert trainer.step == 6
    assert all(torch.isfinite(value).all() for value in trainer.model.state_dict().values())


def test_without_shards_a_row_that_fails_is_named(chirp_engine):
    source = EngineSource(spec_of(chirp_engine), Sick(chirp_engine, HARMS))
    with pytest.raises(DataError, match=r"row 17: .* failed at .*: not finite") as caught:
        source.load(np.array([4, 17, 20]))
    assert "\n" not in str(caught.value)


def test_a_healed_engine_makes_just_the_shards_with_quarantined_rows_anew(tmp_path, chirp_engine):
    spec = spec_of(chirp_engine)
    generate(tmp_path, spec, Sick(chirp_engine, {17: spoil}), SERIAL, progress=False)
    before = times(tmp_path)
    generate(tmp_path, spec, chirp_engine, SERIAL, progress=False)
    assert times(tmp_path) == before and len(Manifest.read(tmp_path).quarantine) == 1
    manifest = generate(
        tmp_path, spec, chirp_engine, SERIAL, GenerateConfig(retry=True), progress=False
    )
    after = times(tmp_path)
    assert [name for name in after if after[name] != before[name]] == [shard_name(1)]
    assert manifest.quarantine == () and ShardSource(tmp_path, progress=False).excluded.size == 0
    truth = chirp_engine.h22(spec.population.parameters(np.arange(40))).real
    assert torch.equal(ShardSource(tmp_path, progress=False).load(np.arange(40)), truth)


def test_an_engine_that_fails_on_most_rows_of_a_shard_is_at_fault_itself(tmp_path, chirp_engine):
    spec = spec_of(chirp_engine)
    sick = {row: refuse for row in range(16, 25)}  # 9 of 16
    with pytest.raises(DataError, match=f"9 of 16 rows of {shard_name(1)} failed") as caught:
        generate(tmp_path, spec, Sick(chirp_engine, sick), SERIAL, progress=False)
    assert "\n" not in str(caught.value) and "row 16" in str(caught.value)
    assert not (tmp_path / shard_name(1)).exists() and not list(tmp_path.glob(".*.tmp"))
    assert not (tmp_path / "shard-00001.json").exists()
    del sick[24]  # half of them may fail
    generate(tmp_path, spec, Sick(chirp_engine, sick), SERIAL, progress=False)
    assert len(Manifest.read(tmp_path).quarantine) == 8


@pytest.mark.parametrize(
    "error", [MemoryError, OSError, KeyboardInterrupt, torch.cuda.OutOfMemoryError]
)
def test_what_is_the_machines_fault_is_no_rows(chirp_engine, error):
    def harm(line):
        raise error("not the row's fault")

    spec = spec_of(chirp_engine)
    with pytest.raises(error):
        stored_waveforms(spec, Sick(chirp_engine, {3: harm}), np.arange(8))


def test_a_batch_is_taken_apart_only_where_the_engine_raises(chirp_engine):
    spec, engine = spec_of(chirp_engine), Sick(chirp_engine, {3: refuse, 17: spoil})
    _, failed = stored_waveforms(spec, engine, np.arange(8))
    assert [row.row for row in failed] == [3] and engine.calls == 1 + 8
    _, failed = stored_waveforms(spec, engine, np.arange(8, 24))
    assert [row.row for row in failed] == [17] and engine.calls == 1 + 8 + 1


@pytest.mark.parametrize("values", ["real", "complex"])
def test_what_float16_cannot_hold_is_quarantined_with_its_scale(chirp_engine, values):
    def grow(line):
        line[:] *= 100  # |h22| / scale of 0.1 ... 0.5 is 2^-12 -> above 65504 now

    spec = spec_of(chirp_engine, dtype="float16", values=values)
    stored, failed = stored_waveforms(spec, Sick(chirp_engine, {5: grow}), np.arange(8))
    assert [row.row for row in failed] == [5]
    assert failed[0].reason == "a value is too large for float16 with the scale 0.000244141"
    assert np.isnan(stored[5]).all() and np.isfinite(np.delete(stored, 5, axis=0)).all()
    wide = dataclasses.replace(spec.storage, scale=2.0**-5)
    spec = dataclasses.replace(spec, storage=wide)
    assert not stored_waveforms(spec, Sick(chirp_engine, {5: grow}), np.arange(8))[1]
