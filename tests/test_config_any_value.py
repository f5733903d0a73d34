"""A configuration accepts any value or raises a `ConfigError` that can be logged."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import attrs
import pytest

from rbhq_stream import ConfigError, FeedConfig, Topics

LEAST: dict[str, Any] = {
    "bootstrap_servers": "broker.example",
    "username": "partner",
    "password": "correct horse",
    "topics": Topics(prices="prices"),
    "group_id": "pricing",
}


class BytesPath:
    def __fspath__(self) -> bytes:
        return b"/tmp"


def attempt(make: Callable[..., FeedConfig], *args: Any, **fields: Any) -> tuple[Any, ConfigError | None]:
    try:
        return make(*args, **fields), None
    except ConfigError as error:
        return None, error


def can_be_logged(error: ConfigError) -> bool:
    return len(str(error).encode()) < 1000


NASTY: list[Any] = [
    *("", " ", "\ud800", "\udcff", "\0", "x" * 300, "x" * 100_000, "/" + "y" * 5000, "~nobody-such/x", "/dev/null"),
    *("a:" + "9" * 5000, "[::1%\ud800]", "-----BEGIN CERTIFICATE-----\n\ud800\n-----END CERTIFICATE-----"),
    *(0, -1, 2**31, 2**63, 10**400, 10**5000, 1.5, math.inf, -math.inf, math.nan, 1e308, True, None, 1j),
    *(Decimal(1), Decimal("sNaN"), b"x", [], ["\ud800"], [None], (), set(), object(), BytesPath(), Topics),
    *(Path("\ud800"), Path("z" * 5000), date(2020, 1, 1), datetime.min, datetime.max),  # noqa: DTZ901  # that is what is tested
    *({}, {7: 7}, {"\ud800": 1}, {"prices": "\ud800"}, {"prices": 10**5000}),
    *({"client.rack": "\ud800"}, {"fetch.min.bytes": 10**5000}, {"fetch.min.bytes": math.nan}),
    *({"heartbeat.interval.ms": "9" * 5000}, {"group.protocol": b"x"}),
]


@pytest.mark.parametrize("name", [attribute.name for attribute in attrs.fields(FeedConfig)])
def test_a_value_of_any_kind_is_accepted_or_refused_with_an_error_that_can_be_printed(name: str) -> None:
    for value in NASTY:
        made, refusal = attempt(FeedConfig, **{**LEAST, name: value})
        if refusal is None:
            assert repr(made)
            assert made.kafka_properties()
        else:
            assert name in str(refusal)
            assert can_be_logged(refusal)


@pytest.mark.parametrize(
    "variable", ["CA_FILE", "CA_PEM", "PASSWORD_FILE", "GROUP_ID", "START", "\ud800", "BUFFER_RECORDS"]
)
def test_a_variable_of_any_kind_is_accepted_or_refused_with_an_error_that_can_be_printed(variable: str) -> None:
    fields = {"BOOTSTRAP_SERVERS": "a", "USERNAME": "u", "PASSWORD": "p", "GROUP_ID": "g", "TOPIC_PRICES": "p"}
    environ = {f"RBHQ_{name}": value for name, value in fields.items() if name not in variable}
    for value in NASTY:
        if isinstance(value, str):
            _, refusal = attempt(FeedConfig.from_env, {**environ, f"RBHQ_{variable}": value})
            assert refusal is None or can_be_logged(refusal)


@pytest.mark.parametrize("path", ["", "\0", "\ud800", "x" * 300, "/" + "y" * 5000, 7, None, b"x", BytesPath()])
def test_a_path_that_cannot_be_one_is_refused_with_an_error_that_can_be_printed(path: Any) -> None:
    _, refusal = attempt(FeedConfig.from_toml, path)
    assert refusal is not None
    assert refusal.field == "path"
    assert can_be_logged(refusal)


def test_a_ca_file_that_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero"):
        with pytest.raises(ConfigError, match="is not a regular file: give the PEM file with"):
            FeedConfig(**LEAST, ca_file=path)
