"""`Extra`: the fields that RBHQ has added since this version, kept so that an application can read them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NoReturn, cast

from rbhq_stream import _field_checks as checks


class Extra(dict[str, Any]):
    """The fields of the JSON that the classes do not know, under their JSON names. Read-only.

    It is a `dict`, because every tool that writes data can write one. `{**extra, "name": value}` makes a changed copy.
    """

    __slots__ = ()

    def __init__(self, fields: Mapping[str, Any] | Iterable[tuple[str, Any]] | None = None) -> None:
        super().__init__(fields or ())
        for name in self:
            if not isinstance(name, str):
                raise TypeError(f"{checks.shown(name)} cannot be the name of a field: expected a string")

    def __hash__(self) -> int:  # type: ignore[override]  # a dict has none, as it can change
        return hash(frozenset(self))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (dict(self),)

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise TypeError("Extra is read-only: make a changed copy with {**extra, …}")

    __setitem__ = __delitem__ = __ior__ = cast("Any", _refuse)
    clear = pop = popitem = setdefault = update = cast("Any", _refuse)


NO_EXTRA = Extra()
"""No unknown fields: the default of each `extra`."""


def to_extra(fields: Mapping[str, Any]) -> Extra:
    if isinstance(fields, Mapping) and not isinstance(fields, Extra) and all(isinstance(name, str) for name in fields):
        return Extra(fields)
    return cast("Extra", fields)


is_extra = checks.instance_of(Extra, "a mapping with strings as keys")
