"""The HTTP server's bounds: what silent, slow and many clients can and cannot do, and how it ends."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
from collections.abc import Callable, Iterator

import pytest
from support.eventually import eventually

from localmodel.runtime import cancellation
from localmodel.runtime.address import Address
from localmodel.runtime.cancellation import CancelledError
from localmodel.runtime.httpconnections import ServerLimits
from localmodel.runtime.httpserver import HttpRequest, HttpResponse, HttpServer

LOOPBACK = Address("127.0.0.1", 0)
Start = Callable[..., HttpServer]


@pytest.fixture
def start() -> Iterator[Start]:
    with contextlib.ExitStack() as stack:

        def make(route: Callable[[HttpRequest], HttpResponse] | None = None, **limits: float) -> HttpServer:
            limits.setdefault("body_bytes", 100)
            server = HttpServer(
                "test",
                LOOPBACK,
                {"/": route or echo, "/echo": route or echo},
                methods=("GET", "POST"),
                limits=ServerLimits(**limits),  # type: ignore[arg-type]
            )
            server.start()
            stack.callback(server.stop)
            return server

        yield make


def echo(request: HttpRequest) -> HttpResponse:
    return HttpResponse(request.body or b"nothing")


@contextlib.contextmanager
def connected(server: HttpServer) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
        yield client


def is_cut(client: socket.socket) -> bool:
    """Waits until the server hangs up."""
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


def post(server: HttpServer, body: bytes = b"hello", path: str = "/echo") -> tuple[int, bytes]:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)) as connection:
        connection.request("POST", path, body)
        response = connection.getresponse()
        return response.status, response.read()


def test_a_connection_is_kept_for_more_requests(start: Start) -> None:
    server = start()
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)) as connection:
        ports = set()
        for body in (b"one", b"two", b"three"):
            connection.request("POST", "/echo", body)
            response = connection.getresponse()
            assert (response.status, response.read()) == (200, body)
            ports.add(connection.sock.getsockname()[1])
    assert len(ports) == 1


def test_a_body_over_the_limit_is_refused_and_the_client_gets_to_read_it(start: Start) -> None:
    server = start()
    assert post(server, b"x" * 100) == (200, b"x" * 100)
    assert post(server, b"x" * 5_000_000) == (413, b"request entity is too large; limit is 100 bytes\n")


@pytest.mark.parametrize(
    ("head", "code"),
    [
        (b"POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", b"411"),
        (b"POST /echo HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"400"),
        (b"PUT /echo HTTP/1.1\r\nContent-Length: 0\r\n\r\n", b"501"),
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET http://[ HTTP/1.1\r\n\r\n", b"400"),
    ],
)
def test_what_cannot_be_read_is_refused_and_the_connection_closed(start: Start, head: bytes, code: bytes) -> None:
    with connected(start()) as client:
        client.sendall(head)
        answer = b""
        while chunk := client.recv(65536):
            answer += chunk
        assert code in answer


@pytest.mark.parametrize(
    "fields",
    [
        b"Content-Length: 0\r\nContent-Length: %d\r\n",
        b"Content-Length : %d\r\n",
        b"no field\r\nContent-Length: %d\r\n",
        b"Transfer-Encoding : chunked\r\nContent-Length: %d\r\n",
    ],
)
def test_no_request_can_be_smuggled_behind_header_fields_that_a_proxy_may_read_otherwise(
    start: Start, fields: bytes
) -> None:
    paths: list[str] = []

    def route(request: HttpRequest) -> HttpResponse:
        paths.append(request.path)
        return HttpResponse(b"")

    inner = b"GET /echo/smuggled HTTP/1.1\r\n\r\n"
    with connected(start(route)) as client:
        client.sendall(b"POST /echo HTTP/1.1\r\n" + fields % len(inner) + b"\r\n" + inner)
        answer = b""
        with contextlib.suppress(ConnectionResetError):  # for what it has not read
            while chunk := client.recv(65536):
                answer += chunk
    assert answer.startswith(b"HTTP/1.1 400")
    assert not paths


def test_a_server_outlives_a_time_without_threads(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    server, begin, refused = start(), threading.Thread.start, threading.Event()

    def fail_once(thread: threading.Thread) -> None:
        if thread.name == "http-test-connection" and not refused.is_set():
            refused.set()
            raise RuntimeError("can't start new thread")
        begin(thread)

    monkeypatch.setattr(threading.Thread, "start", fail_once)
    with connected(server) as client:
        assert is_cut(client)
    assert refused.is_set()
    assert post(server) == (200, b"hello")


def test_the_longest_route_serves_whatever_the_order(start: Start) -> None:
    server = start()
    server.add_route("/echo/deeper", lambda _: HttpResponse(b"deeper"))
    assert post(server, path="/echo/deeper") == (200, b"deeper")
    assert post(server, path="/echo/other") == (200, b"hello")


def test_a_request_shows_neither_its_headers_nor_its_body() -> None:
    """Console logs may show the variables of a traceback."""
    assert "t0ken" not in repr(HttpRequest(headers={"authorization": "Bearer t0ken"}, body=b"t0ken"))


def test_a_failing_route_is_answered_with_500_and_the_connection_lives(start: Start) -> None:
    def fail(request: HttpRequest) -> HttpResponse:
        raise KeyError("the secret reason")

    assert post(start(fail)) == (500, b"internal server error\n")


def test_silent_and_slow_clients_are_cut_and_do_not_block_others(start: Start) -> None:
    server = start(read_timeout=0.4)
    with connected(server) as silent, connected(server) as slow, connected(server) as hung:
        slow.sendall(b"POST /echo HTTP/1.1\r\nContent-")
        hung.sendall(b"POST /echo HTTP/1.1\r\nContent-Length: 5\r\n\r\nhe")
        assert post(server) == (200, b"hello")
        assert all(is_cut(client) for client in (silent, slow, hung))


def test_a_client_that_does_not_take_its_answer_is_cut(start: Start) -> None:
    server = start(lambda request: HttpResponse(b"x" * 50_000_000), read_timeout=0.4)
    before = threading.active_count()
    with connected(server) as client:
        client.sendall(b"GET /echo HTTP/1.1\r\n\r\n")
        eventually(lambda: threading.active_count() > before)
        eventually(lambda: threading.active_count() == before)


def test_an_idle_connection_is_closed_after_a_time(start: Start) -> None:
    server = start(idle_timeout=0.1, read_timeout=0.4)
    with connected(server) as client:
        client.sendall(b"POST /echo HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi")
        assert client.recv(4096).startswith(b"HTTP/1.1 200")
        assert is_cut(client)


def test_connections_are_bounded_and_those_that_wait_give_way_to_new_ones(start: Start) -> None:
    server = start(connections=3, patience=0.05, read_timeout=4)
    before = threading.active_count()
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(connected(server)) for _ in range(6)]
        assert post(server) == (200, b"hello")
        # The thread of a connection that gave way ends a moment after it; a silent one would stay for `read_timeout`.
        eventually(lambda: threading.active_count() <= before + 3, timeout=2)
        assert is_cut(silent[0]), "the one that has waited the longest"


def test_requests_under_way_do_not_give_way(start: Start) -> None:
    entered, release = threading.Semaphore(0), threading.Event()

    def block(request: HttpRequest) -> HttpResponse:
        entered.release()
        release.wait(10)
        return HttpResponse(request.body)

    server = start(block, connections=2)
    answers: list[tuple[int, bytes]] = []
    threads = [threading.Thread(target=lambda: answers.append(post(server))) for _ in range(5)]
    for thread in threads:
        thread.start()
    for _ in range(2):
        assert entered.acquire(timeout=10)
    assert not entered.acquire(timeout=0.05), "a third at the same time"
    release.set()
    for thread in threads:
        thread.join(10)
    assert answers == [(200, b"hello")] * 5


def test_stop_answers_requests_under_way_and_takes_no_more(start: Start) -> None:
    entered, release = threading.Event(), threading.Event()

    def block(request: HttpRequest) -> HttpResponse:
        entered.set()
        release.wait(10)
        return HttpResponse(b"done")

    server = start(block)
    answers: list[tuple[int, bytes]] = []
    client = threading.Thread(target=lambda: answers.append(post(server)))
    with connected(server) as idle:
        client.start()
        assert entered.wait(10)
        stopping = threading.Thread(target=server.stop, args=(10.0,))
        stopping.start()
        assert is_cut(idle)
        with pytest.raises(OSError):  # noqa: PT011 - refused or reset
            post(server)
        release.set()
        stopping.join(10)
        client.join(10)
    assert answers == [(200, b"done")]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("http-test")]


def test_stop_cancels_what_takes_longer_than_the_grace(start: Start) -> None:
    entered = threading.Event()
    ended: list[str] = []

    def wait_for_ever(request: HttpRequest) -> HttpResponse:
        woken = threading.Event()
        try:
            with cancellation.waking(woken.set):
                entered.set()
                woken.wait(10)
                cancellation.check()
        except CancelledError as error:
            ended.append(str(error))
            raise
        return HttpResponse(b"")

    server = start(wait_for_ever)
    with connected(server) as client:
        client.sendall(b"GET /echo HTTP/1.1\r\n\r\n")
        assert entered.wait(10)
        server.stop(grace=0.05)
        assert is_cut(client)
    assert ended
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("http-test")]


def test_a_path_is_served_once() -> None:
    server = HttpServer("test", LOOPBACK)
    try:
        server.add_route("/a", echo)
        with pytest.raises(ValueError, match="serves /a already"):
            server.add_route("/a", echo)
    finally:
        server.stop()
