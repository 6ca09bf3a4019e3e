"""What a server asks of TLS, in the words of the flags of Kubernetes' programs (--tls-min-version VersionTLS12,
--tls-cipher-suites TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,...), and the context made of it and of a certificate."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from .errors import RuntimeLibraryError

TLS_VERSIONS = {"VersionTLS12": ssl.TLSVersion.TLSv1_2, "VersionTLS13": ssl.TLSVersion.TLSv1_3}
"""Older versions are not offered: OpenSSL 3 does not speak them at its normal level of security."""

CIPHER_SUITES = {
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
}
"""The suites of TLS 1.2 that Go holds for secure, and OpenSSL's names for them."""
_FIXED_SUITES = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")
"""TLS 1.3's. They may be named; that changes nothing, in Go as here."""


class TLSOptionsError(RuntimeLibraryError, ValueError):
    """A TLS version or cipher suite that this server does not know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TLSOptions:
    """How a server speaks TLS."""

    min_version: str = "VersionTLS12"
    """One of TLS_VERSIONS."""
    cipher_suites: tuple[str, ...] = ()
    """Of CIPHER_SUITES, for TLS 1.2; OpenSSL's choice when empty."""
    client_ca: Path | None = None
    """Certificates of authorities: a client must show a certificate that one of them signed. Re-read as the server's
    own certificate is."""

    def __post_init__(self) -> None:
        """Raises TLSOptionsError."""
        if self.min_version not in TLS_VERSIONS:
            raise TLSOptionsError(f"{self.min_version!r} is no TLS version: take one of {', '.join(TLS_VERSIONS)}")
        unknown = [name for name in self.cipher_suites if name not in CIPHER_SUITES and name not in _FIXED_SUITES]
        if unknown:
            known = ", ".join((*CIPHER_SUITES, *_FIXED_SUITES))
            raise TLSOptionsError(f"unknown TLS cipher suites {', '.join(unknown)}: take some of {known}")


def server_context(certificate: Path, key: Path, options: TLSOptions) -> ssl.SSLContext:
    """A context with the pair, which must belong together; raises OSError (ssl.SSLError is one)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = TLS_VERSIONS[options.min_version]
    ciphers = [CIPHER_SUITES[name] for name in options.cipher_suites if name in CIPHER_SUITES]
    if ciphers:
        context.set_ciphers(":".join(ciphers))
    context.set_alpn_protocols(["http/1.1"])
    # An empty password: OpenSSL would ask for that of an encrypted key on the terminal.
    context.load_cert_chain(certificate, key, password="")
    if options.client_ca is not None:
        context.load_verify_locations(options.client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context
