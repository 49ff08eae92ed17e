"""The work that ``profiling.py`` times: waveforms, sets on disk, training steps, overlaps."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from profiling_ops import Recorder
from torch import nn

from hpc_gw.data.generate import generate
from hpc_gw.data.manifest import DatasetSpec, StorageConfig
from hpc_gw.data.sources import truths
from hpc_gw.distributed import SerialWorld
from hpc_gw.distributed.parallel import SerialParallel
from hpc_gw.evaluation.evaluate import Judge
from hpc_gw.job import JobConfig, load_job
from hpc_gw.manifold.populations import DrawsConfig
from hpc_gw.models.config import cone
from hpc_gw.models.wavenet import WaveNet
from hpc_gw.stages import training_source
from hpc_gw.training.augment import augmented
from hpc_gw.training.lamb import make_optimizer
from hpc_gw.training.losses import LossConfig
from hpc_gw.training.network import calibrate
from hpc_gw.training.objective import make_objective
from hpc_gw.waveforms.engines import EngineConfig, load_engine, surrogate_path
from hpc_gw.waveforms.surrogate import SurrogateEngine
from hpc_gw.waveforms.surrogate_file import read_surrogate
from hpc_gw.waveforms.timegrid import TimeGrid

Stages = Callable[[str], contextlib.AbstractContextManager[None]]


@dataclasses.dataclass(frozen=True)
class Workload:
    """Something to be done again and again.

    Attributes:
        run: does it, telling by its argument which stage begins; stages that are not told are
            the package's functions.
        count: waveforms, samples or pairs of one run.
        unit: what is counted.
        watch: makes a recorder know the parts of a network while it is in force.
        written: bytes that end on the disk.
    """

    run: Callable[[Stages], object]
    count: int
    unit: str
    watch: Callable[[Recorder], contextlib.AbstractContextManager[None]] = lambda _: (
        contextlib.nullcontext()
    )
    written: int = 0


def points(count: int, seed: int = 7) -> np.ndarray:
    """Random rows (q, s1, s2), (count, 3)."""
    return DrawsConfig(count=count, seed=seed).parameters(np.arange(count))


def _reusing(engine: SurrogateEngine, rows: np.ndarray, out: torch.Tensor) -> Callable[..., None]:
    def run(stage: Stages) -> None:
        engine.h22_real(rows, out=out)

    return run


def generation(tiny: bool) -> Iterator[tuple[str, Workload]]:
    """Waveforms in memory that is used again, then sets on disk."""
    data = read_surrogate(surrogate_path("embedded"))
    grids = {"paper": TimeGrid(dt=1.0) if tiny else TimeGrid(),
             "chirp, 768": TimeGrid(kind="chirp", samples=768)}  # fmt: skip
    for name, grid in grids.items():
        count = 16 if tiny else 64 if name == "paper" else 512
        engine = SurrogateEngine(data, grid.times())
        rows, out = points(count), torch.empty(count, grid.size)
        yield (
            f"{name}: h22_real, memory reused",
            Workload(_reusing(engine, rows, out), count, "waveform"),
        )
        if name == "paper":
            yield f"{name}: a set on disk", _set_on_disk(engine, grid, 32 if tiny else 1024)


def _set_on_disk(engine: SurrogateEngine, grid: TimeGrid, count: int) -> Workload:
    population = DrawsConfig(count=count, seed=3)
    spec = DatasetSpec(
        "train", population, grid, grid.size, StorageConfig(), engine.name, engine.checksum
    )

    def run(_: Stages) -> None:
        with tempfile.TemporaryDirectory() as folder:
            generate(Path(folder) / "train", spec, engine, SerialWorld(), progress=False)

    return Workload(run, count, "waveform", written=count * spec.row_bytes)


def training(tiny: bool, job: Path) -> Iterator[tuple[str, Workload]]:
    """Steps of a job's network with its own waveforms, augmentation and loss, made on the fly; then
    of the published network on its cone."""
    config = load_job(job)
    batch = 8 if tiny else config.train.batch
    yield f"{job.stem}: training step, batch {batch}", _step(config, batch)
    if not tiny:
        paper = load_job(job.parent / "paper.yaml")
        loss = dataclasses.replace(paper.train, loss=LossConfig())
        yield (
            "khan2020: training step on the cone, batch 2",
            _step(dataclasses.replace(paper, train=loss), 2),
        )


def _step(job: JobConfig, batch: int) -> Workload:
    torch.manual_seed(0)
    config = dataclasses.replace(job.train, source="on_the_fly")
    source = training_source(
        dataclasses.replace(job, train=config), SerialWorld(), torch.device("cpu")
    )
    model = WaveNet(job.model).train()
    calibrate(model, source, SerialParallel(torch.device("cpu")))
    objective = make_objective(job.train.loss, job.engine, job.time_grid, "cpu")
    optimizer = make_optimizer(job.train.optimizer, model.parameters())
    times = torch.from_numpy(job.time_grid.times()[-cone(job.model) :])
    rows = np.arange(batch)
    truth = torch.from_numpy(truths(source.spec, rows)).float()
    bound = job.train.optimizer.clip if job.train.optimizer.kind != "lamb" else 0.0

    def run(stage: Stages) -> None:
        with stage("data:"):
            made = source.load(rows)
            inputs = augmented(made, times, job.train.augment, 0, (batch, rows))
        outputs = model(inputs)
        with stage("loss:"):
            loss, _ = objective(outputs, truth)
            optimizer.zero_grad()
        with stage("backward: loss"):
            torch.autograd.backward(loss)
        with stage("optimizer"):
            gradients = [p.grad for p in model.parameters() if p.grad is not None]
            norm = nn.utils.get_total_norm(gradients)
            if bound:
                nn.utils.clip_grads_with_norm_(model.parameters(), bound, norm)
            optimizer.step()

    return Workload(run, batch, "sample", lambda recorder: _parts(model, recorder))


@contextlib.contextmanager
def _parts(model: nn.Module, recorder: Recorder) -> Iterator[None]:
    """Tell ``recorder`` which part of a network runs, forward and backward, whatever they are."""
    handles = []
    for name, module in _named_parts(model):
        handles += [
            module.register_forward_pre_hook(lambda *_, n=name: recorder.enter(f"forward: {n}")),
            module.register_forward_hook(lambda *_: recorder.leave()),
            module.register_full_backward_pre_hook(
                lambda *_, n=name: recorder.go_on_with(f"backward: {n}")
            ),
        ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _named_parts(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """A network's children, and those of its lists; parts without weights of their own too."""
    for name, child in model.named_children():
        if isinstance(child, nn.ModuleList):
            yield from ((f"{name}.{i}", part) for i, part in child.named_children())
        else:
            yield name, child


def overlaps(tiny: bool) -> Iterator[tuple[str, Workload]]:
    """Overlaps of pairs that nearly match, with both waveforms made anew."""
    times = (TimeGrid(dt=1.0) if tiny else TimeGrid()).times()
    judge = Judge(lambda t: load_engine(EngineConfig(), t), times)
    count = 16 if tiny else 256
    bounds = judge.bounds
    one = points(count)
    other = one + 0.005 * np.random.default_rng(1).standard_normal(one.shape)
    other = np.clip(other, bounds[:, 0], bounds[:, 1])
    yield (
        "overlap of pairs, waveforms made",
        Workload(lambda _: judge.compare(one, other), count, "pair"),
    )
