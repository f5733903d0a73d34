"""RacebookHQ's live racing feed as typed Python events: prices, scratchings and deductions, race status, results."""

from rbhq_stream._book.finality import Finality
from rbhq_stream._book.ledger import Deduction, DeductionLedger, Deductions, LedgerEntry, ScratchingHistory
from rbhq_stream._book.payout import Factor, FactorName, Outcome, Payout, PayoutReason, ResultId
from rbhq_stream._book.provenance import RecordMark
from rbhq_stream._book.settlement_rules import (
    CombineDeductions,
    DeductFrom,
    FieldSize,
    InDoubt,
    LateScratching,
    PlaceTerms,
    SettlementRules,
)
from rbhq_stream._config import FeedConfig, Topics
from rbhq_stream._config.properties import KafkaProperties, PropertyValue, Secret
from rbhq_stream._dead_letter import DeadLetter, DeadLetterError, DeadLetterFile, DeadLetters, DeadLetterTopic
from rbhq_stream._diagnose import Diagnosis, Step, Verdict, diagnose
from rbhq_stream._engine.async_feed import AsyncFeed
from rbhq_stream._engine.cursor import FeedStats, OnBadRecord
from rbhq_stream._engine.dispatch import OnEvent, OnPart
from rbhq_stream._engine.feed import Feed
from rbhq_stream._race_card import CardMeeting, CardRace, CardRunner, RaceCard
from rbhq_stream._wire import decode, encode
from rbhq_stream.errors import (
    AuthenticationError,
    AuthorizationError,
    ConfigError,
    ConnectError,
    DataLossError,
    DecodeError,
    Fault,
    FeedClosedError,
    FeedInUseError,
    ForkedFeedError,
    RbhqStreamError,
    TlsError,
    UnknownTopicError,
    UnreachableError,
)
from rbhq_stream.events import (
    NO_EXTRA,
    Dividend,
    Event,
    Extra,
    PayoutFactors,
    PoolDividend,
    PriceEvent,
    PriceType,
    PriceUpdate,
    RaceEvent,
    RaceId,
    RaceResultEvent,
    RaceStatus,
    RaceStatusEvent,
    RunnerResult,
    Scratching,
    Unscratching,
)
from rbhq_stream.offsets import SqlOffsets
from rbhq_stream.plain_data import to_dict
from rbhq_stream.positions import Positions
from rbhq_stream.record import RawRecord, Record
from rbhq_stream.retry import NO_RETRY, Retry
from rbhq_stream.signals import PartitionsLost, Signal
from rbhq_stream.source import Owner, PartitionEnd, Source, SourceStatus, TopicPartition

__all__ = [
    "NO_EXTRA",
    "NO_RETRY",
    "AsyncFeed",
    "AuthenticationError",
    "AuthorizationError",
    "CardMeeting",
    "CardRace",
    "CardRunner",
    "CombineDeductions",
    "ConfigError",
    "ConnectError",
    "DataLossError",
    "DeadLetter",
    "DeadLetterError",
    "DeadLetterFile",
    "DeadLetterTopic",
    "DeadLetters",
    "DecodeError",
    "DeductFrom",
    "Deduction",
    "DeductionLedger",
    "Deductions",
    "Diagnosis",
    "Dividend",
    "Event",
    "Extra",
    "Factor",
    "FactorName",
    "Fault",
    "Feed",
    "FeedClosedError",
    "FeedConfig",
    "FeedInUseError",
    "FeedStats",
    "FieldSize",
    "Finality",
    "ForkedFeedError",
    "InDoubt",
    "KafkaProperties",
    "LateScratching",
    "LedgerEntry",
    "OnBadRecord",
    "OnEvent",
    "OnPart",
    "Outcome",
    "Owner",
    "PartitionEnd",
    "PartitionsLost",
    "Payout",
    "PayoutFactors",
    "PayoutReason",
    "PlaceTerms",
    "PoolDividend",
    "Positions",
    "PriceEvent",
    "PriceType",
    "PriceUpdate",
    "PropertyValue",
    "RaceCard",
    "RaceEvent",
    "RaceId",
    "RaceResultEvent",
    "RaceStatus",
    "RaceStatusEvent",
    "RawRecord",
    "RbhqStreamError",
    "Record",
    "RecordMark",
    "ResultId",
    "Retry",
    "RunnerResult",
    "Scratching",
    "ScratchingHistory",
    "Secret",
    "SettlementRules",
    "Signal",
    "Source",
    "SourceStatus",
    "SqlOffsets",
    "Step",
    "TlsError",
    "TopicPartition",
    "Topics",
    "UnknownTopicError",
    "UnreachableError",
    "Unscratching",
    "Verdict",
    "decode",
    "diagnose",
    "encode",
    "to_dict",
]
