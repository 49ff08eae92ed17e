"""Words of users in batch scripts: each reaches its program verbatim, or is refused."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable

from hpc_gw.errors import ConfigError

PLAIN = r"[A-Za-z0-9_./+@=:,%^-]*"
"""What means the same to every scheduler and shell."""

_ESCAPES = {"\\": "\\\\", "'": "\\'", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def quote(word: str) -> str:
    """A word as bash reads it, on one line.

    Raises:
        ConfigError: it holds a NUL, which no program can be given.
    """
    if "\0" in word:
        raise ConfigError(f"{word!r}: holds a NUL character, which no program can be given")
    try:
        word.encode()
    except UnicodeEncodeError as error:
        raise ConfigError(f"{word!r}: cannot be written as UTF-8; write another") from error
    if not any(_unprintable(c) for c in word):
        return shlex.quote(word)
    return "$'" + "".join(_escape(c) for c in word) + "'"


def command(words: Iterable[str]) -> str:
    """A command line of several words."""
    return " ".join(quote(word) for word in words)


def comment(text: str) -> str:
    """One line after ``#``: nothing in it can end the comment."""
    return "# " + "".join(_escape(c) if _unprintable(c) else c for c in text)


def plain(value: str, what: str) -> str:
    """A value of a directive (``#SBATCH``, ``#BSUB``), whose quoting differs between schedulers.

    Raises:
        ConfigError: it holds anything but letters, digits and a few marks.
    """
    if not re.fullmatch(PLAIN, value, re.ASCII):
        raise ConfigError(
            f"{what} = {value!r}: batch systems take letters, digits and any of "
            f"_ . / + @ = : , % ^ - here; write it without spaces and other marks"
        )
    return value


def path(value: str, what: str) -> str:
    """A path in a directive: plain, and without %, which stands for numbers of the job there."""
    if "%" in value:
        raise ConfigError(
            f"{what} = {value!r}: batch systems read % as a number of the job; choose a folder "
            f"without it"
        )
    return plain(value, what)


def _unprintable(character: str) -> bool:
    return not character.isprintable()


def _escape(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if not _unprintable(character):
        return character
    return "".join(f"\\x{byte:02x}" for byte in character.encode())
