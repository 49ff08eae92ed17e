"""One shard: an HDF5 file with the waveforms of a run of consecutive rows.

Schema (docs/data_format.md): dataset ``h22``, what is stored of n waveforms; dataset ``row`` (n,)
int64; attributes ``format`` and ``spec`` (JSON: how the set that it belongs to is made).
Without compression ``h22`` is contiguous: its bytes are written and read past HDF5, at the
disk's rate. The only file that knows h5py's view of shards.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

import h5py
import numpy as np
import xxhash

from hpc_gw.config import to_dict
from hpc_gw.data.manifest import DatasetSpec, StorageConfig
from hpc_gw.errors import DataError, MissingDependencyError
from hpc_gw.files import published

FORMAT = "hpc_gw shard 2"

_BLOCK = 1 << 22
_IOVEC = 1024  # buffers that one call may fill (IOV_MAX of Linux)


def checksum(
    path: str | os.PathLike[str], progress: Callable[[int], object] = lambda _: None
) -> str:
    """Hexadecimal XXH128 of a file (``xxhsum -H2`` prints the same), read in blocks of 4 MiB.

    It runs at the memory's rate, so that checking costs what reading costs. It finds what disks
    and networks do to files, not what an adversary does.
    """
    digest = xxhash.xxh3_128()
    buffer = memoryview(bytearray(_BLOCK))
    with Path(path).open("rb", buffering=0) as stream:
        while count := stream.readinto(buffer):
            digest.update(buffer[:count])
            progress(count)
    return digest.hexdigest()


def write_shard(
    path: str | os.PathLike[str],
    spec: DatasetSpec,
    rows: np.ndarray,
    parts: Iterable[np.ndarray],
    promise: Callable[[str, int], None],
) -> None:
    """Publish a shard atomically.

    Args:
        path: final name.
        spec: of the set.
        rows: row ids, int64 (n,).
        parts: what is stored of consecutive rows, arrays (b, ...) that make n rows together;
            one is held at a time.
        promise: called with the XXH128 and the size of the finished file before it gets its name.

    Raises:
        StorageError: the disk is full, or the folder cannot be written.
    """
    contiguous = spec.storage.compression == "none"
    with published(path) as temporary:
        write = _write_contiguous if contiguous else _write_compressed
        promise(write(temporary, spec, rows, parts), temporary.stat().st_size)


def _write_contiguous(
    path: Path, spec: DatasetSpec, rows: np.ndarray, parts: Iterable[np.ndarray]
) -> str:
    """Write all but the waveforms with h5py, and these past it; returns the checksum."""
    with _created(path, spec, rows) as file:
        # Early allocation, never filled: the waveforms' place in the file is known now.
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_obj_track_times(False)  # equal waveforms make equal files
        properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        dtype, shape = spec.storage.numpy_dtype, spec.storage.shape(rows.size, spec.samples)
        space = h5py.h5s.create_simple(shape)
        h5type = h5py.h5t.py_create(dtype, logical=True)
        dataset = h5py.h5d.create(file.id, b"h22", h5type, space, properties)
        offset, size = int(dataset.get_offset()), rows.size * spec.row_bytes
        del dataset
    with path.open("r+b", buffering=0) as stream:
        # All the space now: a full disk is known before anything is computed.
        os.posix_fallocate(stream.fileno(), 0, offset + size)
        digest = xxhash.xxh3_128(stream.read(offset))
        for part in parts:
            view = _bytes(np.ascontiguousarray(part))
            digest.update(view)
            while view:
                view = view[stream.write(view) :]
        if stream.tell() != offset + size:
            raise ValueError(f"{path}: {stream.tell() - offset} bytes given, not {size}")
        digest.update(stream.read())
    return digest.hexdigest()


def _write_compressed(
    path: Path, spec: DatasetSpec, rows: np.ndarray, parts: Iterable[np.ndarray]
) -> str:
    """Write through HDF5's filter, a waveform a chunk; returns the checksum."""
    shape = spec.storage.shape(rows.size, spec.samples)
    with _created(path, spec, rows) as file:
        dataset = file.create_dataset(
            "h22",
            shape,
            spec.storage.numpy_dtype,
            chunks=(_chunk_rows(rows.size, spec), *shape[1:]),
            track_times=False,
            **_filter(spec.storage),
        )
        first = 0
        for part in parts:
            dataset[first : first + len(part)] = part
            first += len(part)
    return checksum(path)


@contextlib.contextmanager
def _created(path: Path, spec: DatasetSpec, rows: np.ndarray) -> Iterator[h5py.File]:
    with new_hdf5(path) as file:
        file.attrs["format"] = FORMAT
        file.attrs["spec"] = json.dumps(to_dict(spec))
        file.create_dataset("row", data=rows.astype(np.int64), track_times=False)
        yield file


@contextlib.contextmanager
def new_hdf5(path: Path) -> Iterator[h5py.File]:
    """An HDF5 file to be written in the place of an empty one.

    Raises:
        OSError: the disk is full; not before the file is closed.
    """
    with _Disk(path) as disk, h5py.File(disk, "w") as file:
        yield file


class _Disk(io.FileIO):
    """A file that HDF5 writes, and that tells of a full disk only when HDF5 is done with it.

    HDF5 cannot close a file whose last bytes it could not write, and frees it once more later:
    the process dies of a segmentation fault in place of saying what is wrong.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, "r+")
        self._error: OSError | None = None

    def write(self, content: Any) -> int:
        """Write all of ``content``, or keep the error."""
        view = memoryview(content).cast("B")
        size = len(view)
        try:
            while view and not self._error:
                view = view[super().write(view) :]
        except OSError as error:
            self._error = error
        return size

    def truncate(self, size: int | None = None) -> int:
        """Set the size, or keep the error."""
        try:
            return super().truncate(size)
        except OSError as error:
            self._error = error
            return size or 0

    def close(self) -> None:
        """Close the file, and raise the error that was kept."""
        super().close()
        error, self._error = self._error, None
        if error:
            raise error


def _chunk_rows(rows: int, spec: DatasetSpec) -> int:
    """One waveform a chunk; short waveforms share one of up to 64 KiB."""
    return max(1, min(rows, 65536 // spec.row_bytes))


def _filter(storage: StorageConfig) -> dict[str, Any]:
    if storage.compression == "gzip":
        return {"compression": "gzip", "compression_opts": 4, "shuffle": True}
    return dict(_hdf5plugin().Blosc2(cname="zstd", clevel=5, filters=2))  # 2: bits are shuffled


def _hdf5plugin() -> Any:
    try:
        import hdf5plugin  # noqa: PLC0415
    except ImportError as error:
        raise MissingDependencyError(
            "hdf5plugin",
            "storage.compression: zstd",
            'pip install "hpc_gw[compression]", or use gzip',
        ) from error
    return hdf5plugin


def open_shard(path: str | os.PathLike[str], spec: DatasetSpec, index: int) -> OpenShard:
    """Open a shard for reading.

    Raises:
        DataError: the file is missing, damaged, or not the shard that was expected.
    """
    shape = spec.storage.shape(spec.shard_rows(index).size, spec.samples)
    with _damage_as_data_error(path):
        with h5py.File(path, "r") as file:
            if file.attrs.get("format") != FORMAT:
                raise DataError(f"{path}: not a shard of this version ('{FORMAT}')")
            if json.loads(file.attrs["spec"]) != to_dict(spec):
                raise DataError(f"{path}: a shard of another set; generate the set again")
            dataset = file["h22"]
            if dataset.shape != shape or dataset.dtype != spec.storage.numpy_dtype:
                raise DataError(
                    f"{path}: holds {dataset.shape} {dataset.dtype} where the manifest says "
                    f"{shape} {spec.storage.numpy_dtype}; generate the set again"
                )
            if spec.storage.compression == "none":
                return _ContiguousShard(path, int(dataset.id.get_offset()), spec)
        if spec.storage.compression == "zstd":
            _hdf5plugin()  # makes the filter known
        return _CompressedShard(path)


@contextlib.contextmanager
def _damage_as_data_error(path: str | os.PathLike[str]) -> Iterator[None]:
    """What h5py and the system raise where a shard is missing or damaged, in words."""
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(f"{path}: the shard is missing; generate the set again") from error
    except (OSError, KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise _damaged(path, error) from error


def _damaged(path: str | os.PathLike[str], error: object) -> DataError:
    return DataError(
        f"{path}: the shard is damaged ({error}); generate the set again: only damaged shards "
        f"are made anew"
    )


def _bytes(values: np.ndarray) -> memoryview:
    """The memory of a contiguous array; a ``memoryview`` itself knows no complex numbers."""
    return values.reshape(-1).view(np.uint8).data


class OpenShard(Protocol):
    """A shard for reading, in the process that opened it; it can be closed and opened again."""

    def open(self) -> None:
        """Open the file, if it is not."""
        ...

    def read(self, first: int, lines: list[np.ndarray]) -> None:
        """Fill ``lines``, each (m, ...) contiguous, with the last m samples of the rows from
        number ``first`` of the shard on."""
        ...

    def close(self) -> None:
        """Close the file, if it is open."""
        ...


class _ContiguousShard:
    """Reads with ``preadv``: no shared position, no cache of its own, straight into place."""

    def __init__(self, path: str | os.PathLike[str], offset: int, spec: DatasetSpec) -> None:
        self._path, self._offset, self._row_bytes = path, offset, spec.row_bytes
        self._file = -1

    def open(self) -> None:
        """Open the file, if it is not."""
        if self._file < 0:
            with _damage_as_data_error(self._path):
                self._file = os.open(self._path, os.O_RDONLY)

    def read(self, first: int, lines: list[np.ndarray]) -> None:
        """Whole rows in one call for up to a thousand of them; cropped ones in a call each."""
        whole = lines[0].nbytes == self._row_bytes
        step = _IOVEC if whole else 1
        for i in range(0, len(lines), step):
            part = lines[i : i + step]
            skip = self._row_bytes - part[0].nbytes
            self._fill(part, self._offset + (first + i) * self._row_bytes + skip)

    def _fill(self, lines: list[np.ndarray], position: int) -> None:
        views = [_bytes(line) for line in lines]
        while views:
            with _damage_as_data_error(self._path):
                count = os.preadv(self._file, views, position)
            if not count:
                raise _damaged(self._path, "it ends too early")
            position += count
            while views and count >= len(views[0]):
                count -= len(views.pop(0))
            if count:
                views[0] = views[0][count:]

    def close(self) -> None:
        """Close the file, if it is open."""
        if self._file >= 0:
            os.close(self._file)
        self._file = -1

    def __del__(self) -> None:
        self.close()


class _CompressedShard:
    """Reads through HDF5's filter, the rows asked for and no others."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = path
        self._file: h5py.File | None = None

    def open(self) -> None:
        """Open the file, if it is not."""
        with _damage_as_data_error(self._path):
            self._file = self._file or h5py.File(self._path, "r")

    def read(self, first: int, lines: list[np.ndarray]) -> None:
        """All rows in one call; a cropped row is decompressed whole."""
        samples = len(lines[0])
        self.open()
        assert self._file is not None
        with _damage_as_data_error(self._path):
            values = self._file["h22"][first : first + len(lines), -samples:]
        for line, value in zip(lines, values, strict=True):
            line[...] = value

    def close(self) -> None:
        """Close the file, if it is open."""
        if self._file:
            self._file.close()
        self._file = None
