"""Copies of a dataset's shards on storage of the node itself, for ``ShardSource(..., local=)``.

Any number of processes of the node may ask at once: each shard is copied by one of them, under a
lock that the kernel frees when its holder dies. A copy is checked against its record while it is
made, and gets its name when it is whole.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import xxhash
from tqdm import tqdm

from hpc_gw.data.manifest import MANIFEST, Manifest, shard_name
from hpc_gw.data.shards import checksum
from hpc_gw.errors import DataError, StorageError
from hpc_gw.files import make_folder, published, readable_bytes
from hpc_gw.locks import locked

_BLOCK = 1 << 22


def stage(
    folder: Path,
    target: Path,
    *,
    part: tuple[int, int] = (0, 1),
    limit: int | None = None,
    check: bool = False,
    progress: bool = True,
) -> Path:
    """Copy a dataset's manifest and shards, or what is missing of them, below ``target``.

    Returns when all are there, whichever process copied them. Stopped at any moment, it goes on
    at the next call.

    Args:
        folder: the dataset, complete.
        target: folder on the node's own storage; datasets in it do not meet.
        part: (number, count): where in the order of shards this process begins, so that those
            that ask at once share the copying. Any numbers give the same folder.
        limit: bytes to use at most: the first shards that fit. Readers take the others from
            ``folder``.
        check: read the copies that are there already, and make those anew whose bytes are not
            those that were published. Without, their sizes are trusted: each was checked when it
            was made.
        progress: show a bar.

    Returns:
        The folder of the copies.

    Raises:
        DataError: there is no complete dataset, or a shard of it is missing or damaged.
        StorageError: ``target`` is too small, or cannot be written.
    """
    manifest = Manifest.read(folder)
    local = make_folder(local_folder(manifest, target))
    copies = _chosen(folder, local, manifest, limit)
    _require_space(local, copies)
    first = len(copies) * part[0] // part[1]
    with tqdm(
        total=sum(copy.bytes for copy in copies),
        desc=f"stage {manifest.spec.name}",
        unit="B",
        unit_scale=True,
        disable=not progress,
    ) as bar:
        others = []
        for copy in copies[first:] + copies[:first]:
            if copy.make(check=check, wait=False):
                bar.update(copy.bytes)
            else:
                others.append(copy)
        for copy in others:
            copy.make(check=check, wait=True)
            bar.update(copy.bytes)
    _copy_manifest(folder, local)
    return local


def local_folder(manifest: Manifest, target: Path) -> Path:
    """Where below ``target`` a dataset's copies stand: its name and what is in its shards."""
    name = re.sub(r"[^\w.-]", "_", manifest.spec.name)
    return target / f"{name}-{manifest.checksum[:16]}"


@dataclasses.dataclass(frozen=True)
class _Copy:
    """A shard that is to stand in the local folder too: files, and what was published."""

    source: Path
    target: Path
    xxh128: str
    bytes: int

    def make(self, *, check: bool, wait: bool) -> bool:
        """Copy the shard unless it is there; False where another process is at it.

        With ``wait``, wait for that one, and copy the shard if it died.
        """
        if self._there(check):
            return True
        lock = self.target.with_name(f".{self.target.name}.lock")
        with locked(lock, wait=wait) as mine:
            if mine is False:
                return False
            if not self._there(check):
                if mine:  # nobody else is at it: these are of processes that were killed
                    for leftover in self.target.parent.glob(f".{self.target.name}.*.tmp"):
                        leftover.unlink(missing_ok=True)
                self._copy()
            lock.unlink(missing_ok=True)  # whoever has it open finds the copy there
        return True

    def _there(self, check: bool) -> bool:
        try:
            whole = self.target.stat().st_size == self.bytes
            return whole and (not check or checksum(self.target) == self.xxh128)
        except OSError:  # missing, or not readable: to be copied
            return False

    def _copy(self) -> None:
        digest = xxhash.xxh3_128()
        with published(self.target) as temporary:
            with temporary.open("wb") as file:
                for block in self._blocks():
                    digest.update(block)
                    file.write(block)
            if digest.hexdigest() != self.xxh128:
                raise self._damaged("its bytes are not those that were published (XXH128 differs)")

    def _blocks(self) -> Iterator[memoryview]:
        buffer = memoryview(bytearray(_BLOCK))
        try:
            with self.source.open("rb", buffering=0) as file:
                while count := file.readinto(buffer):
                    yield buffer[:count]
        except OSError as error:
            raise self._damaged(f"cannot be read ({error.strerror})") from error

    def _damaged(self, reason: str) -> DataError:
        return DataError(
            f"{self.source}: {reason}; make it anew with hpc-gw data repair {self.source.parent}, "
            f"then stage again"
        )


def _chosen(folder: Path, local: Path, manifest: Manifest, limit: int | None) -> list[_Copy]:
    """The first shards that ``limit`` has room for."""
    copies, used = [], 0
    for index, record in enumerate(manifest.shards):
        if record is None:
            raise DataError(
                f"{folder}: {shard_name(index)} is not made yet; generate the set to its end, or "
                f"hpc-gw data repair {folder}"
            )
        used += record.bytes
        if limit is not None and used > limit:
            break
        name = shard_name(index)
        copies.append(_Copy(folder / name, local / name, record.xxh128, record.bytes))
    if not copies:
        raise StorageError(
            f"{folder}: its first shard has {readable_bytes(used)}, {readable_bytes(limit or 0)} "
            f"may be used; allow more with --limit, or do without staging"
        )
    return copies


def _require_space(local: Path, copies: list[_Copy]) -> None:
    """Refuse to begin what does not fit; what other processes copy meanwhile is counted once."""
    free = shutil.disk_usage(local).free  # before what is there is looked at: they only help
    there = _sizes(local)
    missing = sum(copy.bytes for copy in copies if there.get(copy.target.name) != copy.bytes)
    begun = sum(size for name, size in there.items() if name.endswith(".tmp"))
    if missing - begun > free:
        raise StorageError(
            f"{local}: {readable_bytes(missing - begun)} are still to be copied, "
            f"{readable_bytes(free)} are free; stage fewer shards with --limit BYTES, or choose "
            f"another --to"
        )


def _sizes(folder: Path) -> dict[str, int]:
    """Sizes of the files of a folder; a temporary one may go at any moment."""
    sizes = {}
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):
            sizes[path.name] = path.stat().st_size
    return sizes


def _copy_manifest(folder: Path, local: Path) -> None:
    """Last: where it stands, the shards that were asked for stand too."""
    content, path = (folder / MANIFEST).read_bytes(), local / MANIFEST
    if not path.exists() or path.read_bytes() != content:
        with published(path) as temporary:
            temporary.write_bytes(content)
