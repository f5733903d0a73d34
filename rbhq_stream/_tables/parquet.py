"""`export`: a recording as Parquet files, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

from rbhq_stream._tables.conversion import ArrowTables, to_arrow
from rbhq_stream.events import Event

EVENTS_AT_ONCE = 100_000
"""How many events are converted at once."""


def export(events: Iterable[Event], folder: Path) -> Mapping[str, int]:
    """Writes events as Parquet files, one for each table. Files of that name are replaced when all new ones are whole.

    Args:
        events: any events.
        folder: where to write. It is created if its parent exists.

    Returns:
        The number of rows of each table.

    Raises:
        ImportError: pyarrow is not installed.
        OSError: a file can't be written.
        ValueError: as for `to_arrow`.
    """
    empty = to_arrow(())
    import pyarrow.parquet as pq  # noqa: PLC0415  # pyarrow is optional, and `to_arrow` has raised already if it is missing

    folder.mkdir(exist_ok=True)
    rows = dict.fromkeys(ArrowTables._fields, 0)
    left = iter(events)
    # A file that is closed early is a valid one with fewer rows, so no file has its name before all rows are written.
    beside = {name: folder / f"{name}.parquet.part" for name in rows}
    try:
        with ExitStack() as files:
            writers = {
                name: files.enter_context(pq.ParquetWriter(beside[name], table.schema, compression="zstd"))
                for name, table in empty._asdict().items()
            }
            while chunk := list(islice(left, EVENTS_AT_ONCE)):
                for name, table in to_arrow(chunk)._asdict().items():
                    if len(table):
                        writers[name].write_table(table)
                        rows[name] += len(table)
        for path in beside.values():
            path.replace(path.with_suffix(""))
    finally:
        for path in beside.values():
            path.unlink(missing_ok=True)
    return rows
