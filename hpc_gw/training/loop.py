"""The one training loop: a single process or torch.distributed, from shards or on the fly.

Stopped at any moment it resumes from its last checkpoint, with the same sequence of global
batches on any number of ranks: the order of samples and their augmentation are functions of
(seed, epoch, step); dropout of the rank, too.
"""

from __future__ import annotations

import dataclasses
import math
import signal
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hpc_gw.config import first_difference, to_dict
from hpc_gw.data.sampler import Sampler
from hpc_gw.data.sources import EngineSource, ShardSource, Source, truths
from hpc_gw.data.streams import Batch, batches
from hpc_gw.distributed import World, share_buffers
from hpc_gw.errors import CheckpointError, ConfigError, HpcGwError
from hpc_gw.files import make_folder
from hpc_gw.models.config import ModelConfig
from hpc_gw.models.wavenet import WaveNet
from hpc_gw.provenance import recipe
from hpc_gw.training import checkpoint
from hpc_gw.training.augment import draw, transform
from hpc_gw.training.config import TrainConfig
from hpc_gw.training.lamb import make_optimizer
from hpc_gw.training.log import RunLog
from hpc_gw.training.objective import Objective
from hpc_gw.training.schedule import Plateau, rate

LAST, BEST = "last.pt", "best.pt"
_SIGNAL_STEPS = 10  # with several ranks, steps between agreements to stop


_FREE = ("verify", "local", "threads", "log_steps", "checkpoint_steps", "tensorboard", "source")
"""Settings that may change when a run is resumed: they change no sample and no step."""


class DivergedError(HpcGwError):
    """The loss is not a number any more."""


class Interrupted(HpcGwError):
    """Training was asked to stop; its checkpoint is written."""

    exit_code = 75  # EX_TEMPFAIL: try again, as batch systems understand it


@dataclasses.dataclass(frozen=True)
class Run:
    """What a training run is made of.

    Attributes:
        model: configuration of the network.
        config: of the training.
        train, validation: where samples come from.
        objective: what is minimised.
        folder: where checkpoints and log go.
        context: kept in every checkpoint, for those who use the network later.
    """

    model: ModelConfig
    config: TrainConfig
    train: Source
    validation: Source
    objective: Objective
    folder: Path
    context: dict[str, Any]


class Trainer:
    """State of a run on one rank."""

    def __init__(self, run: Run, world: World, device: torch.device) -> None:
        config = run.config
        self.run, self.config, self.world, self.device = run, config, world, device
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
        torch.manual_seed(config.seed)  # the same initial weights on every rank
        self.model = WaveNet(run.model).to(device)
        self.parallel: nn.Module = self.model
        if world.size > 1:
            # Averages gradients over the ranks during backward; BatchNorm's statistics are each
            # rank's own; for validation rank 0's running statistics become everybody's.
            self.parallel = nn.parallel.DistributedDataParallel(self.model)
        self.optimizer = make_optimizer(config.optimizer, self.model.parameters())
        self.plateau = Plateau()
        self.step = 0  # global batches done, over all epochs
        self.samples = 0  # waveforms used by this process's ranks
        self._times = torch.from_numpy(run.train.spec.time_grid.times())
        self._stop = False
        self._last_loss = torch.zeros(())
        if run.validation.spec.population.size < world.size:
            raise ConfigError(
                f"sets.validation: {run.validation.spec.population.size} rows for {world.size} "
                f"ranks; each needs one at least"
            )
        make_folder(run.folder)
        self._resume()
        self.log = RunLog(
            run.folder,
            self.step,
            self.total,
            active=world.rank == 0,
            tensorboard=config.tensorboard,
        )

    def fit(self) -> Path:
        """Train to the end; returns the path of the best checkpoint.

        Raises:
            Interrupted: a signal asked to stop; the same command goes on.
        """
        previous = {s: signal.signal(s, self._ask_to_stop) for s in _STOP_SIGNALS}
        try:
            while self.step < self.total and not self.plateau.exhausted(self.config.schedule):
                self._epoch(self.step // self.sampler.steps)
        finally:
            self.log.close()
            for number, handler in previous.items():
                signal.signal(number, handler)
        return self.run.folder / BEST

    def _epoch(self, epoch: int) -> None:
        self.model.train()
        steps = self.sampler.steps
        for batch in self._batches(epoch, self.step - epoch * steps):
            parts = self._optimise(batch)
            self.step += 1
            self.samples += self.config.batch
            logged = self.step % self.config.log_steps == 0
            self.log.step(**({"loss": float(parts["loss"])} if logged else {}))
            if logged:
                lr = self.optimizer.param_groups[0]["lr"]
                values = {name: float(part) for name, part in parts.items()}
                self.log.record(epoch, self.step, self.samples, lr=lr, **values)
            if self.step % steps == 0:
                break  # the checkpoint is written when the epoch has been validated
            self._stop_if_asked()
            if self.step % self.config.checkpoint_steps == 0:
                self._require_finite(self.world.sum(float(self._last_loss)))
                self._save(LAST)
        self._finish_epoch(epoch)
        self._stop_if_asked()

    def _batches(self, epoch: int, first: int) -> Iterator[Batch]:
        order, cuda = self.sampler.order(epoch), self.device.type == "cuda"
        blocks: Iterable[range] = self.sampler.blocks(epoch, first)
        ahead = 1
        if isinstance(self.run.train, EngineSource):
            blocks = (range(step, step + 1) for step in range(first, self.sampler.steps))
            # On a CPU an engine needs the very cores that train: nothing is gained ahead of use.
            ahead = 1 if cuda else 0
        return batches(
            self.run.train,
            lambda step: self.sampler.part(order, step, self.world.rank, self.world.size),
            blocks,
            ahead=ahead,
            pin=cuda and isinstance(self.run.train, ShardSource),
        )

    def _optimise(self, batch: Batch) -> dict[str, Tensor]:
        """One step; the loss and its parts, of this rank's samples."""
        share = rate(self.config.schedule, self.step, self.total, self.plateau)
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.optimizer.lr * share
        torch.manual_seed(self._seed(1 + self.world.rank))  # of dropout
        inputs = batch.inputs.to(self.device, non_blocking=True)
        truth = batch.truth.to(self.device, non_blocking=True)
        outputs = self.parallel(self._input(inputs))
        loss, parts = self.run.objective(outputs, truth)
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        self._last_loss = loss.detach()
        parts = {"loss": self._last_loss, **parts}
        if self.config.optimizer.clip and self.config.optimizer.kind != "lamb":
            bound = self.config.optimizer.clip  # LAMB clips by itself
            parts["grad_norm"] = nn.utils.clip_grad_norm_(self.model.parameters(), bound)
        self.optimizer.step()
        return parts

    def _input(self, waveforms: Tensor) -> Tensor:
        """What the network reads: Re h22 (b, T), with a random phase and shift if asked for."""
        generator = torch.Generator().manual_seed(self._seed(0))
        # Drawn for the global batch, of which this rank takes its part: the same on any number.
        phase, delay = draw(self.config.batch, self.config.augment, generator)
        first, last = self.world.rank * len(waveforms), (self.world.rank + 1) * len(waveforms)
        own = [x if x is None else x[first:last].to(self.device) for x in (phase, delay)]
        return transform(waveforms, self._times[-waveforms.shape[1] :], *own)

    def _seed(self, stream: int) -> int:
        """A seed for this step, the same in a resumed run."""
        return int(
            np.random.SeedSequence([self.config.seed, self.step, stream]).generate_state(1)[0]
        )

    def _finish_epoch(self, epoch: int) -> None:
        loss, parts = self.validate()
        self._require_finite(loss)
        lr = self.optimizer.param_groups[0]["lr"]
        values = {f"val_{name}": value for name, value in parts.items()}
        # The log first: what a resumed run repeats is dropped from it, what it lacks is lost.
        self.log.record(epoch, self.step, self.samples, lr=lr, val_loss=loss, **values)
        if self.plateau.update(loss, self.config.schedule):
            self._save(BEST)
        self._save(LAST)

    def _require_finite(self, loss: float) -> None:
        """Stop before weights that are no numbers replace good ones; ``loss`` is of all ranks."""
        if not math.isfinite(loss):
            raise DivergedError(
                f"step {self.step}: the loss is not finite; the checkpoints in {self.run.folder} "
                f"are of before; lower the learning rate (train.optimizer.lr), or bound the "
                f"gradients (train.optimizer.max_grad_norm), and train in another output folder"
            )

    @torch.no_grad()
    def validate(self) -> tuple[float, dict[str, float]]:
        """Loss over the validation set and its parts, the same on every rank."""
        share_buffers(self.model, self.world)
        self.model.eval()
        source, world = self.run.validation, self.world
        rows = np.setdiff1d(np.arange(source.spec.population.size), source.excluded)
        mine = np.array_split(rows, world.size)[world.rank]
        sums: dict[str, float] = {}
        for first in range(0, mine.size, self.config.batch):
            part = mine[first : first + self.config.batch]
            truth = torch.from_numpy(truths(source.spec, part)).float().to(self.device)
            waveforms = source.load(part).to(self.device)
            outputs = self.model(waveforms.real if waveforms.is_complex() else waveforms)
            loss, parts = self.run.objective(outputs, truth)
            for name, value in {"loss": loss, **parts}.items():
                sums[name] = sums.get(name, 0.0) + float(value) * part.size
        means = {name: world.sum(sums[name]) / rows.size for name in sorted(sums)}
        return means.pop("loss"), means

    def _save(self, name: str) -> None:
        if self.world.rank == 0:
            checkpoint.save(
                self.run.folder / name,
                {
                    "model": to_dict(self.run.model),
                    "weights": self.model.state_dict(),
                    "optimizer": self.optimizer.state_dict(),
                    "step": self.step,
                    "plateau": dataclasses.asdict(self.plateau),
                    "train": to_dict(self.config),
                    "data": self._data,
                    "context": self.run.context,
                    "recipe": recipe(config=self.run.context),
                },
            )

    def _resume(self) -> None:
        """Go on from the folder's last checkpoint, if there is one."""
        path = self.run.folder / LAST
        if not path.exists():
            return
        content = checkpoint.load(path, self.device)
        checkpoint.require_same_model(path, content["model"], self.run.model)
        config = {k: v for k, v in to_dict(self.config).items() if k not in _FREE}
        for what, known, wanted in (
            ("train", content["train"], config),
            ("training set", content["data"]["train"], self._data["train"]),
            ("validation set", content["data"]["validation"], self._data["validation"]),
        ):
            if key := first_difference(known, wanted):
                raise CheckpointError(
                    f"{path}: belongs to another run ({what}.{key}: {known.get(key)}, "
                    f"configured: {wanted[key]}); choose another output folder, or remove this one"
                )
        checkpoint.restore(path, self.model, content["weights"])
        self.optimizer.load_state_dict(content["optimizer"])
        self.step = content["step"]
        self.plateau = Plateau(**content["plateau"])

    @property
    def _data(self) -> dict[str, Any]:
        """Everything that fixes the numbers of both sets."""
        run = self.run
        return {
            name: {**to_dict(source.spec), "excluded": source.excluded.tolist()}
            for name, source in (("train", run.train), ("validation", run.validation))
        }

    def _ask_to_stop(self, number: int, frame: FrameType | None) -> None:
        self._stop = True

    def _stop_if_asked(self) -> None:
        """Write a checkpoint and raise, if a signal came to any rank; all do, at the same step."""
        stop = self._stop
        if self.world.size > 1:
            due = self.step % _SIGNAL_STEPS == 0 or self.step % self.sampler.steps == 0
            stop = due and self.world.sum(float(self._stop)) > 0
        if stop and self.step < self.total:
            self._require_finite(self.world.sum(float(self._last_loss)))
            self._save(LAST)
            self.world.barrier()  # whoever ends first may have the others killed
            raise Interrupted(
                f"training stopped at step {self.step} of {self.total}, checkpoint written "
                f"({self.run.folder / LAST}); the same command goes on from there"
            )


_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)
