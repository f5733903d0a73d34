"""`FeedConfig` from environment variables and from TOML: the same as in code, with errors that name the origin."""

from __future__ import annotations

import os
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import attrs
import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from rbhq_stream._config import FeedConfig, Topics
from rbhq_stream._config.properties import Secret
from rbhq_stream.errors import ConfigError

LEAST = {
    "RBHQ_BOOTSTRAP_SERVERS": "broker.example",
    "RBHQ_USERNAME": "partner",
    "RBHQ_PASSWORD": "correct horse",
    "RBHQ_TOPIC_PRICES": "prices",
    "RBHQ_GROUP_ID": "pricing",
}
LEAST_TOML = """
bootstrap_servers = "broker.example"
username = "partner"
password = "correct horse"
group_id = "pricing"
topics.prices = "prices"
"""
LEAST_CONFIG = FeedConfig(
    bootstrap_servers="broker.example",
    username="partner",
    password="correct horse",
    topics=Topics(prices="prices"),
    group_id="pricing",
)
PEM = trustme.CA().cert_pem.bytes().decode()


def refused_env(**variables: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        FeedConfig.from_env({**LEAST, **variables})
    return caught.value


def toml(folder: Path, text: str) -> Path:
    path = folder / "feed.toml"
    path.write_text(text, encoding="utf-8")
    return path


def refused_toml(folder: Path, text: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        FeedConfig.from_toml(toml(folder, text))
    return caught.value


# every field, from everywhere

names = st.from_regex(r"[a-z0-9][a-z0-9.-]{0,10}[a-z0-9]", fullmatch=True)
texts = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S"]), min_size=1, max_size=20)
durations = st.floats(0.001, 3600).map(lambda value: round(value, 3))
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "bootstrap_servers": st.lists(names, min_size=1, max_size=3, unique=True),
    "username": texts,
    "password": texts,
    "topics": st.fixed_dictionaries(
        {"prices": names.map("p{}".format)},
        optional={"race_status": names.map("s{}".format), "race_results": names.map("r{}".format)},
    ),
    "group_id": texts.filter(lambda text: text.casefold() != "none") | st.none(),
    "group_instance_id": names,
    "client_id": texts,
    "security": st.just("SASL_SSL"),
    "ca_file": st.just("ca.pem"),
    "ca_pem": st.just(PEM),
    "connect_timeout": durations,
    "close_timeout": durations,
    "commit_interval": durations,
    "session_timeout": durations,
    "max_poll_interval": durations.map(lambda value: value + 3600),
    "start": st.sampled_from(["earliest", "latest"])
    | st.datetimes(
        datetime(1971, 1, 1),  # noqa: DTZ001  # the zone comes from timezones
        datetime(2100, 1, 1),  # noqa: DTZ001  # the same
        timezones=st.just(timezone.utc) | st.just(timezone(timedelta(hours=10))),
    ),
    "on_data_loss": st.sampled_from(["raise", "earliest", "latest"]),
    "buffer_records": st.integers(1, 10_000_000),
    "buffer_bytes": st.integers(1, 1_000_000_000_000),
    "max_record_bytes": st.integers(1, 100_000_000),
    "kafka": st.fixed_dictionaries(
        {},
        optional={"fetch.min.bytes": st.integers(0, 9).map(str), "log_level": st.just("7"), "ssl.key.password": texts},
    ),
}
REQUIRED = {"bootstrap_servers", "username", "password", "topics", "group_id"}


@st.composite
def fields(draw: st.DrawFn) -> dict[str, Any]:
    """Any configuration, as the constructor's arguments."""
    chosen = draw(st.sets(st.sampled_from(sorted(FIELDS)))) | REQUIRED
    if "ca_file" in chosen:
        chosen.discard("ca_pem")
    if "session_timeout" in chosen:
        chosen.add("max_poll_interval")
    return {name: draw(FIELDS[name]) for name in sorted(chosen)}


def as_variables(given_fields: dict[str, Any]) -> dict[str, str]:
    variables = {}
    for name, value in given_fields.items():
        if name == "topics":
            variables.update({f"RBHQ_TOPIC_{kind.upper()}": topic for kind, topic in value.items()})
        elif name == "kafka":
            variables.update({f"RBHQ_KAFKA_{key.upper().replace('.', '_')}": text for key, text in value.items()})
        elif isinstance(value, list):
            variables[f"RBHQ_{name.upper()}"] = ",".join(value)
        elif isinstance(value, datetime):
            variables[f"RBHQ_{name.upper()}"] = value.isoformat()
        else:
            variables[f"RBHQ_{name.upper()}"] = str(value)
    return variables


def as_toml(given_fields: dict[str, Any]) -> str:
    def written(value: Any) -> str:
        if isinstance(value, dict):
            return "{" + ", ".join(f"{written(key)} = {written(inner)}" for key, inner in value.items()) + "}"
        if isinstance(value, list):
            return "[" + ", ".join(map(written, value)) + "]"
        if value is None:
            return '"none"'
        if isinstance(value, str):
            return '"' + "".join(f"\\U{ord(char):08x}" for char in value) + '"'
        return value.isoformat() if isinstance(value, datetime) else str(value)

    return "\n".join(f"{name} = {written(value)}" for name, value in given_fields.items())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("config")
    (folder / "ca.pem").write_text(PEM)
    return folder


def test_the_property_tests_below_cover_every_field() -> None:
    assert list(FIELDS) == [attribute.name for attribute in attrs.fields(FeedConfig)]


@given(given_fields=fields())
def test_the_environment_gives_the_same_configuration_as_code(given_fields: dict[str, Any], folder: Path) -> None:
    if "ca_file" in given_fields:
        given_fields["ca_file"] = str(folder / "ca.pem")
    assert FeedConfig.from_env(as_variables(given_fields)) == FeedConfig(**given_fields)


@given(given_fields=fields())
def test_toml_gives_the_same_configuration_as_code(given_fields: dict[str, Any], folder: Path) -> None:
    path = toml(folder, as_toml(given_fields))
    if "ca_file" in given_fields:
        given_fields["ca_file"] = str(folder / "ca.pem")
    assert FeedConfig.from_toml(path) == FeedConfig(**given_fields)


WRONG = {
    "bootstrap_servers": "kafka://a",
    "username": " u",
    "password": "p ",
    "group_id": "g\n",
    "group_instance_id": "a b",
    "client_id": " ",
    "security": "SSL",
    "ca_file": "none.pem",
    "ca_pem": "text",
    "connect_timeout": "30s",
    "close_timeout": "-1",
    "commit_interval": "nan",
    "session_timeout": "3601",
    "max_poll_interval": "x",
    "start": "2026-11-21T09:00:00",
    "on_data_loss": "skip",
    "buffer_records": "1.5",
    "buffer_bytes": "64M",
    "max_record_bytes": "0",
}


def test_every_field_has_a_wrong_value_in_the_table_below() -> None:
    assert {*WRONG, "topics", "kafka"} == {attribute.name for attribute in attrs.fields(FeedConfig)}


@pytest.mark.parametrize(("name", "text"), WRONG.items())
def test_the_error_about_a_wrong_value_names_its_origin(name: str, text: str, tmp_path: Path) -> None:
    error = refused_env(**{f"RBHQ_{name.upper()}": text})
    assert error.field == name
    assert error.origin == f"environment variable RBHQ_{name.upper()}"
    assert str(error) == f"{name} (from environment variable RBHQ_{name.upper()}): {error.problem}"
    kept = "\n".join(line for line in LEAST_TOML.splitlines() if not line.startswith(name))
    error = refused_toml(tmp_path, f"{name} = {text!r}\n{kept}" if "\n" not in text else f'{name} = "g\\n"\n{kept}')
    assert error.field == name
    assert error.origin == f"key {name} in {tmp_path / 'feed.toml'}"


# the environment


@pytest.mark.parametrize("text", ["none", "None"])
def test_no_group_is_written_as_none(text: str, tmp_path: Path) -> None:
    assert FeedConfig.from_env({**LEAST, "RBHQ_GROUP_ID": text}).group_id is None
    written = LEAST_TOML.replace('"pricing"', f'"{text}"')
    assert FeedConfig.from_toml(toml(tmp_path, written)).group_id is None
    assert FeedConfig.from_env(LEAST, group_id=None).group_id is None


def test_a_few_variables_are_enough() -> None:
    assert FeedConfig.from_env(LEAST) == LEAST_CONFIG


def test_the_environment_of_the_process_is_read_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("RBHQ_")]:
        monkeypatch.delenv(name)
    for name, text in LEAST.items():
        monkeypatch.setenv(name, text)
    assert FeedConfig.from_env() == LEAST_CONFIG


def test_the_prefix_can_be_changed() -> None:
    environ = {name.replace("RBHQ_", "FEED_"): text for name, text in LEAST.items()}
    assert FeedConfig.from_env({**environ, "RBHQ_NONSENSE": "1"}, prefix="FEED_") == LEAST_CONFIG
    with pytest.raises(ConfigError) as caught:
        FeedConfig.from_env({**environ, "FEED_SECURITY": "x"}, "FEED_")
    assert caught.value.origin == "environment variable FEED_SECURITY"


def test_an_empty_variable_is_not_set() -> None:
    empty = {f"RBHQ_{name.upper()}": "" for name in WRONG} | {"RBHQ_KAFKA_DEBUG": "", "RBHQ_NONSENSE": ""}
    assert FeedConfig.from_env({**empty, **LEAST}) == LEAST_CONFIG


@pytest.mark.parametrize(
    ("variable", "field"),
    [
        ("RBHQ_BOOTSTRAP_SERVERS", "bootstrap_servers"),
        ("RBHQ_USERNAME", "username"),
        ("RBHQ_PASSWORD", "password"),
        ("RBHQ_TOPIC_PRICES", "topics"),
        ("RBHQ_GROUP_ID", "group_id"),
    ],
)
@pytest.mark.parametrize("empty", [False, True])
def test_the_error_about_a_missing_field_names_the_variable(variable: str, field: str, empty: bool) -> None:
    environ = {**LEAST, variable: ""} if empty else {name: text for name, text in LEAST.items() if name != variable}
    with pytest.raises(ConfigError) as caught:
        FeedConfig.from_env(environ)
    assert caught.value.field == field
    assert variable in str(caught.value)
    assert "is required" in caught.value.problem
    assert caught.value.__cause__ is None


def test_missing_topics_name_all_variables() -> None:
    with pytest.raises(ConfigError) as caught:
        FeedConfig.from_env({**LEAST, "RBHQ_TOPIC_PRICES": ""})
    assert caught.value.origin == (
        "environment variable RBHQ_TOPIC_PRICES, RBHQ_TOPIC_RACE_STATUS, RBHQ_TOPIC_RACE_RESULTS"
    )


def test_a_missing_password_names_both_variables() -> None:
    with pytest.raises(ConfigError) as caught:
        FeedConfig.from_env({**LEAST, "RBHQ_PASSWORD": ""})
    assert caught.value.origin == "environment variable RBHQ_PASSWORD, RBHQ_PASSWORD_FILE"


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("RBHQ_TOPICS_PRICES", "RBHQ_TOPIC_PRICES"),
        ("RBHQ_TOPIC_RACESTATUS", "RBHQ_TOPIC_RACE_STATUS"),
        ("RBHQ_BOOTSTRAP_SERVER", "RBHQ_BOOTSTRAP_SERVERS"),
        ("RBHQ_USER", "RBHQ_USERNAME"),
        ("RBHQ_GROUPID", "RBHQ_GROUP_ID"),
        ("RBHQ_PASSWORDFILE", "RBHQ_PASSWORD_FILE"),
        ("RBHQ_TOPICS", "RBHQ_TOPIC_PRICES"),
    ],
)
def test_an_unknown_variable_is_refused_with_the_nearest_name(variable: str, meant: str) -> None:
    error = refused_env(**{variable: "canary"})
    assert error.field == variable.removeprefix("RBHQ_").lower()
    assert error.origin == f"environment variable {variable}"
    assert error.problem == f"is not a setting of the feed: did you mean {meant}?"


def test_a_variable_with_no_similar_name_is_refused_with_all_names() -> None:
    assert (
        "expected one of RBHQ_BOOTSTRAP_SERVERS, RBHQ_BUFFER_BYTES, RBHQ_BUFFER_RECORDS, "
        in refused_env(RBHQ_Q="1").problem
    )


@pytest.mark.parametrize("text", ["none", "x\ny", " p"])
def test_a_wrong_topic_names_its_variable(text: str) -> None:
    error = refused_env(RBHQ_TOPIC_RACE_RESULTS=f"{text} {text}")
    assert error.field == "topics.race_results"
    assert error.origin == "environment variable RBHQ_TOPIC_RACE_RESULTS"


def test_variables_set_raw_properties() -> None:
    made = FeedConfig.from_env(
        {**LEAST, "RBHQ_KAFKA_FETCH_MIN_BYTES": "1", "RBHQ_KAFKA_LOG_LEVEL": "7", "RBHQ_KAFKA_CLIENT_RACK": "r_1"}
    )
    assert made.kafka == {"fetch.min.bytes": "1", "log_level": "7", "client.rack": "r_1"}


@pytest.mark.parametrize(
    ("variable", "field", "problem"),
    [
        ("RBHQ_KAFKA_ENABLE_AUTO_COMMIT", 'kafka["enable.auto.commit"]', "can't be set"),
        ("RBHQ_KAFKA_GROUP_ID", 'kafka["group.id"]', "use the field group_id"),
        ("RBHQ_KAFKA_FETCH_WAIT_MAX_MS", 'kafka["fetch.wait.max.ms"]', "integer"),
        ("RBHQ_KAFKA_", 'kafka[""]', "is not the name of a property of librdkafka"),
    ],
)
def test_a_wrong_property_names_its_variable(variable: str, field: str, problem: str) -> None:
    error = refused_env(**{variable: "x"})
    assert error.field == field
    assert error.origin == f"environment variable {variable}"
    assert problem in error.problem


def test_a_property_that_is_set_twice_is_refused() -> None:
    error = refused_env(RBHQ_KAFKA_DEBUG="cgrp", RBHQ_KAFKA_debug="topic")
    assert error.field == 'kafka["debug"]'
    assert error.origin == "environment variable RBHQ_KAFKA_debug"
    assert error.problem == "is set twice, also by environment variable RBHQ_KAFKA_DEBUG"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("latest", "latest"),
        ("2026-11-21T09:00:00Z", datetime(2026, 11, 21, 9, tzinfo=timezone.utc)),
        ("2026-11-21 19:00+10:00", datetime(2026, 11, 21, 9, tzinfo=timezone.utc)),
    ],
)
def test_start_may_be_a_string(text: str, expected: Any, tmp_path: Path) -> None:
    assert FeedConfig.from_env({**LEAST, "RBHQ_START": text}).start == expected
    assert FeedConfig.from_toml(toml(tmp_path, f"start = {text!r}\n{LEAST_TOML}")).start == expected


@pytest.mark.parametrize("text", ["2026-11-21T09:00:00", "2026-11-21", "yesterday", "2026-13-01T00:00:00Z"])
def test_a_wrong_start_is_refused(text: str) -> None:
    assert "a time with its time zone, such as 2026-11-21T09:00:00+00:00" in refused_env(RBHQ_START=text).problem


def test_a_certificate_may_be_on_one_line() -> None:
    assert FeedConfig.from_env({**LEAST, "RBHQ_CA_PEM": PEM.replace("\n", "\\n")}).ca_pem == PEM


def test_a_local_broker_needs_no_credentials() -> None:
    environ = {name: LEAST[name] for name in LEAST if name not in {"RBHQ_USERNAME", "RBHQ_PASSWORD"}}
    assert FeedConfig.from_env({**environ, "RBHQ_SECURITY": "PLAINTEXT"}).password is None
    error = refused_env(RBHQ_SECURITY="PLAINTEXT")
    assert error.origin == "environment variable RBHQ_USERNAME"


# the password from a file


@pytest.mark.parametrize(
    ("content", "password"),
    [
        (b"correct horse", "correct horse"),
        (b"correct horse\n", "correct horse"),
        (b"correct horse\r\n", "correct horse"),
        (b"\xef\xbb\xbfcorrect horse\r\n", "correct horse"),
        ("pässword\n".encode(), "pässword"),
    ],
)
def test_a_password_may_be_in_a_file(content: bytes, password: str, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_bytes(content)
    environ = {**LEAST, "RBHQ_PASSWORD": "", "RBHQ_PASSWORD_FILE": str(file)}
    assert FeedConfig.from_env(environ).password == Secret(password)
    text = LEAST_TOML.replace('password = "correct horse"', 'password_file = "password"')
    assert FeedConfig.from_toml(toml(tmp_path, text)).password == Secret(password)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"canary\n\n", "begins or ends with a space or a line break"),
        (b" canary\n", "begins or ends with a space or a line break"),
        (b"canary\r", "begins or ends with a space or a line break"),
        (b"canary\ncanary\n", "cannot be printed"),
        (b"canary\xff\n", "cannot be printed"),
    ],
)
def test_a_file_with_a_bad_password_is_refused(content: bytes, problem: str, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_bytes(content)
    error = refused_env(RBHQ_PASSWORD="", RBHQ_PASSWORD_FILE=str(file))
    assert error.field == "password"
    assert error.origin == "environment variable RBHQ_PASSWORD_FILE"
    assert problem in error.problem
    assert "canary" not in str(error)


def test_a_password_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        error = refused_env(RBHQ_PASSWORD="", RBHQ_PASSWORD_FILE=str(path))
        assert error.field == "password"
        assert error.origin == "environment variable RBHQ_PASSWORD_FILE"
        assert f"can't read {path}: " in error.problem
    error = refused_toml(tmp_path, LEAST_TOML.replace('password = "correct horse"', "password_file = 7"))
    assert error.field == "password"
    assert error.origin == f"key password_file in {tmp_path / 'feed.toml'}"
    assert error.problem == "expected the path of a file, got int"


def test_a_path_that_cannot_exist_is_refused(tmp_path: Path) -> None:
    for line in ('ca_file = "a\\u0000b"', 'password_file = "a\\u0000b"', 'ca_file = "~no-such-user/ca.pem"'):
        text = LEAST_TOML.replace('password = "correct horse"', "") if "password" in line else LEAST_TOML
        assert line.partition(" ")[0].removesuffix("_file") in refused_toml(tmp_path, f"{line}\n{text}").field


def test_a_password_and_a_password_file_exclude_each_other(tmp_path: Path) -> None:
    error = refused_env(RBHQ_PASSWORD_FILE=str(tmp_path / "password"))
    assert error.field == "password"
    assert error.origin == "environment variable RBHQ_PASSWORD_FILE"
    assert error.problem == "is set twice, also by environment variable RBHQ_PASSWORD"


# fields given in code beside them


def test_fields_given_in_code_take_precedence(tmp_path: Path) -> None:
    topics = Topics(race_status="status")
    overrides: dict[str, Any] = {"topics": topics, "group_id": "other", "password": "p", "connect_timeout": 5}
    expected = attrs.evolve(LEAST_CONFIG, **overrides)
    environ = {
        **LEAST,
        # what is overridden isn't even read
        "RBHQ_TOPIC_PRICES": "no topic",
        "RBHQ_PASSWORD_FILE": "/none",
        "RBHQ_CONNECT_TIMEOUT": "x",
    }
    assert FeedConfig.from_env(environ, **overrides) == expected
    assert FeedConfig.from_toml(toml(tmp_path, LEAST_TOML), **overrides) == expected
    assert FeedConfig.from_env({**LEAST, "RBHQ_KAFKA_DEBUG": "x"}, kafka={"client.rack": "r"}).kafka == {
        "client.rack": "r"
    }


@pytest.mark.parametrize(
    ("field", "value"), [("group_id", ""), ("topics", {"prices": ""}), ("kafka", {"group.id": "x"}), ("password", None)]
)
def test_a_wrong_override_has_no_origin(field: str, value: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        FeedConfig.from_env({**LEAST, "RBHQ_TOPIC_RACE_STATUS": "s"}, **{field: value})
    assert caught.value.origin is None
    with pytest.raises(ConfigError) as caught:
        FeedConfig.from_toml(toml(tmp_path, LEAST_TOML), **{field: value})
    assert caught.value.origin is None


def test_an_unknown_override_is_pythons_own_error(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="groupid"):
        FeedConfig.from_env(LEAST, groupid="x")
    with pytest.raises(TypeError, match="groupid"):
        FeedConfig.from_toml(toml(tmp_path, LEAST_TOML), groupid="x")


def test_a_subclass_can_be_configured(tmp_path: Path) -> None:
    class Own(FeedConfig):
        pass

    assert type(Own.from_env(LEAST)) is Own
    assert type(Own.from_toml(toml(tmp_path, LEAST_TOML))) is Own


# TOML


def test_a_few_keys_are_enough(tmp_path: Path) -> None:
    path = toml(tmp_path, LEAST_TOML)
    assert FeedConfig.from_toml(path) == LEAST_CONFIG
    assert FeedConfig.from_toml(str(path)) == LEAST_CONFIG


def test_a_file_may_have_a_byte_order_mark_and_crlf(tmp_path: Path) -> None:
    path = tmp_path / "feed.toml"
    path.write_bytes(b"\xef\xbb\xbf" + LEAST_TOML.replace("\n", "\r\n").encode())
    assert FeedConfig.from_toml(path) == LEAST_CONFIG


@pytest.mark.parametrize("table", ["rbhq", "services.rbhq.feed"])
def test_a_table_of_a_larger_file_can_be_read(table: str, tmp_path: Path) -> None:
    path = toml(tmp_path, f"other = 1\n[{table}]\n{LEAST_TOML}")
    assert FeedConfig.from_toml(path, table=table) == LEAST_CONFIG
    path = toml(tmp_path, f"other = 1\n[{table}]\ntopics.price = 'x'\n{LEAST_TOML}")
    with pytest.raises(ConfigError) as caught:
        FeedConfig.from_toml(path, table=table)
    assert caught.value.origin == f"key {table}.topics.price in {path}"


@pytest.mark.parametrize("table", ["rbhq", "other", "services.none", "other.x"])
def test_a_table_that_does_not_exist_is_refused(table: str, tmp_path: Path) -> None:
    path = toml(tmp_path, "other = 1\n[services]\n")
    with pytest.raises(ConfigError, match=rf"has no table \[{table.partition('.')[0]}"):
        FeedConfig.from_toml(path, table=table)


def test_toml_sets_raw_properties(tmp_path: Path) -> None:
    text = (
        '[kafka]\nfetch.min.bytes = 1\n"fetch.wait.max.ms" = 100\ncheck.crcs = true\nlog_level = 7\nclient.rack = "r"\n'
    )
    assert FeedConfig.from_toml(toml(tmp_path, LEAST_TOML + text)).kafka == {
        "fetch.min.bytes": 1,
        "fetch.wait.max.ms": 100,
        "check.crcs": True,
        "log_level": 7,
        "client.rack": "r",
    }


@pytest.mark.parametrize(
    ("line", "field", "key", "problem"),
    [
        (
            "[kafka]\nenable.auto.commit = true",
            'kafka["enable.auto.commit"]',
            "kafka.enable.auto.commit",
            "can't be set",
        ),
        ("[kafka]\nclient.rack = ['a']", 'kafka["client.rack"]', "kafka.client.rack", "got list"),
        ("kafka = 7", "kafka", "kafka", "expected a mapping"),
        ("topic.prices = 'p'", "topic", "topic", "did you mean topics?"),
        ("topics.price = 'p'", "topics.price", "topics.price", "did you mean prices?"),
        ("topics.race_status = ''", "topics.race_status", "topics.race_status", "expected 1 to 249"),
        ("topics.race_status = 7", "topics.race_status", "topics.race_status", "expected 1 to 249"),
        ("topics.race_status = 'prices'", "topics.race_status", "topics.race_status", "is the same topic"),
        ("groupid = 'g'", "groupid", "groupid", "did you mean group_id?"),
        ("security = 7", "security", "security", "expected 'SASL_SSL'"),
        ("connect_timeout = '30s'", "connect_timeout", "connect_timeout", "expected a number of seconds"),
        ("connect_timeout = inf", "connect_timeout", "connect_timeout", "expected 0.001 to"),
        ("buffer_records = 1.5", "buffer_records", "buffer_records", "expected an integer"),
        ("start = 2026-11-21T09:00:00", "start", "start", "has no time zone"),
        ("start = 2026-11-21", "start", "start", "expected 'earliest'"),
        ("ca_file = ''", "ca_file", "ca_file", "is empty"),
        ("ca_file = 7", "ca_file", "ca_file", "expected a path"),
        ("client_id = {a = 1}", "client_id", "client_id", "got dict"),
    ],
)
def test_a_wrong_key_is_refused(line: str, field: str, key: str, problem: str, tmp_path: Path) -> None:
    text = f"{LEAST_TOML}\n{line}\n"
    error = refused_toml(tmp_path, text)
    assert error.field == field
    assert error.origin == f"key {key} in {tmp_path / 'feed.toml'}"
    assert problem in error.problem


def test_a_property_written_in_both_ways_is_refused(tmp_path: Path) -> None:
    error = refused_toml(tmp_path, f'{LEAST_TOML}[kafka]\n"fetch.min.bytes" = 1\nfetch.min.bytes = 2\n')
    assert error.field == 'kafka["fetch.min.bytes"]'
    assert error.problem.startswith("is set twice, also by key kafka.fetch.min.bytes in ")


@pytest.mark.parametrize("field", ["bootstrap_servers", "username", "password", "topics", "group_id"])
def test_the_error_about_a_missing_field_names_the_key(field: str, tmp_path: Path) -> None:
    error = refused_toml(tmp_path, "\n".join(line for line in LEAST_TOML.splitlines() if not line.startswith(field)))
    assert error.field == field
    assert error.origin == f"key {field} in {tmp_path / 'feed.toml'}"
    assert "is required" in error.problem


def test_paths_are_relative_to_the_folder_of_the_file(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = toml(folder, f'ca_file = "ca.pem"\n{LEAST_TOML}')
    assert FeedConfig.from_toml(path).ca_file == folder / "ca.pem"
    path = toml(folder, f"ca_file = {str(folder / 'ca.pem')!r}\n{LEAST_TOML}")
    assert FeedConfig.from_toml(path).ca_file == folder / "ca.pem"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"group_id = \n", "is not valid TOML: Invalid value (at line 1"),
        (b"\n\n[topics\n", "line 3"),
        (b"group_id = 'a'\ngroup_id = 'b'", "is not valid TOML"),
        (b"buffer_records = " + b"9" * 5000, "is not valid TOML"),
        (b"kafka = " + b"[" * 100_000, "is not valid TOML"),
        (b"group_id = '\xff'", "is not UTF-8, which TOML requires"),
        ("group_id = 'a'".encode("utf-16"), "is not UTF-8, which TOML requires"),
    ],
)
def test_a_file_that_is_not_valid_toml_is_refused(content: bytes, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "feed.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        FeedConfig.from_toml(path)
    assert caught.value.field == "path"
    assert str(path) in caught.value.problem
    assert problem in caught.value.problem
    assert len(str(caught.value)) < 400


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(ConfigError, match="path: can't read"):
            FeedConfig.from_toml(path)
