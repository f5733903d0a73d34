"""The verdicts of the fault kit can be relied on: wrong applications fail with every seed, right ones with none."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import singledispatchmethod
from typing import Any

import pytest

from rbhq_stream import (
    PartitionsLost,
    PriceEvent,
    RaceEvent,
    RaceId,
    RaceResultEvent,
    RaceStatus,
    RaceStatusEvent,
    Signal,
    encode,
)
from rbhq_stream.testing import Simulator, assert_idempotent, assert_survives, faults
from rbhq_stream.testing.faults import Fault

DAY = tuple(Simulator(seed=1, meetings=2, races=5, price_records=10).events())
SEEDS = range(3)


class Journal:
    """Keeps each event once, which it recognises by the offset of its record: right, unless one is published twice."""

    def __init__(self) -> None:
        self.next: dict[str, int] = {}
        self.events: list[bytes] = []

    def handle(self, event: RaceEvent) -> None:
        record = event.require_record()
        if record.offset >= self.next.get(record.topic, 0):
            self.next[record.topic] = record.offset + 1
            self.events.append(encode(event))  # type: ignore[arg-type]  # an event of the day

    def state(self) -> object:
        return sorted(self.events)


class Distinct(Journal):
    """Keeps each event once, which it recognises by its contents: right."""

    def handle(self, event: RaceEvent) -> None:
        contents = encode(event)  # type: ignore[arg-type]  # an event of the day
        if contents not in self.events:
            self.events.append(contents)


class NotThePrevious:
    """Adds up deductions, and ignores only an event that equals the one before it."""

    def __init__(self) -> None:
        self.totals: dict[RaceId, Decimal] = defaultdict(Decimal)
        self.previous: RaceEvent | None = None

    def handle(self, event: RaceEvent) -> None:
        if isinstance(event, PriceEvent) and event != self.previous:
            self.totals[event.race_id] += sum((s.win_deduction or 0 for s in event.scratchings), Decimal(0))
        self.previous = event

    def state(self) -> object:
        return dict(self.totals)


class Paying:
    """Pays at each FINAL."""

    def __init__(self) -> None:
        self.paid: Counter[str] = Counter()

    def handle(self, event: RaceEvent) -> None:
        if isinstance(event, RaceStatusEvent) and event.status is RaceStatus.FINAL:
            self.paid[str(event.race_id)] += 1

    def state(self) -> object:
        return self.paid


class Settling:
    """Settles with the scratchings that were known when the FINAL came."""

    def __init__(self) -> None:
        self.scratched: dict[RaceId, set[int]] = defaultdict(set)
        self.settled: dict[RaceId, set[int]] = {}

    def handle(self, event: RaceEvent) -> None:
        if isinstance(event, PriceEvent):
            self.scratched[event.race_id].update(s.runner_number for s in event.scratchings)
        elif isinstance(event, RaceResultEvent) and event.status is RaceStatus.FINAL:
            self.settled[event.race_id] = set(self.scratched[event.race_id])

    def state(self) -> object:
        return self.settled


class LastTopic:
    """Takes the status from whatever came last, a status or a result."""

    def __init__(self) -> None:
        self.newest: dict[RaceId, str] = {}

    def handle(self, event: RaceEvent) -> None:
        if not isinstance(event, PriceEvent):
            self.newest[event.race_id] = type(event).__name__

    def state(self) -> object:
        return self.newest


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("application", "given"),
    [
        (NotThePrevious, [faults.evictions()]),
        (NotThePrevious, [faults.evictions(), faults.topics_out_of_order()]),
        (Paying, [faults.duplicates(0.001)]),
        (Paying, [faults.evictions(1)]),
        (Journal, [faults.duplicates()]),
        (Settling, [faults.late_records()]),
        (Settling, [faults.topics_out_of_order()]),
        (LastTopic, [faults.late_records()]),
        (LastTopic, [faults.topics_out_of_order()]),
    ],
)
def test_a_wrong_application_fails_with_every_seed(application: Any, given: list[Fault], seed: int) -> None:
    with pytest.raises(AssertionError, match=f"the state differs.*{given[0]}.*seed={seed}"):
        assert_survives(application, DAY, given, seed=seed)


def test_a_fault_does_not_hide_what_another_one_shows() -> None:
    # an eviction delivers the FINAL again, after the late scratching
    with pytest.raises(AssertionError, match=r"faults: 2% of the records are 90 s late or more, and .*; seed=1\n"):
        assert_survives(Settling, DAY, seed=1)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("application", [Journal, Distinct])
def test_an_application_that_ignores_what_it_has_handled_survives(application: Any, seed: int) -> None:
    given = [fault for fault in faults.ALL if application is not Journal or "twice" not in str(fault)]
    assert_idempotent(application, DAY)
    assert_survives(application, DAY, [*given, faults.topics_out_of_order()], seed=seed)


def test_an_application_that_ignores_only_an_immediate_repetition_is_not_idempotent() -> None:
    with pytest.raises(AssertionError, match="every record was delivered twice"):
        assert_idempotent(NotThePrevious, DAY)


class Tracing:
    """Notes what is delivered, and is slow now and then."""

    traces: list[list[object]]
    delay = 0.0

    def __init__(self) -> None:
        self.trace: list[object] = []
        self.traces.append(self.trace)

    def handle(self, event: RaceEvent) -> None:
        record = event.require_record()
        self.trace.append((record.topic, record.offset))
        if len(self.trace) % 50 == 0:
            time.sleep(self.delay)

    def state(self) -> object:
        return 0


def test_the_same_seed_delivers_the_same_however_fast_the_application_is() -> None:
    class Fast(Tracing):
        traces: list[list[object]] = []  # noqa: RUF012  # what is compared

    class Slow(Tracing):
        traces: list[list[object]] = []  # noqa: RUF012  # what is compared
        delay = 0.03

    for application in (Fast, Slow):
        assert_survives(application, DAY, seed=3)
    assert Fast.traces == Slow.traces
    assert len(Fast.traces[-1]) > 2 * len(DAY)  # the evictions, and the duplicates


def test_an_eviction_takes_all_topics_away_and_everything_is_delivered_again() -> None:
    lost: list[PartitionsLost] = []

    class Noting(Tracing):
        traces: list[list[object]] = []  # noqa: RUF012  # what is looked at

        def handle_signal(self, signal: Signal) -> None:
            if isinstance(signal, PartitionsLost):
                lost.append(signal)

    assert_survives(Noting, DAY, [faults.evictions(2)], seed=1)
    assert [len(signal.partitions) for signal in lost] == [3, 3]
    assert set(Counter(Noting.traces[-1]).values()) == {2}


def _ignored(_event: RaceEvent) -> None: ...


def _application(state: Callable[[], object], handle: Callable[[RaceEvent], object] = _ignored) -> Any:
    namespace = {"handle": staticmethod(handle), "state": staticmethod(state)}
    return type("Application", (), namespace)


def _numbers() -> Iterator[int]:
    yield 1


async def _asynchronous() -> object:
    return 1


@pytest.mark.parametrize(
    ("state", "error", "said"),
    [
        (lambda: None, ValueError, r"returned None, which shows nothing"),
        (_numbers, TypeError, r"generator.*can't be compared: return a value"),
        (_asynchronous, TypeError, r"coroutine.*can't be compared"),
        (lambda: {"row": object()}, TypeError, r"not equal to a copy of it"),
    ],
)
def test_a_state_that_shows_nothing_is_refused(state: Callable[[], object], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        assert_survives(_application(state), DAY[:5])


class SharingRows:
    """Has its rows in a class attribute, by mistake, and returns them inside of its state."""

    rows: Counter[str] = Counter()  # noqa: RUF012  # the mistake that is to be found

    def handle(self, event: RaceEvent) -> None:
        self.rows[str(event.race_id)] += 1

    def state(self) -> object:
        return "rows", self.rows


def test_applications_that_share_what_is_in_their_state_are_refused() -> None:
    with pytest.raises(ValueError, match="share their state"):
        assert_survives(SharingRows, DAY)


def test_applications_may_share_a_store_that_is_cleared_for_each() -> None:
    def make() -> SharingRows:
        SharingRows.rows.clear()
        return SharingRows()

    assert_survives(make, DAY, [faults.tombstones()])
    with pytest.raises(AssertionError, match="the state differs"):
        assert_survives(make, DAY, [faults.duplicates()])


class AsyncPaying(Paying):
    async def handle(self, event: RaceEvent) -> None:  # type: ignore[override]  # awaited by an AsyncFeed
        super().handle(event)

    async def state(self) -> object:
        await asyncio.sleep(0)
        return self.paid


def test_the_state_of_an_asynchronous_application_may_be_a_coroutine() -> None:
    assert_survives(AsyncPaying, DAY, [faults.tombstones()])
    with pytest.raises(AssertionError, match="the state differs"):
        assert_idempotent(AsyncPaying, DAY)


def test_an_asynchronous_application_can_not_be_tested_inside_of_an_event_loop_and_it_is_said() -> None:
    async def test() -> None:
        assert_idempotent(AsyncPaying, DAY)

    with pytest.raises(RuntimeError, match=r"call this from a plain function \(def, not async def\)"):
        asyncio.run(test())


def test_what_the_application_raises_has_a_note_with_the_fault_and_the_seed() -> None:
    def handle(event: RaceEvent) -> None:
        seen.append(event.require_record().offset)
        if seen[-1] < seen[-2]:
            raise KeyError("again")

    seen = [0, 0]
    day = [RaceStatusEvent(1, number, RaceStatus.OPEN) for number in range(1, 5)]

    def make() -> Any:
        seen[:] = [0, 0]
        return _application(lambda: 0, handle)()

    with pytest.raises(KeyError) as failed:
        assert_survives(make, day, [faults.evictions(1)], seed=6)
    notes = ["The application was run through this day: 1 eviction; seed=6"]
    assert getattr(failed.value, "__notes__", None) == (notes if sys.version_info >= (3, 11) else None)


class Several:
    """Has a handler for each kind of event."""

    def __init__(self) -> None:
        self.paying = Paying()
        self.state = self.paying.state

    @singledispatchmethod
    def handle(self, event: RaceEvent) -> None: ...

    @handle.register
    def _pay(self, event: RaceStatusEvent) -> None:
        self.paying.handle(event)


def test_an_application_may_have_a_method_for_each_kind_of_event() -> None:
    several: Any = Several
    assert_survives(several, DAY, [faults.tombstones()])
    with pytest.raises(AssertionError, match="the state differs"):
        assert_idempotent(several, DAY)
