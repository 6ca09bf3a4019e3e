"""What a hostile network does to one connection: slow bytes, early answers, dead addresses, silent name servers."""

from __future__ import annotations

import base64
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.eventually import eventually
from support.rawserver import RawServer, raw_server

from localmodel.runtime import deadline
from localmodel.runtime.cancellation import Cancellation, CancelledError
from localmodel.runtime.clock import RealClock
from localmodel.runtime.connection import Connection
from localmodel.runtime.errors import ForbiddenError, TooManyRequestsError, TransportError
from localmodel.runtime.kubeconfig import RestConfig
from localmodel.runtime.listwatch import WatchOptions
from localmodel.runtime.objects import ConfigMap, Node, ObjectMeta
from localmodel.runtime.rest import LiveClient

NODE = b'{"metadata":{"name":"n"}}'
OK = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(NODE), NODE)


def no_token(*, refresh: bool = False) -> None:
    return None


def client_of(url: str, **options: Any) -> LiveClient:
    return LiveClient(RestConfig(server=url, authorization=no_token, user_agent="t/1", **options))


@pytest.mark.parametrize(
    "begin",
    [
        b"HTTP/1.1 200 OK\r\nX: ",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n",
    ],
    ids=["headers", "chunk size", "body"],
)
def test_a_trickle_does_not_outlive_the_deadline_of_the_work_in_hand(begin: bytes) -> None:
    gone = threading.Event()

    def trickle(server: RawServer, connection: socket.socket) -> None:
        server.next_head(connection)
        connection.sendall(begin)
        try:
            while not gone.wait(0.02):
                connection.sendall(b"0")
        finally:
            gone.set()

    with raw_server(trickle) as server:
        with deadline.limit(RealClock(), 0.2), pytest.raises(TransportError):
            client_of(server.url).get(Node, "n")
        assert gone.wait(5), "the client has not closed the connection"


def test_cancel_ends_an_answer_that_has_begun() -> None:
    begun = threading.Event()

    def begin(server: RawServer, connection: socket.socket) -> None:
        server.next_head(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\n{")
        begun.set()
        connection.recv(1)

    work, errors = Cancellation(), list[BaseException]()

    def ask(url: str) -> None:
        with work.scope(), pytest.raises(CancelledError) as raised:
            client_of(url).get(Node, "n")
        errors.append(raised.value)

    with raw_server(begin) as server:
        asking = threading.Thread(target=ask, args=(server.url,))
        asking.start()
        assert begun.wait(5)
        work.cancel()
        asking.join(5)
    assert errors


@pytest.mark.parametrize("ask", ["get", "update", "delete"])
def test_a_request_that_is_not_answered_in_time_is_not_sent_again(ask: str) -> None:
    def once(server: RawServer, connection: socket.socket) -> None:
        server.next_head(connection)
        connection.sendall(OK)
        server.next_head(connection)
        connection.recv(1 << 16)
        connection.recv(1)  # until the client gives up

    held = ConfigMap(metadata=ObjectMeta(name="n", namespace="d", resource_version="1"))
    with raw_server(once) as server:
        client = client_of(server.url, request_timeout=0.2)
        client.get(Node, "n")
        with pytest.raises(TransportError, match="timed out"):
            client.get(Node, "n") if ask == "get" else getattr(client, ask)(held)
        assert len(server.heads) == 2


@pytest.mark.parametrize(("ask", "requests"), [("get", 3), ("update", 3), ("create", 2), ("delete", 2)])
def test_a_kept_connection_that_breaks_is_made_up_for_where_twice_is_the_same_as_once(ask: str, requests: int) -> None:
    def break_off(server: RawServer, connection: socket.socket) -> None:
        server.next_head(connection)
        connection.sendall(OK)
        if len(server.heads) == 1:
            server.next_head(connection)

    held = ConfigMap(metadata=ObjectMeta(name="n", namespace="d", resource_version="1"))
    with raw_server(break_off) as server:
        client = client_of(server.url)
        client.get(Node, "n")
        act: Callable[[], object] = lambda: client.get(Node, "n") if ask == "get" else getattr(client, ask)(held)  # noqa: E731
        if requests == 3:
            act()
        else:
            with pytest.raises(TransportError):
                act()
        assert len(server.heads) == requests


def test_an_answer_that_comes_before_the_body_was_sent_is_the_answer() -> None:
    def refuse(server: RawServer, connection: socket.socket) -> None:
        server.next_head(connection)
        connection.sendall(b"HTTP/1.1 429 Busy\r\nContent-Length: 2\r\n\r\n{}")
        connection.shutdown(socket.SHUT_RD)

    with raw_server(refuse) as server:
        large = ConfigMap(metadata=ObjectMeta(name="a", namespace="b"), data={"k": "x" * 30_000_000})
        with pytest.raises(TooManyRequestsError):
            client_of(server.url).create(large)
        assert len(server.heads) == 1


def test_a_refused_watch_whose_error_does_not_end_is_given_up_like_any_request() -> None:
    def stall(server: RawServer, connection: socket.socket) -> None:
        server.next_head(connection)
        connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 200\r\n\r\n{}")
        connection.recv(1)

    with raw_server(stall) as server, pytest.raises((TransportError, ForbiddenError)):
        client_of(server.url, request_timeout=0.2).watch(Node, WatchOptions(silence_seconds=3600))


@pytest.fixture
def silent_name_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Set once it is asked."""
    asked, let_go, real = threading.Event(), threading.Event(), socket.getaddrinfo

    def getaddrinfo(host: str, *args: Any, **options: Any) -> Any:
        if host == "silent.example" and not options.get("flags"):
            asked.set()
            let_go.wait(30)
            raise socket.gaierror("no answer")
        return real(host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    yield asked
    let_go.set()


def test_a_silent_name_server_does_not_outlive_the_time_to_connect(silent_name_server: threading.Event) -> None:
    with pytest.raises(TransportError, match=r"silent\.example was not resolved in time"):
        client_of("http://silent.example", connect_timeout=0.1).get(Node, "n")


def test_cancel_ends_a_wait_for_a_silent_name_server(silent_name_server: threading.Event) -> None:
    work, errors = Cancellation(), list[BaseException]()

    def ask() -> None:
        with work.scope(), pytest.raises(CancelledError) as raised:
            client_of("http://silent.example", connect_timeout=3600).get(Node, "n")
        errors.append(raised.value)

    asking = threading.Thread(target=ask)
    asking.start()
    assert silent_name_server.wait(5)
    work.cancel()
    asking.join(5)
    assert errors


def addresses(monkeypatch: pytest.MonkeyPatch, *found: tuple[int, tuple[Any, ...]]) -> None:
    rows = [(family, socket.SOCK_STREAM, 6, "", target) for family, target in found]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: rows)


def test_an_address_of_a_family_that_the_machine_lacks_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        addresses(monkeypatch, (12345, ("::1", 1)), (socket.AF_INET, server.getsockname()))
        connection = Connection("two.example", 1, tls=None)
        connection.open(5)
        connection.close()


def test_an_address_that_swallows_packets_leaves_time_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, socket.create_server(("127.0.0.1", 0)) as server:
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        addresses(monkeypatch, (socket.AF_INET, full.getsockname()), (socket.AF_INET, server.getsockname()))
        connection = Connection("two.example", 1, tls=None)
        connection.open(0.4)
        connection.close()
        for filler in fillers:
            filler.close()


def test_an_idle_connection_is_probed_before_firewalls_forget_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        connection = Connection("127.0.0.1", server.getsockname()[1], tls=None)
        connection.open(5)
        assert connection.opened_socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 30
        connection.close()


def tunnel(server: RawServer, connection: socket.socket) -> None:
    server.next_head(connection)
    connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
    server.next_head(connection)
    connection.sendall(OK)


@pytest.mark.parametrize(
    ("server", "connect", "host"),
    [
        ("http://cluster.example", b"cluster.example:80", b"cluster.example"),
        ("http://[fd00::5]:6443/prefix", b"[fd00::5]:6443", b"[fd00::5]:6443"),
    ],
)
def test_through_a_proxy_the_request_is_for_the_server(server: str, connect: bytes, host: bytes) -> None:
    with raw_server(tunnel) as proxy:
        client_of(server, proxy=proxy.url).get(Node, "n")
        assert proxy.heads[0].startswith(b"CONNECT %s HTTP" % connect)
        assert b"\r\nHost: %s\r\n" % host in proxy.heads[1]


def test_the_credentials_of_a_proxy_are_shown_to_it_and_to_nobody_else() -> None:
    with raw_server(tunnel) as proxy:
        port = proxy.url.rpartition(":")[2]
        client_of("http://cluster.example", proxy=f"http://us%40er:pass@127.0.0.1:{port}").get(Node, "n")
        eventually(lambda: len(proxy.heads) == 2)
        expected = b"Proxy-Authorization: Basic " + base64.b64encode(b"us@er:pass")
        assert [expected in head for head in proxy.heads] == [True, False]
        assert proxy.heads[0].startswith(b"CONNECT cluster.example:80 ")
