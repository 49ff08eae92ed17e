"""Locks on files that the kernel frees when their holder dies, ``kill -9`` or not.

``flock`` knows no clock and leaves nothing to clean up. A file system without it (some mounts
of Lustre) cannot say no: what is done under these locks must be safe without them, too.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import platform
import time
from pathlib import Path

from hpc_gw.files import make_folder, storage_error

_UNSUPPORTED = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}
_ATTEMPTS, _PAUSE_S = 3, 0.2  # who only looks holds the lock for a moment


class Lock:
    """An exclusive lock on a file, which stays where it is.

    Raises:
        StorageError: the folder cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        make_folder(path.parent)
        try:
            self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise storage_error(path.parent, error) from error

    def take(self) -> bool:
        """Take it, trying for a moment; False where somebody else has it."""
        for attempt in range(_ATTEMPTS):
            if lock(self._handle, fcntl.LOCK_EX) is not False:
                who = json.dumps({"host": platform.node(), "pid": os.getpid()})
                os.truncate(self._handle, 0)
                os.pwrite(self._handle, who.encode(), 0)
                return True
            time.sleep(_PAUSE_S * (attempt + 1 < _ATTEMPTS))
        self.release()
        return False

    def holder(self) -> str:
        """Who has it, in words."""
        return holder(self._path)

    def release(self) -> None:
        """Give it back."""
        if self._handle >= 0:
            os.close(self._handle)
        self._handle = -1


def is_locked(path: Path) -> bool:
    """Whether somebody has the lock now, as far as the file system tells."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        return lock(handle, fcntl.LOCK_EX) is False
    finally:
        os.close(handle)


def holder(path: Path) -> str:
    """Who wrote a lock's file, in words."""
    try:
        who = json.loads(path.read_text())
        return f"process {who['pid']} on {who['host']}"
    except (OSError, ValueError, KeyError):
        return "it just began"


def lock(handle: int, kind: int) -> bool | None:
    """Take a lock or change its kind without waiting.

    False where somebody else has it, None where the file system knows no locks.
    """
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        if error.errno in _UNSUPPORTED:
            return None
        raise
    return True
