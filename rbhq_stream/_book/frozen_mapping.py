"""A mapping that never changes, around a dictionary that nobody else writes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

_K = TypeVar("_K")
_V = TypeVar("_V")


class FrozenMapping(Mapping[_K, _V]):
    """Wraps a dictionary without copying it: the caller must never write to it again.

    Unlike `MappingProxyType` it can be pickled, copied and hashed.
    """

    __slots__ = ("_items",)

    def __init__(self, items: dict[_K, _V] | None = None) -> None:
        self._items: dict[_K, _V] = {} if items is None else items

    def __getitem__(self, key: _K) -> _V:
        return self._items[key]

    def __iter__(self) -> Iterator[_K]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __contains__(self, key: object) -> bool:
        return key in self._items

    def __hash__(self) -> int:
        return hash(frozenset(self._items))

    def __repr__(self) -> str:
        return repr(self._items)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (dict(self._items),)
