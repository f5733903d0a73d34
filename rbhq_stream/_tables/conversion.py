"""`to_arrow`: events to flat Arrow tables."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from rbhq_stream.events import Event

if TYPE_CHECKING:
    import pyarrow as pa


class ArrowTables(NamedTuple):
    """Events as tables (`pyarrow.Table`). Each begins with the coordinates of the event's record and with its race."""

    prices: pa.Table
    """A row for each price update."""
    scratchings: pa.Table
    """A row for each scratching and each unscratching. A scratching comes again with each later one of its race."""
    statuses: pa.Table
    """A row for each race status."""
    results: pa.Table
    """A row for each runner of each result."""
    dividends: pa.Table
    """A row for each dividend of each result."""


def to_arrow(events: Iterable[Event]) -> ArrowTables:
    """Returns events as flat tables, with exact decimals and times in UTC. Their schema is in docs/tables.md.

    Args:
        events: any events, in any order; the rows are in the same order. Events that the application constructed have
            no record, so its columns are null.

    Raises:
        ImportError: pyarrow is not installed: `pip install 'rbhq-stream[arrow]'`.
        TypeError: one of them is not an event. A `Recording` has records, and `Recording.events` returns the events.
        ValueError: a number has more than 20 digits before the point, or more than 18 after it.
    """
    try:
        from rbhq_stream._tables.rows import Rows  # noqa: PLC0415  # pyarrow is optional
    except ImportError as error:
        raise ImportError("pyarrow is not installed: pip install 'rbhq-stream[arrow]'", name="pyarrow") from error
    rows = Rows()
    rows.add(events)
    return ArrowTables(*rows.tables())
