"""Locks on files that the kernel frees when their holders die: one generator or training at a
time in a folder, one copier of a file.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path

from hpc_gw.distributed import World
from hpc_gw.errors import DataError, HpcGwError
from hpc_gw.files import make_folder, storage_error

# EBADF: NFS, where a file that was opened for reading cannot be locked alone.
_UNSUPPORTED = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EBADF}
_ATTEMPTS, _PAUSE_S = 10, 0.1  # who only looks holds the lock for a moment


@contextlib.contextmanager
def held(path: Path, world: World, what: str) -> Iterator[bool]:
    """Hold the lock file ``path`` for the ranks of ``world``; yields whether it can be locked.

    Rank 0 makes sure that it is alone, then every rank holds the lock together: a rank that
    outlives rank 0 still keeps others out. ``flock`` frees it with the process, ``kill -9`` or
    not; it knows no clock. A file system without it (some mounts of Lustre) is used unprotected:
    files are published whole anyway, only work may be done twice.

    Args:
        path: the lock file; made if needed, and left there.
        world: the ranks.
        what: is doing something in the folder: the subject of a sentence.

    Raises:
        DataError: another one is at work in the folder.
        StorageError: the folder cannot be written.
    """
    make_folder(path.parent)
    with contextlib.ExitStack() as stack:
        protected, refusal = True, None
        if world.rank == 0:
            try:
                protected = _claim(handle := _opened(stack, path), path, what)
                while not _is_at(handle, path):  # it was deleted while we opened it
                    protected = _claim(handle := _opened(stack, path), path, what)
            except HpcGwError as error:
                refusal = error
        if world.sum(float(refusal is not None)):  # every rank ends with the same exit code
            raise refusal or DataError("")  # rank 0 says why
        if world.rank != 0:
            handle = _open(path)
            stack.callback(os.close, handle)
            _lock(handle, fcntl.LOCK_SH, wait=True)  # for who only looks
        world.barrier()
        yield protected


def _opened(stack: contextlib.ExitStack, path: Path) -> int:
    make_folder(path.parent)
    handle = _open(path)
    stack.callback(os.close, handle)
    return handle


def _is_at(handle: int, path: Path) -> bool:
    """Whether an open file is the one at ``path``."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _claim(handle: int, path: Path, what: str) -> bool:
    """Share the lock, after having had it alone; whether the file system knows locks."""
    for attempt in range(_ATTEMPTS):
        answer = _lock(handle, fcntl.LOCK_EX)
        if answer:
            _sign(handle)
            answer = _lock(handle, fcntl.LOCK_SH)
        if answer is None:
            return False
        if answer:
            return True
        time.sleep(_PAUSE_S * (attempt + 1 < _ATTEMPTS))
    raise DataError(
        f"{path.parent}: another {what} is at work here ({_holder(path)}); wait for it, or "
        f"stop it, and start again"
    )


def _sign(handle: int) -> None:
    """Say in the lock file who holds it; a disk too full for that is met where it matters."""
    with contextlib.suppress(OSError):
        os.truncate(handle, 0)
        os.write(handle, json.dumps({"host": platform.node(), "pid": os.getpid()}).encode())


def is_held(path: Path) -> bool | None:
    """Whether somebody holds the lock file now; None where its file system cannot tell."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        free = _lock(handle, fcntl.LOCK_EX)
        return None if free is None else not free
    finally:
        os.close(handle)


@contextlib.contextmanager
def locked(path: Path, *, wait: bool) -> Iterator[bool | None]:
    """Hold the lock file ``path`` alone; with ``wait`` as soon as nobody else does.

    Yields True, or False where another process holds it (never with ``wait``); None on a file
    system that knows no locks: somebody else may be at the same work.

    Raises:
        StorageError: the file cannot be made.
    """
    handle = _open(path)
    try:
        yield _lock(handle, fcntl.LOCK_EX, wait=wait)
    finally:
        os.close(handle)


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise storage_error(path.parent, error) from error


def _lock(handle: int, kind: int, *, wait: bool = False) -> bool | None:
    """Take a lock or change its kind, without waiting unless told to.

    False where somebody else has it, None where the file system knows no locks.
    """
    try:
        fcntl.flock(handle, kind if wait else kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        if error.errno in _UNSUPPORTED:
            return None
        raise
    return True


def _holder(path: Path) -> str:
    try:
        who = json.loads(path.read_text())
        return f"process {who['pid']} on {who['host']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "it just began"
