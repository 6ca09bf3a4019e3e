"""The HTTP front: connections, pipelines, watches and peers that do not behave."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from support.eventually import eventually

from localmodel.sandbox.apiserver.messages import PENDING_LIMIT
from localmodel.sandbox.apiserver.server import ApiServer, ApiServerOptions
from localmodel.sandbox.apiserver.users import MASTERS

CMS = "/api/v1/namespaces/default/configmaps"
Json = dict[str, Any]


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with ApiServer(ApiServerOptions(tls=False)) as running:
        yield running


class Peer:
    """A bare socket that speaks HTTP as the test says."""

    def __init__(self, server: ApiServer, *, receive_buffer: int = 0) -> None:
        host, _, port = server.url.removeprefix("http://").partition(":")
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(10)
        self.socket.connect((host, int(port)))
        self.file = self.socket.makefile("rb")
        self._token = server.token_for("admin", (MASTERS,))

    def head(self, method: str, path: str, *, version: str = "1.1", **headers: str) -> bytes:
        fields = {"host": "x", "authorization": f"Bearer {self._token}"}
        fields |= {name.replace("_", "-"): value for name, value in headers.items()}
        lines = [f"{method} {path} HTTP/{version}", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
        return "\r\n".join(lines).encode()

    def send(self, method: str, path: str, body: bytes = b"", **headers: str) -> None:
        length = {"content_length": str(len(body)), "content_type": "application/json"} if body else {}
        self.socket.sendall(self.head(method, path, **{**length, **headers}) + body)

    def answer_head(self) -> tuple[int, dict[str, str]]:
        status = int(self.file.readline().split()[1])
        fields = {}
        while line := self.file.readline().strip().decode():
            name, _, value = line.partition(": ")
            fields[name] = value
        return status, fields

    def answer(self) -> tuple[int, Json]:
        status, fields = self.answer_head()
        return status, json.loads(self.file.read(int(fields["content-length"])))

    def chunk(self) -> bytes:
        """Empty at the end of the answer."""
        data = self.file.read(int(self.file.readline(), 16))
        self.file.readline()
        return data

    def is_closed(self) -> bool:
        return self.file.read(1) == b""


def config_map(name: str, size: int = 0) -> bytes:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"x": "x" * size}}
    return json.dumps(body).encode()


def test_requests_sent_ahead_are_answered_in_order(server: ApiServer) -> None:
    peer = Peer(server)
    body = config_map("a")
    create = peer.head("POST", CMS, content_length=str(len(body)), content_type="application/json") + body
    peer.socket.sendall(create + peer.head("GET", f"{CMS}/a") + peer.head("GET", f"{CMS}/b") + create)
    assert [peer.answer()[0] for _ in range(4)] == [201, 200, 404, 409]


def test_a_request_that_waits_holds_up_nobody_else(server: ApiServer) -> None:
    go_on = threading.Event()

    def waits(request: Any) -> bool:
        return "wait=1" in request.raw_query

    def admission(_: Any) -> None:
        assert go_on.wait(10)

    server.core.waits.append(waits)
    server.registry.admission.append(lambda attributes: admission(attributes) if attributes.name == "slow" else None)
    slow, quick = Peer(server), Peer(server)
    slow.send("POST", f"{CMS}?wait=1", config_map("slow"))
    slow.send("GET", f"{CMS}/slow")
    quick.send("GET", CMS)
    assert quick.answer()[0] == 200
    go_on.set()
    assert [slow.answer()[0], slow.answer()[0]] == [201, 200]


@pytest.mark.parametrize(("path", "code"), [("/healthz", 200), (CMS, 405)])
def test_head_has_no_body(server: ApiServer, path: str, code: int) -> None:
    peer = Peer(server)
    peer.send("HEAD", path)
    status, fields = peer.answer_head()
    assert (status, int(fields["content-length"]) > 0) == (code, True)
    peer.send("GET", CMS)
    assert peer.answer()[0] == 200


@pytest.mark.parametrize("headers", [{"version": "1.0"}, {"connection": "close"}])
def test_a_connection_is_closed_when_the_client_wants_it(server: ApiServer, headers: dict[str, str]) -> None:
    peer = Peer(server)
    peer.send("GET", "/version", **headers)
    assert peer.answer()[0] == 200
    assert peer.is_closed()


def test_an_upgrade_is_declined_by_an_ordinary_answer(server: ApiServer) -> None:
    peer = Peer(server)
    peer.send("GET", "/version", connection="Upgrade", upgrade="SPDY/3.1")
    assert peer.answer()[0] == 200
    assert peer.is_closed()


def test_what_is_no_http_is_400(server: ApiServer) -> None:
    peer = Peer(server)
    peer.socket.sendall(b"NOT HTTP\r\n\r\n")
    assert peer.answer_head()[0] == 400


def test_a_body_announced_is_waited_for_with_100_continue(server: ApiServer) -> None:
    peer = Peer(server)
    body = config_map("a")
    head = peer.head("POST", CMS, content_length=str(len(body)), content_type="application/json", expect="100-continue")
    peer.socket.sendall(head)
    assert peer.answer_head()[0] == 100
    peer.socket.sendall(body)
    assert peer.answer()[0] == 201


def test_a_body_that_is_too_large_is_refused_before_it_is_whole(server: ApiServer) -> None:
    peer = Peer(server)
    peer.socket.sendall(peer.head("POST", CMS, content_length=str(10**10)) + b"x" * (3 * 1024 * 1024 + 1))
    status, answer = peer.answer()
    assert (status, answer["reason"]) == (413, "RequestEntityTooLarge")


def test_a_watch_over_http_1_0_comes_without_chunks(server: ApiServer) -> None:
    peer = Peer(server)
    peer.send("GET", "/api/v1/namespaces?watch=1&timeoutSeconds=1", version="1.0")
    status, fields = peer.answer_head()
    assert (status, "transfer-encoding" in fields) == (200, False)
    assert {json.loads(line)["type"] for line in peer.file.read().splitlines()} == {"ADDED"}


def test_a_request_behind_a_watch_is_answered_after_it(server: ApiServer) -> None:
    peer = Peer(server)
    peer.send("GET", f"{CMS}?watch=1&timeoutSeconds=1&resourceVersion=1&fieldSelector=metadata.name=none")
    peer.send("GET", "/version")
    assert peer.answer_head()[1]["transfer-encoding"] == "chunked"
    assert peer.chunk() == b""
    assert peer.answer()[0] == 200


def test_a_watcher_that_does_not_read_is_cut_and_can_list_again(server: ApiServer) -> None:
    lazy = Peer(server, receive_buffer=4096)
    lazy.send("GET", f"{CMS}?watch=1&resourceVersion=1")
    eventually(lambda: len(server._front.watching) == 1)
    writer = Peer(server)
    written = 0
    while server._front.watching:
        writer.send("POST", CMS, config_map(f"c{written}", 500_000))
        assert writer.answer()[0] == 201
        written += 1
        assert written * 500_000 < 4 * PENDING_LIMIT
    assert not lazy.file.read().endswith(b"\r\n0\r\n\r\n"), "the answer has no good end"
    again = Peer(server)
    again.send("GET", f"{CMS}?limit=1")
    assert again.answer()[1]["metadata"]["remainingItemCount"] >= written - 1


def test_a_peer_that_is_gone_is_forgotten(server: ApiServer) -> None:
    peers = [Peer(server) for _ in range(5)]
    for peer in peers:
        peer.send("GET", f"{CMS}?watch=1")
    eventually(lambda: len(server._front.watching) == 5)
    for peer in peers:
        peer.file.close()
        peer.socket.close()
    eventually(lambda: not server._front.watching)
    assert all(watch.ended for watch in list(server.registry._watches) if watch.group_resource == "configmaps")
