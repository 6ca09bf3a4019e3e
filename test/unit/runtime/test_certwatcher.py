"""The serving certificate follows its files: runtimes.md 2.17 no. 207."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.certificates import MountedSecret, make_pair, served_serial
from support.eventually import eventually

from localmodel.runtime.address import Address
from localmodel.runtime.certwatcher import CertificateNotLoadedError, CertWatcher
from localmodel.runtime.httpserver import HttpServer
from localmodel.runtime.metrics import Metrics
from localmodel.runtime.testing.fake_clock import FakeClock
from localmodel.runtime.tls import TLSOptions, TLSOptionsError, server_context


@pytest.fixture
def secret(tmp_path: Path) -> MountedSecret:
    return MountedSecret(tmp_path)


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def watcher(secret: MountedSecret, clock: FakeClock, metrics: Metrics) -> CertWatcher:
    return CertWatcher(secret.certificate, secret.key, clock=clock, metrics=metrics)


@contextmanager
def serving(watcher: CertWatcher) -> Iterator[int]:
    server = HttpServer("test", Address("127.0.0.1", 0), tls=watcher)
    server.start()
    try:
        yield server.port
    finally:
        server.stop()


@contextmanager
def watching(watcher: CertWatcher, clock: FakeClock) -> Iterator[Callable[[], None]]:
    """Runs the watcher; what is yielded moves the clock to its next look at the files, and waits for its end."""
    stop = threading.Event()
    thread = threading.Thread(target=watcher.start, args=(stop,))
    thread.start()

    def look() -> None:
        clock.wait_for_waiters()
        clock.advance(10)
        clock.wait_for_waiters()

    try:
        clock.wait_for_waiters()
        yield look
    finally:
        stop.set()
        thread.join(10)
        assert not thread.is_alive()


def counts(metrics: Metrics) -> tuple[float, float]:
    """Reads, and those that failed, as they are scraped."""
    values = [
        metrics.registry.get_sample_value(name)
        for name in ("certwatcher_read_certificate_total", "certwatcher_read_certificate_errors_total")
    ]
    return values[0] or 0, values[1] or 0


def test_207_the_served_certificate_changes_within_10_s_of_the_files_changing_without_restart(
    secret: MountedSecret, watcher: CertWatcher, clock: FakeClock, metrics: Metrics
) -> None:
    first, second = make_pair(), make_pair()
    secret.publish(first)
    with watching(watcher, clock) as look, serving(watcher) as port:
        assert served_serial(port) == first.serial
        secret.publish(second)
        look()
        assert served_serial(port) == second.serial
    assert counts(metrics) == (2, 0)


def test_207_unchanged_files_keep_their_context(secret: MountedSecret, watcher: CertWatcher) -> None:
    secret.publish(make_pair())
    watcher.read()
    context = watcher.ssl_context
    watcher.read()
    assert watcher.ssl_context is context


@pytest.mark.parametrize("fault", ["mismatch", "half", "empty", "garbage", "gone"])
def test_207_a_bad_pair_keeps_the_old_one_and_counts_an_error(
    fault: str, secret: MountedSecret, watcher: CertWatcher, metrics: Metrics
) -> None:
    first, second = make_pair(), make_pair()
    secret.publish(first)
    watcher.read()
    context = watcher.ssl_context
    match fault:
        case "mismatch":
            secret.certificate.write_bytes(second.certificate)
        case "half":
            secret.certificate.write_bytes(second.certificate[: len(second.certificate) // 2])
        case "empty":
            secret.key.write_bytes(b"")
        case "garbage":
            secret.key.write_bytes(b"-----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY-----\n")
        case _:
            secret.key.unlink()
    watcher.read()
    assert watcher.ssl_context is context
    assert counts(metrics) == (2, 1)

    with serving(watcher) as port:
        assert served_serial(port) == first.serial
        secret.publish(second)
        watcher.read()
        assert served_serial(port) == second.serial
    assert counts(metrics) == (3, 1)


def test_207_files_that_change_while_they_are_read_are_read_again(
    secret: MountedSecret, watcher: CertWatcher, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exchange falls between the reading of the certificate and that of the key."""
    first, second = make_pair(), make_pair()
    secret.publish(first)
    exchanged = threading.Event()

    def meanwhile(certificate: Path, key: Path, options: TLSOptions) -> ssl.SSLContext:
        if not exchanged.is_set():
            exchanged.set()
            certificate.parent.joinpath("half").write_bytes(certificate.read_bytes())
            secret.publish(second)
            return server_context(certificate.parent / "half", key, options)
        return server_context(certificate, key, options)

    monkeypatch.setattr("localmodel.runtime.certwatcher.server_context", meanwhile)
    watcher.read()
    with serving(watcher) as port:
        assert served_serial(port) == second.serial
    assert counts(metrics) == (1, 0)


def test_207_handshakes_see_the_old_pair_or_the_new_one_while_files_are_exchanged(
    secret: MountedSecret, watcher: CertWatcher
) -> None:
    pairs = [make_pair() for _ in range(6)]
    secret.publish(pairs[0])
    watcher.read()
    done = threading.Event()

    def exchange() -> None:
        for _ in range(20):
            for pair in pairs:
                secret.publish(pair)
                watcher.read()
        done.set()

    thread = threading.Thread(target=exchange)
    with serving(watcher) as port:
        thread.start()
        seen = {served_serial(port)}
        while not done.is_set():
            seen.add(served_serial(port))
        thread.join()
    assert seen <= {pair.serial for pair in pairs}


def test_a_server_may_start_before_its_certificate_is_there(
    secret: MountedSecret, watcher: CertWatcher, clock: FakeClock, metrics: Metrics
) -> None:
    with watching(watcher, clock) as look, serving(watcher) as port:
        with pytest.raises(CertificateNotLoadedError, match=r"tls\.crt: .*No such file"):
            watcher.check()
        with pytest.raises(OSError):  # noqa: PT011 - reset or end of file, as it happens
            served_serial(port)
        assert counts(metrics) == (1, 1)
        pair = make_pair()
        secret.publish(pair)
        look()
        watcher.check()
        eventually(lambda: served_serial(port) == pair.serial)


def test_an_encrypted_key_is_an_error_and_no_question_on_the_terminal(
    secret: MountedSecret, watcher: CertWatcher, metrics: Metrics
) -> None:
    from cryptography.hazmat.primitives import serialization

    pair = make_pair()
    secret.publish(pair)
    key = serialization.load_pem_private_key(pair.key, None)
    secret.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    watcher.read()
    assert counts(metrics) == (1, 1)


def test_only_clients_of_the_authority_are_served(secret: MountedSecret, tmp_path: Path) -> None:
    server_pair, client_pair = make_pair(), make_pair("client")
    secret.publish(server_pair)
    authority = tmp_path / "ca.crt"
    authority.write_bytes(client_pair.certificate)
    watcher = CertWatcher(secret.certificate, secret.key, options=TLSOptions(client_ca=authority))
    watcher.read()
    assert watcher.ssl_context.verify_mode is ssl.CERT_REQUIRED

    former = watcher.ssl_context
    authority.write_bytes(make_pair("another").certificate)
    watcher.read()
    assert watcher.ssl_context is not former, "the authority is followed as the certificate is"


def test_tls_options_go_by_the_names_of_kubernetes_flags(secret: MountedSecret) -> None:
    secret.publish(make_pair())
    suites = ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "TLS_AES_128_GCM_SHA256")
    context = server_context(
        secret.certificate, secret.key, TLSOptions(min_version="VersionTLS12", cipher_suites=suites)
    )
    old = {cipher["name"] for cipher in context.get_ciphers() if cipher["protocol"] == "TLSv1.2"}
    assert old == {"ECDHE-RSA-AES128-GCM-SHA256"}
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    newer = server_context(secret.certificate, secret.key, TLSOptions(min_version="VersionTLS13"))
    assert newer.minimum_version is ssl.TLSVersion.TLSv1_3


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"min_version": "VersionTLS10"}, "VersionTLS10.*VersionTLS12"),
        ({"cipher_suites": ("TLS_RSA_WITH_RC4_128_SHA",)}, "TLS_RSA_WITH_RC4_128_SHA: take some of"),
    ],
)
def test_unknown_tls_options_are_refused(options: dict[str, object], said: str) -> None:
    with pytest.raises(TLSOptionsError, match=said):
        TLSOptions(**options)  # type: ignore[arg-type]
