"""The server's own certificate authority and what it signs, made with `cryptography` and kept in a directory.

The authority is the root of trust of kubeconfigs and of client certificates: it is kept with its key (mode 0600) as
long as it is valid, so that certificates stay good over restarts and `localmodel sandbox kubeconfig` can issue more.
The server's own certificate is renewed when it nears its end or another host is to be served. Keys are elliptic
(P-256): made in a millisecond.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

LIFETIME = timedelta(days=3650)
CLIENT_LIFETIME = timedelta(days=365)
"""Of client certificates, as kubeadm makes them."""
RENEW_BEFORE = timedelta(days=7)
MAX_NAME = 64
"""Characters of a common name or an organization (X.520's upper bounds)."""


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate and its private key, in PEM."""

    certificate: bytes
    key: bytes

    def write(self, certificate: Path, key: Path) -> None:
        """Writes both files; the key is readable by its owner only."""
        write_private(key, self.key)
        certificate.write_bytes(self.certificate)


@dataclass(frozen=True, slots=True)
class ServingCertificate:
    """Files in PEM: the authority that clients trust, the server's certificate and its key."""

    authority: Path
    certificate: Path
    key: Path

    @property
    def authority_pem(self) -> bytes:
        return self.authority.read_bytes()


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority with its key. It signs certificates of servers and of clients."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Reads ca.crt and ca.key; raises OSError, and ValueError for files that are damaged or not a pair."""
        certificate = x509.load_pem_x509_certificate((directory / "ca.crt").read_bytes())
        try:
            key = serialization.load_pem_private_key((directory / "ca.key").read_bytes(), None)
        except TypeError as error:
            raise ValueError(f"{directory / 'ca.key'}: {error}") from None
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
            raise ValueError(f"{directory / 'ca.key'} is not the key of {directory / 'ca.crt'}")
        return cls(certificate, key)

    @classmethod
    def ensure(cls, directory: Path, *, now: datetime) -> Self:
        """The authority kept in the directory, made if there is none or its end is near."""
        try:
            found = cls.load(directory)
        except (OSError, ValueError):
            found = None
        if found is not None and _is_valid(found.certificate, now):
            return found
        directory.mkdir(parents=True, exist_ok=True)
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localmodel-sandbox-ca")])
        certificate = (
            _builder(name, name, key.public_key(), now, now + LIFETIME)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_key_usage(for_authority=True), critical=True)
            .sign(key, hashes.SHA256())
        )
        made = cls(certificate, key)
        made._pair(certificate, key).write(directory / "ca.crt", directory / "ca.key")
        return made

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def issue_server(self, names: Iterable[str], *, now: datetime, lifetime: timedelta = LIFETIME) -> KeyPair:
        """A serving certificate for DNS names and IP addresses (kubelets, webhooks); the first is its common name."""
        listed = list(dict.fromkeys(names))
        if not listed:
            raise ValueError("a serving certificate needs at least one name")
        alternative = x509.SubjectAlternativeName([_general_name(name) for name in listed])
        # A common name is for people; clients look at the alternative names only.
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, listed[0][:MAX_NAME])])
        return self._issue(subject, ExtendedKeyUsageOID.SERVER_AUTH, now, lifetime, alternative)

    def issue_client(
        self, user: str, groups: Iterable[str] = (), *, now: datetime, lifetime: timedelta = CLIENT_LIFETIME
    ) -> KeyPair:
        """A client certificate: the user is its common name, each group an organization.

        Raises ValueError for names that a certificate cannot hold.
        """
        named = [(NameOID.ORGANIZATION_NAME, group) for group in groups] + [(NameOID.COMMON_NAME, user)]
        for _, name in named:
            if not 0 < len(name) <= MAX_NAME:
                raise ValueError(f"a certificate holds names of 1 to {MAX_NAME} characters, not {name!r}")
        subject = x509.Name([x509.NameAttribute(oid, name) for oid, name in named])
        return self._issue(subject, ExtendedKeyUsageOID.CLIENT_AUTH, now, lifetime)

    def _issue(
        self,
        subject: x509.Name,
        usage: ObjectIdentifier,
        now: datetime,
        lifetime: timedelta,
        alternative: x509.SubjectAlternativeName | None = None,
    ) -> KeyPair:
        key = ec.generate_private_key(ec.SECP256R1())
        ends = min(now + lifetime, self.certificate.not_valid_after_utc)
        builder = (
            _builder(subject, self.certificate.subject, key.public_key(), now, ends)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(for_authority=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
        )
        if alternative is not None:
            builder = builder.add_extension(alternative, critical=False)
        return self._pair(builder.sign(self.key, hashes.SHA256()), key)

    @staticmethod
    def _pair(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> KeyPair:
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return KeyPair(certificate.public_bytes(serialization.Encoding.PEM), private)


def ensure_certificate(directory: Path, authority: Authority, *, host: str, now: datetime) -> ServingCertificate:
    """The certificate for `host` (and for localhost and 127.0.0.1) in the authority's directory, renewed if need be."""
    files = ServingCertificate(directory / "ca.crt", directory / "server.crt", directory / "server.key")
    if not _is_usable(files, authority, host, now):
        names = ["kubernetes", host, "localhost", "127.0.0.1", "kubernetes.default", "kubernetes.default.svc"]
        authority.issue_server(names, now=now).write(files.certificate, files.key)
    return files


def write_private(path: Path, content: bytes) -> None:
    """Writes a file that only its owner can read."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, 0o600)
        file.write(content)


def _is_usable(files: ServingCertificate, authority: Authority, host: str, now: datetime) -> bool:
    """The certificate is the authority's, goes with its key, names the host and does not end soon."""
    try:
        certificate = x509.load_pem_x509_certificate(files.certificate.read_bytes())
        key = serialization.load_pem_private_key(files.key.read_bytes(), None)
        certificate.verify_directly_issued_by(authority.certificate)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (OSError, ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        return False
    return _general_name(host) in names and key.public_key() == certificate.public_key() and _is_valid(certificate, now)


def _is_valid(certificate: x509.Certificate, now: datetime) -> bool:
    return certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc - RENEW_BEFORE


def _builder(
    subject: x509.Name, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey, now: datetime, ends: datetime
) -> x509.CertificateBuilder:
    # An hour of the past, for clients whose clock is behind.
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(min(now, ends).astimezone(UTC) - timedelta(hours=1))
        .not_valid_after(ends.astimezone(UTC))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _key_usage(*, for_authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=for_authority,
        crl_sign=for_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
