"""The one training loop: a single process, torch.distributed or Horovod, from shards or on the fly.

Stopped at any moment it resumes from its last checkpoint, with the same sequence of global
batches on any number of ranks: the order of samples and their augmentation are functions of
(seed, epoch, step); dropout of the rank, too.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hpc_gw.config import to_dict
from hpc_gw.data.sampler import Sampler
from hpc_gw.data.sources import EngineSource, ShardSource
from hpc_gw.data.streams import Batch, batches
from hpc_gw.distributed import Parallel, lost_ranks
from hpc_gw.errors import ConfigError
from hpc_gw.locks import held
from hpc_gw.models.wavenet import WaveNet
from hpc_gw.provenance import recipe
from hpc_gw.training import checkpoint
from hpc_gw.training.augment import augmented
from hpc_gw.training.checkpoints import BEST, Checkpoints, newest
from hpc_gw.training.health import DivergedError, Health
from hpc_gw.training.lamb import Lamb, make_optimizer
from hpc_gw.training.log import RunLog
from hpc_gw.training.network import make_network
from hpc_gw.training.run import Interrupted, Run, StopSignals
from hpc_gw.training.runs import LOCK, recorded, remove_leftovers
from hpc_gw.training.schedule import Plateau, rate
from hpc_gw.training.timing import PARTS, StepTimer
from hpc_gw.training.utilisation import Utilisation
from hpc_gw.training.validation import mean_loss

_SIGNAL_STEPS = 10  # with several ranks, steps between agreements to stop


class Trainer:
    """State of a run on one rank."""

    def __init__(self, run: Run, parallel: Parallel) -> None:
        config = run.config
        self.run, self.config, self.parallel = run, config, parallel
        self.world, self.device = parallel.world, parallel.device
        if config.threads:
            torch.set_num_threads(config.threads)
        self.sampler = Sampler(
            run.train.spec.population.size,
            config.batch,
            config.seed,
            config.steps,
            excluded=run.train.excluded,
            shuffle=config.shuffle,
        )
        self.total = self.sampler.steps * config.epochs
        self.model, self.average = make_network(run, parallel)
        optimizer = make_optimizer(config.optimizer, self.model.parameters())
        self.module, self.optimizer = parallel.wrap(self.model, optimizer, config.accumulate)
        seen = self.model.cone if config.crop else run.model.input_steps
        self.utilisation = Utilisation(run.model, seen, self.device, config.precision)
        self.plateau = Plateau()
        self.step = 0  # global batches done, over all epochs
        self.samples = 0  # waveforms used by this process's ranks
        self._times = torch.from_numpy(run.train.spec.time_grid.times())
        self._signals = StopSignals()
        judged = run.validation.spec.population.size - run.validation.excluded.size
        if judged < self.world.size:
            raise ConfigError(
                f"sets.validation: {judged} rows for {self.world.size} ranks; each needs one"
            )
        active = self.world.rank == 0
        self.checkpoints = Checkpoints(run.folder, config.keep)
        self._saved = 0  # step of the newest checkpoint
        self.health = Health(run.folder, config.on_nan, config.max_skips, active=active)

    def _about(self) -> dict[str, Any]:
        """What ``hpc-gw runs`` shows of a run."""
        parameters = sum(p.numel() for p in self.model.parameters() if p.requires_grad)
        return {
            "step": self.step,
            "total": self.total,
            "ranks": self.world.size,
            "parallel": self.parallel.name,
            "device": str(self.device),
            "parameters": parameters,
            "recipe": recipe(config=self.run.context, inputs=self._fingerprints),
        }

    def fit(self) -> Path:
        """Train to the end, from the folder's newest checkpoint; returns the path of the best one.

        Raises:
            DataError: another training is at work in the folder, of which nothing is touched.
            CheckpointError: the folder holds another run, or no checkpoint that can be read.
            Interrupted: a signal asked to stop; the same command goes on.
            DivergedError: the gradient is not finite, and the policy is to stop.
            RanksLostError: another rank is gone; the same command goes on from a checkpoint.
        """
        folder, world = self.run.folder, self.world
        with self._signals, held(folder / LOCK, world, "training") as protected:
            if protected and world.rank == 0:  # nobody else is writing
                remove_leftovers(folder)
            self._resume()
            self.health.begin(self.step)
            with (
                RunLog(
                    folder, self.step, self.total,
                    active=world.rank == 0, tensorboard=self.config.tensorboard,
                ) as self.log,
                recorded(folder, world, self._about, Interrupted),
                self.checkpoints,
                lost_ranks(),
            ):  # fmt: skip
                while not self._finished():
                    self._epoch(self.step // self.sampler.steps)
                self.checkpoints.wait()
        return folder / BEST

    @property
    def _judged(self) -> WaveNet:
        """The network that is validated and kept: that of averaged weights, if there is one."""
        return self.average.model if self.average else self.model

    def _finished(self) -> bool:
        return self.step >= self.total or self.plateau.exhausted(self.config.schedule)

    def _epoch(self, epoch: int) -> None:
        self.model.train()
        steps, timer = self.sampler.steps, StepTimer()
        for batch in self._batches(epoch, self.step - epoch * steps):
            timer.data_arrived()
            parts = self._optimise(batch)
            timer.step_done(self.parallel.exposed_s)
            self.step += 1
            self.samples += self.config.batch
            if self.step % self.config.log_steps == 0:
                self._record(epoch, timer.report(self.parallel, parts))
            self.log.step()
            if self.step % steps == 0:
                break  # the checkpoint is written when the epoch has been validated
            self._stop_if_asked()
            if self.step % self.config.checkpoint_steps == 0:
                self._save()
            timer.begin()
        self._finish_epoch(epoch)
        self._stop_if_asked()

    def _record(self, epoch: int, values: dict[str, float]) -> None:
        if isinstance(self.optimizer, Lamb):
            values |= self.optimizer.spread()
        if self.world.size > 1:
            values["wire_bytes"] = self.parallel.wire_bytes
        seconds = sum(values[part] for part in PARTS)
        values |= self.utilisation.report(self.config.batch / self.world.size, seconds)
        self.log.show(loss=values["loss"])
        lr = self.optimizer.param_groups[0]["lr"]
        self.log.record(epoch, self.step, self.samples, lr=lr, **values)

    def _batches(self, epoch: int, first: int) -> Iterator[Batch]:
        order, cuda = self.sampler.order(epoch), self.device.type == "cuda"
        blocks: Iterable[range] = self.sampler.blocks(epoch, first)
        ahead = 1
        if isinstance(self.run.train, EngineSource):
            blocks = (range(step, step + 1) for step in range(first, self.sampler.steps))
            # On a CPU an engine needs the very cores that train: nothing is gained ahead of use.
            ahead = 1 if cuda else 0
        rank, size, accumulate = self.world.rank, self.world.size, self.config.accumulate
        self._order = order  # of this epoch, for the record of a bad step
        return batches(
            self.run.train,
            lambda step: self.sampler.part(order, step, rank, size, accumulate),
            blocks,
            ahead=ahead,
            pin=cuda and isinstance(self.run.train, ShardSource),
        )

    def _optimise(self, batch: Batch) -> dict[str, Tensor]:
        """One step; the loss and its parts, of this rank's samples, and the gradient's norm."""
        share = rate(self.config.schedule, self.step, self.total, self.plateau)
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.optimizer.lr * share
        torch.manual_seed(self._seed(1 + self.world.rank))  # of dropout
        inputs = self._input(batch.inputs.to(self.device, non_blocking=True))
        truth = batch.truth.to(self.device, non_blocking=True)
        count = self.config.accumulate
        self.optimizer.zero_grad()
        sums: dict[str, Tensor] = {}
        # BatchNorm's running statistics move before a step is known to be good.
        skip = self.config.on_nan == "skip"
        before = [buffer.clone() for buffer in self.model.buffers()] if skip else []
        for i, (x, y) in enumerate(zip(inputs.chunk(count), truth.chunk(count), strict=True)):
            with self.parallel.micro_step(self.module, last=i + 1 == count):
                loss, parts = self.run.objective(self._forward(self.module, x), y)
                torch.autograd.backward(loss / count)
            for name, value in {"loss": loss.detach(), **parts}.items():
                sums[name] = sums.get(name, 0.0) + value / count
        self.parallel.finish(self.optimizer)
        bound = self.config.optimizer.clip if self.config.optimizer.kind != "lamb" else 0.0
        # LAMB clips by itself. The averaged gradient is the same on every rank: all decide alike.
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        if bound:
            nn.utils.clip_grads_with_norm_(self.model.parameters(), bound, norm)
        if bool(torch.isfinite(norm)):
            self.health.good()
            self.parallel.step(self.optimizer)
            if self.average:
                self.average.update(self.model)
        else:
            place = batch.step * self.config.batch
            rows = self._order[place : place + self.config.batch]
            self.health.bad(self.step, rows, loss=float(sums["loss"]), grad_norm=float(norm))
            self.parallel.discard()
            with torch.no_grad():
                for buffer, value in zip(self.model.buffers(), before, strict=True):
                    buffer.copy_(value)
        return {**sums, "grad_norm": norm}

    def _forward(self, module: nn.Module, inputs: Tensor) -> Tensor:
        with torch.autocast(
            self.device.type, torch.bfloat16, enabled=self.config.precision == "bf16"
        ):
            outputs: Tensor = module(inputs)
        return outputs.float()

    def _input(self, waveforms: Tensor) -> Tensor:
        """What the network reads: Re h22 (b, T), augmented as configured."""
        rank, size, accumulate = self.world.rank, self.world.size, self.config.accumulate
        places = self.sampler.part(np.arange(self.config.batch), 0, rank, size, accumulate)
        batch = (self.config.batch, places)
        times = self._times[-waveforms.shape[1] :]
        return augmented(waveforms, times, self.config.augment, self._seed(0), batch)

    def _seed(self, stream: int) -> int:
        """A seed for this step, the same in a resumed run."""
        return int(
            np.random.SeedSequence([self.config.seed, self.step, stream]).generate_state(1)[0]
        )

    def _finish_epoch(self, epoch: int) -> None:
        loss, parts = self.validate()
        if not math.isfinite(loss):
            raise DivergedError(
                f"step {self.step}: the validation loss is not finite; the checkpoints in "
                f"{self.run.folder} are of before; lower the learning rate (train.optimizer.lr), "
                f"or bound the gradients (train.optimizer.max_grad_norm), and train in another "
                f"output folder"
            )
        lr = self.optimizer.param_groups[0]["lr"]
        values = {f"val_{name}": value for name, value in parts.items()}
        # The log first: what a resumed run repeats is dropped from it, what it lacks is lost.
        self.log.record(epoch, self.step, self.samples, lr=lr, val_loss=loss, **values)
        self._save(best=self.plateau.update(loss, self.config.schedule))

    def validate(self) -> tuple[float, dict[str, float]]:
        """Loss over the validation set and its parts, the same on every rank."""
        judged = self._judged
        self.parallel.broadcast(judged)  # BatchNorm's running statistics may be a rank's own
        judged.eval()
        return mean_loss(
            self.run.validation,
            lambda inputs, truth: self.run.objective(self._forward(judged, inputs), truth),
            self.config.batch // (self.world.size * self.config.accumulate),
            self.parallel,
        )

    def _save(self, *, best: bool = False) -> None:
        self._saved = self.step
        if self.world.rank == 0:
            content = {
                "model": to_dict(self.run.model),
                "weights": self._judged.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "step": self.step,
                "sampler": {"epoch": self.step // self.sampler.steps, "seed": self.config.seed,
                            "step": self.step % self.sampler.steps},
                "plateau": dataclasses.asdict(self.plateau),
                "train": to_dict(self.config),
                "data": self._data,
                "context": self.run.context,
                "recipe": recipe(config=self.run.context, inputs=self._fingerprints),
            }  # fmt: skip
            if self.average:
                content["average"] = self.average.state() | {"last": self.model.state_dict()}
            self.checkpoints.save(self.step, content, best=best)

    def _resume(self) -> None:
        """Go on from the folder's newest checkpoint that can be read, if there is one."""
        found = newest(self.run.folder, self.device, quiet=self.world.rank > 0)
        if found is None:
            return
        path, content = found
        checkpoint.require_same_model(path, content["model"], self.run.model)
        checkpoint.require_same_run(path, content, to_dict(self.config), self._data)
        checkpoint.restore(path, self._judged, content["weights"])
        if self.average:
            checkpoint.restore(path, self.model, content["average"]["last"])
            self.average.resume(content["average"])
        self.optimizer.load_state_dict(content["optimizer"])
        self.step = self._saved = content["step"]
        self.plateau = Plateau(**content["plateau"])

    @property
    def _data(self) -> dict[str, Any]:
        """Everything that fixes the numbers of both sets."""
        run = self.run
        return {
            name: {**to_dict(source.spec), "excluded": source.excluded.tolist()}
            for name, source in (("train", run.train), ("validation", run.validation))
        }

    @property
    def _fingerprints(self) -> dict[str, str]:
        """Checksums of both sets, as they were read."""
        return {"train": self.run.train.checksum, "validation": self.run.validation.checksum}

    def _stop_if_asked(self) -> None:
        """Write a checkpoint and raise, if a signal came to any rank; all do, at the same step."""
        stop = self._signals.asked
        if self.world.size > 1:
            due = self.step % _SIGNAL_STEPS == 0 or self.step % self.sampler.steps == 0
            stop = due and self.world.sum(float(stop)) > 0
        if stop and self.step < self.total:
            if self._saved != self.step:
                self._save()
            self.checkpoints.wait()
            self.world.barrier()  # whoever ends first may have the others killed
            raise Interrupted(
                f"training stopped at step {self.step} of {self.total}, checkpoint written "
                f"({self.run.folder}); the same command goes on from there"
            )
