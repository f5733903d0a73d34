"""Events as tables, and the examples of docs/tables.md."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any

import attrs
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rbhq_stream import (
    Dividend,
    Event,
    PayoutFactors,
    PoolDividend,
    PriceEvent,
    PriceType,
    PriceUpdate,
    RaceResultEvent,
    RaceStatus,
    RaceStatusEvent,
    Record,
    Recording,
    RunnerResult,
    Scratching,
    Unscratching,
    decode,
    encode,
    to_arrow,
)
from rbhq_stream import _cli as cli
from rbhq_stream._tables.parquet import export
from rbhq_stream._wire.names import FIELDS
from rbhq_stream.testing import MemoryRecord, Simulator
from tests.memory_feeds import TOPICS, TWO_EVENTS
from tests.pages import PAGES, run_example
from tests.recordings import Raw, status_record, written

AT = datetime(2022, 11, 27, 20, 25, 30, 440020, tzinfo=timezone.utc)
HEAD = (
    "published timestamp[us, tz=UTC], topic string, partition int32, offset int64, part int32, meeting_id int64,"
    " event_number int64"
)
NUMBER = "decimal128(38, 18)"
SCHEMAS = {
    "prices": f"{HEAD}, runner_number int64, price_type string, property_id int64, price {NUMBER}",
    "scratchings": f"{HEAD}, runner_number int64, is_scratched bool, time timestamp[us, tz=UTC], scratch_type int64,"
    f" win_deduction {NUMBER}, place_deduction {NUMBER}, two_place_deduction {NUMBER}, three_place_deduction {NUMBER},"
    f" four_place_deduction {NUMBER}",
    "statuses": f"{HEAD}, status string, runner_number int64",
    "results": f"{HEAD}, status string, venue string, source string, host string, date_created timestamp[us, tz=UTC],"
    f" runner_number int64, outcome_name string, final_position int64, payout_factor {NUMBER}, win_factor {NUMBER},"
    f" place2_factor {NUMBER}, place3_factor {NUMBER}, place4_factor {NUMBER}",
    "dividends": f"{HEAD}, status string, wagering_product string, selections list<item: int64>, amount {NUMBER}",
}
"""The contract. A later version may add columns at the end of a table, and changes nothing else."""


def test_the_schemas_are_those_that_were_promised() -> None:
    for name, table in to_arrow([])._asdict().items():
        assert ", ".join(f"{field.name} {field.type}" for field in table.schema) == SCHEMAS[name]


IN_TABLES: dict[str, list[type[Any]]] = {
    "prices": [PriceUpdate],
    "scratchings": [Scratching, Unscratching],
    "statuses": [RaceStatusEvent],
    "results": [RaceResultEvent, RunnerResult, PayoutFactors],
    "dividends": [Dividend, PoolDividend],
}
"""The classes whose fields are the columns of each table."""
OTHER_NAMES = {"scratch_time": "time", "unscratch_time": "time"} | {
    factor: f"{factor}_factor" for factor in ("win", "place2", "place3", "place4")
}
NOT_COLUMNS = {"extra", "results", "dividends", "payout_factors", "pool_dividends"}


@pytest.mark.parametrize(("name", "classes"), IN_TABLES.items())
def test_every_field_has_a_column(name: str, classes: list[type[Any]]) -> None:
    fields = {field.name for cls in classes for field in attrs.fields(cls)} - NOT_COLUMNS
    assert {OTHER_NAMES.get(field, field) for field in fields} <= set(getattr(to_arrow([]), name).schema.names)


def test_every_class_that_is_read_is_in_a_table() -> None:
    assert {cls for classes in IN_TABLES.values() for cls in classes} == set(FIELDS) - {PriceEvent}


def test_the_page_names_every_column() -> None:
    page = PAGES["tables.md"].read_text(encoding="utf-8").partition("## The schema")[2]
    named = set(re.findall(r"`(\w+)`", page))
    for name, table in to_arrow([])._asdict().items():
        assert {name, *table.schema.names} <= named


def rows(table: pa.Table) -> list[dict[str, Any]]:
    """The rows, without the columns of the record."""
    return table.drop_columns(table.schema.names[:7]).to_pylist()  # type: ignore[no-any-return]


def test_each_part_of_an_event_is_a_row() -> None:
    scratching = Scratching(5, Decimal("0.07"), four_place_deduction=Decimal("0.04"), scratch_type=1, scratch_time=AT)
    tables = to_arrow(
        [
            PriceEvent(
                1,
                2,
                (PriceUpdate(3, PriceType.WIN, 12, Decimal("4.40")), PriceUpdate(4, PriceType("new"))),
                (scratching,),
                (Unscratching(6, AT),),
            ),
            RaceStatusEvent(1, 2, RaceStatus.OPEN, 7),
            RaceResultEvent(
                1,
                2,
                RaceStatus.FINAL,
                "RBHQ",
                venue="ALBURY",
                date_created=AT,
                results=(RunnerResult(3, "Name", 1, Decimal(1), PayoutFactors(Decimal(1), place3=Decimal("0.5"))),),
                dividends=(Dividend("SP", (PoolDividend((3, 4), Decimal("4.6")),)),),
            ),
        ]
    )
    assert rows(tables.prices) == [
        {"runner_number": 3, "price_type": "ep", "property_id": 12, "price": Decimal("4.4")},
        {"runner_number": 4, "price_type": "new", "property_id": None, "price": None},
    ]
    scratched, reinstated = rows(tables.scratchings)
    assert (scratched["runner_number"], scratched["is_scratched"], scratched["time"]) == (5, True, AT)
    assert (scratched["scratch_type"], scratched["win_deduction"], scratched["place_deduction"]) == (
        1,
        Decimal("0.07"),
        None,
    )
    assert scratched["four_place_deduction"] == Decimal("0.04")
    assert (reinstated["runner_number"], reinstated["is_scratched"], reinstated["time"]) == (6, False, AT)
    assert rows(tables.statuses) == [{"status": "OPEN", "runner_number": 7}]
    (result,) = rows(tables.results)
    assert {name: value for name, value in result.items() if value is not None} == {
        "status": "FINAL",
        "venue": "ALBURY",
        "source": "RBHQ",
        "date_created": AT,
        "runner_number": 3,
        "outcome_name": "Name",
        "final_position": 1,
        "payout_factor": 1,
        "win_factor": 1,
        "place3_factor": Decimal("0.5"),
    }
    assert rows(tables.dividends) == [
        {"status": "FINAL", "wagering_product": "SP", "selections": [3, 4], "amount": Decimal("4.6")}
    ]


@pytest.mark.parametrize("parts", [{"scratchings": (Scratching(5),)}, {"unscratchings": (Unscratching(5),)}])
def test_an_event_with_one_kind_of_part_only_has_its_row(parts: dict[str, Any]) -> None:
    tables = to_arrow([PriceEvent(1, 2, **parts)])
    assert [row["runner_number"] for row in rows(tables.scratchings)] == [5]
    assert rows(tables.prices) == []


def test_a_row_names_the_record_of_its_event() -> None:
    raw = MemoryRecord("status", 3, 7, TWO_EVENTS, None, 1.5)
    listed = decode(RaceStatusEvent, TWO_EVENTS, record=raw)
    (plain,) = decode(PriceEvent, b'{"meetingId":1,"eventNumber":2,"priceUpdates":[]}', record=raw)
    by_hand = RaceStatusEvent(1, 2, RaceStatus.OPEN)
    assert plain.record == Record.of(raw)
    at = datetime(1970, 1, 1, 0, 0, 1, 500000, tzinfo=timezone.utc)
    found = [tuple(row.values())[:7] for row in to_arrow([*listed, by_hand]).statuses.to_pylist()]
    assert found == [
        (at, "status", 3, 7, 0, 1, 1),
        (at, "status", 3, 7, 1, 1, 2),
        (None, None, None, None, None, 1, 2),
    ]


LAST = 253_402_300_799_999
"""The last millisecond of the year 9999."""


@pytest.mark.parametrize("timestamp", [(0, -1), (1, -5), (1, 0), (1, LAST), (1, LAST + 1), (1, 2**62), (2, 1500)])
def test_the_time_of_a_row_is_that_of_its_record(timestamp: tuple[int, int]) -> None:
    raw = Raw("status", 0, 1, b'{"meetingId":1,"eventNumber":2,"status":"OPEN"}', None, timestamp)
    events = decode(RaceStatusEvent, raw.value() or b"", record=raw)
    assert to_arrow(events).statuses["published"].to_pylist() == [Record.of(raw).timestamp]


@pytest.mark.parametrize("price", ["1e30", "1e-19"])
def test_a_number_that_does_not_fit_is_an_error_and_not_rounded(price: str) -> None:
    with pytest.raises(ValueError, match="a price can't be in a table"):
        to_arrow([PriceEvent(1, 2, (PriceUpdate(3, PriceType.WIN, price=Decimal(price)),))])
    with pytest.raises(ValueError, match="a meeting_id can't be in a table"):
        to_arrow([RaceStatusEvent(2**64, 2, RaceStatus.OPEN)])


def test_the_records_of_a_recording_are_not_events_and_the_error_names_what_are(tmp_path: Path) -> None:
    recording = written(tmp_path, [[status_record(0)]])
    with pytest.raises(TypeError, match=r"expected events, got Record\(.*recording\.events\(\)"):
        to_arrow(recording)  # type: ignore[arg-type]


def test_without_pyarrow_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rbhq_stream._tables.rows", None)
    with pytest.raises(ImportError, match=r"pip install 'rbhq-stream\[arrow\]'"):
        to_arrow([])


# a simulated day


def recorded_day(folder: Path, *, bad: Sequence[bytes] = ()) -> Recording:
    records = []
    for offset, timed in enumerate(Simulator(5, meetings=2, races=3, price_records=150).events()):
        topic = TOPICS.of(type(timed.event))
        records.append(Raw(topic, 0, offset, encode(timed.event), None, (1, round(timed.at.timestamp() * 1000))))
    records += [Raw("status", 0, len(records) + n, value, None, (1, 0)) for n, value in enumerate(bad)]
    return written(folder, [records])


@pytest.fixture
def day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Recording:
    """A day in the folder `day`, exported to `day-tables`; the current folder is theirs."""
    monkeypatch.chdir(tmp_path)
    recording = recorded_day(tmp_path / "day", bad=[b"{"])
    assert cli.main(["export", "day", "day-tables"]) == 0
    shown = capsys.readouterr()
    assert "left out 1 records that can't be decoded, first topic 'status'" in shown.err
    assert [line.split()[1] for line in shown.out.splitlines()] == list(SCHEMAS)
    return recording


def test_an_exported_day_has_the_rows_of_its_events(day: Recording, tmp_path: Path) -> None:
    events: list[Event] = list(day.events(on_bad_record="skip"))
    for name, table in to_arrow(events)._asdict().items():
        assert pq.read_table(tmp_path / "day-tables" / f"{name}.parquet").equals(table)
        assert table.num_rows > 0


def test_a_long_recording_is_exported_in_pieces(
    day: Recording, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rbhq_stream._tables.parquet.EVENTS_AT_ONCE", 70)
    export(day.events(on_bad_record="skip"), tmp_path / "again")
    for name in SCHEMAS:
        whole, pieces = (pq.read_table(tmp_path / folder / f"{name}.parquet") for folder in ("day-tables", "again"))
        assert pieces.equals(whole)


def test_an_export_replaces_the_tables_of_an_earlier_one_and_returns_the_number_of_rows(tmp_path: Path) -> None:
    events = [RaceStatusEvent(1, number, RaceStatus.OPEN) for number in range(3)]
    counts = dict.fromkeys(SCHEMAS, 0)
    for some in (events, events[1:]):
        assert export(some, tmp_path / "tables") == counts | {"statuses": len(some)}
        assert pq.read_table(tmp_path / "tables" / "statuses.parquet").equals(to_arrow(some).statuses)
    assert sorted(path.stem for path in (tmp_path / "tables").iterdir()) == sorted(SCHEMAS)


def test_what_cant_be_exported_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["export", str(tmp_path), str(tmp_path / "tables")]) == 1
    assert "there is no recording" in capsys.readouterr().err
    recorded_day(tmp_path / "day")
    assert cli.main(["export", str(tmp_path / "day"), str(tmp_path / "no" / "tables")]) == 1
    assert "No such file" in capsys.readouterr().err


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_export_that_is_interrupted_leaves_the_files_as_they_were(
    day: Recording, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    def interrupted() -> Iterator[Event]:
        yield from islice(day.events(on_bad_record="skip"), 200)
        raise error

    monkeypatch.setattr("rbhq_stream._tables.parquet.EVENTS_AT_ONCE", 70)
    before = {path: path.read_bytes() for path in (tmp_path / "day-tables").iterdir()}
    with pytest.raises(error):
        export(interrupted(), tmp_path / "day-tables")
    assert {path: path.read_bytes() for path in (tmp_path / "day-tables").iterdir()} == before


def test_the_pages_examples_run(day: Recording, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    day.between(until=datetime(2100, 1, 1, tzinfo=timezone.utc)).races(
        *{event.race_id for event in day.events(on_bad_record="skip")}
    ).write_to(tmp_path / "good")
    (tmp_path / "day").rename(tmp_path / "other")
    (tmp_path / "good").rename(tmp_path / "day")
    names: dict[str, Any] = {}
    run_example("tables.md", 0, names)
    assert re.search(r"[\d,]+ prices\n", capsys.readouterr().out)
    run_example("tables.md", 1, names)
    shortened = names["shortened"].fetchall()
    assert len(shortened) == 5
    assert all(closed <= opened for _, _, _, opened, closed, _ in shortened[:3])
    run_example("tables.md", 2, names)
    assert sum(count for _, count, _ in names["per_hour"]) == names["tables"].prices.num_rows
    assert len(names["scratched"]) == len({row[:3] for row in names["scratched"]}) > 0
    run_example("tables.md", 3, names)
    assert (tmp_path / "market.png").read_bytes().startswith(b"\x89PNG")
