"""Ending requests that wait for the server, at every stage; what becomes of connections and credentials."""

from __future__ import annotations

import contextlib
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.eventually import eventually
from support.hanging import HangingServer, hanging_server
from support.http import answer, scripted_server

from localmodel.runtime import deadline
from localmodel.runtime.cancellation import Cancellation, CancelledError
from localmodel.runtime.clock import RealClock
from localmodel.runtime.errors import RuntimeLibraryError, TransportError, UnauthorizedError
from localmodel.runtime.kubeconfig import RestConfig
from localmodel.runtime.listwatch import WatchOptions
from localmodel.runtime.objects import Node
from localmodel.runtime.rest import LiveClient

NODE = b'{"metadata":{"name":"n"}}'


def no_token(*, refresh: bool = False) -> None:
    return None


@pytest.fixture
def hanging() -> Iterator[HangingServer]:
    with hanging_server() as server:
        yield server


def client_of(hanging: HangingServer, *, tls: bool) -> LiveClient:
    scheme = "https" if tls else "http"
    config = RestConfig(
        server=f"{scheme}://127.0.0.1:{hanging.port}",
        authorization=no_token,
        user_agent="t/1",
        tls=ssl.create_default_context if tls else None,
    )
    return LiveClient(config)


def get(client: LiveClient) -> object:
    return client.get(Node, "n")


def watch(client: LiveClient) -> object:
    return client.watch(Node, WatchOptions())


class Asking:
    """A thread that asks the server, and what came of it."""

    def __init__(self, ask: Callable[[], object], work: Cancellation | None = None) -> None:
        self.error: BaseException | None = None
        self._ask, self._work = ask, work or Cancellation()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            with self._work.scope():
                self._ask()
        except RuntimeLibraryError as error:
            self.error = error

    def end(self) -> BaseException | None:
        self._thread.join(5)
        assert not self._thread.is_alive()
        return self.error


@pytest.mark.parametrize("tls", [False, True], ids=["answer", "handshake"])
@pytest.mark.parametrize("ask", [get, watch])
def test_cancel_ends_a_wait_for_the_server(
    hanging: HangingServer, ask: Callable[[LiveClient], object], tls: bool
) -> None:
    work, client = Cancellation(), client_of(hanging, tls=tls)
    asking = Asking(lambda: ask(client), work)
    hanging.wait_for_connection()
    work.cancel()
    assert isinstance(asking.end(), CancelledError)


@pytest.mark.parametrize("tls", [False, True], ids=["answer", "handshake"])
@pytest.mark.parametrize("ask", [get, watch])
def test_close_ends_a_wait_for_the_server(
    hanging: HangingServer, ask: Callable[[LiveClient], object], tls: bool
) -> None:
    client = client_of(hanging, tls=tls)
    asking = Asking(lambda: ask(client))
    hanging.wait_for_connection()
    client.close()
    assert isinstance(asking.end(), TransportError)


def test_a_closed_client_opens_nothing(hanging: HangingServer) -> None:
    client = client_of(hanging, tls=False)
    client.close()
    for ask in (get, watch):
        with pytest.raises(TransportError, match="is closed"):
            ask(client)


def test_a_handshake_stays_within_the_deadline_of_the_work_in_hand(hanging: HangingServer) -> None:
    began = time.monotonic()
    with deadline.limit(RealClock(), 0.1), pytest.raises(TransportError, match=r"cannot connect|work in hand is over"):
        get(client_of(hanging, tls=True))
    assert time.monotonic() - began < 5


def test_cancel_ends_the_wait_that_a_server_asked_for() -> None:
    work = Cancellation()
    busy = answer(429, b"{}", {"Retry-After": "60"})
    with scripted_server(busy) as server:
        client = LiveClient(RestConfig(server=server.url, authorization=no_token, user_agent="t/1"))
        asking = Asking(lambda: get(client), work)
        eventually(lambda: server.seen)
        work.cancel()
        assert isinstance(asking.end(), CancelledError)
        assert len(server.seen) == 1


def test_a_thread_takes_its_connection_with_it() -> None:
    with scripted_server(answer(200, NODE)) as server:
        client = LiveClient(RestConfig(server=server.url, authorization=no_token, user_agent="t/1"))
        for _ in range(20):
            assert Asking(lambda: get(client)).end() is None
        ports = {seen.client_port for seen in server.seen}
        assert len(ports) == 20
        eventually(lambda: not ports & local_ports())


def local_ports() -> set[int]:
    """Of this process's open TCP sockets whose other end is not this process's server."""
    inodes = set()
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # closed since it was listed
            inodes.add(str(link.readlink()))
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {int(row[1].partition(":")[2], 16) for row in rows if f"socket:[{row[9]}]" in inodes}


class Rotating:
    """Credentials of which another thread has read the new ones while ours were refused."""

    def __init__(self, *headers: str) -> None:
        self._headers = list(headers)
        self.refreshed = 0

    def __call__(self, *, refresh: bool = False) -> str:
        self.refreshed += refresh
        return self._headers.pop(0) if len(self._headers) > 1 else self._headers[0]


def test_29_each_watch_resolves_the_credentials_again() -> None:
    credentials = Rotating("Bearer one", "Bearer two", "Bearer three")
    with scripted_server(answer(200, b"")) as server:
        client = LiveClient(RestConfig(server=server.url, authorization=credentials, user_agent="t/1"))
        for _ in range(3):
            list(client.watch(Node, WatchOptions()))
    assert [seen.headers["Authorization"] for seen in server.seen] == ["Bearer one", "Bearer two", "Bearer three"]
    assert credentials.refreshed == 0


def test_credentials_that_were_renewed_meanwhile_are_not_read_again() -> None:
    credentials = Rotating("Bearer old", "Bearer new")
    with scripted_server(answer(401, b"{}"), answer(200, NODE)) as server:
        get(LiveClient(RestConfig(server=server.url, authorization=credentials, user_agent="t/1")))
    assert [seen.headers["Authorization"] for seen in server.seen] == ["Bearer old", "Bearer new"]
    assert credentials.refreshed == 0


def test_a_watch_that_is_refused_reads_the_credentials_once() -> None:
    credentials = Rotating("Bearer old")
    with scripted_server(answer(401, b"{}")) as server, pytest.raises(UnauthorizedError):
        watch(LiveClient(RestConfig(server=server.url, authorization=credentials, user_agent="t/1")))
    assert credentials.refreshed == 1


def test_an_answer_that_is_cut_short_is_no_answer() -> None:
    def cut(handler: object) -> None:
        handler.send_response(200)  # type: ignore[attr-defined]
        handler.send_header("Content-Length", "100")  # type: ignore[attr-defined]
        handler.end_headers()  # type: ignore[attr-defined]
        handler.wfile.write(NODE)  # type: ignore[attr-defined]
        handler.close_connection = True  # type: ignore[attr-defined]

    with scripted_server(cut) as server, pytest.raises(TransportError, match="75 bytes before its end"):
        get(LiveClient(RestConfig(server=server.url, authorization=no_token, user_agent="t/1")))
