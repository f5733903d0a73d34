"""Checks of single values of the configuration: a converter or a validator for each kind of value.

Each raises `ConfigError` with the field, what was found and what is expected. None of them shows a password.
"""

from __future__ import annotations

import ipaddress
import os
import re
import ssl
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import attrs

from rbhq_stream import _field_checks
from rbhq_stream._config.properties import PropertyValue, RawProperties, Secret
from rbhq_stream.errors import ConfigError

DEFAULT_PORT = 9196
"""The port of RBHQ's brokers."""

Check = _field_checks.Check
optional = _field_checks.optional

_KAFKA_NAME = re.compile(r"[a-zA-Z0-9._-]{1,249}")
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_.])?")
_CERTIFICATE = re.compile(r"-----BEGIN ((?:X509 |TRUSTED )?CERTIFICATE)-----\s.*?-----END \1-----", re.DOTALL)


def shown(value: object) -> str:
    """Returns a value as an error shows it: shortened, or hidden if it contains an @, as a URL with a password does."""
    try:
        text = repr(value)
    except ValueError:  # an integer of more digits than Python is willing to write
        return f"an {type(value).__name__} that is too long to show"
    if "@" in text:
        return "a value that contains an @ (not shown)"
    return text if len(text) <= 60 else f"{text[:60]}…"


def shown_path(path: object) -> str:
    """Returns a path as an error shows it: printable, on one line, of limited length."""
    text = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in str(path))
    return text if len(text) <= 200 else f"{text[:200]}…"


def text(_: Any, attribute: attrs.Attribute[Any], value: object) -> None:
    """Checks a name: a string on one line."""
    problem = _text_problem(value, shown(value))
    if problem:
        raise ConfigError(attribute.name, problem)


def group(instance: Any, attribute: attrs.Attribute[Any], value: object) -> None:
    """Checks the name of a consumer group; `None` is no group."""
    if value is None:
        return
    text(instance, attribute, value)
    if is_no_group(str(value)):
        raise ConfigError(
            attribute.name,
            f"is {value!r}, which means no consumer group in a variable or a file: give None for that, or another name",
        )


def is_no_group(name: str) -> bool:
    """Returns whether a string means that there is no consumer group. No group can have such a name."""
    return name.casefold() == "none"


def password(_: Any, attribute: attrs.Attribute[Any], value: Secret) -> None:
    """Checks a password in the same way. The error does not show it."""
    problem = _text_problem(value.reveal(), None)
    if problem:
        raise ConfigError(attribute.name, problem)


def _text_problem(value: object, seen: str | None) -> str | None:
    if not isinstance(value, str):
        return f"expected a string, got {type(value).__name__}"
    got = f", got {seen}" if seen else ""
    if not value:
        return "is empty"
    if value != value.strip():
        return (
            f"begins or ends with a space or a line break{got}. Remove it: it may have been copied by accident, or read"
            " from the end of a file"
        )
    if not value.isprintable():
        return f"contains a line break or another character that cannot be printed{got}"
    return None


def kafka_name(_: Any, attribute: attrs.Attribute[Any], value: object) -> None:
    """Checks a name that Kafka accepts for a topic or a member of a group."""
    problem = _name_problem(value)
    if problem:
        raise ConfigError(attribute.name, problem)


def topic(_: Any, attribute: attrs.Attribute[Any], value: object) -> None:
    """Checks the name of a topic in a field of `Topics`. `None` stands for a topic that is not read."""
    problem = None if value is None else _name_problem(value)
    if problem:
        raise ConfigError(f"topics.{attribute.name}", problem)


def _name_problem(value: object) -> str | None:
    if isinstance(value, str) and _KAFKA_NAME.fullmatch(value) and value not in {".", ".."}:
        return None
    return f"expected 1 to 249 of the characters a-z A-Z 0-9 . _ -, got {shown(value)}"


def one_of(*choices: str) -> Check:
    """Returns the check for one of a few strings."""

    def check(_: Any, attribute: attrs.Attribute[Any], value: object) -> None:
        if not isinstance(value, str) or value not in choices:
            expected = " or ".join(map(repr, choices))
            raise ConfigError(attribute.name, f"expected {expected}, got {shown(value)}")

    return check


def seconds(longest: float) -> Check:
    """Returns the check for a duration in seconds, from a millisecond up to `longest`."""

    def check(_: Any, attribute: attrs.Attribute[Any], value: object) -> None:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ConfigError(attribute.name, f"expected a number of seconds, got {shown(value)}")
        if not 0.001 <= value <= longest:  # written so that NaN is refused too
            raise ConfigError(attribute.name, f"expected 0.001 to {longest} seconds, got {shown(value)}")

    return check


def count(largest: int) -> Check:
    """Returns the check for an integer from 1 to `largest`."""

    def check(_: Any, attribute: attrs.Attribute[Any], value: object) -> None:
        if isinstance(value, bool) or not isinstance(value, int):
            raise ConfigError(attribute.name, f"expected an integer, got {shown(value)}")
        if not 1 <= value <= largest:
            raise ConfigError(attribute.name, f"expected 1 to {largest}, got {shown(value)}")

    return check


def start(_: Any, attribute: attrs.Attribute[Any], value: object) -> None:
    """Checks for `"earliest"`, `"latest"` or an aware time."""
    expected = "expected 'earliest', 'latest' or a time with its time zone, such as 2026-11-21T09:00:00+00:00"
    if isinstance(value, datetime):
        if value.utcoffset() is None:
            raise ConfigError(attribute.name, f"has no time zone: {expected}, got {value.isoformat()}")
        if value < datetime(1970, 1, 1, tzinfo=timezone.utc):
            raise ConfigError(attribute.name, f"is before 1970: {expected}, got {value.isoformat()}")
    elif not isinstance(value, str) or value not in {"earliest", "latest"}:
        raise ConfigError(attribute.name, f"{expected}, got {shown(value)}")


def to_servers(value: str | Sequence[str]) -> tuple[str, ...]:
    def wrong(problem: str) -> ConfigError:
        return ConfigError("bootstrap_servers", problem)

    entries = value.split(",") if isinstance(value, str) else value
    if not isinstance(entries, Sequence) or isinstance(entries, (bytes, bytearray)):
        raise wrong(f"expected a string such as 'host:port,host:port' or a list of strings, got {type(value).__name__}")
    if not entries:
        raise wrong("is empty: give at least one broker, as host or host:port")
    servers = tuple(_server(entry, wrong) for entry in entries)
    for number, server in enumerate(servers):
        if server in servers[:number]:
            raise wrong(f"has {server} twice")
    return servers


def _server(entry: object, wrong: Callable[[str], ConfigError]) -> str:
    """Returns one broker as `host:port`, in lower case and with the default port if it has none."""
    if not isinstance(entry, str):
        raise wrong(f"expected strings such as 'host:{DEFAULT_PORT}', got {type(entry).__name__}")
    text = entry.strip()
    if not text:
        raise wrong("is empty or has an empty entry: give host or host:port, with one comma between two of them")
    if "://" in text or "@" in text or "/" in text:
        raise wrong(f"expected host or host:port, not a URL: leave out scheme, user and path, got {shown(entry)}")
    bracketed = re.fullmatch(r"\[([^\]]*)\](?::(.*))?", text)
    if bracketed:
        host, port = bracketed.groups()
        if not _is_ipv6(host):
            raise wrong(f"expected an IPv6 address in the brackets, got {shown(entry)}")
        host = f"[{ipaddress.IPv6Address(host)}]"
    elif text.count(":") > 1:
        raise wrong(f"expected an IPv6 address to be in brackets, such as [::1]:{DEFAULT_PORT}, got {shown(entry)}")
    else:
        host, colon, rest = text.partition(":")
        port = rest if colon else None
        if not _HOST.fullmatch(host):
            raise wrong(f"expected a host name or an IP address, optionally with :port, got {shown(entry)}")
        host = host.lower()
    if port is None:
        return f"{host}:{DEFAULT_PORT}"
    if not (re.fullmatch(r"[0-9]{1,5}", port) and 1 <= int(port) <= 65535):
        raise wrong(f"expected a port from 1 to 65535 after the colon, got {shown(entry)}")
    return f"{host}:{int(port)}"


def _is_ipv6(host: str) -> bool:
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        return False
    return True


def to_secret(value: str | Secret | None) -> Secret | None:
    if value is None or isinstance(value, Secret):
        return value
    if not isinstance(value, str):
        raise ConfigError("password", f"expected a string, got {type(value).__name__}")
    return Secret(value)


def path_text(field: str, value: object) -> str:
    """Returns a path as a string."""
    try:
        text = os.fspath(value)  # type: ignore[call-overload]
    except TypeError:
        text = None
    if not isinstance(text, str):
        raise ConfigError(field, f"expected a path, got {type(value).__name__}")
    if not text or "\0" in text:
        raise ConfigError(field, "is empty or contains a NUL character")
    return text


def to_path(value: str | os.PathLike[str] | None) -> Path | None:
    if value is None:
        return None
    text = path_text("ca_file", value)
    try:
        text.encode()
        return Path(text).expanduser().absolute()
    except UnicodeEncodeError:
        problem = f"is not valid UTF-8, which the Kafka client requires: {shown_path(text)}"
    except (RuntimeError, OSError) as error:
        problem = f"can't resolve {shown_path(text)}: {error}"
    raise ConfigError("ca_file", problem)


def ca_file(_: Any, attribute: attrs.Attribute[Any], path: Path) -> None:
    try:
        # the Kafka client reads it again later, and a pipe or a device might return something else then
        if path.exists() and not path.is_file():
            what = "a folder" if path.is_dir() else "not a regular file"
            problem = f"is {what}: give the PEM file with the certificate of the certificate authority"
            raise ConfigError(attribute.name, f"{shown_path(path)} {problem}")
        content = path.read_bytes()
    except OSError as error:
        problem = error.strerror or type(error).__name__
        raise ConfigError(attribute.name, f"can't read {shown_path(path)}: {problem}") from None
    pem_problem = _pem_problem(content.decode("utf-8", "replace"))
    if pem_problem:
        raise ConfigError(attribute.name, f"{shown_path(path)} {pem_problem}")


def ca_pem(_: Any, attribute: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, str):
        raise ConfigError(attribute.name, f"expected a certificate as a PEM string, got {type(value).__name__}")
    if "PRIVATE KEY" in value:
        raise ConfigError(attribute.name, "contains a private key: give only the authority's certificate")
    problem = _pem_problem(value)
    if problem:
        raise ConfigError(attribute.name, problem)


def _pem_problem(content: str) -> str | None:
    """Returns why a string does not contain valid PEM certificates. Other text around them is allowed."""
    expected = "expected -----BEGIN CERTIFICATE-----, lines of base64, -----END CERTIFICATE-----"
    blocks = [match.group() for match in _CERTIFICATE.finditer(content)]
    if not blocks:
        return f"contains no PEM certificate: {expected}"
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata="\n".join(blocks))
    except (ssl.SSLError, ValueError, TypeError):  # a TypeError for characters beyond ASCII
        return f"contains a certificate that is damaged or truncated: {expected}"
    return None


def shown_pem(content: str | None) -> str:
    """Returns PEM certificates as a repr shows them."""
    if content is None:
        return repr(content)
    count = len(_CERTIFICATE.findall(content))
    return f"<{count} PEM certificate{'s' if count > 1 else ''}>"


def to_properties(value: Mapping[str, PropertyValue]) -> RawProperties:
    if isinstance(value, RawProperties):
        return value
    if not isinstance(value, Mapping):
        raise ConfigError("kafka", f"expected a mapping of librdkafka properties, got {type(value).__name__}")
    return RawProperties(value)
