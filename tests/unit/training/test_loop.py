"""The training loop: exact resume, world-size invariance of the data, stops and refusals."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from hpc_gw.data.generate import generate
from hpc_gw.data.sources import ShardSource
from hpc_gw.distributed import SerialWorld
from hpc_gw.distributed.parallel import SerialParallel
from hpc_gw.models.config import ModelConfig, QuadratureConfig
from hpc_gw.training import checkpoint
from hpc_gw.training.augment import AugmentConfig
from hpc_gw.training.checkpoints import BEST, newest
from hpc_gw.training.health import NONFINITE, DivergedError
from hpc_gw.training.lamb import OptimizerConfig
from hpc_gw.training.log import LOG
from hpc_gw.training.loop import Trainer
from hpc_gw.training.losses import LossConfig
from hpc_gw.training.run import Interrupted
from hpc_gw.training.schedule import ScheduleConfig
from tests.unit.training.conftest import (
    CPU,
    MODEL,
    fit,
    same_weights,
    stop_after,
)


def test_a_run_writes_best_and_last_checkpoints_and_its_log(make_run):
    trainer = fit(make_run())
    folder = trainer.run.folder
    assert trainer.step == 24
    best = checkpoint.load(folder / BEST)
    assert best["recipe"]["versions"]["torch"] == torch.__version__
    records = [json.loads(line) for line in (folder / LOG).read_text().splitlines()]
    assert [r["step"] for r in records if "val_loss" in r] == [8, 16, 24]
    lowest = min(r["val_loss"] for r in records if "val_loss" in r)
    assert best["plateau"]["best"] == pytest.approx(lowest)


@pytest.mark.parametrize("step", [3, 8, 13, 23])
def test_stopped_and_resumed_gives_the_weights_of_an_uninterrupted_run(make_run, step):
    whole = fit(make_run("whole"))
    stopped = Trainer(make_run("stopped"), SerialParallel(CPU))
    stop_after(stopped, step)
    with pytest.raises(Interrupted, match=f"step {step} of 24") as caught:
        stopped.fit()
    assert caught.value.exit_code == 75
    assert newest(stopped.run.folder)[1]["step"] == step
    resumed = fit(make_run("stopped"))
    assert resumed.samples == 8 * (24 - step)
    assert same_weights(whole, resumed)
    logs = [
        [
            {k: v for k, v in json.loads(line).items() if k != "seconds" and not k.endswith("_s")}
            for line in (t.run.folder / LOG).read_text().splitlines()
        ]
        for t in (whole, resumed)
    ]
    assert logs[0] == logs[1]


def test_a_finished_run_started_again_changes_nothing(make_run):
    first = fit(make_run())
    before = (first.run.folder / BEST).read_bytes()
    again = fit(make_run())
    assert same_weights(first, again)
    assert (first.run.folder / BEST).read_bytes() == before


def test_shards_and_engine_train_the_same_weights(make_run, tmp_path, chirp_engine):
    direct = fit(make_run("direct"))
    run = make_run("shards")
    for name, source in (("train", run.train), ("validation", run.validation)):
        generate(tmp_path / name, source.spec, chirp_engine, SerialWorld(), progress=False)
    train, validation = (
        ShardSource(tmp_path / name, progress=False) for name in ("train", "validation")
    )
    from_disk = fit(dataclasses.replace(run, train=train, validation=validation))
    assert same_weights(direct, from_disk)


def test_random_phases_and_shifts_resume_exactly_too(make_run):
    changes = dict(values="complex", augment=AugmentConfig(phase=True, max_shift=5.0), epochs=1)
    resumes_exactly(make_run, changes)


def test_a_quadrature_stem_with_noise_resumes_exactly_too(make_run):
    """Its constants are measured once, and are the checkpoint's from then on."""
    quadrature = QuadratureConfig(lead=4, tail=4, every=2, coordinates=6)
    model = ModelConfig(
        input_steps=64, quadrature=quadrature, stacks=1, dilations=(1, 2), residual_channels=4,
        gate_channels=4, root_channels=8, root_outputs=2, root_steps=7, leaf_width=16,
        leaf_layers=2, leaf_activation="silu", answers="difference", dropout=0.0, norm="none",
    )  # fmt: skip
    augment = AugmentConfig(snr=(10.0, 1000.0))
    changes = dict(model=model, augment=augment, epochs=1, loss=LossConfig(standardize=True))
    resumes_exactly(make_run, changes)


def test_averaged_weights_resume_exactly_and_are_what_is_judged_and_kept(make_run):
    whole = fit(make_run("whole", average=0.9))
    plain = fit(make_run("plain"))
    assert same_weights(whole, plain)  # the steps are the same ones
    stopped = Trainer(make_run("stopped", average=0.9), SerialParallel(CPU))
    stop_after(stopped, 13)
    with pytest.raises(Interrupted):
        stopped.fit()
    resumed = fit(make_run("stopped", average=0.9))
    assert same_weights(whole, resumed)
    kept, wanted, last = (newest(t.run.folder)[1]["weights"] for t in (resumed, whole, plain))
    assert all(torch.equal(kept[name], value) for name, value in wanted.items())
    assert not any(torch.equal(kept[n], v) for n, v in last.items() if n.endswith("weight"))
    judged, _ = checkpoint.load_model(resumed.run.folder / BEST)
    resumed.model.load_state_dict(judged.state_dict())
    resumed.average = None
    best = checkpoint.load(resumed.run.folder / BEST)["plateau"]["best"]
    assert resumed.validate()[0] == pytest.approx(best, rel=1e-5)


def resumes_exactly(make_run, changes):
    """Stopped or not, the weights are the same; without augmentation they are others."""
    whole = fit(make_run("whole", **changes))
    stopped = Trainer(make_run("stopped", **changes), SerialParallel(CPU))
    stop_after(stopped, 5)
    with pytest.raises(Interrupted):
        stopped.fit()
    assert same_weights(whole, fit(make_run("stopped", **changes)))
    plain = make_run("plain", **{**changes, "augment": AugmentConfig()})
    assert not same_weights(whole, fit(plain))


def test_training_lowers_the_loss_and_the_mismatch(make_run):
    loss = LossConfig(kind="physics", standardize=True, mismatch_weight=0.2)
    optimizer = OptimizerConfig(lr=1e-2)
    run = make_run(loss=loss, rows=6400, batch=32, epochs=1, optimizer=optimizer)
    trainer = Trainer(run, SerialParallel(CPU))
    before, _ = trainer.validate()
    trainer.fit()
    after, parts = trainer.validate()
    assert after < 0.8 * before
    assert set(parts) == {"q", "s1", "s2", "sigma_eff", "s_eff", "mismatch"}


def test_training_stops_early_when_validation_does_not_improve(make_run):
    schedule = ScheduleConfig(kind="plateau", patience=0, stop_after=2)
    config = dict(schedule=schedule, epochs=50, optimizer=OptimizerConfig(lr=1e-30))
    trainer = fit(make_run(**config))
    # nothing is learned; BatchNorm's running statistics alone change the validation loss
    assert trainer.step < 50 * 8


def test_global_batches_do_not_depend_on_the_number_of_ranks(make_run):
    """Each of two ranks takes half of what one rank takes, with the same augmentation."""
    changes = dict(values="complex", augment=AugmentConfig(phase=True, max_shift=2.0))
    run = make_run(**changes)
    alone = Trainer(run, SerialParallel(CPU))
    batch = next(iter(alone._batches(0, 0)))
    whole = alone._input(batch.inputs)
    halves = []
    for rank in range(2):
        part = Trainer(run, SerialParallel(CPU))
        part.world = World(rank, 2)
        mine = next(iter(part._batches(0, 0)))
        assert np.array_equal(mine.rows, batch.rows[4 * rank : 4 * rank + 4])
        halves.append(part._input(mine.inputs))
    assert torch.equal(torch.cat(halves), whole)


def poison(trainer, run, steps):
    """Make the loss of some steps not a number."""

    def objective(outputs, truth):
        loss, parts = run.objective(outputs, truth)
        return (loss * float("nan") if trainer.step in steps else loss), parts

    trainer.run = dataclasses.replace(run, objective=objective)
    return trainer


def bad_steps(run):
    return [json.loads(line) for line in (run.folder / NONFINITE).read_text().splitlines()]


def test_a_loss_that_is_no_number_stops_training_and_keeps_good_weights(make_run):
    run = make_run(checkpoint_steps=5)
    trainer = poison(Trainer(run, SerialParallel(CPU)), run, {7})
    with pytest.raises(DivergedError, match="step 7: the gradient is not finite"):
        trainer.fit()
    _, kept = newest(run.folder)
    assert kept["step"] == 5
    assert all(torch.isfinite(value).all() for value in kept["weights"].values())
    (bad,) = bad_steps(run)
    assert bad["action"] == "stop"
    assert bad["rows"] == trainer.sampler.order(0)[7 * 8 : 8 * 8].tolist()


def test_bad_steps_are_skipped_if_asked_for_and_their_rows_written_down(make_run):
    run = make_run(on_nan="skip")
    trainer = poison(Trainer(run, SerialParallel(CPU)), run, {3, 11})
    trainer.fit()
    assert trainer.step == 24
    assert all(torch.isfinite(p).all() for p in trainer.model.parameters())
    assert [bad["step"] for bad in bad_steps(run)] == [3, 11]
    assert bad_steps(run)[1]["rows"] == trainer.sampler.order(1)[3 * 8 : 4 * 8].tolist()


def test_a_bad_step_leaves_no_trace_in_the_running_statistics(make_run):
    run = make_run(on_nan="skip", epochs=1)
    trainer = Trainer(run, SerialParallel(CPU))
    original = trainer._input

    def broken(waveforms):
        inputs = original(waveforms)
        return inputs * float("nan") if trainer.step == 3 else inputs

    trainer._input = broken
    trainer.fit()
    assert trainer.step == 8 and [bad["step"] for bad in bad_steps(run)] == [3]
    assert all(torch.isfinite(value).all() for value in trainer.model.buffers())


def test_too_many_bad_steps_in_a_row_stop_training(make_run):
    run = make_run(on_nan="skip", max_skips=3)
    trainer = poison(Trainer(run, SerialParallel(CPU)), run, {2, 4, 5, 6})
    with pytest.raises(DivergedError, match="3 in a row"):
        trainer.fit()
    assert trainer.step == 6


def test_settings_that_change_no_sample_may_change_on_resume(make_run):
    whole = fit(make_run("whole"))
    stopped = Trainer(make_run("stopped"), SerialParallel(CPU))
    stop_after(stopped, 11)
    with pytest.raises(Interrupted):
        stopped.fit()
    changes = dict(verify=False, log_steps=3, checkpoint_steps=7)
    assert same_weights(whole, fit(make_run("stopped", **changes)))


@pytest.mark.parametrize("accumulate", [2, 4])
def test_micro_batches_add_up_to_the_step_of_the_whole_batch(make_run, accumulate):
    """Without BatchNorm, which sees a micro-batch, and dropout, which draws anew for each."""
    model = dataclasses.replace(MODEL, norm="layer", dropout=0.0)
    whole = fit(make_run("whole", model, epochs=1))
    parts = fit(make_run("parts", model, epochs=1, accumulate=accumulate))
    for one, other in zip(whole.model.parameters(), parts.model.parameters(), strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-6)


def test_a_log_damaged_by_a_crash_is_cut_where_it_is_damaged(make_run):
    stopped = Trainer(make_run(), SerialParallel(CPU))
    stop_after(stopped, 11)
    with pytest.raises(Interrupted):
        stopped.fit()
    log = stopped.run.folder / LOG
    whole = log.read_text().splitlines()
    log.write_text("\n".join([*whole[:3], '{"epoch": 0, "st']))
    fit(make_run())
    lines = log.read_text().splitlines()
    assert lines[:3] == whole[:3] and json.loads(lines[-1])["step"] == 24


@dataclasses.dataclass
class World:
    """Two ranks that need not talk."""

    rank: int
    size: int

    def barrier(self):
        pass

    def sum(self, value):
        return value
