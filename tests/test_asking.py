"""The time-out of requests to the brokers: short over a fast network, and long enough over a slow one."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from hypothesis import given
from hypothesis import strategies as st

from rbhq_stream import AuthenticationError, AuthorizationError, TlsError, UnknownTopicError, UnreachableError
from rbhq_stream._kafka import asking, topics
from rbhq_stream._kafka.asking import FIRST_TIMEOUT, MAX_TIMEOUT, Asker, ReplyTimeout
from rbhq_stream._kafka.reports import Reports
from rbhq_stream._kafka.topics import TopicLookup, TopicWatch
from rbhq_stream.source import TopicPartition

TOPIC = "rbhq.prices"


class Clock:
    """A clock that advances only when something waits."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(asking, "time", clock)
    monkeypatch.setattr(topics, "time", clock)
    return clock


def line(clock: Clock, takes: float) -> Callable[[float], bool]:
    """Returns a request whose reply takes so many seconds."""

    def question(timeout: float) -> bool:
        clock.now += min(timeout, takes)
        if takes > timeout:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        return True

    return question


def reply_to(timeout: ReplyTimeout, question: Callable[[float], bool]) -> int:
    """Repeats a request until there is a reply. Returns the number of requests."""
    for count in range(1, 100):
        try:
            assert timeout.ask(question)
        except KafkaException:
            continue
        return count
    raise AssertionError("there is never a reply")


@given(takes=st.floats(0, MAX_TIMEOUT))
def test_a_reply_is_received_after_a_few_requests_however_slow_the_network(takes: float) -> None:
    clock = Clock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asking, "time", clock)
        timeout, began = ReplyTimeout(), clock.now
        assert reply_to(timeout, line(clock, takes)) <= 8
        assert clock.now - began <= max(FIRST_TIMEOUT, 5 * takes), "no time is wasted on a fast line"
        assert reply_to(timeout, line(clock, takes)) == 1, "it remembers"
        assert FIRST_TIMEOUT <= timeout.seconds <= MAX_TIMEOUT


def test_a_network_that_becomes_fast_again_shortens_the_time_out(clock: Clock) -> None:
    timeout = ReplyTimeout()
    reply_to(timeout, line(clock, 3.0))
    assert timeout.seconds > 3.0
    reply_to(timeout, line(clock, 0.01))
    assert timeout.seconds == FIRST_TIMEOUT


def test_a_request_that_fails_at_once_does_not_lengthen_the_time_out(clock: Clock) -> None:
    def question(timeout: float) -> bool:
        raise KafkaException(KafkaError(KafkaError.NOT_COORDINATOR))

    timeout = ReplyTimeout()
    with pytest.raises(KafkaException):
        timeout.ask(question)
    assert timeout.seconds == FIRST_TIMEOUT


def test_the_time_out_is_at_most_the_remaining_time(clock: Clock) -> None:
    limits: list[float] = []

    def question(timeout: float) -> bool:
        limits.append(timeout)
        return True

    timeout = ReplyTimeout(maximum=0.2)
    timeout.ask(question)
    timeout.ask(question, left=0.1)
    timeout.ask(question, left=-5.0)
    assert limits == [0.2, 0.1, 0.01]


class Client:
    """A client that reports nothing, unless `tell` reports something when it is polled."""

    def __init__(self, tell: Callable[[], None] = lambda: None) -> None:
        self._tell = tell

    def poll(self, timeout: float) -> None:
        self._tell()


def an_asker(reports: Reports, tell: Callable[[], None] = lambda: None) -> Asker:
    client: Any = Client(tell)
    return Asker(client, reports, ["b1:9196"], ReplyTimeout())


@pytest.mark.parametrize("takes", [0.0, 0.5, 3.0])
def test_a_refused_password_is_detected_during_a_request(clock: Clock, takes: float) -> None:
    """It is detected soon after the brokers have refused it, so there is hardly time for a second log-in."""
    reports, began = Reports("app"), clock.now
    refusal = KafkaError(KafkaError._AUTHENTICATION, "sasl_ssl://b1:9196/bootstrap: SASL authentication error: no")

    def tell() -> None:
        if clock.now >= began + 7 * takes:
            reports.error(refusal)

    with pytest.raises(AuthenticationError):
        an_asker(reports, tell).ask(line(clock, 1000.0), clock.now + 600.0, TOPIC)
    assert clock.now - began <= 1.6 * 7 * takes + FIRST_TIMEOUT


@pytest.mark.parametrize("after", [0.2, 9.0])
def test_the_other_brokers_get_as_much_time_when_one_fails_permanently(clock: Clock, after: float) -> None:
    reports, began = Reports("app"), clock.now

    def tell() -> None:
        if clock.now >= began + after:
            reports.error(KafkaError(KafkaError._SSL, "sasl_ssl://b1:9196/bootstrap: certificate has expired"))

    with pytest.raises(TlsError):
        an_asker(reports, tell).ask(line(clock, 1000.0), clock.now + 600.0, TOPIC)
    took = clock.now - began
    assert after + max(2.0, after) <= took <= 3.5 * after + 2.0 + FIRST_TIMEOUT


def test_a_broker_that_is_down_does_not_keep_the_time_out_short(clock: Clock) -> None:
    """The client reports it repeatedly, while a reply from another, distant broker is on its way."""
    reports = Reports("app")
    away = KafkaError(KafkaError._TRANSPORT, "sasl_ssl://b1:9196/bootstrap: Connection refused")
    asker = an_asker(reports, lambda: reports.error(away))
    assert asker.ask(line(clock, 3.0), clock.now + 60.0, TOPIC)


def test_the_error_about_a_missing_reply_has_the_known_causes(clock: Clock) -> None:
    reports, began = Reports("app"), clock.now
    with pytest.raises(UnreachableError, match="no broker responded in time"):
        an_asker(reports).ask(line(clock, 1000.0), began + 30.0, TOPIC)
    assert clock.now == pytest.approx(began + 30.0, abs=0.02)


@pytest.mark.parametrize("brokers", [["b1:9196"], ["b1:9196", "b2:9196"]])
def test_the_error_about_a_missing_reply_names_each_unreachable_broker(clock: Clock, brokers: list[str]) -> None:
    reports = Reports("app")
    for broker in brokers:
        reports.error(KafkaError(KafkaError._TRANSPORT, f"sasl_ssl://{broker}/bootstrap: Connection refused"))
    with pytest.raises(UnreachableError, match="Connection refused") as raised:
        an_asker(reports).ask(line(clock, 1000.0), clock.now + 30.0, TOPIC)
    assert all(broker in str(raised.value) for broker in brokers)
    assert raised.value.broker == (brokers[0] if len(brokers) == 1 else None)


def test_the_error_about_a_missing_reply_has_what_the_brokers_replied_last(clock: Clock) -> None:
    def question(timeout: float) -> bool:
        clock.now += 1.0
        raise KafkaException(KafkaError(KafkaError.NOT_COORDINATOR))

    with pytest.raises(UnreachableError, match="Not coordinator") as raised:
        an_asker(Reports("app")).ask(question, clock.now + 30.0, TOPIC)
    assert "try again in a minute" in str(raised.value)


def test_an_error_that_the_client_returns_in_place_of_a_record_ends_the_request(clock: Clock) -> None:
    class Message:
        def error(self) -> KafkaError:
            return KafkaError(KafkaError._AUTHENTICATION, "sasl_ssl://b1:9196/bootstrap: SASL authentication error: no")

    client: Any = Client()
    client.poll = lambda timeout: Message()
    with pytest.raises(AuthenticationError):
        Asker(client, Reports("app"), ["b1:9196"], ReplyTimeout()).ask(line(clock, 1000.0), clock.now + 30.0, TOPIC)


def test_a_request_without_permission_is_not_repeated(clock: Clock) -> None:
    def question(timeout: float) -> bool:
        raise KafkaException(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED))

    with pytest.raises(AuthorizationError) as raised:
        an_asker(Reports("app")).ask(question, clock.now + 30.0, TOPIC)
    assert raised.value.resource == TOPIC


# topics


class Listing:
    """The metadata of one topic."""

    def __init__(self, name: str, error: KafkaError | None) -> None:
        self.topics = {name: self}
        self.error = error
        self.partitions = {0: None}


class Broker:
    """Replies about topics after so many seconds."""

    def __init__(self, clock: Clock, takes: float = 0.0, error: KafkaError | None = None) -> None:
        self._clock, self.takes, self.error = clock, takes, error
        self.asked: list[tuple[str, float]] = []

    def list_topics(self, topic: str, timeout: float) -> Listing:
        self.asked.append((topic, self._clock.now))
        line(self._clock, self.takes)(timeout)
        return Listing(topic, self.error)


UNKNOWN = KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)


@pytest.mark.parametrize("takes", [0.0, 3.0])
def test_an_unknown_topic_is_an_error_after_the_brokers_have_reported_it_for_a_while(
    clock: Clock, takes: float
) -> None:
    """However long the first reply took, because a topic that was just created isn't known to all brokers yet."""
    broker: Any = Broker(clock, takes, UNKNOWN)
    lookup = TopicLookup(TOPIC, 2.0)
    assert lookup.ask(broker, 10.0) is None
    clock.now += 1.0
    broker.takes = 0.0
    assert lookup.ask(broker, 10.0) is None
    clock.now += 1.0
    with pytest.raises(UnknownTopicError):
        lookup.ask(broker, 10.0)


def watched(clock: Clock, broker: Any, seconds: float) -> float:
    """Watches two quiet topics for so many seconds. Returns the share of that time that requests took."""
    watch, timeout = TopicWatch(["a", "b"]), ReplyTimeout()
    spent, until = 0.0, clock.now + seconds
    while clock.now < until:
        if watch.is_due():
            watch.look({TopicPartition("a", 0): 5, TopicPartition("b", 0): None})
        began = clock.now
        with suppress(KafkaException):
            watch.ask(broker, timeout)
        spent += clock.now - began
        clock.now += 0.1
    return spent


def test_quiet_topics_are_checked_in_turn(clock: Clock) -> None:
    broker = Broker(clock)
    watched(clock, broker, 60.0)
    assert [topic for topic, _ in broker.asked][:4] == ["a", "b", "a", "b"]
    assert 18 <= len(broker.asked) <= 26, "every five seconds"


@pytest.mark.parametrize("takes", [0.6, 3.0, 1000.0])
def test_checking_topics_takes_a_small_share_of_the_time(clock: Clock, takes: float) -> None:
    """No record can be read during a check, so there are fewer checks over a slow network and in an outage."""
    broker = Broker(clock, takes)
    assert watched(clock, broker, 3600.0) < 3600.0 * 0.07
    assert len(broker.asked) > 10


def test_a_topic_from_which_records_arrive_is_not_checked(clock: Clock) -> None:
    broker: Any = Broker(clock)
    watch, timeout = TopicWatch(["a"]), ReplyTimeout()
    for offset in range(100):
        clock.now += 1.0
        if watch.is_due():
            watch.look({TopicPartition("a", 0): offset})
        watch.ask(broker, timeout)
    assert broker.asked == []
