"""https: a certificate is believed only if the given bundle vouches for it, by both HTTP clients of a download."""

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from support.download import FakeClock

from localmodel.download import DownloadError, download
from localmodel.sandbox.hub import HubServer


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PEM file with a key and a certificate for 127.0.0.1 that is its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "hub")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(hours=1))
    alternative = x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))])
    builder = builder.add_extension(alternative, critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    signed = builder.sign(key, hashes.SHA256())
    path = tmp_path_factory.mktemp("tls") / "hub.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + signed.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture
def endpoint(certificate: Path, tmp_path: Path) -> Iterator[str]:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "a").write_text("1")
    with HubServer({"owner/model": tmp_path / "model"}) as hub:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        hub._server.socket = context.wrap_socket(hub._server.socket, server_side=True)
        yield hub.url.replace("http://", "https://")


@pytest.mark.parametrize("uri", ["hf://owner/model", "{endpoint}/owner/model/resolve/main/a"])
def test_a_given_bundle_is_trusted(endpoint: str, certificate: Path, tmp_path: Path, uri: str) -> None:
    env = {"HF_ENDPOINT": endpoint, "SSL_CERT_FILE": str(certificate)}
    download(uri.format(endpoint=endpoint), tmp_path / "dest", env=env, clock=FakeClock())
    assert (tmp_path / "dest" / "a").read_text() == "1"


@pytest.mark.parametrize("uri", ["hf://owner/model", "{endpoint}/owner/model/resolve/main/a"])
@pytest.mark.parametrize("file", ["cabundle.crt", "root.pem"])
def test_a_bundle_is_trusted_as_the_agent_mounts_it_d51(
    endpoint: str, certificate: Path, tmp_path: Path, uri: str, file: str
) -> None:
    mounted = tmp_path / "certs"
    mounted.mkdir()
    (mounted / file).write_bytes(certificate.read_bytes())
    env = {
        "HF_ENDPOINT": endpoint,
        "CA_BUNDLE_CONFIGMAP_NAME": "mine",
        "CA_BUNDLE_VOLUME_MOUNT_POINT": str(mounted),
    }
    if file != "cabundle.crt":
        env["AWS_CA_BUNDLE"] = str(mounted / file)
    download(uri.format(endpoint=endpoint), tmp_path / "dest", env=env, clock=FakeClock())
    assert (tmp_path / "dest" / "a").read_text() == "1"


@pytest.mark.parametrize("uri", ["hf://owner/model", "{endpoint}/owner/model/resolve/main/a"])
def test_an_unknown_certificate_is_refused(endpoint: str, tmp_path: Path, uri: str) -> None:
    env = {"HF_ENDPOINT": endpoint}
    with pytest.raises(DownloadError, match=r"(?i)certificate"):
        download(uri.format(endpoint=endpoint), tmp_path / "dest", env=env, clock=FakeClock())


def test_a_bundle_that_cannot_be_read_is_named(endpoint: str, tmp_path: Path) -> None:
    env = {"HF_ENDPOINT": endpoint, "SSL_CERT_FILE": "/nothing.pem"}
    with pytest.raises(DownloadError, match=r"/nothing\.pem"):
        download("hf://owner/model", tmp_path / "dest", env=env, clock=FakeClock())
