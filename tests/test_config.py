"""The fields of `FeedConfig` and `Topics`: which values each accepts, which it refuses, and with which error."""

from __future__ import annotations

import inspect
import math
import pickle
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import attrs
import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from rbhq_stream._config import FeedConfig, Topics
from rbhq_stream._config.properties import Secret
from rbhq_stream.errors import ConfigError, RbhqStreamError

LEAST: dict[str, Any] = {
    "bootstrap_servers": "broker.example",
    "username": "partner",
    "password": "correct horse",
    "topics": Topics(prices="prices"),
    "group_id": "pricing",
}


def config(**fields: Any) -> FeedConfig:
    return FeedConfig(**{**LEAST, **fields})


def refused(**fields: Any) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        config(**fields)
    return caught.value


@pytest.fixture(scope="module")
def pem() -> str:
    return trustme.CA().cert_pem.bytes().decode()


def test_fields_that_are_not_given_have_their_defaults() -> None:
    made = config()
    assert attrs.asdict(made, recurse=False) == {
        "bootstrap_servers": ("broker.example:9196",),
        "username": "partner",
        "password": Secret("correct horse"),
        "topics": Topics(prices="prices"),
        "group_id": "pricing",
        "group_instance_id": None,
        "client_id": "rbhq-stream",
        "security": "SASL_SSL",
        "ca_file": None,
        "ca_pem": None,
        "connect_timeout": 30.0,
        "close_timeout": 10.0,
        "commit_interval": 1.0,
        "session_timeout": 45.0,
        "max_poll_interval": 300.0,
        "start": "earliest",
        "on_data_loss": "raise",
        "buffer_records": 10_000,
        "buffer_bytes": 64 * 1024 * 1024,
        "max_record_bytes": 16 * 1024 * 1024,
        "kafka": {},
    }


def test_a_config_is_a_value() -> None:
    one, same, other = config(), config(), config(group_id="other")
    assert one == same
    assert hash(one) == hash(same)
    assert one != other
    assert attrs.evolve(one, group_id="other") == other
    assert attrs.evolve(one) == one
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        one.group_id = "other"  # type: ignore[misc]


def test_a_config_can_be_pickled(tmp_path: Path, pem: str) -> None:
    (tmp_path / "ca.pem").write_text(pem)
    one = config(
        ca_file=tmp_path / "ca.pem",
        start=datetime(2026, 11, 21, tzinfo=timezone.utc),
        kafka={"ssl.key.password": "x", "fetch.min.bytes": 2},
    )
    assert pickle.loads(pickle.dumps(one)) == one


def test_every_field_is_explained() -> None:
    source = inspect.getsource(FeedConfig)
    for attribute in attrs.fields(FeedConfig):
        after = source[source.index(f"    {attribute.name}: ") :]
        assert '"""' in after[: after.index("\n\n")], attribute.name


def test_errors_are_config_errors_and_value_errors() -> None:
    error = refused(group_id="")
    assert isinstance(error, RbhqStreamError)
    assert isinstance(error, ValueError)
    assert error.origin is None
    assert str(error) == "group_id: is empty"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


# bootstrap_servers


@pytest.mark.parametrize(
    ("given_servers", "expected"),
    [
        ("a", ("a:9196",)),
        ("a:1", ("a:1",)),
        ("a:65535", ("a:65535",)),
        ("A.Example:09092", ("a.example:9092",)),
        ("a,b:9092", ("a:9196", "b:9092")),
        (" a , b ", ("a:9196", "b:9196")),
        ("10.0.0.1", ("10.0.0.1:9196",)),
        ("[::1]", ("[::1]:9196",)),
        ("[::1]:9092", ("[::1]:9092",)),
        ("[2001:DB8:0::1]:9092", ("[2001:db8::1]:9092",)),
        ("my_broker-1.local.:9092", ("my_broker-1.local.:9092",)),
        (["a", "b:9092"], ("a:9196", "b:9092")),
        (("a",), ("a:9196",)),
    ],
)
def test_servers_become_hosts_with_ports(given_servers: Any, expected: tuple[str, ...]) -> None:
    assert config(bootstrap_servers=given_servers).bootstrap_servers == expected


@pytest.mark.parametrize(
    ("given_servers", "problem"),
    [
        ("", "empty"),
        (" ", "empty"),
        ([], "empty"),
        ("a,,b", "empty entry"),
        ("a,", "empty entry"),
        (["a", ""], "empty entry"),
        ("a,a", "has a:9196 twice"),
        ("a,A:9196", "has a:9196 twice"),
        ("[::1],[0::1]", "has [::1]:9196 twice"),
        ("kafka://a:9196", "not a URL"),
        ("SASL_SSL://a:9196", "not a URL"),
        ("a:9196/", "not a URL"),
        ("a:0", "port from 1 to 65535"),
        ("a:65536", "port from 1 to 65535"),
        ("a:", "port from 1 to 65535"),
        ("a:x", "port from 1 to 65535"),
        ("a:-1", "port from 1 to 65535"),
        ("a:٣", "port from 1 to 65535"),
        ("[::1]:", "port from 1 to 65535"),
        ("[::1]9092", "in brackets"),
        ("[::1", "in brackets"),
        ("::1", "in brackets"),
        ("[a]", "IPv6 address"),
        ("[]", "IPv6 address"),
        (":9196", "host name"),
        ("a b:9196", "host name"),
        ("-a", "host name"),
        ("ä.example", "host name"),
        ("a;b", "host name"),
        (["a,b"], "host name"),
        (["a", 7], "got int"),
        (b"a", "got bytes"),
        (7, "got int"),
        (None, "got NoneType"),
        ({"a"}, "got set"),
    ],
)
def test_bad_servers_are_refused(given_servers: Any, problem: str) -> None:
    error = refused(bootstrap_servers=given_servers)
    assert error.field == "bootstrap_servers"
    assert problem in error.problem


@given(
    st.lists(
        st.tuples(st.from_regex(r"[a-z0-9]([a-z0-9.-]{0,20}[a-z0-9])?", fullmatch=True), st.integers(1, 65535)),
        min_size=1,
        max_size=5,
        unique=True,
    )
)
def test_servers_may_be_a_string_or_a_list(pairs: list[tuple[str, int]]) -> None:
    entries = [f"{host}:{port}" for host, port in pairs]
    made = config(bootstrap_servers=entries)
    assert made.bootstrap_servers == tuple(entries)
    assert config(bootstrap_servers=",".join(entries)) == made
    assert attrs.evolve(made) == made


# texts


@pytest.mark.parametrize("name", ["username", "password", "group_id", "client_id"])
@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("", "is empty"),
        (" ", "begins or ends with a space"),
        ("x ", "begins or ends with a space"),
        ("\tx", "begins or ends with a space"),
        ("x\n", "begins or ends with a space or a line break"),
        ("x\r\n", "begins or ends with a space or a line break"),
        ("x\u00a0", "begins or ends with a space"),
        ("x\ny", "cannot be printed"),
        ("x\0y", "cannot be printed"),
        ("x\udc80", "cannot be printed"),
        (7, "expected a string, got int"),
        (b"x", "expected a string, got bytes"),
    ],
)
def test_a_bad_string_is_refused(name: str, value: Any, problem: str) -> None:
    error = refused(**{name: value})
    assert error.field == name
    assert problem in error.problem


@pytest.mark.parametrize("name", ["username", "group_id", "client_id"])
@pytest.mark.parametrize("value", ["x", "two words", "ünïcode", "a:b/c=d,e;f'\"\\$%"])
def test_a_good_string_is_accepted(name: str, value: str) -> None:
    assert getattr(config(**{name: value}), name) == value


@pytest.mark.parametrize("value", ["x", "two words", "pässword", "a:b/c=d,e;f'\"\\$%@"])
def test_a_password_may_have_any_printable_characters(value: str) -> None:
    assert config(password=value).password == Secret(value)
    assert config(password=Secret(value)) == config(password=value)


def test_a_missing_field_is_named() -> None:
    assert refused(username=None).field == "username"
    assert refused(client_id=None).field == "client_id"


@pytest.mark.parametrize("name", ["none", "None", "NONE"])
def test_a_group_cannot_have_the_name_that_stands_for_no_group(name: str) -> None:
    error = refused(group_id=name)
    assert error.field == "group_id"
    assert "give None for that" in error.problem


def test_fields_about_groups_may_be_set_without_a_group() -> None:
    member = config(group_instance_id="host-1", session_timeout=10, kafka={"group.protocol": "classic"})
    assert attrs.evolve(member, group_id=None).group_id is None
    assert config(group_id=None, session_timeout=20, max_poll_interval=10).group_id is None


@pytest.mark.parametrize("value", ["", "a b", "ä", "x" * 250, ".", "..", 7, "a/b"])
def test_a_bad_group_instance_id_is_refused(value: Any) -> None:
    error = refused(group_instance_id=value)
    assert error.field == "group_instance_id"
    assert "expected 1 to 249 of the characters" in error.problem


def test_a_group_instance_id_is_kept() -> None:
    assert config(group_instance_id="host-1").group_instance_id == "host-1"


# topics


def test_topics_may_be_a_mapping() -> None:
    topics = Topics(prices="p", race_status="s", race_results="r")
    assert topics.names == ("p", "s", "r")
    assert Topics(race_results="r").names == ("r",)
    assert config(topics={"prices": "p", "race_status": "s", "race_results": "r"}).topics == topics
    assert config(topics={"prices": "p", "race_status": None}).topics == Topics(prices="p")


@pytest.mark.parametrize("name", ["x" * 249, "A.b_c-9", "...", "^a"[1:]])
def test_a_good_topic_name_is_accepted(name: str) -> None:
    assert Topics(prices=name).names == (name,)


@pytest.mark.parametrize("kind", ["prices", "race_status", "race_results"])
@pytest.mark.parametrize("name", ["", " ", "a b", "a\n", "^a", "x" * 250, ".", "..", "ä", 7, b"a", ["a"]])
def test_a_bad_topic_name_is_refused(kind: str, name: Any) -> None:
    error = refused(topics={kind: name})
    assert error.field == f"topics.{kind}"
    assert "expected 1 to 249 of the characters a-z A-Z 0-9 . _ -" in error.problem


@pytest.mark.parametrize("value", [{}, {"prices": None}])
def test_at_least_one_topic_is_required(value: Any) -> None:
    error = refused(topics=value)
    assert error.field == "topics"
    assert "give at least one of prices, race_status and race_results" in error.problem
    with pytest.raises(ConfigError, match="give at least one"):
        Topics()


def test_what_is_no_class_of_events_has_no_topic() -> None:
    with pytest.raises(TypeError, match=r"expected a class of events, got <class 'dict'>"):
        Topics(prices="prices").of(dict)  # type: ignore[arg-type]


def test_two_kinds_of_events_cannot_share_a_topic() -> None:
    error = refused(topics={"prices": "p", "race_results": "p"})
    assert error.field == "topics.race_results"
    assert "is the same topic as topics.prices, 'p'" in error.problem


@pytest.mark.parametrize(
    ("key", "ending"),
    [
        ("price", "did you mean prices?"),
        ("status", "did you mean race_status?"),
        ("xyz", "expected one of prices, race_results, race_status"),
        (7, "expected one of prices, race_results, race_status"),
    ],
)
def test_an_unknown_kind_of_topic_is_refused(key: Any, ending: str) -> None:
    error = refused(topics={key: "p"})
    assert error.field == f"topics.{key}"
    assert error.problem.endswith(ending)


@pytest.mark.parametrize("value", ["prices", ["prices"], None, 7])
def test_topics_of_another_type_are_refused(value: Any) -> None:
    error = refused(topics=value)
    assert error.field == "topics"
    assert "expected Topics(" in error.problem


# security


@pytest.mark.parametrize("value", ["", "SSL", "sasl_ssl", "SASL_PLAINTEXT", None, 7])
def test_an_unknown_security_is_refused(value: Any) -> None:
    error = refused(security=value)
    assert error.field == "security"
    assert "expected 'SASL_SSL' or 'PLAINTEXT'" in error.problem


@pytest.mark.parametrize("name", ["username", "password"])
def test_credentials_are_required(name: str) -> None:
    error = refused(**{name: None})
    assert error.field == name
    assert "is required" in error.problem


def test_plaintext_takes_no_credentials(tmp_path: Path, pem: str) -> None:
    (tmp_path / "ca.pem").write_text(pem)
    bare = {"security": "PLAINTEXT", "username": None, "password": None}
    assert config(**bare).security == "PLAINTEXT"
    for name, value in {"username": "u", "password": "p", "ca_file": tmp_path / "ca.pem", "ca_pem": pem}.items():
        error = refused(**{**bare, name: value})
        assert error.field == name
        assert "has no effect with security PLAINTEXT" in error.problem


# the certificate authority


def test_a_ca_file_may_be_any_path(tmp_path: Path, pem: str, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "ca.pem"
    file.write_text(f"# Äuthority\n{pem}\nmore\n{pem}", encoding="utf-8")
    assert config(ca_file=file).ca_file == file
    assert config(ca_file=str(file)).ca_file == file
    monkeypatch.chdir(tmp_path)
    assert config(ca_file="ca.pem").ca_file == file
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert config(ca_file="~/ca.pem").ca_file == file


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "contains no PEM certificate"),
        (b"\x30\x82\x01\x0a", "contains no PEM certificate"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "contains no PEM certificate"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "damaged or truncated"),
        (b"-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n", "damaged or truncated"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n", "contains no PEM certificate"),
    ],
)
def test_a_file_without_a_valid_certificate_is_refused(tmp_path: Path, content: bytes, problem: str) -> None:
    file = tmp_path / "ca.pem"
    file.write_bytes(content)
    error = refused(ca_file=file)
    assert error.field == "ca_file"
    assert str(file) in error.problem
    assert problem in error.problem


def test_one_damaged_certificate_among_good_ones_is_refused(pem: str) -> None:
    lines = pem.splitlines()
    damaged = "\n".join([*lines[:3], *lines[4:]])
    assert "damaged" in refused(ca_pem=f"{pem}\n{damaged}\n{pem}").problem


def test_a_ca_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    assert "can't read" in refused(ca_file=tmp_path / "none.pem").problem
    assert "No such file" in refused(ca_file=tmp_path / "none.pem").problem
    assert "is a folder" in refused(ca_file=tmp_path).problem
    for value in ("", "a\0b", 7, b"ca.pem"):
        assert refused(ca_file=value).field == "ca_file"


def test_a_ca_pem_is_kept(pem: str) -> None:
    made = config(ca_pem=pem)
    assert made.ca_pem == pem
    assert "<1 PEM certificate>" in repr(made)
    assert "<2 PEM certificates>" in repr(config(ca_pem=pem + pem))
    assert config(ca_pem=pem.replace("\n", "\r\n")).ca_pem


@pytest.mark.parametrize("value", ["", "text", 7, b"-----BEGIN CERTIFICATE-----"])
def test_a_ca_pem_without_a_valid_certificate_is_refused(value: Any) -> None:
    assert refused(ca_pem=value).field == "ca_pem"


def test_a_private_key_is_refused(pem: str) -> None:
    key = trustme.CA().issue_cert("a.example").private_key_pem.bytes().decode()
    error = refused(ca_pem=pem + key)
    assert "contains a private key" in error.problem
    assert key.splitlines()[1] not in str(error)


def test_ca_file_and_ca_pem_exclude_each_other(tmp_path: Path, pem: str) -> None:
    file = tmp_path / "ca.pem"
    file.write_text(pem)
    error = refused(ca_file=file, ca_pem=pem)
    assert error.field == "ca_pem"
    assert "together with ca_file" in error.problem


# numbers

DURATIONS = {
    "connect_timeout": 3600,
    "close_timeout": 3600,
    "commit_interval": 3600,
    "session_timeout": 3600,
    "max_poll_interval": 86400,
}


@pytest.mark.parametrize("name", DURATIONS)
@pytest.mark.parametrize("value", [0, -1, 0.0001, math.nan, math.inf, -math.inf, "30", None, True, 1j, 10**400])
def test_a_bad_duration_is_refused(name: str, value: Any) -> None:
    error = refused(**{name: value})
    assert error.field == name
    assert "seconds" in error.problem


@pytest.mark.parametrize(("name", "most"), DURATIONS.items())
def test_durations_have_a_limit(name: str, most: int) -> None:
    # the longest poll interval leaves room for any session
    assert getattr(config(**{"max_poll_interval": 86400, name: most}), name) == most
    error = refused(**{"max_poll_interval": 86400, name: most + 1})
    assert error.field == name
    assert f"expected 0.001 to {most} seconds" in error.problem


def test_a_session_is_not_longer_than_the_poll_interval() -> None:
    assert config(session_timeout=60, max_poll_interval=60)
    error = refused(session_timeout=61, max_poll_interval=60)
    assert error.field == "session_timeout"
    assert "is 61 seconds, longer than max_poll_interval, which is 60 seconds" in error.problem


@pytest.mark.parametrize(
    ("name", "most"),
    [("buffer_records", 10_000_000), ("buffer_bytes", 1_000_000_000_000), ("max_record_bytes", 100_000_000)],
)
def test_counts_are_integers_within_limits(name: str, most: int) -> None:
    assert getattr(config(**{name: 1}), name) == 1
    assert getattr(config(**{name: most}), name) == most
    for value in (0, -1, most + 1):
        assert f"expected 1 to {most}" in refused(**{name: value}).problem
    for other in (1.0, "1", True, None):
        error = refused(**{name: other})
        assert error.field == name
        assert "expected an integer" in error.problem


# start and on_data_loss


@pytest.mark.parametrize(
    "value",
    [
        "earliest",
        "latest",
        datetime(1970, 1, 1, tzinfo=timezone.utc),
        datetime(2026, 11, 21, 9, tzinfo=timezone(timedelta(hours=10))),
    ],
)
def test_start_is_earliest_latest_or_an_aware_time(value: Any) -> None:
    assert config(start=value).start == value


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (datetime(2026, 11, 21, 9), "has no time zone"),  # noqa: DTZ001  # that is the point
        (datetime(1969, 12, 31, tzinfo=timezone.utc), "is before 1970"),
        (date(2026, 11, 21), "expected 'earliest', 'latest' or a time"),
        ("", "expected 'earliest', 'latest' or a time"),
        ("Earliest", "expected 'earliest', 'latest' or a time"),
        ("error", "expected 'earliest', 'latest' or a time"),
        (0, "expected 'earliest', 'latest' or a time"),
        (None, "expected 'earliest', 'latest' or a time"),
    ],
)
def test_a_bad_start_is_refused(value: Any, problem: str) -> None:
    error = refused(start=value)
    assert error.field == "start"
    assert problem in error.problem


@pytest.mark.parametrize("value", ["", "skip", "error", None, 7])
def test_an_unknown_on_data_loss_is_refused(value: Any) -> None:
    error = refused(on_data_loss=value)
    assert error.field == "on_data_loss"
    assert "expected 'raise' or 'earliest' or 'latest'" in error.problem


def test_a_long_value_is_shortened_in_an_error() -> None:
    assert len(str(refused(security="x" * 10_000))) < 200


def test_a_path_is_shown_on_one_line_and_with_all_its_characters(tmp_path: Path) -> None:
    assert "/line\\nbreak/\\x1b" in refused(ca_file=str(tmp_path / "line\nbreak/\x1b")).problem


def test_an_unknown_field_is_pythons_own_error() -> None:
    with pytest.raises(TypeError, match="topic_prices"):
        config(topic_prices="x")
