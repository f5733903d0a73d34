"""Asks the brokers, with a limit for each question that adapts to the line, until they reply.

The client asks on the calling thread, which hears nothing else meanwhile: not that a password was refused, not that
the feed is to be closed, and no record comes. So a question must be short. But a reply that comes too late is
discarded, and over a slow line a short limit would never be met. So the limit grows with each time-out.
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
"""Seconds to wait for a reply at most: two round trips of three seconds, which some questions take, with some to spare.
It is less than the default `close_timeout`, as closing a feed waits for a question that is under way."""
GROWTH = 1.5
"""The factor after each time-out. With this one the limit stays below half of the time that was spent on asking, so
what else there is to hear is heard in time."""
MARGIN = 3.0
"""How many times longer than the last reply took the next one may take."""
SETTLE_TIMEOUT = 2.0
"""Seconds that the other brokers get when one can't be talked to for good. Over a slow line they get as long again as
it took to find that out."""

_IN_TROUBLE = "The brokers answer, but not yet with what the feed needs: try again in a minute, then tell RBHQ."


class ReplyTimeout:
    """The limit for one question: short at first, longer after each time-out, shorter again after a reply.

    Args:
        first: the limit at first, in seconds.
        most: the limit that it grows to.
    """

    def __init__(self, first: float = FIRST_TIMEOUT, most: float = MAX_TIMEOUT) -> None:
        self._least = min(first, most)
        self._most = most
        self._seconds = self._least

    @property
    def seconds(self) -> float:
        """How long the next question may take."""
        return self._seconds

    def ask(self, question: Callable[[float], T], left: float = math.inf) -> T:
        """Returns the reply to the question, which is called with its limit in seconds.

        Args:
            question: raises `KafkaException` when there is no reply in time, and for other reasons.
            left: how many seconds there are, whatever the limit.

        Raises:
            KafkaException: what the question raised.
        """
        limit = max(0.01, min(left, self._seconds))
        began = time.monotonic()
        try:
            reply = question(limit)
        except KafkaException:
            if time.monotonic() - began >= limit * 0.9:  # not one that failed at once
                self._seconds = min(self._most, self._seconds * GROWTH)
            raise
        self._seconds = max(self._least, min(self._seconds, MARGIN * (time.monotonic() - began)))
        return reply


class Asker:
    """Asks with one client until the brokers reply, or until it is certain that they won't.

    Args:
        client: the client, which must not have a subscription.
        reports: what the client reports.
        brokers: the `host:port` of those that it connects to first.
        reply_timeout: the limit for one question.
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
        """Returns the reply to the question.

        Args:
            question: returns the reply, or `None` if it is to be asked again.
            deadline: the time (of the monotonic clock) by which there must be a reply.
            resource: the topic or the group that the question is about.
            is_group: whether it is the group.

        Raises:
            ConnectError: why there is none.
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
            self._listen()
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

    def check(self, *, is_group: bool) -> None:  # noqa: ARG002  # for those that override it
        """Raises what makes it useless to ask any further, about the group or about a topic."""
        if self._reports.permanent is not None:
            raise self._reports.permanent

    def hear(self, error: KafkaError) -> None:
        """Takes in an error that came in place of a record."""
        self._reports.error(error)

    def no_reply(self, transient: KafkaError | None) -> ConnectError:
        """Returns the error for no reply in time.

        Args:
            transient: the last error of the question itself.
        """
        troubles = list(self._reports.troubles.values())
        if len(troubles) > 1 and all(type(trouble) is UnreachableError for trouble in troubles):
            return UnreachableError("; ".join(f"{t.reason} (broker {t.broker or '?'})" for t in troubles))
        if troubles:
            return troubles[0]
        if transient is not None and transient.code() not in (codes.TRANSPORT, codes.TIMED_OUT):
            return UnreachableError(transient.str(), hint=_IN_TROUBLE)
        return UnreachableError("no broker answered in time: connections hang, and nothing says why")

    def _listen(self) -> None:
        """Lets the client call its callbacks."""
        message = self._client.poll(0)
        error = message.error() if message is not None else None
        if error is not None:
            self.hear(error)

    def _certain(self) -> ConnectError | None:
        """Returns what is wrong with a broker and won't become right by waiting."""
        troubles = list(self._reports.troubles.values())
        if not self._reports.unresolved.issuperset(self._brokers):
            troubles = [trouble for trouble in troubles if type(trouble) is not UnreachableError]
        return troubles[0] if troubles else None
