"""Atomic publication, checksums and sizes of files.

A file appears under its final name only when it is whole: it is written under a
temporary name beside it, flushed to disk, and moved with ``os.replace``.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from hpc_gw.errors import ConfigError, DataError, StorageError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_UNWRITABLE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST}


def sha256(path: str | os.PathLike[str]) -> str:
    """Hexadecimal SHA-256 of a file, read in blocks of 4 MiB."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as stream:
        while block := stream.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


def storage_error(path: str | os.PathLike[str], error: OSError) -> StorageError:
    """The user's view of an ``OSError`` met while ``path`` was written."""
    if error.errno in _FULL or "No space left" in str(error):
        return StorageError(
            f"{path}: the disk is full; nothing was published; free space or choose another "
            f"output folder, then start again"
        )
    if error.errno in _UNWRITABLE:
        return StorageError(f"{path}: cannot be written ({error.strerror}); choose another output")
    return StorageError(f"{path}: writing failed ({error})")


def make_folder(path: str | os.PathLike[str]) -> Path:
    """Create a folder with its parents; ``StorageError`` where that is impossible."""
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(folder, error) from error
    return folder


@contextlib.contextmanager
def published(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path; on success flush it and move it to ``path``, else delete it.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    final = Path(path)
    make_folder(final.parent)
    temporary: Path | None = None
    try:
        handle, name = tempfile.mkstemp(prefix=f".{final.name}.", suffix=".tmp", dir=final.parent)
        temporary = Path(name)
        os.fchmod(handle, 0o644)
        os.close(handle)
        yield temporary
        _flush(temporary)
        temporary.replace(final)
        _flush(final.parent)
    except OSError as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        raise storage_error(final, error) from error
    except BaseException:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        raise


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Publish ``value`` as indented JSON (NaN is refused: JSON has none)."""
    text = json.dumps(value, indent=1, allow_nan=False) + "\n"
    with published(path) as temporary:
        temporary.write_text(text)


def read_json(path: str | os.PathLike[str]) -> Any:
    """Read JSON; ``DataError`` where the file is missing or not JSON."""
    try:
        return json.loads(Path(path).read_text())
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not readable as JSON ({error})") from error


def kind_of(path: str | os.PathLike[str]) -> Literal["file", "folder"] | None:
    """What a name stands for; ``None`` for nothing, and for a name that no file can have.

    ``Path.exists`` raises OSError for names of more than 255 characters.
    """
    try:
        mode = Path(path).stat().st_mode
    except (OSError, ValueError):
        return None
    return "folder" if stat.S_ISDIR(mode) else "file"


def readable_bytes(count: int) -> str:
    """A number of bytes in decimal units, as disks are sold: 1.28 TB."""
    if count < 1000:
        return f"{count} B"
    power = min(int(math.log10(count) // 3), 5)
    return f"{count / 1000**power:.3g} {'kMGTP'[power - 1]}B"


def parse_bytes(text: str, *, what: str) -> int:
    """A number of bytes from text: 200GB, 1.5 TB, 64MiB, 4096.

    Raises:
        ConfigError: ``text`` is no such size, or less than one byte; ``what`` (an option's name)
            begins the line.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(?:([kKMGTP])(i?))?B?\s*", text)
    if found:
        number, prefix, binary = found.groups()
        power = " KMGTP".index(prefix.upper()) if prefix else 0
        if size := int(float(number) * (1024 if binary else 1000) ** power):
            return size
    raise ConfigError(f"{what} {text}: no size; write a number of bytes such as 200GB or 64MiB")
