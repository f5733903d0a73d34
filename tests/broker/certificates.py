"""Certificates made for one test run: a certificate authority and what it signs.

Nothing here is ever reused or stored outside the run's folder. A server certificate is one PEM
file holding the private key and the chain, which is what Kafka reads as a PEM key store.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import trustme
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

LOOPBACK = ("localhost", "127.0.0.1")


class CertificateAuthority:
    """A certificate authority with its own folder; ``ca_file`` is what a client has to trust."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.ca_file = directory / "ca.pem"
        self._authority = trustme.CA()
        self._authority.cert_pem.write_to_path(self.ca_file)

    @property
    def ca_pem(self) -> str:
        """The authority's own certificate, as PEM text."""
        return self._authority.cert_pem.bytes().decode()

    def server(self) -> Path:
        """A good certificate, for the names the brokers are reached by."""
        return self._issue("server", LOOPBACK)

    def server_with_wrong_hostname(self) -> Path:
        """A certificate for somebody else: signed and in date, but not for localhost."""
        return self._issue("wrong-hostname", ("kafka.example.com",))

    def expired_server(self) -> Path:
        """A certificate for the right names that ran out yesterday."""
        yesterday = dt.datetime.now(dt.timezone.utc) - dt.timedelta(days=1)
        return self._issue("expired", LOOPBACK, not_after=yesterday)

    def _issue(self, name: str, hosts: tuple[str, ...], not_after: dt.datetime | None = None) -> Path:
        issued = self._authority.issue_cert(*hosts, not_after=not_after)
        # trustme writes the key in the older form, which Kafka does not read: it wants PKCS#8.
        key = load_pem_private_key(issued.private_key_pem.bytes(), password=None)
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        pem += b"".join(part.bytes() for part in issued.cert_chain_pems)
        file = self.directory / f"{name}.pem"
        file.touch(mode=0o600)
        file.write_bytes(pem)
        return file


def untrusted_ca(directory: Path) -> Path:
    """The CA file of an authority that signed nothing here: a client given it must refuse us."""
    return CertificateAuthority(directory).ca_file
