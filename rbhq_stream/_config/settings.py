"""Reads the fields of a configuration from environment variables or from a TOML file.

This module does not know what the fields mean. It finds the values, converts strings as each field's metadata requires,
and remembers where each value came from, so that an error can name it.
"""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import attrs
from attrs import frozen

from rbhq_stream._config.checks import is_no_group, shown_path
from rbhq_stream._config.properties import Secret, property_field
from rbhq_stream.errors import ConfigError

_C = TypeVar("_C")

# The keys of a field's metadata. A field without any is a string that is taken as it is.
FROM_STRING = "from_string"
"""A function that converts a string to the value. It raises `ValueError` with what is wrong and what is expected."""
PARTS = "parts"
"""The value is an attrs class of strings. `topics.prices` is the variable `TOPIC_PRICES`."""
PROPERTIES = "properties"
"""The value is a mapping of librdkafka properties. `fetch.min.bytes` is the variable `KAFKA_FETCH_MIN_BYTES`."""
PATH = "path"
"""The value is a path; in a TOML file it is relative to the folder of that file."""
SECRET = "secret"  # noqa: S105  # the name of a piece of metadata, not a password
"""The value must not be printed. It may be in a file, to which the setting with `_file` after its name points."""

_UNDERSCORED = {"log.level": "log_level"}
"""The librdkafka properties with an underscore in their names. Environment variables write a dot as one, too."""


def number(text: str) -> float:
    """Converts a duration in seconds."""
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"expected a number of seconds, such as 30 or 0.5, got {text[:40]!r}") from None


def integer(text: str) -> int:
    """Converts an integer."""
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"expected an integer, got {text[:40]!r}") from None


def moment(text: str) -> datetime | str:
    """Converts a time in ISO 8601; returns any other string as it is."""
    try:
        return datetime.fromisoformat(f"{text[:-1]}+00:00" if text.endswith(("Z", "z")) else text)
    except ValueError:
        return text


def group(text: str) -> str | None:
    """Converts the name of a consumer group: The string `none` means that there is no group."""
    return None if is_no_group(text) else text


def pem(text: str) -> str:
    """Converts PEM whose line breaks are written `\\n`, because files of environment variables have one line each."""
    return text.replace("\\n", "\n")


def nearest(name: str, known: Iterable[str], prefix: str = "") -> str:
    """Returns the end of an error about an unknown name: the known name that was probably meant, or all of them."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1)
    if close:
        return f": did you mean {prefix}{close[0]}?"
    return f": expected one of {', '.join(f'{prefix}{one}' for one in known)}"


@frozen
class _Target:
    """What a variable or a key sets: a field, a part of it, or the file that has the field's value."""

    field: str
    part: str | None = None
    in_file: bool = False

    @property
    def name(self) -> str:
        """The name that errors use for it."""
        if self.part is None:
            return self.field
        return property_field(self.part) if self.field == "kafka" else f"{self.field}.{self.part}"


@frozen
class _Given:
    """A value, and where it was found."""

    target: _Target
    value: Any
    origin: str

    def wrong(self, problem: str) -> ConfigError:
        return ConfigError(self.target.name, problem, origin=self.origin)


def from_environment(cls: type[_C], environ: Mapping[str, str], prefix: str, overrides: Mapping[str, Any]) -> _C:
    """Makes a configuration from environment variables and from fields given in code."""
    targets = dict(_variables(cls))
    given = []
    for variable, text in sorted(environ.items()):
        if not variable.startswith(prefix) or not text:
            continue
        origin = f"environment variable {variable}"
        name = variable.removeprefix(prefix)
        target = targets.get(name) or _property(name)
        if target is None:
            problem = f"is not a setting of the feed{nearest(name, targets, prefix)}"
            raise ConfigError(name.lower(), problem, origin=origin)
        given.append(_Given(target, text, origin))
    settable: dict[str, str] = {}
    for name, target in targets.items():
        before = f"{settable[target.field]}," if target.field in settable else "environment variable"
        settable[target.field] = f"{before} {prefix}{name}"
    return _build(cls, given, settable, Path(), overrides)


def _variables(cls: type) -> Iterator[tuple[str, _Target]]:
    """Yields all variables, without the prefix, and what each of them sets."""
    for attribute in _fields(cls):
        name = attribute.name
        if PARTS in attribute.metadata:
            for part in _fields(attribute.metadata[PARTS]):
                yield f"{name.removesuffix('s')}_{part.name}".upper(), _Target(name, part.name)
        elif PROPERTIES not in attribute.metadata:
            yield name.upper(), _Target(name)
        if SECRET in attribute.metadata:
            yield f"{name}_file".upper(), _Target(name, in_file=True)


def _property(variable: str) -> _Target | None:
    if not variable.startswith("KAFKA_"):
        return None
    name = variable.removeprefix("KAFKA_").lower().replace("_", ".")
    return _Target("kafka", _UNDERSCORED.get(name, name))


def from_toml(cls: type[_C], path: Path, table: str | None, overrides: Mapping[str, Any]) -> _C:
    """Makes a configuration from a TOML file, or a table of it, and from fields given in code."""
    document = _read_toml(path)
    keys = table.split(".") if table else []
    for depth, key in enumerate(keys, start=1):
        inner = document.get(key)
        if not isinstance(inner, dict):
            raise ConfigError("table", f"{shown_path(path)} has no table [{'.'.join(keys[:depth])}]")
        document = inner

    def origin(key: str) -> str:
        return f"key {'.'.join([*keys, key])} in {shown_path(path)}"

    metadata = {attribute.name: attribute.metadata for attribute in _fields(cls)}
    targets = {name: _Target(name) for name in metadata}
    targets.update({f"{name}_file": _Target(name, in_file=True) for name in metadata if SECRET in metadata[name]})
    given = []
    for key, value in document.items():
        if key not in targets:
            raise ConfigError(key, f"is not a setting of the feed{nearest(key, targets)}", origin=origin(key))
        kind = metadata.get(key, {})
        if isinstance(value, dict) and (PARTS in kind or PROPERTIES in kind):
            parts = _leaves(value) if PROPERTIES in kind else value.items()
            given += [_Given(_Target(key, part), inner, origin(f"{key}.{part}")) for part, inner in parts]
        else:
            given.append(_Given(targets[key], value, origin(key)))
    return _build(cls, given, {name: origin(name) for name in metadata}, path.parent, overrides)


def _read_toml(path: Path) -> dict[str, Any]:
    text, problem = _text_of(path)
    if problem is None and any("\ud800" <= char <= "\udfff" for char in text):
        problem = f"{shown_path(path)} is not UTF-8, which TOML requires"
    if problem is not None:
        raise ConfigError("path", problem)
    toml = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    document: dict[str, Any] = {}
    try:
        document = toml.loads(text)
    except (ValueError, RecursionError) as error:
        problem = f"{shown_path(path)} is not valid TOML: {error}"
    # raised outside the `except`, because the parser's error may hold the whole document with its passwords
    if problem is not None:
        raise ConfigError("path", problem)
    return document


def _leaves(table: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Yields the values of nested tables under their joined names: TOML reads `fetch.min.bytes = 1` as three tables."""
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def _build(
    cls: type[_C], given: Iterable[_Given], settable: Mapping[str, str], folder: Path, overrides: Mapping[str, Any]
) -> _C:
    """Makes the configuration.

    Args:
        given: The values that were found.
        settable: Where each field would have to be set.
        folder: What paths are relative to.
        overrides: The fields given in code.
    """
    attributes = {attribute.name: attribute for attribute in _fields(cls)}
    origins = {name: where for name, where in settable.items() if name not in overrides}
    values: dict[str, Any] = {}
    for one in given:
        target = one.target
        if target.field in overrides:
            continue
        already = target.field in values
        if target.part is not None:
            parts = values.setdefault(target.field, {})
            already = target.part in parts
            parts[target.part] = one.value
        if already:
            raise one.wrong(f"is set twice, also by {origins[target.name]}")
        if target.part is None:
            values[target.field] = _read(one, attributes[target.field].metadata, folder)
        origins[target.name] = one.origin
    try:
        required = [name for name, attribute in attributes.items() if attribute.default is attrs.NOTHING]
        missing = [name for name in required if name not in values and name not in overrides]
        if missing:
            others = ", ".join(f"{name} ({settable[name]})" if name in settable else name for name in missing[1:])
            raise ConfigError(missing[0], f"is required but not set{'; so are ' if others else ''}{others}")
        return cls(**values, **overrides)
    except ConfigError as error:
        error.origin = error.origin or origins.get(error.field)
        raise


def _read(one: _Given, metadata: Mapping[str, Any], folder: Path) -> Any:
    """Converts a value to what the constructor accepts."""
    value = one.value
    if one.target.in_file:
        return _secret_file(one, folder)
    if not isinstance(value, str):
        return value
    if SECRET in metadata:
        return Secret(value)
    if PATH in metadata:
        # "~" is the user's home, so it must not be joined to the folder
        return value if not value or value.startswith("~") else folder / value
    if FROM_STRING in metadata:
        try:
            return metadata[FROM_STRING](value)
        except ValueError as error:
            raise one.wrong(str(error)) from None
    return value


def _secret_file(one: _Given, folder: Path) -> Secret:
    """Returns the content of a file without a line break at its end. The field's validator checks the rest."""
    if not isinstance(one.value, str):
        raise one.wrong(f"expected the path of a file, got {type(one.value).__name__}")
    text, problem = _text_of(folder / one.value)
    if problem is not None:
        raise one.wrong(problem)
    return Secret(text.removesuffix("\n").removesuffix("\r") if text.endswith("\n") else text)


def _text_of(path: Path) -> tuple[str, str | None]:
    """Returns the content of a file and why it cannot be read.

    Bytes that are not UTF-8 become surrogates, because a `UnicodeDecodeError` would contain the content, which may be a
    password.
    """
    try:
        return path.read_bytes().decode("utf-8-sig", "surrogateescape"), None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a valid path"
        return "", f"can't read {shown_path(path)}: {reason}"


def _fields(cls: type) -> tuple[attrs.Attribute[Any], ...]:
    fields: tuple[attrs.Attribute[Any], ...] = attrs.fields(cls)
    return fields
