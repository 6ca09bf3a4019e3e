"""The webhook server over TLS: certificates that change, many clients at once, clients that behave badly, its end."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

import pytest
from support.certificates import MountedSecret, Pair, make_pair, served_serial
from support.eventually import eventually

from localmodel.runtime.certwatcher import CertificateNotLoadedError
from localmodel.runtime.httpconnections import ServerLimits
from localmodel.runtime.metrics import Metrics
from localmodel.runtime.webhook import (
    AdmissionRequest,
    AdmissionResponse,
    WebhookServer,
    WebhookServerOptions,
    allowed,
    denied,
)
from localmodel.runtime.webhook.server import MAX_BODY_BYTES, WebhookServerError

Json = dict[str, Any]
PATH = "/validate-example-com-v1-greeter"


@pytest.fixture
def secret(tmp_path: Path) -> MountedSecret:
    return MountedSecret(tmp_path)


@pytest.fixture
def pair(secret: MountedSecret) -> Pair:
    pair = make_pair()
    secret.publish(pair)
    return pair


@pytest.fixture
def servers() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def start(servers: ExitStack, secret: MountedSecret, **options: Any) -> WebhookServer:
    metrics = options.pop("metrics", None)
    server = WebhookServer(
        WebhookServerOptions(host="127.0.0.1", port=0, cert_dir=secret.directory, **options), metrics=metrics
    )
    servers.callback(server.stop, 0)
    server.start()
    return server


@pytest.fixture
def server(servers: ExitStack, secret: MountedSecret, pair: Pair) -> WebhookServer:
    return start(servers, secret)


def review(uid: str = "u-1", **request: Any) -> bytes:
    content = {"uid": uid, "operation": "CREATE", "object": {}, **request}
    return json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": content}).encode()


def trusting(pair: Pair) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=pair.certificate.decode())


def connect(server: WebhookServer, context: ssl.SSLContext) -> http.client.HTTPSConnection:
    return http.client.HTTPSConnection("localhost", server.port, timeout=20, context=context)


def ask(connection: http.client.HTTPSConnection, body: bytes, path: str = PATH) -> Json:
    connection.request("POST", path, body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    content = response.read()
    assert response.status == 200, content
    answer: Json = json.loads(content)["response"]
    return answer


def test_an_api_server_is_answered_over_a_connection_that_is_kept(server: WebhookServer, pair: Pair) -> None:
    server.register(PATH, lambda request: denied(request.uid))
    with closing(connect(server, trusting(pair))) as connection:
        for number in range(3):
            answer = ask(connection, review(f"u-{number}"))
            assert (answer["uid"], answer["allowed"], answer["status"]["message"]) == (
                f"u-{number}",
                False,
                f"u-{number}",
            )


def test_204_a_body_over_7_mib_is_answered_with_an_error(server: WebhookServer, pair: Pair) -> None:
    server.register(PATH, lambda request: allowed())
    with closing(connect(server, trusting(pair))) as connection:
        assert ask(connection, review(filler="x" * (MAX_BODY_BYTES - 1000)))["allowed"]
        connection.request("POST", PATH, b"x" * (MAX_BODY_BYTES + 1), {"Content-Type": "application/json"})
        response = connection.getresponse()
        assert (response.status, response.read()) == (
            413,
            b"request entity is too large; limit is 7340032 bytes\n",
        )


def test_other_paths_and_methods_are_not_served(server: WebhookServer, pair: Pair) -> None:
    server.register(PATH, lambda request: allowed())
    for method, path, code in (("POST", "/other", 404), ("GET", PATH, 405)):
        with closing(connect(server, trusting(pair))) as connection:
            connection.request(method, path)
            assert connection.getresponse().status == code


def test_207_the_certificate_of_a_running_server_changes_with_its_files(
    servers: ExitStack, secret: MountedSecret, pair: Pair
) -> None:
    """With real files and the real clock, though not ten seconds; a connection that is open stays open."""
    server = start(servers, secret, cert_interval=0.05)
    server.register(PATH, lambda request: allowed())
    with closing(connect(server, trusting(pair))) as open_before:
        ask(open_before, review())
        renewed = make_pair()
        secret.publish(renewed)
        eventually(lambda: served_serial(server.port) == renewed.serial, timeout=15)
        assert ask(open_before, review())["allowed"]
    with closing(connect(server, trusting(renewed))) as connection:
        assert ask(connection, review())["allowed"]


def test_many_requests_at_once_are_each_answered_with_their_uid(
    servers: ExitStack, secret: MountedSecret, pair: Pair
) -> None:
    metrics = Metrics()
    server = start(servers, secret, metrics=metrics)
    server.register(PATH, lambda request: denied(request.name))
    context = trusting(pair)

    def client(number: int) -> None:
        with closing(connect(server, context)) as connection:
            for turn in range(20):
                uid = f"{number}-{turn}"
                answer = ask(connection, review(uid, name=f"name of {uid}"))
                assert (answer["uid"], answer["status"]["message"]) == (uid, f"name of {uid}")

    with ThreadPoolExecutor(32) as pool:
        list(pool.map(client, range(32)))
    labels = {"webhook": PATH, "code": "403"}
    assert metrics.registry.get_sample_value("controller_runtime_webhook_requests_total", labels) == 640


def test_clients_that_say_nothing_do_not_keep_others_from_being_answered(
    servers: ExitStack, secret: MountedSecret, pair: Pair
) -> None:
    limits = ServerLimits(connections=8, read_timeout=2, patience=0.05, body_bytes=MAX_BODY_BYTES)
    server = start(servers, secret, limits=limits)
    server.register(PATH, lambda request: allowed())
    with ExitStack() as stack:
        for _ in range(20):
            silent = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=20))
            # The first bytes of a TLS record that never goes on.
            silent.sendall(b"\x16\x03\x01")
        with closing(connect(server, trusting(pair))) as connection:
            assert ask(connection, review())["allowed"]


def test_plain_http_is_not_answered_and_harms_nobody(server: WebhookServer, pair: Pair) -> None:
    server.register(PATH, lambda request: allowed())
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as plain:
        plain.sendall(b"POST / HTTP/1.1\r\n\r\n")
        with suppress(ConnectionResetError):
            assert not plain.recv(64).startswith(b"HTTP")
    with closing(connect(server, trusting(pair))) as connection:
        assert ask(connection, review())["allowed"]


def test_a_client_without_a_certificate_of_the_authority_is_not_served(
    servers: ExitStack, secret: MountedSecret, pair: Pair, tmp_path: Path
) -> None:
    client = make_pair("kube-apiserver")
    (secret.directory / "ca.crt").write_bytes(client.certificate)
    (tmp_path / "client.crt").write_bytes(client.certificate)
    (tmp_path / "client.key").write_bytes(client.key)
    server = start(servers, secret, client_ca_name="ca.crt")
    server.register(PATH, lambda request: allowed())
    server.started_checker()

    with closing(connect(server, trusting(pair))) as stranger, pytest.raises((ssl.SSLError, OSError)):
        ask(stranger, review())
    context = trusting(pair)
    context.load_cert_chain(tmp_path / "client.crt", tmp_path / "client.key")
    with closing(connect(server, context)) as known:
        assert ask(known, review())["allowed"]


def test_stop_answers_the_requests_under_way_and_leaves_no_thread(server: WebhookServer, pair: Pair) -> None:
    entered, release = threading.Event(), threading.Event()

    def block(request: AdmissionRequest) -> AdmissionResponse:
        entered.set()
        release.wait(20)
        return denied("at last")

    server.register(PATH, block)
    answers: list[Json] = []

    def client() -> None:
        with closing(connect(server, trusting(pair))) as connection:
            answers.append(ask(connection, review()))

    asking = threading.Thread(target=client)
    asking.start()
    assert entered.wait(20)
    stopping = threading.Thread(target=server.stop)
    stopping.start()
    eventually(lambda: server._http.stopping)
    release.set()
    stopping.join(20)
    asking.join(20)
    assert [answer["status"]["message"] for answer in answers] == ["at last"]
    left = [thread.name for thread in threading.enumerate() if thread.name.startswith(("http-webhook", "certwatcher"))]
    assert left == []


def test_readiness_says_whether_the_certificate_is_there_and_the_port_answers(
    servers: ExitStack, secret: MountedSecret
) -> None:
    secret.directory.mkdir(exist_ok=True)
    server = start(servers, secret)
    with pytest.raises(CertificateNotLoadedError, match="No such file"):
        server.started_checker()
    secret.publish(make_pair())
    server.certificate.read()
    server.started_checker()
    server.stop()
    with pytest.raises(WebhookServerError, match=f"port {server.port}"):
        server.started_checker()


def test_the_port_is_bound_when_the_server_is_made(server: WebhookServer, secret: MountedSecret) -> None:
    options = WebhookServerOptions(host="127.0.0.1", port=server.port, cert_dir=secret.directory)
    with pytest.raises(OSError, match=f"cannot serve webhook on 127.0.0.1:{server.port}"):
        WebhookServer(options)
    assert WebhookServerOptions().port == 9443
