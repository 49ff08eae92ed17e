"""What is known of datasets from their manifests and records alone: no shard is opened."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from hpc_gw.config import to_dict
from hpc_gw.data.generate import published_record, record_path
from hpc_gw.data.lock import is_generating
from hpc_gw.data.manifest import MANIFEST, DatasetSpec, Manifest, Quarantined, shard_name
from hpc_gw.errors import DataError
from hpc_gw.files import readable_bytes

State = Literal["complete", "incomplete", "generating"]


@dataclasses.dataclass(frozen=True)
class Listing:
    """A dataset as far as it has been made.

    Attributes:
        folder: that it is in.
        spec: everything that fixes its numbers.
        state: ``generating`` while a generator holds the folder, whatever is there.
        shards: how many have been made.
        rows: how many stand in these, with those that have no waveform.
        bytes: size on disk of these shards.
        precision: of the stored numbers (``Precision`` as a dict); None before it is measured.
        quarantine: the rows that have no waveform.
    """

    folder: Path
    spec: DatasetSpec
    state: State
    shards: int
    rows: int
    bytes: int
    precision: dict[str, Any] | None
    quarantine: tuple[Quarantined, ...]

    def as_dict(self, *, quarantine: bool = False) -> dict[str, Any]:
        """For JSON: numbers and strings; each quarantined row too where that is asked for."""
        spec, times = self.spec, self.spec.times()
        return {
            "name": spec.name,
            "folder": str(self.folder),
            "state": self.state,
            "rows": self.rows,
            "rows_total": spec.population.size,
            "shards": self.shards,
            "shards_total": spec.shards,
            "bytes": self.bytes,
            "bytes_uncompressed": self.rows * spec.row_bytes,
            "values": spec.storage.values,
            "dtype": spec.storage.dtype,
            "compression": spec.storage.compression,
            "time_grid": spec.time_grid.kind,
            "samples": spec.samples,
            "samples_total": spec.time_grid.size,
            "span": [float(times[0]), float(times[-1])],
            "engine": spec.engine,
            "engine_checksum": spec.engine_checksum[:12],
            "precision": self.precision,
            "quarantined": len(self.quarantine),
        } | ({"quarantine": to_dict(self.quarantine)} if quarantine else {})

    def as_text(self, *, quarantine: bool = False) -> str:
        """For a terminal: a block of lines."""
        found, cost = self.as_dict(), self.precision
        lines = {
            "state": {"generating": "being generated now"}.get(self.state, self.state),
            "made": f"{self.shards:,} of {found['shards_total']:,} shards, {self.rows:,} of "
            f"{found['rows_total']:,} rows",
            "size": f"{readable_bytes(self.bytes)} on disk, "
            f"{readable_bytes(found['bytes_uncompressed'])} uncompressed",
            "stored": f"{found['values']} {found['dtype']}, compression {found['compression']}",
            "time grid": f"{found['time_grid']}, {found['samples']:,} of "
            f"{found['samples_total']:,} samples, t = {found['span'][0]:g} ... "
            f"{found['span'][1]:g} M",
            "engine": f"{self.spec.engine}, {found['engine_checksum']}",
            "precision": "not measured"
            if cost is None
            else f"mismatch of what is stored: median {cost['median']:.2g}, largest "
            f"{cost['largest']:.2g} ({cost['rows']} rows)",
            "quarantine": f"{len(self.quarantine):,} rows without a waveform",
        }
        block = [f"{self.folder} ({self.spec.name})"]
        block += [f"  {key:<10}  {line}" for key, line in lines.items()]
        if quarantine:
            block += [f"    {_line(row)}" for row in self.quarantine]
        return "\n".join(block)


def _line(failed: Quarantined) -> str:
    q, s1, s2 = failed.parameters
    return f"row {failed.row} at (q, s1, s2) = ({q:g}, {s1:g}, {s2:g}): {failed.reason}"


def find_datasets(folders: Iterable[Path]) -> list[Path]:
    """Folders with a manifest in and below ``folders``, in order; links are not followed.

    Raises:
        DataError: a folder is missing or cannot be read, or there is no dataset in any.
    """

    def refuse(error: OSError) -> None:
        raise DataError(
            f"{error.filename}: cannot be read ({error.strerror}); name the folder of a dataset, "
            f"or one that holds datasets"
        ) from error

    asked = list(folders)
    found = [
        Path(where)
        for folder in asked
        for where, _, names in os.walk(folder, onerror=refuse)
        if MANIFEST in names
    ]
    if not found:
        raise DataError(
            f"{', '.join(map(str, asked))}: no dataset here or below (no {MANIFEST}); generate "
            f"one, or name another folder"
        )
    return sorted(set(found))


def describe(folder: Path) -> Listing:
    """Describe a dataset from its manifest, and the records beside its shards.

    Raises:
        DataError: the manifest or a record is damaged.
    """
    busy = is_generating(folder)
    manifest = read_current(folder)
    if not manifest.complete and (ended := Manifest.read(folder)).complete:
        manifest = ended  # its generator gathered and removed the records meanwhile
    spec, made = manifest.spec, [shard for shard in manifest.shards if shard]
    short = spec.shards * spec.rows_per_shard - spec.population.size  # the last shard's lack
    precision = manifest.precision
    return Listing(
        folder=folder,
        spec=spec,
        state="generating" if busy else "complete" if manifest.complete else "incomplete",
        shards=len(made),
        rows=len(made) * spec.rows_per_shard - (short if manifest.shards[-1] else 0),
        bytes=sum(shard.bytes for shard in made),
        precision=None if precision is None else to_dict(precision),
        quarantine=manifest.quarantine,
    )


def read_current(folder: Path) -> Manifest:
    """The manifest of a dataset, with the records of the shards that were published since.

    Raises:
        DataError: there is no dataset, or its manifest is damaged.
    """
    manifest, names = Manifest.read(folder), set(os.listdir(folder))  # noqa: PTH208
    records = list(manifest.shards)
    for index in range(len(records)):
        # A record stands there a moment before its shard.
        if record_path(folder, index).name in names and shard_name(index) in names:
            records[index] = published_record(folder, index, manifest)
    return dataclasses.replace(manifest, shards=tuple(records))
