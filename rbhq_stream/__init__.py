"""RacebookHQ's live racing feed as typed Python events: prices, scratchings and deductions, race status, results."""

from rbhq_stream._config import FeedConfig, Topics
from rbhq_stream._config.properties import Secret
from rbhq_stream._dead_letter import DeadLetter, DeadLetterError, DeadLetterFile, DeadLetters, DeadLetterTopic
from rbhq_stream._diagnose import Diagnosis, Step, diagnose
from rbhq_stream._engine.async_feed import AsyncFeed
from rbhq_stream._engine.cursor import FeedStats
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
    RbhqStreamError,
    TlsError,
    UnknownTopicError,
    UnreachableError,
)
from rbhq_stream.events import (
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
from rbhq_stream.positions import Positions
from rbhq_stream.record import Record
from rbhq_stream.retry import Retry
from rbhq_stream.signals import PartitionsLost, Signal
from rbhq_stream.source import TopicPartition

__all__ = [
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
    "FeedStats",
    "PartitionsLost",
    "PayoutFactors",
    "PoolDividend",
    "Positions",
    "PriceEvent",
    "PriceType",
    "PriceUpdate",
    "RaceEvent",
    "RaceId",
    "RaceResultEvent",
    "RaceStatus",
    "RaceStatusEvent",
    "RbhqStreamError",
    "Record",
    "Retry",
    "RunnerResult",
    "Scratching",
    "Secret",
    "Signal",
    "SqlOffsets",
    "Step",
    "TlsError",
    "TopicPartition",
    "Topics",
    "UnknownTopicError",
    "UnreachableError",
    "Unscratching",
    "decode",
    "diagnose",
    "encode",
]
