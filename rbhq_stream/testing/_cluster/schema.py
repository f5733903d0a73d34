"""Kafka's wire format: messages as dictionaries, read and written according to a schema.

A schema lists fields and their types, with brackets for an array of one type or of structures:
`"error_code:int16 topics:[name:string partitions:[int32]]"`.
"""

from __future__ import annotations

import re
import struct
from typing import Any, Protocol

from attrs import define


class MalformedError(Exception):
    """The bytes are not a message of the expected schema."""


@define
class Reader:
    """Bytes, and the position up to which they have been read."""

    data: bytes
    position: int = 0

    def take(self, size: int) -> bytes:
        """Returns the next bytes.

        Raises:
            MalformedError: there are fewer.
        """
        end = self.position + size
        if size < 0 or end > len(self.data):
            raise MalformedError(f"{size} bytes expected at {self.position} of {len(self.data)}")
        taken, self.position = self.data[self.position : end], end
        return taken


class Type(Protocol):
    """A type of the wire format."""

    def read(self, reader: Reader) -> Any:
        """Returns the next value.

        Raises:
            MalformedError: there is none.
        """

    def write(self, value: Any, out: bytearray) -> None:
        """Appends the value."""


class _Number:
    def __init__(self, layout: str) -> None:
        self._struct = struct.Struct(layout)

    def read(self, reader: Reader) -> Any:
        return self._struct.unpack(reader.take(self._struct.size))[0]

    def write(self, value: Any, out: bytearray) -> None:
        out += self._struct.pack(value)


_INT16, _INT32 = _Number(">h"), _Number(">i")


class _Bytes:
    def read(self, reader: Reader) -> bytes | None:
        size = _INT32.read(reader)
        return None if size == -1 else reader.take(size)

    def write(self, value: bytes | None, out: bytearray) -> None:
        _INT32.write(-1 if value is None else len(value), out)
        out += value or b""


class _String:
    def read(self, reader: Reader) -> str | None:
        size = _INT16.read(reader)
        return None if size == -1 else reader.take(size).decode()

    def write(self, value: str | None, out: bytearray) -> None:
        encoded = (value or "").encode()
        _INT16.write(-1 if value is None else len(encoded), out)
        out += encoded


class _Array:
    def __init__(self, item: Type) -> None:
        self._item = item

    def read(self, reader: Reader) -> list[Any] | None:
        count = _INT32.read(reader)
        if count > len(reader.data):
            raise MalformedError(f"an array of {count} items in {len(reader.data)} bytes")
        return None if count == -1 else [self._item.read(reader) for _ in range(count)]

    def write(self, value: list[Any] | None, out: bytearray) -> None:
        _INT32.write(-1 if value is None else len(value), out)
        for item in value or ():
            self._item.write(item, out)


class _Structure:
    def __init__(self, fields: dict[str, Type]) -> None:
        self._fields = fields

    def read(self, reader: Reader) -> dict[str, Any]:
        return {name: kind.read(reader) for name, kind in self._fields.items()}

    def write(self, value: dict[str, Any], out: bytearray) -> None:
        for name, kind in self._fields.items():
            kind.write(value[name], out)


_SIMPLE: dict[str, Type] = {
    "bool": _Number(">?"),
    "int8": _Number(">b"),
    "int16": _INT16,
    "int32": _INT32,
    "int64": _Number(">q"),
    "bytes": _Bytes(),
    "string": _String(),
}


def parse_schema(schema: str) -> Type:
    """Returns the structure that a schema describes."""
    return _structure(re.findall(r"[][]|[^][\s]+", schema)[::-1])


def _structure(tokens: list[str]) -> _Structure:
    fields = {}
    while tokens and tokens[-1] != "]":
        name, _, kind = tokens.pop().partition(":")
        fields[name] = _SIMPLE[kind] if kind else _array(tokens)
    return _Structure(fields)


def _array(tokens: list[str]) -> _Array:
    assert tokens.pop() == "["
    item = _structure(tokens) if ":" in tokens[-1] else _SIMPLE[tokens.pop()]
    assert tokens.pop() == "]"
    return _Array(item)
