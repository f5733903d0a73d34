"""Repeats a request to the brokers until they reply, with a time-out that adapts to the network.

A request blocks the calling thread. During that time it can't read records, and can't detect that a password was
refused or that the feed is being closed. So the time-out must be short. But a reply that is too late is discarded, and
over a slow network every reply would be too late. So the time-out grows each time it expires.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection
from typing import TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException

from rbhq_stream._kafka import codes
from rbhq_stream._kafka.reports import Reports
from rbhq_stream._kafka.translation import UNAUTHORIZED, connect_error
from rbhq_stream.errors import ConnectError, UnreachableError

T = TypeVar("T")

FIRST_TIMEOUT = 0.5
"""Seconds to wait for a reply at first."""
MAX_TIMEOUT = 8.0
"""Maximum seconds to wait for a reply: two round trips of three seconds, which some requests take, and a margin. It is
less than the default `close_timeout`, because closing a feed waits for the current request."""
GROWTH = 1.5
"""The factor by which the time-out grows. With this value it stays below half of the time spent on the request so far,
so other events are detected in time."""
MARGIN = 3.0
"""The time-out for the next reply, as a multiple of the time that the last one took."""
SETTLE_TIMEOUT = 2.0
"""Seconds that the other brokers have to reply after one has returned a permanent error. Over a slow network they have
as much time as that error took to arrive."""

_IN_TROUBLE = (
    "The brokers respond, but are not ready to serve the feed: try again in a minute. If that does not help, report it"
    " to RBHQ."
)


class ReplyTimeout:
    """The time-out for one request: short at first, longer after each time-out, shorter again after a reply.

    Args:
        first: the first time-out, in seconds.
        maximum: the longest time-out, in seconds.
    """

    def __init__(self, first: float = FIRST_TIMEOUT, maximum: float = MAX_TIMEOUT) -> None:
        self._minimum = min(first, maximum)
        self._maximum = maximum
        self._seconds = self._minimum

    @property
    def seconds(self) -> float:
        """How long the next request may take."""
        return self._seconds

    def ask(self, question: Callable[[float], T], left: float = math.inf) -> T:
        """Returns the reply to a request. `question` is called with the time-out in seconds.

        Args:
            question: sends the request. It raises `KafkaException` if there is no reply in time, or for another reason.
            left: a limit for this request alone, in seconds.

        Raises:
            KafkaException: `question` raised it.
        """
        limit = max(0.01, min(left, self._seconds))
        began = time.monotonic()
        try:
            reply = question(limit)
        except KafkaException:
            if time.monotonic() - began >= limit * 0.9:  # the request timed out, and did not fail at once
                self._seconds = min(self._maximum, self._seconds * GROWTH)
            raise
        self._seconds = max(self._minimum, min(self._seconds, MARGIN * (time.monotonic() - began)))
        return reply


class Asker:
    """Repeats requests of one client until the brokers reply, or until it is certain that they won't.

    Args:
        client: the client, which must not have a subscription.
        reports: what the client reports.
        brokers: the `host:port` of the brokers that it connects to first.
        reply_timeout: the time-out of one request.
    """

    def __init__(
        self, client: Consumer, reports: Reports, brokers: Collection[str], reply_timeout: ReplyTimeout
    ) -> None:
        self._client = client
        self._reports = reports
        self._brokers = brokers
        self._reply_timeout = reply_timeout

    def ask(
        self, question: Callable[[float], T | None], deadline: float, resource: str, *, is_group: bool = False
    ) -> T:
        """Returns the reply to a request, which is repeated until there is one.

        Args:
            question: sends the request, and returns the reply, or `None` if the request must be repeated.
            deadline: the time (of the monotonic clock) by which there must be a reply.
            resource: the topic or the group that the request is about.
            is_group: whether `resource` is the group.

        Raises:
            ConnectError: there was no reply; the error states why.
        """
        began = time.monotonic()
        settled = math.inf
        transient: KafkaError | None = None
        while True:
            reply = None
            try:
                reply = self._reply_timeout.ask(question, min(deadline, settled) - time.monotonic())
            except KafkaException as error:
                transient = error.args[0]
            self._serve_callbacks()
            self.check(is_group=is_group)
            if transient is not None and transient.code() in UNAUTHORIZED:
                refused = connect_error(transient, resource=resource)
                assert refused is not None
                raise refused
            if reply is not None:
                return reply
            now = time.monotonic()
            certain = self._certain()
            if certain is not None:
                settled = min(settled, now + max(SETTLE_TIMEOUT, now - began))
                if now >= settled:
                    raise certain
            if now >= deadline:
                raise self.no_reply(transient)

    def check(self, *, is_group: bool) -> None:  # noqa: ARG002  # for subclasses that override it
        """Raises the error that makes further requests pointless, if there is one."""
        if self._reports.permanent is not None:
            raise self._reports.permanent

    def handle_error(self, error: KafkaError) -> None:
        """Handles an error that the client returned instead of a record."""
        self._reports.error(error)

    def no_reply(self, transient: KafkaError | None) -> ConnectError:
        """Returns the error for no reply in time.

        Args:
            transient: the last error of the request itself.
        """
        troubles = list(self._reports.troubles.values())
        if len(troubles) > 1 and all(type(trouble) is UnreachableError for trouble in troubles):
            return UnreachableError("; ".join(f"{t.reason} (broker {t.broker or '?'})" for t in troubles))
        if troubles:
            return troubles[0]
        if transient is not None and transient.code() not in (codes.TRANSPORT, codes.TIMED_OUT):
            return UnreachableError(transient.str(), hint=_IN_TROUBLE)
        return UnreachableError("no broker responded in time: connections hang, and no cause was reported")

    def _serve_callbacks(self) -> None:
        """Lets the client call its callbacks."""
        message = self._client.poll(0)
        error = message.error() if message is not None else None
        if error is not None:
            self.handle_error(error)

    def _certain(self) -> ConnectError | None:
        """Returns the permanent error of a broker, if there is one."""
        troubles = list(self._reports.troubles.values())
        if not self._reports.unresolved.issuperset(self._brokers):
            troubles = [trouble for trouble in troubles if type(trouble) is not UnreachableError]
        return troubles[0] if troubles else None
