"""RacebookHQ's live racing feed as typed Python events: prices, scratchings and deductions, race status, results."""

from rbhq_stream._config import FeedConfig, Topics
from rbhq_stream._config.properties import KafkaProperties, PropertyValue, Secret
from rbhq_stream._dead_letter import DeadLetter, DeadLetterError, DeadLetterFile, DeadLetters, DeadLetterTopic
from rbhq_stream._diagnose import Diagnosis, Step, Verdict, diagnose
from rbhq_stream._engine.async_feed import AsyncFeed
from rbhq_stream._engine.cursor import FeedStats, OnBadRecord
from rbhq_stream._engine.dispatch import OnEvent, OnPart
from rbhq_stream._engine.feed import Feed
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
    "ConfigError",
    "ConnectError",
    "DataLossError",
    "DeadLetter",
    "DeadLetterError",
    "DeadLetterFile",
    "DeadLetterTopic",
    "DeadLetters",
    "DecodeError",
    "Diagnosis",
    "Dividend",
    "Event",
    "Extra",
    "Fault",
    "Feed",
    "FeedClosedError",
    "FeedConfig",
    "FeedInUseError",
    "FeedStats",
    "ForkedFeedError",
    "KafkaProperties",
    "OnBadRecord",
    "OnEvent",
    "OnPart",
    "Owner",
    "PartitionEnd",
    "PartitionsLost",
    "PayoutFactors",
    "PoolDividend",
    "Positions",
    "PriceEvent",
    "PriceType",
    "PriceUpdate",
    "PropertyValue",
    "RaceEvent",
    "RaceId",
    "RaceResultEvent",
    "RaceStatus",
    "RaceStatusEvent",
    "RawRecord",
    "RbhqStreamError",
    "Record",
    "Retry",
    "RunnerResult",
    "Scratching",
    "Secret",
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
