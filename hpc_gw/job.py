"""A job: one YAML file that says everything about an experiment."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field
from pydantic.dataclasses import dataclass

from hpc_gw.config import STRICT, build, override, read_yaml, to_dict
from hpc_gw.data.generate import GenerateConfig
from hpc_gw.data.manifest import DatasetSpec, StorageConfig
from hpc_gw.evaluation.noise import NoiseConfig
from hpc_gw.manifold.populations import GridConfig, PopulationConfig, shared_point
from hpc_gw.models.config import ModelConfig, cone
from hpc_gw.models.presets import model_config
from hpc_gw.training.config import TrainConfig
from hpc_gw.waveforms.engines import EngineConfig
from hpc_gw.waveforms.timegrid import TimeGrid

SETS = ("train", "validation", "test")


def _model(value: Any) -> Any:
    """A preset by name, or a mapping that changes some fields of one, as the fields of a model."""
    if isinstance(value, str):
        value = {"preset": value}
    if not isinstance(value, dict):
        return value
    fields = dict(value)
    preset = fields.pop("preset", "khan2020")
    if not isinstance(preset, str):
        raise ValueError(f"preset = {preset!r}: a name is needed, such as khan2020")
    return {**to_dict(model_config(preset)), **fields}


@dataclass(frozen=True, config=STRICT)
class SetsConfig:
    """The populations of the three sets; by default the paper's grids.

    No point may be in two of them: a network is not judged on what it was trained on.
    """

    train: PopulationConfig = GridConfig(split="train")
    validation: PopulationConfig = GridConfig(split="validation")
    test: PopulationConfig = GridConfig(split="test")

    def __post_init__(self) -> None:
        for one, other in combinations(SETS, 2):
            point = shared_point(getattr(self, one), getattr(self, other))
            if point:
                q, s1, s2 = point
                raise ValueError(
                    f"{one} and {other}: both hold (q, s1, s2) = ({q:g}, {s1:g}, {s2:g}); give "
                    f"draws different seeds and grids different points (the paper's splits share "
                    f"none)"
                )


@dataclass(frozen=True, config=STRICT)
class EvaluationConfig:
    """How predictions are judged.

    Attributes:
        time_grid: on which truth and prediction are overlapped; by default the paper's.
        noise: of a detector, that overlaps are weighted by; flat as in the paper by default.
        refine: fit each waveform from the network's answer on, and keep both apart.
        valleys: how far each answer can move without its waveform showing it.
        quick: leave the figures out of the report that ask for many waveforms of their own.
    """

    time_grid: TimeGrid = TimeGrid()
    noise: NoiseConfig = NoiseConfig()
    refine: bool = False
    valleys: bool = False
    quick: bool = False

    def __post_init__(self) -> None:
        if self.time_grid.kind != "uniform":
            raise ValueError(
                f"time_grid.kind = {self.time_grid.kind}: overlaps are taken on equally spaced "
                f"times; use uniform"
            )


@dataclass(frozen=True, config=STRICT)
class RanksConfig:
    """Processes that ``hpc-gw run`` starts on this machine for each step."""

    generate: int = Field(default=1, ge=1)
    train: int = Field(default=1, ge=1)
    evaluate: int = Field(default=1, ge=1)


@dataclass(frozen=True, config=STRICT)
class JobConfig:
    """An experiment from waveforms to report.

    Attributes:
        name: what it is called.
        output: folder that everything goes to.
        engine: where waveforms come from.
        time_grid: on which the network sees them.
        storage: how sets are kept on disk.
        generate: how they are made.
        sets: which waveforms.
        model: the network, a preset's name or fields.
        train: how it is trained.
        evaluation: how it is judged.
        ranks: processes on this machine.
    """

    name: str
    output: str
    engine: EngineConfig = EngineConfig()
    time_grid: TimeGrid = TimeGrid()
    storage: StorageConfig = StorageConfig()
    generate: GenerateConfig = GenerateConfig()
    sets: SetsConfig = SetsConfig()
    model: Annotated[ModelConfig, BeforeValidator(_model)] = ModelConfig()
    train: TrainConfig = Field(default_factory=TrainConfig)
    evaluation: EvaluationConfig = EvaluationConfig()
    ranks: RanksConfig = RanksConfig()

    def __post_init__(self) -> None:
        if self.engine.kind not in ("surrogate", "gwsurrogate"):
            raise ValueError(
                f"engine.kind = {self.engine.kind}: sets are made with a surrogate; judge a "
                f"network on other engines with hpc-gw compare"
            )
        if self.model.input_steps != self.time_grid.size:
            raise ValueError(
                f"model.input_steps = {self.model.input_steps}: the time grid has "
                f"{self.time_grid.size} samples; make them equal"
            )
        if self.train.batch > self.sets.train.size:
            raise ValueError(
                f"train.batch = {self.train.batch}: the training set has only "
                f"{self.sets.train.size} rows"
            )
        parts = self.ranks.train * self.train.accumulate
        if self.train.batch % parts:
            raise ValueError(
                f"train.batch = {self.train.batch}: does not divide evenly over "
                f"{self.ranks.train} ranks and {self.train.accumulate} micro-batches; choose a "
                f"multiple of {parts}"
            )
        if not self.train.crop and self.storage.keep == "cone":
            raise ValueError(
                "train.crop: false: the network is to see whole waveforms, but storage.keep: cone "
                "keeps only their last samples; set storage.keep: whole"
            )
        if self.train.loss.kind == "physics" and self.model.answers == "difference":
            raise ValueError(
                "train.loss.kind: physics: solves for the spins, which model.answers: difference "
                "answers by itself; set train.loss.kind: direct"
            )
        if line := self.train.shuffle.misfit(self.train.batch):
            raise ValueError(f"train.{line}")
        augment = self.train.augment
        if augment.shifts and self.train.source != "on_the_fly":
            raise ValueError(
                f"train.augment.shifts = {augment.shifts}: exact shifts need the engine; set "
                "train.source: on_the_fly, or shifts: 0 to interpolate"
            )
        interpolated = augment.max_shift > 0 and not augment.shifts
        if interpolated and self.time_grid.kind == "chirp" and self.storage.values != "complex":
            raise ValueError(
                "train.augment.max_shift: on a chirp grid Re h22 is sampled too coarsely to be "
                "interpolated; set storage.values: complex"
            )
        if augment.phase and self.storage.values != "complex":
            raise ValueError(
                "train.augment.phase: a random phase needs complex waveforms; set "
                "storage.values: complex"
            )

    @property
    def folder(self) -> Path:
        """The output folder."""
        return Path(self.output).expanduser()

    def set_folder(self, name: str) -> Path:
        """Folder of the set ``train``, ``validation`` or ``test``."""
        return self.folder / "data" / name

    @property
    def samples(self) -> int:
        """Samples of each waveform that are kept on disk."""
        return cone(self.model) if self.storage.keep == "cone" else self.time_grid.size

    def spec(self, name: str, engine_name: str, engine_checksum: str) -> DatasetSpec:
        """Everything that fixes the numbers of a set."""
        return DatasetSpec(
            name=name,
            population=getattr(self.sets, name),
            time_grid=self.time_grid,
            samples=self.samples,
            storage=self.storage,
            engine=engine_name,
            engine_checksum=engine_checksum,
        )

    def with_output(self, output: str) -> JobConfig:
        """The same job in another folder."""
        return replace(self, output=output)


def load_job(path: str | os.PathLike[str], assignments: Iterable[str] = ()) -> JobConfig:
    """Read a job's YAML file and apply ``key=value`` assignments.

    Raises:
        ConfigError: the file cannot be read, a key is unknown (the nearest valid one is named),
            a value is of the wrong type, or values contradict one another.
    """
    mapping = override(read_yaml(path), assignments)
    mapping.setdefault("name", Path(path).stem)
    mapping.setdefault("output", f"runs/{mapping['name']}")
    return build(JobConfig, mapping, where=str(path))
