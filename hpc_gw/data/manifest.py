"""A dataset's manifest: how its rows are made, and a checksum for each of its shards."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from hpc_gw.config import STRICT, build, to_dict
from hpc_gw.errors import ConfigError, DataError
from hpc_gw.files import read_json, write_json
from hpc_gw.manifold.populations import PopulationConfig
from hpc_gw.waveforms.timegrid import TimeGrid

FORMAT = "hpc_gw dataset 1"
MANIFEST = "manifest.json"


@dataclass(frozen=True, config=STRICT)
class StorageConfig:
    """What is kept of each waveform, and in what portions.

    Attributes:
        values: ``real`` keeps Re h22, as the paper; ``complex`` keeps h22.
        dtype: precision of the numbers; the engine's fast path computes in float32.
        shard_bytes: largest size of a shard; the paper's training set makes 1,194 of 1 GiB.
    """

    values: Literal["real", "complex"] = "real"
    dtype: Literal["float32", "float64"] = "float32"
    shard_bytes: int = Field(default=256 * 2**20, ge=1)

    @property
    def numpy_dtype(self) -> np.dtype[Any]:
        """The NumPy type of a sample."""
        wide = self.dtype == "float64"
        if self.values == "complex":
            return np.dtype(np.complex128 if wide else np.complex64)
        return np.dtype(np.float64 if wide else np.float32)


@dataclass(frozen=True, config=STRICT)
class DatasetSpec:
    """Everything that fixes the numbers of a dataset; two runs with one spec agree."""

    name: str
    population: PopulationConfig
    time_grid: TimeGrid
    storage: StorageConfig
    engine: str
    engine_checksum: str

    @property
    def rows_per_shard(self) -> int:
        """Rows in every shard but the last."""
        row_bytes = self.time_grid.size * self.storage.numpy_dtype.itemsize
        return max(1, self.storage.shard_bytes // row_bytes)

    @property
    def shards(self) -> int:
        """Number of shards."""
        return math.ceil(self.population.size / self.rows_per_shard)

    @property
    def bytes(self) -> int:
        """Size of all the waveforms."""
        return self.population.size * self.time_grid.size * self.storage.numpy_dtype.itemsize

    def shard_rows(self, index: int) -> np.ndarray:
        """Row ids of a shard, int64."""
        first = index * self.rows_per_shard
        return np.arange(first, min(first + self.rows_per_shard, self.population.size))


def shard_name(index: int) -> str:
    """File name of a shard."""
    return f"shard-{index:05d}.h5"


@dataclasses.dataclass(frozen=True)
class Manifest:
    """A spec, the SHA-256 of each shard (None while it is not made), and the recipe."""

    spec: DatasetSpec
    checksums: tuple[str | None, ...]
    recipe: dict[str, Any]

    @property
    def complete(self) -> bool:
        """Whether every shard has been made."""
        return None not in self.checksums

    def write(self, folder: Path) -> None:
        """Publish as ``manifest.json`` in the dataset's folder."""
        write_json(
            folder / MANIFEST,
            {
                "format": FORMAT,
                "complete": self.complete,
                "spec": to_dict(self.spec),
                "shards": {shard_name(i): sha for i, sha in enumerate(self.checksums)},
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
        content = read_json(path)
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise DataError(f"{path}: not a manifest of this version ('{FORMAT}')")
        try:
            spec = build(DatasetSpec, content["spec"], where=str(path))
            checksums = tuple(content["shards"][shard_name(i)] for i in range(spec.shards))
            return cls(spec, checksums, content["recipe"])
        except (KeyError, TypeError, ConfigError) as error:
            raise DataError(f"{path}: the manifest is damaged ({error})") from error
