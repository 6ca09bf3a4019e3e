"""The client at the other end of a TLS connection, as its certificate names it.

OpenSSL has verified it against the server's authority by then; a certificate that does not verify ends the handshake.
Neighbours: `front`, which reads it from the connection, and `authentication`, which makes a user of it.
"""

from __future__ import annotations

import hashlib
import ssl
from typing import Any, Self

import msgspec


class PeerCertificate(msgspec.Struct, frozen=True):
    """What a verified client certificate says."""

    common_name: str
    organizations: tuple[str, ...]
    expires: float
    """Unix time. A connection may outlive it."""
    fingerprint: str
    """SHA-256 of the certificate, in hexadecimal."""

    @classmethod
    def of(cls, connection: ssl.SSLObject | None) -> Self | None:
        """Of a connection's peer; None without TLS or without a certificate."""
        described: Any = connection.getpeercert() if connection else None
        if connection is None or not described:
            return None
        names = [attribute for relative in described.get("subject", ()) for attribute in relative]
        common = [value for kind, value in names if kind == "commonName"]
        return cls(
            common_name=common[-1] if common else "",
            organizations=tuple(value for kind, value in names if kind == "organizationName"),
            expires=ssl.cert_time_to_seconds(described["notAfter"]),
            fingerprint=hashlib.sha256(connection.getpeercert(binary_form=True) or b"").hexdigest(),
        )
