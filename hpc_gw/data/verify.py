"""Checking a dataset's bytes against its manifest, on many threads and ranks."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tqdm import tqdm

from hpc_gw.data.manifest import Manifest, ShardRecord, shard_name
from hpc_gw.data.shards import checksum
from hpc_gw.errors import DataError

_THREADS = 8


@dataclasses.dataclass(frozen=True)
class Fault:
    """A shard that is not what was published."""

    shard: str
    reason: str


def verify(
    folder: Path,
    manifest: Manifest,
    *,
    part: tuple[int, int] = (0, 1),
    threads: int = 0,
    progress: bool = True,
) -> Iterator[Fault]:
    """Read the shards and yield those that are missing, truncated or changed, in order.

    Args:
        folder: the dataset's.
        manifest: with the records to compare with.
        part: (rank, world): every ``world``-th shard from number ``rank`` on.
        threads: that read at the same time; 0: as many as there are cores, at most 8.
        progress: show a bar.
    """
    records = list(enumerate(manifest.shards))[part[0] :: part[1]]
    total = sum(record.bytes for _, record in records if record)
    count = threads or min(_THREADS, os.cpu_count() or 1)
    with (
        tqdm(
            total=total,
            desc=f"verify {manifest.spec.name}",
            unit="B",
            unit_scale=True,
            disable=not progress,
        ) as bar,
        ThreadPoolExecutor(count, thread_name_prefix="verify") as pool,
    ):
        tasks = [pool.submit(_fault, folder, index, record, bar) for index, record in records]
        try:
            for task in tasks:
                if fault := task.result():
                    yield fault
        finally:
            for task in tasks:
                task.cancel()


def _fault(folder: Path, index: int, record: ShardRecord | None, bar: Any) -> Fault | None:
    name = shard_name(index)
    path = folder / name
    if record is None:
        return Fault(name, "is not made yet")
    try:
        size = path.stat().st_size
        if size != record.bytes:
            return Fault(name, f"has {size} bytes, {record.bytes} were published")
        if checksum(path, bar.update) != record.xxh128:
            return Fault(name, "its bytes are not those that were published (XXH128 differs)")
    except FileNotFoundError:
        return Fault(name, "is missing")
    except OSError as error:
        return Fault(name, f"cannot be read ({error.strerror})")
    return None


def require_whole(
    folder: Path, manifest: Manifest, *, part: tuple[int, int] = (0, 1), progress: bool = True
) -> None:
    """Raise ``DataError`` for the first shard of ``part`` that is not what was published."""
    for fault in verify(folder, manifest, part=part, progress=progress):
        raise DataError(
            f"{folder / fault.shard}: {fault.reason}; generate the set again, or hpc-gw data "
            f"repair {folder}: only damaged shards are made anew"
        )
