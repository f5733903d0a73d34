"""The TLS handshake with a broker and its certificate; or, without TLS, whether the port speaks Kafka.

The handshake is made with Python's ssl module, because the Kafka client reports too little about a failure. It trusts
the same authorities as the Kafka client.
"""

from __future__ import annotations

import socket
import ssl
import sys
import time
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

from rbhq_stream._config import FeedConfig
from rbhq_stream._diagnose.findings import Finding
from rbhq_stream.errors import TlsError

EXPIRES_SOON_DAYS = 14
"""There is a warning if the certificate expires within this many days."""

SYSTEM_AUTHORITIES = (
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/certs/ca-bundle.crt",
    "/etc/pki/tls/certs/ca-bundle.trust.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/ssl/cert.pem",
    "/etc/ssl/cacert.pem",
    "/etc/certs/ca-certificates.crt",
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/ssl/certs",
)
"""Where librdkafka looks for the system's authorities. It uses the first path that exists. Python may use others."""

_NO_CHECK_TIME = 0x200000
"""OpenSSL's X509_V_FLAG_NO_CHECK_TIME, for which Python has no name."""
_EXPIRED, _NOT_YET_VALID, _OTHER_NAMES = 10, 9, {62, 64}
_UNTRUSTED = {2, 18, 19, 20, 21, 24}
"""OpenSSL's X509_V_ERR_… codes."""

_REQUEST = b"\x00\x12\x00\x00rbhq\x00\x0brbhq-stream"
"""An ApiVersions request, to which any Kafka broker responds before a log-in: its key, its version, our correlation id
and our client id."""


class _Peer(NamedTuple):
    """The address to connect to, the host name to verify, and the deadline (monotonic)."""

    host: str
    address: str
    port: int
    deadline: float

    def connect(self) -> socket.socket:
        return socket.create_connection((self.address, self.port), self.left())

    def left(self) -> float:
        return max(0.05, self.deadline - time.monotonic())


def handshake(config: FeedConfig, host: str, address: str, port: int, deadline: float) -> Finding:
    """Makes the handshake with the configured authorities, and returns the finding."""
    peer = _Peer(host, address, port, deadline)
    if config.security == "PLAINTEXT":
        return _without_tls(peer)
    try:
        context = _context(config)
    except (OSError, ValueError) as error:  # an ssl.SSLError is an OSError
        return _failed(f"the trusted authorities can't be read: {error}", "Check ca_file or ca_pem.")
    try:
        with peer.connect() as raw, context.wrap_socket(raw, server_hostname=host) as connection:
            return _accepted(connection.getpeercert() or {}, connection.version() or "TLS")
    except ssl.SSLCertVerificationError as error:
        return _refused(config, peer, error)
    except TimeoutError:
        return _failed(
            "connected, but nothing was received in the TLS handshake",
            "Something between this host and the broker drops the data. The usual causes: RBHQ has not whitelisted the"
            " public IP address of this host, or a firewall or proxy lets connections through but not their data.",
        )
    except OSError as error:
        return _no_tls(peer, error)


def _context(config: FeedConfig) -> ssl.SSLContext:
    """Returns a context that trusts what the Kafka client trusts: the configured authorities alone, or the system's."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if config.ca_file is not None:
        context.load_verify_locations(cafile=config.ca_file)
    elif config.ca_pem is not None:
        context.load_verify_locations(cadata=config.ca_pem)
    elif sys.platform == "win32" or not _load_system_authorities(context):
        context.load_default_certs()
    return context


def _load_system_authorities(context: ssl.SSLContext) -> bool:
    for path in map(Path, SYSTEM_AUTHORITIES):
        if path.is_file():
            context.load_verify_locations(cafile=path)
            return True
        if path.is_dir() and any(path.iterdir()):
            context.load_verify_locations(capath=path)
            return True
    return False


# accepted


def _accepted(certificate: Mapping[str, Any], version: str) -> Finding:
    facts = {"tls_version": version, **_facts(certificate)}
    detail = f"{version}, certificate for {_names(facts)}, issued by {facts['issuer']}, {_validity(facts)}"
    if facts["days_left"] < EXPIRES_SOON_DAYS:
        return Finding(
            "warning", detail, "Ask RBHQ when it will be renewed: after that date nobody can connect.", facts
        )
    return Finding("ok", detail, facts=facts)


def _facts(certificate: Mapping[str, Any]) -> dict[str, Any]:
    expires = ssl.cert_time_to_seconds(certificate["notAfter"])
    return {
        "names": [value for kind, value in certificate.get("subjectAltName", ()) if kind in ("DNS", "IP Address")],
        "issuer": _distinguished(certificate.get("issuer", ())),
        "valid_from": _iso(ssl.cert_time_to_seconds(certificate["notBefore"])),
        "expires": _iso(expires),
        "days_left": int((expires - time.time()) // 86_400),
    }


def _distinguished(name: Any) -> str:
    short = {"commonName": "CN", "organizationName": "O", "organizationalUnitName": "OU"}
    parts = [f"{short[key]}={value}" for group in name for key, value in group if key in short]
    return ", ".join(parts) or "an unnamed issuer"


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat()


def _names(facts: Mapping[str, Any]) -> str:
    names = facts["names"]
    return (", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")) or "no name at all"


def _validity(facts: Mapping[str, Any]) -> str:
    days, day = facts["days_left"], facts["expires"][:10]
    return f"expired on {day}, {-days - 1} days ago" if days < 0 else f"valid until {day}, {days} days left"


# refused


def _refused(config: FeedConfig, peer: _Peer, error: ssl.SSLCertVerificationError) -> Finding:
    facts = _refused_facts(peer)
    code = error.verify_code
    now = f"This host's clock shows {_iso(time.time())[:16]} UTC: check it."
    known = (
        f"the certificate ({facts['issuer']} for {_names(facts)}, {_validity(facts)})" if facts else "the certificate"
    )
    if code == _EXPIRED:
        return _failed(f"{known} has expired", f"{now} If it is right, RBHQ has to renew the certificate.", facts)
    if code == _NOT_YET_VALID:
        return _failed(f"{known} is not valid yet", now, facts)
    if code in _OTHER_NAMES:
        return _failed(
            f"{known} is not for {peer.host}",
            "In bootstrap_servers, use a name that is in the certificate. If RBHQ gave you this name, ask RBHQ. If"
            " this host resolves the name in its own way (hosts file, private DNS), it may lead to the wrong machine.",
            facts,
        )
    if code in _UNTRUSTED:
        given = "ca_file" if config.ca_file else "ca_pem" if config.ca_pem else None
        hint = (
            f"{given} doesn't hold the authority that signed it: ask RBHQ for the right one."
            if given
            else "It is signed by none of the system's authorities, and neither ca_file nor ca_pem is set: set one to"
            " the authority that RBHQ gave you, or update the system's certificates."
        )
        hint += " A proxy that intercepts TLS would look the same."
        return _failed(f"{known} is not trusted: {error.verify_message}", hint, facts)
    return _failed(f"{known} is not accepted: {error.verify_message}", TlsError.hint, facts)


def _refused_facts(peer: _Peer) -> dict[str, Any]:
    """Returns the facts in the refused certificate, or nothing if it can't be fetched.

    Python only parses a certificate that it trusts. So the certificate is first fetched without verification, and then
    fetched again with itself as the only trusted one.
    """
    blind = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    blind.check_hostname = False
    blind.verify_mode = ssl.CERT_NONE
    reader = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    reader.check_hostname = False
    reader.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | _NO_CHECK_TIME
    try:
        with peer.connect() as raw, blind.wrap_socket(raw, server_hostname=peer.host) as connection:
            reader.load_verify_locations(cadata=connection.getpeercert(binary_form=True) or b"")
        with peer.connect() as raw, reader.wrap_socket(raw, server_hostname=peer.host) as connection:
            return _facts(connection.getpeercert() or {})
    except (OSError, ValueError, KeyError):  # only the wording of the finding depends on it
        return {}


# no TLS


def _no_tls(peer: _Peer, error: OSError) -> Finding:
    reason = getattr(error, "reason", None) or error.strerror or str(error) or type(error).__name__
    if _speaks_kafka(peer):
        return _failed(
            f"port {peer.port} speaks Kafka without TLS",
            "This is the wrong port: use the TLS port in bootstrap_servers (RBHQ's is 9196). For a broker on your own"
            ' machine only, set security="PLAINTEXT".',
        )
    return _failed(
        f"the TLS handshake failed: {reason}",
        "The server doesn't speak TLS, or no version that this host accepts. Check the port (RBHQ's is 9196), and"
        " whether there is a proxy or firewall in between.",
    )


def _without_tls(peer: _Peer) -> Finding:
    half = (time.monotonic() + peer.deadline) / 2
    if _speaks_kafka(peer._replace(deadline=half)):
        return Finding("skipped", "security is PLAINTEXT: no encryption, no log-in")
    if _speaks_tls(peer):
        return _failed(
            f"port {peer.port} speaks TLS, but security is PLAINTEXT",
            'Set security="SASL_SSL" with username and password, as RBHQ\'s brokers need it, or use another port.',
        )
    return _failed(
        f"the server on port {peer.port} speaks neither Kafka nor TLS, or doesn't respond", "Check host and port."
    )


def _speaks_kafka(peer: _Peer) -> bool:
    """Returns whether the server responds to a Kafka request without TLS."""
    try:
        with peer.connect() as connection:
            connection.sendall(len(_REQUEST).to_bytes(4, "big") + _REQUEST)
            response = b""
            while len(response) < 8:
                connection.settimeout(peer.left())
                piece = connection.recv(8 - len(response))
                if not piece:
                    return False
                response += piece
    except OSError:
        return False
    return response[4:] == _REQUEST[4:8]


def _speaks_tls(peer: _Peer) -> bool:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with peer.connect() as raw, context.wrap_socket(raw, server_hostname=peer.host):
            return True
    except OSError:
        return False


def _failed(detail: str, hint: str, facts: Mapping[str, Any] | None = None) -> Finding:
    return Finding("failed", detail, hint, {"error": "TlsError", **(facts or {})})
