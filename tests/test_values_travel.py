"""Every exported value can be pickled and copied: it crosses to another process, or a queue, and is the same there.

A class that is exported and not listed here fails the first test.
"""

from __future__ import annotations

import copy
import inspect
import multiprocessing
import pickle
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import rbhq_stream
import rbhq_stream.metrics
import rbhq_stream.testing
from rbhq_stream import (
    Anomaly,
    AnomalyKind,
    ArrowTables,
    AuthenticationError,
    AuthorizationError,
    BettingChanged,
    BettingDecision,
    CardMeeting,
    CardRace,
    CardRunner,
    Change,
    CombineDeductions,
    ConfigError,
    ConnectError,
    DataLossError,
    DeadLetter,
    DeadLetterError,
    DecodeError,
    DeductFrom,
    Deduction,
    DeductionLedger,
    DeductionRevised,
    Deductions,
    Diagnosis,
    Dividend,
    Extra,
    Factor,
    FactorName,
    Fault,
    FeedClosedError,
    FeedConfig,
    FeedInUseError,
    FeedStats,
    FieldSize,
    Finality,
    FinalityChanged,
    FinalityReason,
    ForkedFeedError,
    Gap,
    GateRules,
    Health,
    HealthChanged,
    HealthFigures,
    HealthReason,
    HealthRules,
    HealthState,
    HistoryError,
    InDoubt,
    KafkaProperties,
    LateScratching,
    LedgerEntry,
    Outcome,
    PartitionEnd,
    PartitionHealth,
    PartitionsAssigned,
    PartitionsLost,
    PartitionsRevoked,
    Payout,
    PayoutFactors,
    PayoutReason,
    PlaceTerms,
    PoolDividend,
    PostedResult,
    Price,
    PriceChanged,
    PriceEvent,
    PriceType,
    PriceUpdate,
    RaceCard,
    RaceEvent,
    RaceId,
    RaceLeft,
    RaceResultEvent,
    RaceState,
    RaceStatus,
    RaceStatusEvent,
    RbhqStreamError,
    ReadProgress,
    Record,
    RecordingCut,
    RecordingError,
    RecordingFailed,
    RecordMark,
    RecordTo,
    Refusal,
    RefusalReason,
    ResultAmended,
    ResultId,
    ResultPosted,
    Retry,
    RunnerReinstated,
    RunnerResult,
    RunnerScratched,
    Scratching,
    ScratchingHistory,
    Secret,
    SettlementRules,
    Signal,
    SnapshotError,
    SourceStatus,
    StatedStatus,
    StatusChanged,
    Step,
    TlsError,
    TopicHealth,
    TopicPartition,
    Topics,
    Transition,
    UnknownTopicError,
    UnreachableError,
    Unscratching,
    decode,
)
from rbhq_stream._book.frozen_mapping import FrozenMapping
from rbhq_stream.testing import (
    BrokerClosedError,
    Code,
    Happening,
    Meeting,
    MemoryRecord,
    PublishError,
    Race,
    RaceTruth,
    Runner,
    Simulator,
    TimedEvent,
)

AT = datetime(2022, 11, 27, 20, 25, 30, tzinfo=timezone.utc)
PARTITION = TopicPartition("prices", 0)
HEALTH = Health(reason=HealthReason.UP_TO_DATE, detail="fine", since=AT, at=AT)
GAP = Gap(began=AT, ended=AT, records={PARTITION: 7})
RECORD = Record("prices", 0, 5, AT, b"1-2", b"{", (("trace", None),), delivery_tag="3:tag")
UPDATE = PriceUpdate(3, PriceType.WIN, 12, Decimal("4.40"), extra={"new": [Decimal("1.0")]})
RESULT = RunnerResult(3, "Third Home", 3, Decimal(1), PayoutFactors(place3=Decimal("0.5")))
DIVIDEND = Dividend("SP", (PoolDividend((3,), Decimal("4.60")),))
FAULT = Fault("$.price", '"SCR"', "a price")
SECRET = Secret("hidden")
CONFIG = FeedConfig(
    bootstrap_servers="a",
    username="u",
    password=SECRET,
    topics=Topics(prices="p"),
    group_id="g",
    kafka={"ssl.key.password": "hidden", "fetch.min.bytes": 1},
)
RACE = next(iter(Simulator(1).meetings)).races[0]

MARK = RecordMark("prices", 0, 5, time=AT)
FINAL = PostedResult(RaceResultEvent(1, 2, RaceStatus.FINAL, results=(RESULT,)), 1, MARK, MARK)
LEDGER = DeductionLedger().with_event(
    PriceEvent(1, 2, scratchings=(Scratching(5, Decimal("0.07"), scratch_time=AT),), record=RECORD)
)
DEDUCTIONS = LEDGER.deductions(PriceType.WIN, struck_at=AT - timedelta(hours=1))
PAYOUT = Payout(
    outcome=Outcome.WON,
    finality=Finality.FINAL,
    reason=PayoutReason.RESULT,
    amount=Decimal(4),
    factors=(Factor(FactorName.STAKE, Decimal(1)), Factor(FactorName.PRICE, Decimal(4))),
    deductions=DEDUCTIONS,
)

CARD = RaceCard((CardMeeting(1, "Albury", (CardRace(RaceId(1, 2), AT, "Maiden", (CardRunner(4),)),)),))

DECISION = BettingDecision(RaceId(1, 2), (Refusal(RefusalReason.UNKNOWN_RACE, "the book does not have race 1-2"),))

VALUES: dict[type[Any], list[Any]] = {
    # values of the feed
    PriceEvent: [
        PriceEvent(1, 2, (UPDATE,), (Scratching(5, scratch_time=AT),), (Unscratching(5, AT),), record=RECORD),
        *decode(PriceEvent, b'{"meetingId":1,"eventNumber":2}', record=MemoryRecord("prices", 0, 5, b"{}", b"k", 1.5)),
    ],
    RaceStatusEvent: [RaceStatusEvent(1, 2, RaceStatus("DELAYED"), 3, extra={"new": {"a": None}})],
    RaceResultEvent: [
        RaceResultEvent(
            1, 2, RaceStatus.FINAL, venue="Randwick", date_created=AT, results=(RESULT,), dividends=(DIVIDEND,)
        )
    ],
    RaceEvent: [RaceEvent(1, 2, record=RECORD)],
    RaceId: [RaceId(1, 2)],
    PriceUpdate: [UPDATE],
    Scratching: [Scratching(5, Decimal("0.07"), scratch_type=1, scratch_time=AT)],
    Unscratching: [Unscratching(5, AT)],
    RunnerResult: [RESULT],
    PayoutFactors: [PayoutFactors(Decimal("0.5"))],
    Dividend: [DIVIDEND],
    PoolDividend: [*DIVIDEND.pool_dividends],
    Extra: [Extra(), Extra({"new": [1, {"a": None}]})],
    PriceType: [*PriceType, PriceType("new")],
    RaceStatus: [*RaceStatus, RaceStatus("new")],
    Record: [RECORD],
    Signal: [Signal(at=AT)],
    PartitionsLost: [PartitionsLost(at=AT, partitions=(PARTITION,), uncommitted={PARTITION: 7})],
    # what the events add up to
    DeductionLedger: [LEDGER],
    ScratchingHistory: [*LEDGER.histories],
    LedgerEntry: [*LEDGER.entries(5)],
    RecordMark: [RecordMark("prices", 0, 5, time=AT)],
    Deductions: [DEDUCTIONS],
    Deduction: [*DEDUCTIONS.items],
    Finality: [*Finality],
    Outcome: [*Outcome],
    Payout: [PAYOUT],
    PayoutReason: [*PayoutReason],
    Factor: [*PAYOUT.factors],
    FactorName: [*FactorName],
    ResultId: [ResultId(RaceStatus.FINAL, AT, RecordMark("results", 0, 5))],
    SettlementRules: [SettlementRules(quantum=Decimal("0.01"))],
    CombineDeductions: [*CombineDeductions],
    DeductFrom: [*DeductFrom],
    FieldSize: [*FieldSize],
    InDoubt: [*InDoubt],
    LateScratching: [*LateScratching],
    PlaceTerms: [*SettlementRules().place_terms],
    RaceCard: [CARD],
    CardMeeting: [*CARD.meetings],
    CardRace: [*CARD.races],
    CardRunner: [CardRunner(4, "Fourth Estate", weight=Decimal(56), extra={"silks": "red"})],
    PartitionsAssigned: [PartitionsAssigned(at=AT, partitions=(PARTITION,))],
    PartitionsRevoked: [PartitionsRevoked(at=AT, partitions=(PARTITION,))],
    RecordingFailed: [RecordingFailed(at=AT, path="day", problem="is full", missing=3)],
    RecordTo: [RecordTo("day", keep=3)],
    RecordingCut: [RecordingCut(Path("day/1.rbhq"), 5, 7, "it is incomplete")],
    HealthChanged: [HealthChanged(at=AT, health=HEALTH, previous=HEALTH, gap=GAP)],
    Health: [HEALTH],
    HealthFigures: [HealthFigures(), HealthFigures(partitions={PARTITION: PartitionHealth(lag=3)})],
    HealthState: [*HealthState],
    HealthReason: [*HealthReason],
    HealthRules: [HealthRules(max_silence={PriceEvent: 60.0})],
    TopicHealth: [TopicHealth(newest=AT, silent_for=1.5)],
    PartitionHealth: [PartitionHealth(processed=7, end=9, lag=2, delay=0.5, is_caught_up=True)],
    Gap: [GAP],
    # the race book
    RaceState: [
        RaceState(
            RaceId(1, 2),
            RaceStatus.FINAL,
            Finality.FINAL,
            FinalityReason.ALL_CLEAR,
            FrozenMapping({(3, PriceType.WIN): Price(Decimal("4.40"), Decimal(5), MARK, MARK)}),
            LEDGER,
            StatedStatus(RaceStatus.FINAL, MARK, MARK),
            (FINAL,),
        ),
        RaceState(RaceId(1, 2)),
    ],
    Price: [Price(Decimal("4.40"), Decimal(5), MARK, MARK)],
    StatedStatus: [StatedStatus(RaceStatus.OPEN, MARK, MARK)],
    PostedResult: [FINAL],
    FinalityReason: [*FinalityReason],
    Transition: [*Transition],
    AnomalyKind: [*AnomalyKind],
    Change: [Change(RaceId(1, 2), MARK)],
    PriceChanged: [PriceChanged(RaceId(1, 2), MARK, 3, PriceType.WIN, None, Decimal("4.40"))],
    RunnerScratched: [RunnerScratched(RaceId(1, 2), MARK, Scratching(5))],
    DeductionRevised: [DeductionRevised(RaceId(1, 2), MARK, Scratching(5), Scratching(5, Decimal("0.07")))],
    RunnerReinstated: [RunnerReinstated(RaceId(1, 2), MARK, Scratching(5))],
    StatusChanged: [StatusChanged(RaceId(1, 2), MARK, None, RaceStatus.OPEN)],
    ResultPosted: [ResultPosted(RaceId(1, 2), MARK, None, FINAL)],
    ResultAmended: [ResultAmended(RaceId(1, 2), MARK, FINAL, FINAL)],
    FinalityChanged: [
        FinalityChanged(RaceId(1, 2), None, Finality.NONE, Finality.FINAL, FinalityReason.ALL_CLEAR),
    ],
    RaceLeft: [RaceLeft(RaceId(1, 2), None)],
    Anomaly: [Anomaly(RaceId(1, 2), MARK, AnomalyKind.UNKNOWN_STATUS, detail="DELAYED")],
    HistoryError: [HistoryError("1-2", AT, None)],
    BettingDecision: [DECISION],
    BettingChanged: [BettingChanged(RaceId(1, 2), None, None, DECISION)],
    Refusal: [*DECISION.reasons],
    RefusalReason: [*RefusalReason],
    GateRules: [GateRules(max_price_age=timedelta(minutes=5))],
    SnapshotError: [SnapshotError("book.json", "empty")],
    # configuration
    FeedConfig: [CONFIG],
    Topics: [Topics(prices="p", race_results="r")],
    Secret: [SECRET],
    KafkaProperties: [CONFIG.kafka_properties()],
    Retry: [Retry(attempts=3)],
    TopicPartition: [PARTITION],
    PartitionEnd: [PartitionEnd(7, 1.5)],
    SourceStatus: [
        SourceStatus(),
        SourceStatus(time=AT, has_ended=True),
        SourceStatus(brokers_known=1, ends={PARTITION: PartitionEnd(7, 1.5)}),
    ],
    ArrowTables: [ArrowTables(*range(5))],  # how a table travels is pyarrow's affair, and it need not be installed
    # findings
    FeedStats: [FeedStats(1, 2, 3, 4)],
    ReadProgress: [ReadProgress(events=1, at=AT, fraction=0.5)],
    Diagnosis: [Diagnosis((Step("resolve", "a:1", "ok", "1.2.3.4", seconds=0.1, facts={"error": "x"}),), AT, 1.5)],
    Step: [Step("resolve", "a:1", "ok", "1.2.3.4", seconds=0.1, facts={"error": "x"})],
    DeadLetter: [DeadLetter(RECORD, "PriceEvent", (FAULT,), AT)],
    Fault: [FAULT],
    # errors
    RbhqStreamError: [RbhqStreamError("text")],
    ConfigError: [
        ConfigError("group_id", "is empty", origin="key group_id in feed.toml"),
        ConfigError("group_id", "is empty"),
    ],
    ConnectError: [ConnectError("down", broker="a:1", hint="wait"), ConnectError("down")],
    UnreachableError: [UnreachableError("down", broker="a:1")],
    TlsError: [TlsError("no handshake", broker="a:1", hint="look")],
    AuthenticationError: [AuthenticationError("refused", broker="a:1")],
    AuthorizationError: [AuthorizationError("refused", resource="prices", broker="a:1", hint="ask")],
    UnknownTopicError: [UnknownTopicError("unknown", topic="prices", broker="a:1")],
    DecodeError: [DecodeError("PriceEvent", [FAULT], record=RECORD), DecodeError("PriceEvent", [FAULT])],
    DataLossError: [DataLossError("prices", 0, 5, 9)],
    RecordingError: [RecordingError("day", "is full")],
    DeadLetterError: [DeadLetterError("file", "is full", RECORD)],
    FeedClosedError: [FeedClosedError("closed")],
    FeedInUseError: [FeedInUseError("in use")],
    ForkedFeedError: [ForkedFeedError(7)],
    BrokerClosedError: [BrokerClosedError("closed")],
    PublishError: [PublishError("prices", "no broker")],
    # the testing kit
    Code: [*Code],
    Happening: [*Happening],
    Meeting: [*Simulator(1).meetings][:1],
    MemoryRecord: [MemoryRecord("prices", 0, 5, b"{}", b"k", 1.5)],
    Race: [RACE],
    RaceTruth: [*Simulator(1, meetings=1, races=2, price_records=5).truth().values()],
    Runner: [*RACE.runners],
    TimedEvent: [next(iter(Simulator(1).events()))],
}
"""Examples of every exported class that is a value."""

OWNERS = set(
    """
AsyncFeed BettingGate Feed FeedMetrics HealthFile RaceBook DeadLetterFile DeadLetters DeadLetterTopic SqlOffsets
EmbeddedBroker MemorySource Simulator AsyncReading Reading
Application Followable HandlesSignals OnChange OnEvent OnPart Owner RawRecord Recording Resynchronises Source
""".split()  # noqa: SIM905  # easier to read and to add to
)
"""Exported classes that are not values: they hold a connection, a file or a state, or are protocols."""


def exported_classes() -> dict[str, type[Any]]:
    modules = (rbhq_stream, rbhq_stream.metrics, rbhq_stream.testing)
    exported = {name: getattr(module, name) for module in modules for name in module.__all__}
    return {name: value for name, value in exported.items() if inspect.isclass(value)}


def test_every_exported_class_is_listed() -> None:
    values = {name for name, cls in exported_classes().items() if VALUES.get(cls)}
    assert values | OWNERS == set(exported_classes())
    assert not values & OWNERS


WAYS: dict[str, Callable[[Any], Any]] = {
    **{
        f"pickle-{protocol}": lambda value, protocol=protocol: pickle.loads(pickle.dumps(value, protocol))  # type: ignore[misc]
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
    },
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
}
EXAMPLES = [(cls, number) for cls, examples in VALUES.items() for number in range(len(examples))]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("cls", "number"), EXAMPLES, ids=lambda value: getattr(value, "__name__", str(value)))
def test_every_value_can_be_pickled_and_copied(cls: type[Any], number: int, way: str) -> None:
    value = VALUES[cls][number]
    same = WAYS[way](value)
    assert type(same) is type(value) is cls
    assert (str(same), repr(same)) == (str(value), repr(value))
    if isinstance(value, BaseException):
        assert (same.args, vars(same)) == (value.args, vars(value))
    else:
        assert same == value
    if isinstance(value, RaceEvent):
        assert same.record == value.record
    for record in (getattr(value, "record", None), value):
        if isinstance(record, Record):
            copied = same if record is value else same.record
            assert copied.delivery_tag == record.delivery_tag, "so that a copy of an event can be acknowledged"


@pytest.mark.parametrize("way", WAYS)
def test_an_error_keeps_what_was_added_to_it(way: str) -> None:
    error = AuthorizationError("refused", resource="prices")
    error.during = "start"  # type: ignore[attr-defined]
    same = WAYS[way](error)
    assert (same.resource, same.during, str(same)) == ("prices", "start", str(error))


def refuse(number: int) -> None:
    errors = [AuthorizationError("refused", resource="prices"), UnknownTopicError("unknown", topic="prices")]
    raise errors[number]


def test_an_error_crosses_a_process_pool() -> None:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        with pytest.raises(AuthorizationError, match="refused: 'prices'") as caught:
            pool.submit(refuse, 0).result()
        assert caught.value.resource == "prices"
        with pytest.raises(UnknownTopicError) as unknown:
            pool.submit(refuse, 1).result()
        assert unknown.value.topic == "prices"
