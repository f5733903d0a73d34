"""What the Kafka client reports by its callbacks: errors, log lines and statistics.

The client calls back from within `poll`. An exception there would destroy the next record, so no callback raises: it
takes note, and what has to be done is done after `poll` has returned.
"""

from __future__ import annotations

import logging
import re
import time

from confluent_kafka import KafkaError

from rbhq_stream._kafka import codes
from rbhq_stream._kafka.limited_log import LimitedLog
from rbhq_stream._kafka.statistics import Statistics
from rbhq_stream._kafka.translation import AFTER, BROKER, PERMANENT, connect_error, permanent_error, text_and_broker
from rbhq_stream.errors import ConnectError, TlsError, UnreachableError

_log = logging.getLogger("rbhq_stream.kafka")

_LINE = re.compile(r"^(?P<kind>[A-Z0-9_]+) \[[^\]]*\] (?:\[thrd:[^\]]*\]: )?(?P<text>.*)$", re.DOTALL)
_NO_SUCH_NAME = re.compile(r"not known|No such host is known")  # Linux and macOS; Windows
_TLS_EXPECTED = (
    "The broker closes connections that are not encrypted: check that the port is the one without TLS, or use"
    ' security="SASL_SSL".'
)


class Reports:
    """What the client has reported. `error`, `log` and `statistics` are its callbacks. Used by the polling thread only.

    Args:
        group_id: the consumer group, which a report without a topic is about. Without a group, the client's
            reports about its permissions for one are ignored.
        log: where the lines go.
        is_encrypted: whether TLS is spoken.
        fetch_wait: how many seconds an idle broker holds a fetch request back.
    """

    def __init__(
        self, group_id: str | None, log: LimitedLog | None = None, *, is_encrypted: bool = True, fetch_wait: float = 0.5
    ) -> None:
        self._group_id = group_id
        self._lines = log or LimitedLog()
        self._is_encrypted = is_encrypted
        self.permanent: ConnectError | None = None
        """The error that ends the feed."""
        self.troubles: dict[str, ConnectError] = {}
        """The last trouble with each broker, by its `host:port`; by "" if the client named none."""
        self.unresolved: set[str] = set()
        """The brokers whose host name does not exist."""
        self.brokerless = 0
        """How many times in a row the client has reported that it knows no broker."""
        self.newest = Statistics(fetch_wait)
        """What the client's statistics say."""
        self._fetch_wait = fetch_wait

    def end_with(self, error: ConnectError) -> None:
        """Takes note of an error that ends the feed."""
        self.permanent = error

    def restart(self) -> None:
        """Forgets what was reported by a client that is replaced by another one."""
        self.brokerless = 0
        self.newest = Statistics(self._fetch_wait)

    def forget_troubles(self) -> None:
        """Forgets the troubles with brokers, because a broker has replied."""
        self.troubles.clear()

    def error(self, error: KafkaError) -> None:
        """Takes in an error: the client's `error_cb`."""
        try:
            if self._group_id is None and error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
                return
            translated = connect_error(error, resource=self._group_id)
            text, broker = text_and_broker(error)
            if error.code() in PERMANENT and not isinstance(translated, UnreachableError):
                self.end_with(permanent_error(error, resource=self._group_id))
            # "all brokers are down" is less specific than what was reported of the brokers before
            elif translated is not None and (error.code() != codes.ALL_BROKERS_DOWN or not self.troubles):
                self.troubles[broker or ""] = translated
            if broker is not None and error.code() == codes.RESOLVE and _NO_SUCH_NAME.search(text):
                self.unresolved.add(broker)
            # what happens to a broker is in the client's log as well
            level = logging.DEBUG if broker or text.startswith("GroupCoordinator:") else logging.WARNING
            self._lines.write(level, error.name(), f"broker {broker}" if broker else error.name(), text)
        except Exception:  # noqa: BLE001  # a callback of the client must not raise
            _log.debug("could not take in an error of the Kafka client", exc_info=True)

    def log(self, level: int, line: str, *arguments: object) -> None:
        """Takes in a log line: what the client calls as the method of its `logger`, with `%` arguments."""
        try:
            whole = line % arguments if arguments else line
            match = _LINE.match(whole)
            text = match["text"] if match else whole
            where = BROKER.match(text)
            broker = where["broker"] if where else None
            text = text[where.end() :] if where else text
            after = AFTER.search(text)
            text = AFTER.sub("", text)
            if broker and not self._is_encrypted and after and after["state"] == "APIVERSION_QUERY":
                # a broker that expects TLS ends the connection in silence, and the client reports no error
                self.troubles[broker] = TlsError(text, broker=broker, hint=_TLS_EXPECTED)
            elif broker and "setup timed out" in text:  # the client reports no error for it, either
                self.troubles[broker] = UnreachableError(text, broker=broker)
            # the client's errors are warnings here: it retries by itself, and what is permanent is raised
            subject = f"broker {broker}" if broker else match["kind"] if match else "client"
            self._lines.write(min(level, logging.WARNING), "log", subject, text)
        except Exception:  # noqa: BLE001  # a callback of the client must not raise
            _log.debug("could not take in a log line of the Kafka client", exc_info=True)

    def statistics(self, text: str) -> None:
        """Takes in the client's statistics: its `stats_cb`."""
        try:
            self.newest.take_in(text, time.monotonic())
            self.brokerless = 0 if self.newest.has_brokers else self.brokerless + 1
        except Exception:  # noqa: BLE001  # a callback of the client must not raise
            _log.debug("could not take in the statistics of the Kafka client", exc_info=True)
