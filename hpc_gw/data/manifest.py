"""A dataset's manifest: how its rows are made, and what is known of each of its shards."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xxhash
from pydantic import Field
from pydantic.dataclasses import dataclass

from hpc_gw.config import STRICT, build, to_dict
from hpc_gw.errors import ConfigError, DataError
from hpc_gw.files import read_json, write_json
from hpc_gw.manifold.populations import PopulationConfig
from hpc_gw.waveforms.timegrid import TimeGrid

FORMAT = "hpc_gw dataset 2"
MANIFEST = "manifest.json"

_REMEDY = "put back a copy of it, or generate the set again in another folder"

_REAL = {"float16": np.float16, "float32": np.float32, "float64": np.float64}
_COMPLEX = {"float32": np.complex64, "float64": np.complex128}


@dataclass(frozen=True, config=STRICT)
class StorageConfig:
    """What is kept of each waveform, and in what portions.

    Attributes:
        values: ``real`` keeps Re h22, as the paper; ``complex`` keeps h22.
        dtype: precision of the numbers; the engine's fast path computes in float32. float16
            halves the bytes: h22 / ``scale`` is kept, at a mismatch that the manifest records.
        scale: of float16, a power of two: |h22| < 0.5 then lies where float16 has all its bits
            down to 1.5e-8.
        keep: ``whole`` span, or the ``cone``: only the last samples, those that the job's
            network sees (10,254 of 101,300 for the paper's).
        compression: lossless, a waveform a chunk: HDF5's own ``gzip``, or ``zstd`` (Blosc2, from
            the package hdf5plugin). ``none`` can be read fastest and mapped into memory.
        shard_bytes: largest size of a shard before compression; the paper's training set
            makes 1,194 of 1 GiB in float64.
    """

    values: Literal["real", "complex"] = "real"
    dtype: Literal["float16", "float32", "float64"] = "float32"
    scale: float = Field(default=2.0**-12, gt=0)
    keep: Literal["whole", "cone"] = "whole"
    compression: Literal["none", "gzip", "zstd"] = "none"
    shard_bytes: int = Field(default=64 * 2**20, ge=1)

    def __post_init__(self) -> None:
        if math.frexp(self.scale)[0] != 0.5:
            raise ValueError(
                f"storage.scale = {self.scale:g}: only a power of two loses nothing; use "
                f"{2.0 ** round(math.log2(self.scale))!r}"
            )

    @property
    def numpy_dtype(self) -> np.dtype[Any]:
        """The NumPy type of a stored number; complex float16 is kept as pairs of these."""
        pairs = self.values == "real" or self.dtype == "float16"
        return np.dtype(_REAL[self.dtype] if pairs else _COMPLEX[self.dtype])

    def shape(self, rows: int, samples: int) -> tuple[int, ...]:
        """Shape of the stored waveforms of ``rows`` rows."""
        pairs = self.values == "complex" and self.dtype == "float16"
        return (rows, samples, 2) if pairs else (rows, samples)


@dataclass(frozen=True, config=STRICT)
class DatasetSpec:
    """Everything that fixes the numbers of a dataset; two runs with one spec agree.

    Attributes:
        name: of the set: train, validation, test.
        population: which waveforms.
        time_grid: of the whole span; phases are 0 at its first time.
        samples: how many of its last samples are kept.
        storage: how they are kept.
        engine, engine_checksum: what makes them.
    """

    name: str
    population: PopulationConfig
    time_grid: TimeGrid
    samples: int
    storage: StorageConfig
    engine: str
    engine_checksum: str

    def __post_init__(self) -> None:
        if not 2 <= self.samples <= self.time_grid.size:
            raise ValueError(
                f"samples = {self.samples}: the time grid has {self.time_grid.size}; keep 2 ... "
                f"{self.time_grid.size}"
            )

    @property
    def row_bytes(self) -> int:
        """Size of a stored waveform before compression."""
        return math.prod(self.storage.shape(1, self.samples)) * self.storage.numpy_dtype.itemsize

    @property
    def rows_per_shard(self) -> int:
        """Rows in every shard but the last."""
        return max(1, self.storage.shard_bytes // self.row_bytes)

    @property
    def shards(self) -> int:
        """Number of shards."""
        return math.ceil(self.population.size / self.rows_per_shard)

    @property
    def bytes(self) -> int:
        """Size of all the waveforms before compression."""
        return self.population.size * self.row_bytes

    def times(self) -> np.ndarray:
        """Times of the kept samples, float64 (samples,), in M."""
        return self.time_grid.times()[-self.samples :]

    def shard_rows(self, index: int) -> np.ndarray:
        """Row ids of a shard, int64."""
        first = index * self.rows_per_shard
        return np.arange(first, min(first + self.rows_per_shard, self.population.size))


def shard_name(index: int) -> str:
    """File name of a shard."""
    return f"shard-{index:05d}.h5"


@dataclass(frozen=True, config=STRICT)
class Quarantined:
    """A row without a waveform: its place in the shard holds NaN, and no sampler hands it out."""

    row: int
    parameters: tuple[float, float, float]
    reason: str


@dataclass(frozen=True, config=STRICT)
class ShardRecord:
    """What was published: the XXH128 and the size of the file, and the rows that failed."""

    xxh128: str
    bytes: int
    quarantine: tuple[Quarantined, ...] = ()


@dataclass(frozen=True, config=STRICT)
class Precision:
    """Mismatch that the stored numbers cost, against the engine's finest, over ``rows`` rows."""

    rows: int
    median: float
    largest: float


@dataclasses.dataclass(frozen=True)
class Manifest:
    """A spec, the record of each shard (None while it is not made), and the recipe."""

    spec: DatasetSpec
    shards: tuple[ShardRecord | None, ...]
    recipe: dict[str, Any]
    precision: Precision | None = None

    @property
    def complete(self) -> bool:
        """Whether every shard has been made."""
        return None not in self.shards

    @property
    def quarantine(self) -> tuple[Quarantined, ...]:
        """The rows that have no waveform, in order."""
        return tuple(row for shard in self.shards if shard for row in shard.quarantine)

    @property
    def checksum(self) -> str:
        """Hexadecimal XXH128 of the spec and all records: of every byte of the set."""
        shards = [None if shard is None else to_dict(shard) for shard in self.shards]
        content = {"spec": to_dict(self.spec), "shards": shards}
        return xxhash.xxh3_128_hexdigest(json.dumps(content, sort_keys=True).encode())

    def write(self, folder: Path) -> None:
        """Publish as ``manifest.json`` in the dataset's folder."""
        write_json(
            folder / MANIFEST,
            {
                "format": FORMAT,
                "complete": self.complete,
                "rows": self.spec.population.size,
                "quarantined": len(self.quarantine),
                "precision": None if self.precision is None else to_dict(self.precision),
                "spec": to_dict(self.spec),
                "shards": {
                    shard_name(i): None if shard is None else to_dict(shard)
                    for i, shard in enumerate(self.shards)
                },
                "recipe": self.recipe,
            },
        )

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read the manifest of a dataset.

        Raises:
            DataError: there is none, or it is of another format.
        """
        path = folder / MANIFEST
        if not path.exists():
            raise DataError(f"{folder}: holds no dataset (no {MANIFEST}); generate it first")
        try:
            content = read_json(path)
        except DataError as error:
            raise DataError(f"{error}; {_REMEDY}") from error
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise DataError(f"{path}: not a manifest of this version ('{FORMAT}'); {_REMEDY}")
        try:
            spec = build(DatasetSpec, content["spec"], where=str(path))
            shards = tuple(
                read_record(content["shards"][shard_name(i)], path) for i in range(spec.shards)
            )
            found = content["precision"]
            precision = None if found is None else build(Precision, found, where=str(path))
            return cls(spec, shards, content["recipe"], precision)
        except (KeyError, TypeError, ConfigError) as error:
            raise DataError(f"{path}: the manifest is damaged ({error}); {_REMEDY}") from error


def read_record(content: Any, path: Path) -> ShardRecord | None:
    """A shard's record from JSON; None where there is none."""
    return None if content is None else build(ShardRecord, content, where=str(path))
