"""No printed text contains a password: each test searches for a canary in all of them."""

from __future__ import annotations

import copy
import pickle
import pprint
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest
import trustme

import rbhq_stream
from rbhq_stream import ConfigError, DeadLetterTopic, Feed, FeedConfig, Secret, Topics, diagnose
from rbhq_stream._config.tracebacks import without_frames

CANARY = "CANARY-5d41402a"
PACKAGE = str(Path(rbhq_stream.__file__).parent)
LEAST: dict[str, Any] = {
    "bootstrap_servers": "broker.example",
    "username": "partner",
    "password": CANARY,
    "topics": {"prices": "prices"},
    "group_id": "pricing",
    "kafka": {"ssl.key.password": CANARY, "ssl.key.pem": f"-----{CANARY}-----"},
}
ENVIRON = {
    "RBHQ_BOOTSTRAP_SERVERS": "broker.example",
    "RBHQ_USERNAME": "partner",
    "RBHQ_PASSWORD": CANARY,
    "RBHQ_TOPIC_PRICES": "prices",
    "RBHQ_GROUP_ID": "pricing",
    "RBHQ_KAFKA_SSL_KEY_PASSWORD": CANARY,
}
TOML = f"""
bootstrap_servers = "broker.example"
username = "partner"
password = "{CANARY}"
group_id = "pricing"
topics.prices = "prices"
kafka.ssl.key.password = "{CANARY}"
"""


def chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        if error.__cause__ is not None and error.__cause__ is not error.__context__:
            yield from chain(error.__cause__)
        error = error.__context__


def assert_clean(error: BaseException) -> None:
    for one in chain(error):
        attributes = {name: getattr(one, name, None) for name in dir(one) if not name.startswith("__")}
        assert CANARY not in f"{one} {one!r} {one.args!r} {vars(one)!r} {attributes!r}"
        for frame, local, shown in captured(one):
            assert CANARY not in shown, f"{frame} has it in {local}"
    assert CANARY not in "".join(traceback.format_exception(error))
    assert CANARY.encode() not in pickle.dumps(error)


def captured(error: BaseException) -> Iterator[tuple[str, str, str]]:
    """Returns the local variables of the library's frames, as Sentry, `pytest -l` or a debugger shows them."""
    report = traceback.TracebackException.from_exception(error, capture_locals=True)
    for one in filter(None, (report, report.__cause__, report.__context__)):
        for frame in one.stack:
            if frame.filename.startswith((PACKAGE, "<attrs generated")):
                for name, shown in (frame.locals or {}).items():
                    yield f"{frame.filename}:{frame.lineno} {frame.name}", name, shown


def test_a_secret_prints_masked() -> None:
    secret = Secret(CANARY)
    assert secret.reveal() == CANARY
    assert str(secret) == "***"
    assert repr(secret) == "Secret('***')"
    assert f"{secret}" == "***"
    assert f"{secret!r:>15}" == "  Secret('***')"
    assert f"{secret:>5}" == "  ***"
    assert "%s" % secret == "***"  # noqa: UP031  # it is tested too
    assert CANARY not in pprint.pformat([secret, {"a": secret}])
    with pytest.raises(TypeError):
        vars(secret)
    with pytest.raises(AttributeError):
        secret.other = 1  # type: ignore[attr-defined]


def test_a_secret_is_a_value() -> None:
    secret = Secret(CANARY)
    assert secret == Secret(CANARY) == Secret(secret)
    assert secret != Secret("other")
    assert secret != CANARY
    assert hash(secret) == hash(Secret(CANARY))
    assert pickle.loads(pickle.dumps(secret)) == secret
    assert copy.deepcopy(secret) == copy.copy(secret) == secret
    with pytest.raises(TypeError, match="holds a str, not bytes") as caught:
        Secret(CANARY.encode())  # type: ignore[arg-type]
    assert_clean(caught.value)


def test_a_config_prints_masked() -> None:
    made = FeedConfig(**LEAST)
    again = [made, attrs.evolve(made, group_id="g"), pickle.loads(pickle.dumps(made)), copy.deepcopy(made)]
    again += [FeedConfig.from_env(ENVIRON)]
    for config in again:
        assert config.password is not None
        assert config.password.reveal() == CANARY
        assert "password=Secret('***')" in repr(config)
        for shown in (config, attrs.asdict(config), attrs.astuple(config), config.kafka, dict(config.kafka)):
            assert CANARY not in f"{shown} {shown!r} {pprint.pformat(shown)}"
        properties = config.kafka_properties()
        assert properties["sasl.password"] == CANARY
        assert CANARY not in f"{properties} {properties!r} {pprint.pformat(properties)}"


WRONG: dict[str, list[Any]] = {
    "bootstrap_servers": ["", "a,,b", f"kafka://partner:{CANARY}@broker", f"partner:{CANARY}@broker", 7, None],
    "username": ["", " ", 7, None],
    "topics": [{}, {"prices": "a b"}, {"price": "p"}, 7],
    "group_id": ["", "g\n", "none"],
    "group_instance_id": ["a b", 7],
    "client_id": ["", 7],
    "security": ["SSL", "PLAINTEXT"],
    "ca_file": ["/none", ".", 7, "a\0b"],
    "ca_pem": ["text", f"-----BEGIN PRIVATE KEY-----\n{CANARY}", f"-----BEGIN CERTIFICATE-----\n{CANARY}"],
    "connect_timeout": [0, "x"],
    "close_timeout": [float("nan")],
    "commit_interval": [-1],
    "session_timeout": [3601, 301],
    "max_poll_interval": [1],
    "start": ["x", 7],
    "on_data_loss": ["x"],
    "buffer_records": [0],
    "buffer_bytes": [0],
    "max_record_bytes": ["x"],
    "kafka": [
        {"sasl.password": CANARY},
        {"ssl.key.password": f"{CANARY}\0"},
        {"ssl.key.password": f"{CANARY}\udc80"},
        {"ssl.key.password": [CANARY]},
        {"ssl.key.password": CANARY.encode()},
        {"enable.auto.commit": CANARY},
        {"error_cb": CANARY},
        {"group.protocol": "consumer", "heartbeat.interval.ms": 1, "ssl.key.password": CANARY},
        7,
    ],
    "password": [
        f" {CANARY}",
        f"{CANARY}\n",
        f"{CANARY}\nx",
        f"{CANARY}\0",
        f"{CANARY}\udc80",
        CANARY.encode(),
        [CANARY],
        Secret(f"{CANARY} "),
    ],
}


def test_every_field_has_a_wrong_value_in_the_table() -> None:
    assert set(WRONG) == {attribute.name for attribute in attrs.fields(FeedConfig)}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_an_error_shows_no_secret(name: str, value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        FeedConfig(**{**LEAST, name: value})
    assert_clean(caught.value)
    with pytest.raises(ConfigError) as caught:
        attrs.evolve(FeedConfig(**LEAST), **{name: value})
    assert_clean(caught.value)


@pytest.mark.parametrize(
    "variables",
    [
        *({f"RBHQ_{name.upper()}": "\n"} for name in WRONG if name not in {"topics", "kafka"}),
        {"RBHQ_PASSWORD": f"{CANARY} "},
        {"RBHQ_PASSWD": CANARY},
        {"RBHQ_TOPIC_PRICES": "a b"},
        {"RBHQ_TOPIC_PRICES": ""},
        {"RBHQ_KAFKA_SASL_PASSWORD": CANARY},
        {"RBHQ_PASSWORD_FILE": "/none"},
        {"RBHQ_PASSWORD_FILE": "/none", "RBHQ_PASSWORD": ""},
        {"RBHQ_CONNECT_TIMEOUT": "x"},
        {"RBHQ_BUFFER_RECORDS": "x"},
        {"RBHQ_START": "x"},
        {"RBHQ_CA_PEM": trustme.CA().issue_cert("a.example").private_key_pem.bytes().decode() + CANARY},
    ],
)
def test_an_error_about_the_environment_shows_no_secret(variables: dict[str, str]) -> None:
    with pytest.raises(ConfigError) as caught:
        FeedConfig.from_env({**ENVIRON, **variables})
    assert_clean(caught.value)


@pytest.mark.parametrize("content", [f"{CANARY}\n\n", f" {CANARY}", f"{CANARY}\nx\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_an_error_about_a_password_file_shows_no_secret(content: str, encoding: str, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(content, encoding=encoding)
    with pytest.raises(ConfigError) as caught:
        FeedConfig.from_env({**ENVIRON, "RBHQ_PASSWORD": "", "RBHQ_PASSWORD_FILE": str(file)})
    assert_clean(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        f"password = {CANARY}",
        f'password = "{CANARY}',
        f'password = "{CANARY}"\npassword = "{CANARY}"',
        f'password = ["{CANARY}"]',
        f'password = {{text = "{CANARY}"}}',
        f'passwrd = "{CANARY}"',
        f'password = "{CANARY}"\x00',
        f'{TOML}\npassword_file = "x"',
        f"{TOML}\nnonsense",
        f"{TOML}\nnonsense = 1",
        f'{TOML}\nca_pem = "{CANARY}"',
        f'{TOML}\nkafka.sasl.password = "{CANARY}"',
        f'{TOML}\nkafka.ssl.keystore.password = ["{CANARY}"]',
        TOML.replace("prices", "a b"),
        TOML.replace(f'"{CANARY}"', f'"{CANARY} "'),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_an_error_about_toml_shows_no_secret(text: str, encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "feed.toml"
    path.write_text(text, encoding=encoding)
    with pytest.raises(ConfigError) as caught:
        FeedConfig.from_toml(path)
    assert_clean(caught.value)


def test_a_config_from_toml_prints_masked(tmp_path: Path) -> None:
    path = tmp_path / "feed.toml"
    path.write_text(TOML)
    config = FeedConfig.from_toml(path)
    assert CANARY not in f"{config} {attrs.asdict(config)} {config.kafka_properties()}"
    assert config.kafka_properties()["ssl.key.password"] == CANARY


def test_an_instance_under_construction_can_be_shown() -> None:
    bare = object.__new__(FeedConfig)
    assert repr(bare) == "FeedConfig()"
    object.__setattr__(bare, "password", Secret(CANARY))
    assert repr(bare) == "FeedConfig(password=Secret('***'))"
    whole = FeedConfig(**LEAST)
    assert all(f"{attribute.name}=" in repr(whole) for attribute in attrs.fields(FeedConfig))


def test_an_error_keeps_what_the_application_was_doing() -> None:
    try:
        try:
            raise KeyError("the application's own")
        except KeyError:
            FeedConfig(**{**LEAST, "password": ""})
    except ConfigError as error:
        assert_clean(error)
        report = "".join(traceback.format_exception(error))
        assert "the application's own" in report
        assert 'FeedConfig(**{**LEAST, "password": ""})' in report, "the line that made it"


def test_an_interrupt_shows_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Topics, "__attrs_post_init__", interrupted)
    with pytest.raises(KeyboardInterrupt) as caught:
        FeedConfig.from_env(ENVIRON)
    assert_clean(caught.value)


class AMapping(Mapping[str, Any]):
    """A mapping that raises when it is read."""

    def __getitem__(self, name: str) -> Any:
        raise ZeroDivisionError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(["ssl.key.password"])

    def __len__(self) -> int:
        return 1

    def __repr__(self) -> str:
        return CANARY


@pytest.mark.parametrize(
    "fields", [{"pasword": CANARY}, {"kafka": AMapping()}, {"kafka": [("ssl.key.password", CANARY)]}]
)
def test_an_error_of_another_kind_shows_no_secret(fields: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ZeroDivisionError, ConfigError)) as caught:
        FeedConfig(**{**LEAST, **fields})
    assert_clean(caught.value)
    with pytest.raises((TypeError, ZeroDivisionError, ConfigError)) as caught:
        FeedConfig.from_env(ENVIRON, **fields)
    assert_clean(caught.value)


@pytest.mark.parametrize(
    "kafka",
    [
        {"sasl.password": CANARY},
        {"bootstrap.servers": "a", "sasl.password": CANARY, "acks": 1},
        {"bootstrap.servers": "a", "sasl.password": CANARY, "no.such.property": 1},
        {"bootstrap.servers": "a", "security.protocol": "SSL", "ssl.key.pem": CANARY},
        [("sasl.password", CANARY)],
        AMapping(),
    ],
)
def test_an_error_of_a_dead_letter_topic_shows_no_secret(kafka: Any) -> None:
    with pytest.raises((ConfigError, ZeroDivisionError)) as caught:
        DeadLetterTopic("bad", kafka)
    assert_clean(caught.value)


def test_what_the_kafka_client_refuses_shows_no_secret() -> None:
    config = FeedConfig(**LEAST, ca_pem=trustme.CA().cert_pem.bytes().decode())
    feed = Feed(config)
    with pytest.raises(ConfigError) as caught:
        feed.__enter__()
    assert_clean(caught.value)
    with pytest.raises(ConfigError) as caught:
        diagnose(config)
    assert_clean(caught.value)


def test_an_error_that_led_to_another_one_is_not_shown_either() -> None:
    """Its text and its frames may have the secret."""

    @without_frames
    def converted(secret: str) -> int:
        try:
            return int(secret)
        except ValueError as error:
            raise ConfigError("password", "is not a number") from error

    with pytest.raises(ConfigError) as caught:
        converted(CANARY)
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)
