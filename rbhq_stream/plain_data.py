"""Events as plain data, for everything that writes JSON or takes dictionaries."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

import attrs
from cattrs import Converter

from rbhq_stream.events import Extra, PriceType, RaceEvent, RaceId, RaceStatus


def to_dict(value: RaceEvent | RaceId | attrs.AttrsInstance) -> dict[str, Any]:
    """Returns an event, or a part of one, as a dictionary that `json.dumps` and every tool like it can write.

    The keys are the names of the attributes. Numbers that must stay exact are strings (`"4.40"`), times are strings in
    ISO 8601, and so are the members of `PriceType` and `RaceStatus`; tuples become lists. The Kafka record is left out.
    `encode` writes RBHQ's own JSON instead, which `decode` reads back.

    Args:
        value: An event, a part of one such as a `PriceUpdate`, or a `RaceId`.

    Returns:
        A dictionary of dictionaries, lists, strings, integers, booleans and `None`.

    Raises:
        TypeError: it is none of these. So `to_dict` can be the `default` of `json.dumps`.
    """
    if not attrs.has(type(value)):
        raise TypeError(f"to_dict expects an event or a part of one, got {type(value).__name__}")
    plain: dict[str, Any] = _plain.unstructure(value)
    return plain


def _plain_mapping(extra: Extra) -> dict[str, Any]:
    return {name: _plain.unstructure(value) for name, value in extra.items()}


_plain = Converter()
_plain.register_unstructure_hook(Decimal, str)
_plain.register_unstructure_hook(datetime, datetime.isoformat)
_plain.register_unstructure_hook(PriceType, str)
_plain.register_unstructure_hook(RaceStatus, str)
_plain.register_unstructure_hook(Extra, _plain_mapping)
