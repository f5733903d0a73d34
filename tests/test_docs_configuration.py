"""docs/configuration.md: its tables agree with the class."""

from __future__ import annotations

import re
from pathlib import Path

import attrs
import pytest

from rbhq_stream._config import FeedConfig, Topics
from rbhq_stream._config.properties import MINIMUM, REFUSED, REFUSED_PATTERNS, RawProperties

DOC = Path(__file__).parents[1] / "docs" / "configuration.md"
TEXT = DOC.read_text(encoding="utf-8")
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in TEXT.splitlines() if line.startswith("| `")]
FIELDS = {row[0].strip("` "): row for row in ROWS if len(row) == 6}
PROPERTIES = {row[0].strip("` "): row[1] for row in ROWS if len(row) == 3}
REASONS = {name: row[1] for row in ROWS if len(row) == 2 for name in re.findall(r"`([^`]+)`", row[0])}

OTHERS: dict[str, tuple[list[str], list[str]]] = {
    "password": (["RBHQ_PASSWORD", "RBHQ_PASSWORD_FILE"], ["password", "password_file"]),
    "kafka": (["RBHQ_KAFKA_…"], ["kafka.…"]),
}


def named() -> list[tuple[str, object]]:
    fields: list[tuple[str, object]] = []
    for attribute in attrs.fields(FeedConfig):
        if attribute.name == "topics":
            fields += [(f"topics.{topic.name}", topic.default) for topic in attrs.fields(Topics)]
        else:
            fields.append((attribute.name, attribute.default))
    return fields


def test_every_field_has_its_row() -> None:
    assert sorted(FIELDS) == sorted(name for name, _ in named())


@pytest.mark.parametrize(("name", "default"), named())
def test_each_row_agrees_with_the_class(name: str, default: object) -> None:
    _, kind, shown, variables, keys, meaning = FIELDS[name]
    assert kind
    assert meaning
    variable = name.replace("topics.", "topic.").replace(".", "_").upper()
    expected_variables, expected_keys = OTHERS.get(name, ([f"RBHQ_{variable}"], [name]))
    assert re.findall(r"`([^`]+)`", variables) == expected_variables
    assert re.findall(r"`([^`]+)`", keys) == expected_keys
    if name in {"username", "password"}:
        assert shown == ""  # None, but required with SASL_SSL
    elif name == "kafka":
        assert shown == "`{}`"
    else:
        assert shown == ("" if default is attrs.NOTHING else f"`{default!r}`")


def test_every_refused_property_has_its_reason() -> None:
    assert {name: reason for name, reason in REASONS.items() if name in REFUSED} == REFUSED
    families = {name: reason for name, reason in REASONS.items() if name not in REFUSED}
    least = {name: families.pop(name) for name in MINIMUM}
    assert least == {name: f"{minimum}: {reason}" for name, (minimum, reason) in MINIMUM.items()}
    assert set(families) == {"test.*", "ut_*"}
    for reason in REFUSED_PATTERNS.values():
        assert reason in TEXT


def test_the_page_lists_the_feeds_own_properties() -> None:
    fields = {
        "bootstrap_servers": "a",
        "username": "u",
        "password": "p",
        "topics": Topics(prices="p"),
        "group_id": "g",
    }
    properties = FeedConfig(**fields).kafka_properties()  # type: ignore[arg-type] # as the field takes them
    from_fields = {"bootstrap.servers", "client.id", "group.id", "max.poll.interval.ms", "session.timeout.ms"}
    from_fields |= {"security.protocol", "sasl.username", "sasl.password"}
    guaranteed = {name for name in properties if name in REFUSED} - {"ssl.ca.location"}
    assert set(PROPERTIES) == set(properties) - from_fields - guaranteed | {"ssl.ca.location"}
    for name, value in PROPERTIES.items():
        assert f"`{properties.get(name, 'probe')}`" in value


def test_the_toml_example_is_a_configuration(tmp_path: Path) -> None:
    example = re.search(r"```toml\n(.*?)```", TEXT, re.DOTALL)
    assert example
    text = re.sub(r"(?m)^ca_file.*$", "", example.group(1))
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "rbhq").write_text("correct horse\n")
    (tmp_path / "feed.toml").write_text(text, encoding="utf-8")
    config = FeedConfig.from_toml(tmp_path / "feed.toml")
    assert config.topics == Topics(prices="prices", race_status="status", race_results="results")
    assert config.kafka == RawProperties({"fetch.min.bytes": 1})
    assert config.connect_timeout == 10
