"""Serving certificates, and files of them that are exchanged as the kubelet exchanges those of a mounted Secret."""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Pair:
    """PEM of a certificate that is its own authority, and of its key."""

    certificate: bytes
    key: bytes
    serial: int


def make_pair(name: str = "webhook", *hosts: str) -> Pair:
    """A pair for localhost and these hosts, unlike every other."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(host) for host in ("localhost", *hosts)]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return Pair(
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
        certificate.serial_number,
    )


@dataclass
class MountedSecret:
    """A directory with tls.crt and tls.key, links by way of `..data` to the directory of the version that holds."""

    directory: Path
    _versions: count[int] = field(default_factory=count)

    @property
    def certificate(self) -> Path:
        return self.directory / "tls.crt"

    @property
    def key(self) -> Path:
        return self.directory / "tls.key"

    def publish(self, pair: Pair) -> None:
        """Exchanges both files in one step."""
        version = self.directory / f"..{next(self._versions)}"
        version.mkdir(parents=True)
        (version / "tls.crt").write_bytes(pair.certificate)
        (version / "tls.key").write_bytes(pair.key)
        link = self.directory / "..data_tmp"
        link.symlink_to(version.name)
        link.replace(self.directory / "..data")
        for path in (self.certificate, self.key):
            if not path.is_symlink():
                path.symlink_to(os.path.join("..data", path.name))  # noqa: PTH118 - a link's text


def served_serial(port: int) -> int:
    """The serial number of the certificate that a new handshake shows."""
    pem = ssl.get_server_certificate(("127.0.0.1", port), timeout=10)
    return x509.load_pem_x509_certificate(pem.encode()).serial_number
