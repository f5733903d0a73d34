"""The Kafka client of a source, from the first connection to the end, with its commits.

| state | meaning | next |
|---|---|---|
| NEW | there is no client yet | CONNECTING by `connect` |
| CONNECTING | the topics and the group are requested from the brokers | JOINED by `connect`, or ENDED by `abandon` |
| JOINED | it is a member of the group or about to be | BROKERLESS, CLOSING by `start_closing`, or ENDED by `abandon` |
| BROKERLESS | it knows no brokers any more and does not look for any | JOINED by `replace`, or as from JOINED |
| CLOSING | the last commits are made | ENDED by `close`, or by `abandon` |
| ENDED | there is no client any more | |

Without a group, a client is JOINED once it may be given partitions. A client becomes BROKERLESS by its own reports,
after the last broker to shut down has reported an empty list of brokers.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from enum import Enum, auto

from confluent_kafka import Consumer, KafkaException
from confluent_kafka import TopicPartition as KafkaPartition

from rbhq_stream._config import FeedConfig
from rbhq_stream._config.tuning import milliseconds
from rbhq_stream._kafka.asking import ReplyTimeout
from rbhq_stream._kafka.commits import Commits
from rbhq_stream._kafka.connecting import check
from rbhq_stream._kafka.reports import Reports
from rbhq_stream._kafka.translation import config_error
from rbhq_stream.source import TopicPartition

_log = logging.getLogger("rbhq_stream.kafka")

STATISTICS_INTERVAL = 0.5
"""Seconds between two reports of the client about itself. They are how the loss of a broker is noticed."""
BROKERLESS_AFTER = 6
"""How many times in a row the client must report that it knows no broker until it is replaced. For a moment that is so
while it makes a new list of them."""

OnRebalance = Callable[[Consumer, list[KafkaPartition]], None]


class ClientState(Enum):
    """See the module."""

    NEW = auto()
    CONNECTING = auto()
    JOINED = auto()
    BROKERLESS = auto()
    CLOSING = auto()
    ENDED = auto()


class Client:
    """Owns the consumer. Used by the polling thread only.

    Args:
        config: what to connect to.
        reports: takes in what the client reports.
        make_commits: makes what is to commit with a new consumer.
        on_assign: the client's callback, likewise the other two.
    """

    def __init__(
        self,
        config: FeedConfig,
        reports: Reports,
        make_commits: Callable[[], Commits],
        *,
        on_assign: OnRebalance,
        on_revoke: OnRebalance,
        on_lost: OnRebalance,
    ) -> None:
        self._config = config
        self._reports = reports
        self._make_commits = make_commits
        self._callbacks = {"on_assign": on_assign, "on_revoke": on_revoke, "on_lost": on_lost}
        self._consumer: Consumer | None = None
        self._state = ClientState.NEW
        self.commits = make_commits()
        """Commits with this client."""

    @property
    def state(self) -> ClientState:
        """What it is doing."""
        if self._state is ClientState.JOINED and self._reports.brokerless >= BROKERLESS_AFTER:
            return ClientState.BROKERLESS
        return self._state

    @property
    def consumer(self) -> Consumer:
        """The consumer, which must not have ended."""
        assert self._consumer is not None, "connect() comes first"
        return self._consumer

    def connect(
        self,
        reply_timeout: ReplyTimeout,
        is_wanted: Callable[[], bool],
        connected: Callable[[list[TopicPartition]], None],
    ) -> None:
        """Connects, and joins the group if there is one.

        Args:
            reply_timeout: the limit for one question.
            is_wanted: returns whether to go on.
            connected: is called with all partitions of the topics before the group is joined.

        Raises:
            ConfigError: the client refuses a property.
            ConnectError: it can't be connected.
            FeedClosedError: it is not wanted any more.
        """
        self._state = ClientState.CONNECTING
        self._consumer = make_consumer(self._config, self._reports, self.commits)
        connected(check(self._config, self._consumer, self._reports, reply_timeout, is_wanted))
        self._join()

    def replace(self) -> None:
        """Continues with a new client, which has no partitions yet."""
        self.abandon()
        self._reports.restart()
        self.commits = self._make_commits()
        self._consumer = make_consumer(self._config, self._reports, self.commits)
        self._join()

    def start_closing(self) -> None:
        """What comes now are the last commits."""
        self._state = ClientState.CLOSING

    def close(self) -> None:
        """Leaves the group and disconnects."""
        consumer, self._consumer = self.consumer, None
        self._state = ClientState.ENDED
        consumer.close()

    def abandon(self) -> None:
        """Ends the client without telling the brokers, and without waiting until it has ended.

        Leaving the group would take a log-in, which a client whose password was refused would try again and again.
        """
        last_reference = [self._consumer]
        self._consumer = None
        self._state = ClientState.ENDED
        threading.Thread(target=last_reference.clear, name="rbhq_stream client's end", daemon=True).start()

    def _join(self) -> None:
        if self._config.group_id is not None:
            self.consumer.subscribe(list(self._config.topics.names), **self._callbacks)
        self._state = ClientState.JOINED


def make_consumer(config: FeedConfig, reports: Reports, commits: Commits) -> Consumer:
    """Returns a consumer without a subscription.

    Raises:
        ConfigError: the client refuses a property.
    """
    try:
        return Consumer(
            config.kafka_properties()
            | {
                "error_cb": reports.error,
                "on_commit": commits.on_reply,
                "logger": reports,
                "stats_cb": reports.statistics,
                "statistics.interval.ms": milliseconds(STATISTICS_INTERVAL),
                # reports the offset after control records and aborted records, which are never handed over
                "enable.partition.eof": True,
            }
        )
    except KafkaException as error:
        raise config_error(error.args[0]) from None
