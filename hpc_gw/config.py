"""Configurations: frozen, validated dataclasses built from YAML and ``key=value`` overrides.

Each room defines its own dataclasses with ``pydantic.dataclasses.dataclass(frozen=True,
config=STRICT)``; this module turns mappings into them, and what is wrong into one line that
names the key, the rule and the nearest valid key.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import os
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError

from hpc_gw.errors import ConfigError

STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)
"""No unknown keys, no infinite or undefined numbers."""

T = TypeVar("T")


def read_yaml(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a YAML mapping with the safe loader.

    Raises:
        ConfigError: the file is missing, is not YAML, or holds no mapping.
    """
    try:
        value = yaml.safe_load(Path(path).read_text())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid YAML ({error})") from error
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: a mapping of keys to values is needed at the top level")
    return dict(value)


def override(config: dict[str, Any], assignments: Iterable[str]) -> dict[str, Any]:
    """Apply ``a.b.c=value`` assignments, values read as YAML, to a copy of ``config``."""
    result: dict[str, Any] = _copy(config)
    for assignment in assignments:
        key, separator, text = assignment.partition("=")
        if not separator or not key.strip():
            raise ConfigError(f"--set {assignment}: write key=value, for instance train.epochs=3")
        *parents, leaf = key.strip().split(".")
        node = result
        for name in parents:
            child = node.setdefault(name, {})
            if not isinstance(child, dict):
                raise ConfigError(f"--set {assignment}: '{name}' is a value, it has no keys")
            node = child
        try:
            node[leaf] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"--set {assignment}: the value is not YAML ({error})") from error
    return result


def build(cls: type[T], mapping: Mapping[str, Any], *, where: str = "config") -> T:
    """Validate ``mapping`` as an instance of the dataclass ``cls``.

    Raises:
        ConfigError: an unknown key (with the nearest valid one), a wrong type, or a rule that
            a dataclass states; ``where`` (a file's name) begins the line.
    """
    try:
        return cast(T, _adapter(cast(Any, cls)).validate_python(dict(mapping)))
    except ValidationError as error:
        # A misspelt key may leave another one missing: name the misspelt one.
        errors = error.errors()
        first = next((e for e in errors if e["type"] in _UNKNOWN), errors[0])
        more = error.error_count() - 1
        line = f"{where}: {_explain(cls, first)}"
        raise ConfigError(line + (f" (and {more} more)" if more else "")) from error


@functools.cache
def _adapter(cls: type[Any]) -> TypeAdapter[Any]:
    return TypeAdapter(cls)


def to_dict(config: Any) -> Any:
    """A configuration as plain dicts, lists and scalars, for JSON, YAML and checkpoints."""
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        return {f.name: to_dict(getattr(config, f.name)) for f in dataclasses.fields(config)}
    if isinstance(config, dict):
        return {key: to_dict(value) for key, value in config.items()}
    if isinstance(config, (list, tuple)):
        return [to_dict(value) for value in config]
    if isinstance(config, os.PathLike):
        return os.fspath(config)
    return config


def first_difference(found: Any, wanted: Mapping[str, Any]) -> str | None:
    """The first key of ``wanted`` that ``found`` lacks or has another value of; None if none."""
    known = found if isinstance(found, Mapping) else {}
    return next((k for k, v in wanted.items() if k not in known or known[k] != v), None)


def _copy(node: Any) -> Any:
    return {k: _copy(v) for k, v in node.items()} if isinstance(node, dict) else node


_UNKNOWN = ("unexpected_keyword_argument", "extra_forbidden")


def _explain(cls: Any, error: Any) -> str:
    """One line of plain words for a pydantic error."""
    names = [str(part) for part in error["loc"]]
    if error["type"] in _UNKNOWN:
        *parents, key = names
        valid = _keys_at(cls, parents)
        close = difflib.get_close_matches(key, valid, n=1, cutoff=0.5)
        hint = f"did you mean '{close[0]}'?" if close else "valid keys: " + ", ".join(valid)
        return f"unknown key '{'.'.join([*_visible(cls, parents), key])}'; {hint}"
    key = ".".join(_visible(cls, names))
    message = error["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    if error["type"] in ("value_error", "assertion_error"):
        return f"{key}: {message}" if key else message
    if error["type"] == "missing" or error["type"] == "missing_argument":
        return f"'{key}' is missing: give it a value"
    shown = repr(error["input"])
    return f"{key} = {shown if len(shown) < 80 else shown[:77] + '...'}: {message}"


def _branches(annotation: Any) -> list[Any]:
    """The dataclasses that an annotation admits (through Optional, Union, Annotated)."""
    if dataclasses.is_dataclass(annotation):
        return [annotation]
    if typing.get_origin(annotation) is typing.Annotated:
        return _branches(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return [b for part in typing.get_args(annotation) for b in _branches(part)]
    return []


def _descend(cls: Any, names: list[str]) -> tuple[list[Any], list[str]]:
    """Dataclasses at a path of an error, and the path less pydantic's union tags."""
    nodes, visible = [cls], []
    for name in names:
        hints = {
            key: hint
            for node in nodes
            for key, hint in typing.get_type_hints(node, include_extras=True).items()
        }
        if name in hints and name in {f.name for n in nodes for f in dataclasses.fields(n)}:
            visible.append(name)
            nodes = _branches(hints[name])
        elif any(name == node.__name__ for node in nodes):
            nodes = [node for node in nodes if name == node.__name__]
        elif tagged := [n for n in nodes if getattr(n, "kind", None) == name]:
            nodes = tagged
        else:
            visible.append(name)
    return nodes, visible


def _visible(cls: Any, names: list[str]) -> list[str]:
    return _descend(cls, names)[1]


def _keys_at(cls: Any, names: list[str]) -> list[str]:
    return sorted({f.name for node in _descend(cls, names)[0] for f in dataclasses.fields(node)})
