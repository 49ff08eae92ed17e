"""The generator: every rank writes its own shards; nothing is gathered.

A shard is published under its final name, its record (checksum, quarantine) in a file of its
own beside it, so a rank needs no other rank to make one; at the end rank 0 gathers the records
(not the waveforms) in the manifest. Stopped at any moment, it makes at the next start only what
is missing or damaged.

Memory of a rank: five batches of ``rows.BATCH`` waveforms and the engine's own.
"""

from __future__ import annotations

import contextlib
import dataclasses
import queue
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from pydantic.dataclasses import dataclass
from tqdm import tqdm

from hpc_gw.config import STRICT, first_difference, to_dict
from hpc_gw.data.encoding import measure_precision
from hpc_gw.data.lock import generating
from hpc_gw.data.manifest import (
    MANIFEST,
    DatasetSpec,
    Manifest,
    Quarantined,
    ShardRecord,
    read_record,
    shard_name,
)
from hpc_gw.data.rows import BATCH, describe, stored_waveforms
from hpc_gw.data.shards import checksum, write_shard
from hpc_gw.distributed import World
from hpc_gw.errors import ConfigError, DataError
from hpc_gw.files import read_json, write_json
from hpc_gw.provenance import recipe
from hpc_gw.waveforms.protocol import Engine
from hpc_gw.waveforms.surrogate import check_rows


@dataclass(frozen=True, config=STRICT)
class GenerateConfig:
    """How a set is made; none of it changes a number of the set.

    Attributes:
        division: ``dynamic``: a rank that is free takes the next shard, so that a slow one holds
            nobody up; ``static``: every rank takes each ``size``-th.
        check: read the shards that are there already, and make those anew whose bytes are not
            those that were published. Without, their names and sizes are trusted.
        retry: make shards with quarantined rows anew.
    """

    division: Literal["dynamic", "static"] = "dynamic"
    check: bool = True
    retry: bool = False


_DEFAULT = GenerateConfig()


def generate(
    folder: Path,
    spec: DatasetSpec,
    engine: Engine,
    world: World,
    config: GenerateConfig = _DEFAULT,
    *,
    progress: bool = True,
) -> Manifest:
    """Make a dataset, or what is still missing of it.

    Args:
        folder: the dataset's folder; created if needed.
        spec: what to make.
        engine: makes the waveforms, on ``spec.times()``.
        world: the ranks that share the work.
        config: how they share it.
        progress: show a bar on rank 0.

    Returns:
        The complete manifest.

    Raises:
        ParameterError: the set reaches out of the engine's domain.
        DataError: the folder holds another dataset, another generator is at work in it, or the
            engine fails on most rows of a shard.
        StorageError: the disk is full, or the folder cannot be written.
    """
    bounds = getattr(engine, "bounds", None)
    if bounds is not None:  # before anything is written
        check_rows(np.array(spec.population.box).T, bounds, engine.name)
    with making(folder, spec, world) as manifest:
        _make_all(folder, manifest, engine, world, config, progress)
        world.barrier()
        if world.rank == 0:
            gather(folder, manifest, engine)
        world.barrier()
        return Manifest.read(folder)


@contextlib.contextmanager
def making(
    folder: Path, spec: DatasetSpec, world: World, inputs: dict[str, str] | None = None
) -> Iterator[Manifest]:
    """Hold ``folder`` for the making of ``spec``, begun or gone on with; yields its manifest.

    Args:
        folder, spec, world: as in ``generate``.
        inputs: name to checksum of the files that the set is made from, for the recipe.

    Raises:
        DataError: the folder holds another dataset, or somebody else is at work in it.
        StorageError: the folder cannot be written.
    """
    with generating(folder, world) as protected:
        if world.rank == 0:
            _claim(folder, spec, inputs)
            if protected:  # nobody else is writing: these are of ranks that were killed
                for leftover in folder.glob(".*.tmp"):
                    leftover.unlink(missing_ok=True)
        world.barrier()
        yield Manifest.read(folder)


def _claim(folder: Path, spec: DatasetSpec, inputs: dict[str, str] | None) -> None:
    """Begin a dataset in ``folder``, or make sure that the one there is this one."""
    if (folder / MANIFEST).exists():
        found = to_dict(Manifest.read(folder).spec)
        wanted = to_dict(spec)
        if key := first_difference(found, wanted):
            raise DataError(
                f"{folder}: holds another dataset ({key}: {found[key]}, wanted: {wanted[key]}); "
                f"choose another output folder, or remove this one"
            )
        return
    Manifest(spec, (None,) * spec.shards, recipe(config=to_dict(spec), inputs=inputs)).write(folder)


def _make_all(
    folder: Path,
    manifest: Manifest,
    engine: Engine,
    world: World,
    config: GenerateConfig,
    progress: bool,
) -> None:
    spec = manifest.spec
    static = range(world.rank, spec.shards, world.size)
    mine = iter(static) if config.division == "static" else world.deal(spec.shards)
    bar = tqdm(
        total=spec.population.size,
        unit="waveform",
        unit_scale=True,
        desc=f"generate {spec.name}",
        disable=not progress or world.rank != 0,
    )

    def done(rows: int) -> None:
        # Rank 0 judges the whole by itself: the others have as many rows, give or take a shard.
        bar.update(min(rows * world.size, spec.population.size - bar.n))

    with bar, _Writer(folder, spec) as writer:
        for index in mine:
            if is_made(folder, index, manifest, config):
                done(spec.shard_rows(index).size)
            else:
                writer.make(index, engine, done)
        done(spec.population.size)


def is_made(
    folder: Path, index: int, manifest: Manifest, config: GenerateConfig = _DEFAULT
) -> bool:
    """Whether a shard is there with what its record promises."""
    record, path = published_record(folder, index, manifest), folder / shard_name(index)
    if record is None or (config.retry and record.quarantine):
        return False
    try:
        if path.stat().st_size != record.bytes:
            return False
        return not config.check or checksum(path) == record.xxh128
    except OSError:  # missing, or unreadable
        return False


def published_record(folder: Path, index: int, manifest: Manifest) -> ShardRecord | None:
    """What a shard was published with: beside it, or in the manifest.

    A damaged record promises nothing: there is none, and the shard is made anew.
    """
    beside = record_path(folder, index)
    if not beside.exists():
        return manifest.shards[index]
    try:
        return read_record(read_json(beside), beside)
    except (DataError, ConfigError, TypeError, ValueError):
        return None


def record_path(folder: Path, index: int) -> Path:
    """Where a shard's record stands until the manifest has it."""
    return (folder / shard_name(index)).with_suffix(".json")


def publish_shard(
    folder: Path,
    spec: DatasetSpec,
    index: int,
    parts: Iterable[np.ndarray],
    failed: list[Quarantined],
) -> None:
    """Publish a shard, and beside it its record.

    Args:
        folder, spec: the dataset.
        index: which shard.
        parts: as in ``write_shard``.
        failed: its rows without a waveform; may grow until ``parts`` is exhausted.

    Raises:
        StorageError: the disk is full, or the folder cannot be written.
    """

    def promise(xxh128: str, size: int) -> None:
        # Before the shard has its name: a crash in between leaves a promise without a shard. One
        # that was there had to be made anew; left, it could be taken for what is promised.
        (folder / shard_name(index)).unlink(missing_ok=True)
        record = ShardRecord(xxh128, size, tuple(failed))
        write_json(record_path(folder, index), to_dict(record))

    write_shard(folder / shard_name(index), spec, spec.shard_rows(index), parts, promise)


_Parts: TypeAlias = "queue.Queue[np.ndarray | BaseException | None]"


class _Writer:
    """Publishes shards in a thread, while the engine makes the next waveforms."""

    def __init__(self, folder: Path, spec: DatasetSpec) -> None:
        self._folder, self._spec = folder, spec
        # Two: the next shard is written while this one's bytes are forced to disk.
        self._thread = ThreadPoolExecutor(2, thread_name_prefix="writer")
        self._pending: list[Future[None]] = []

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._thread.shutdown()
        if error is None:
            for publication in self._pending:
                publication.result()

    def make(self, index: int, engine: Engine, done: Callable[[int], None]) -> None:
        """Compute a shard and hand it to the thread; returns before it is published.

        Raises:
            DataError: the engine failed on more than half of the rows: it, not they, is at fault.
            StorageError: this shard, or the one before, could not be published.
        """
        rows, failed = self._spec.shard_rows(index), list[Quarantined]()
        parts: _Parts = queue.Queue(maxsize=1)
        publication = self._thread.submit(self._publish, index, failed, parts)
        self._pending.append(publication)
        try:
            for first in range(0, rows.size, BATCH):
                batch = rows[first : first + BATCH]
                stored, bad = stored_waveforms(self._spec, engine, batch)
                failed += bad
                self._put(parts, stored)
                done(batch.size)
            if 2 * len(failed) > rows.size:
                raise DataError(
                    f"{len(failed)} of {rows.size} rows of {shard_name(index)} failed, more than "
                    f"half; nothing was published of it; {describe(failed[0], engine.name)}"
                )
            self._put(parts, None)
        except BaseException as error:
            self._put(parts, error)
            raise
        while len(self._pending) > 1:
            self._pending.pop(0).result()

    def _publish(self, index: int, failed: list[Quarantined], parts: _Parts) -> None:
        def stream() -> Iterator[np.ndarray]:
            while (item := parts.get()) is not None:
                if isinstance(item, BaseException):
                    raise item
                yield item

        publish_shard(self._folder, self._spec, index, stream(), failed)

    def _put(self, parts: _Parts, item: np.ndarray | BaseException | None) -> None:
        """Give the thread its next part, unless it has failed: that is raised here."""
        while True:
            try:
                parts.put(item, timeout=0.1)
                return
            except queue.Full:
                for publication in self._pending:
                    if publication.done():
                        publication.result()


def gather(folder: Path, manifest: Manifest, engine: Engine | None) -> None:
    """Complete the manifest with the records that stand beside the shards.

    The cost of the stored precision is measured where there is an engine to compare with.
    """
    spec, indices = manifest.spec, range(manifest.spec.shards)
    records = tuple(published_record(folder, index, manifest) for index in indices)
    found = dataclasses.replace(manifest, shards=records)
    if found.precision is None and engine is not None:
        rows = np.setdiff1d(np.arange(spec.population.size), [r.row for r in found.quarantine])
        found = dataclasses.replace(found, precision=measure_precision(spec, engine, rows))
    if found != manifest:
        found.write(folder)
    for index in indices:
        record_path(folder, index).unlink(missing_ok=True)
