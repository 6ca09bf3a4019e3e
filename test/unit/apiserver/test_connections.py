"""How long the HTTP front keeps a connection that is idle. Without sockets; the rest is in the integration tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import uvicorn
from support.apicore import InProcess
from uvicorn.server import ServerState

from localmodel.sandbox.apiserver.connection import UNSENT_LIMIT, HttpProtocol
from localmodel.sandbox.apiserver.front import PATIENCE, Front

IDLE = 60
REQUEST = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"


class Timer:
    """A call that a loop makes later."""

    def __init__(self, when: float, call: Callable[[], None]) -> None:
        self.when, self.call, self.is_cancelled = when, call, False

    def cancel(self) -> None:
        self.is_cancelled = True


class Loop:
    """An event loop's time and timers; both stand still until `advance`."""

    def __init__(self) -> None:
        self.now = 0.0
        self._timers: list[Timer] = []
        self._soon: list[Callable[[], None]] = []

    @property
    def timers(self) -> list[Timer]:
        return [timer for timer in self._timers if not timer.is_cancelled]

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, call: Callable[[], None]) -> Timer:
        self._timers.append(Timer(self.now + delay, call))
        return self._timers[-1]

    def call_soon(self, call: Callable[[], None]) -> None:
        self._soon.append(call)

    def advance(self, seconds: float) -> None:
        soon, self._soon = self._soon, []
        for call in soon:
            call()
        self.now += seconds
        due = [timer for timer in self.timers if timer.when <= self.now]
        self._timers = [timer for timer in self.timers if timer.when > self.now]
        for timer in due:
            timer.call()


class Transport:
    """Remembers what is written, and whether it was closed."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.closed = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def loop() -> Loop:
    return Loop()


@pytest.fixture
def connection(loop: Loop) -> HttpProtocol:
    front = Front(InProcess().core)
    config = uvicorn.Config(front, http=HttpProtocol, ws="none", log_config=None, timeout_keep_alive=IDLE)
    config.load()
    config.loaded_app = front
    protocol = HttpProtocol(config=config, server_state=ServerState(), app_state={}, _loop=loop)  # type: ignore[arg-type]
    protocol.connection_made(Transport())  # type: ignore[arg-type]
    return protocol


def is_closed(connection: HttpProtocol) -> bool:
    return bool(connection.transport.is_closing())


def test_a_connection_that_was_idle_for_long_is_closed(loop: Loop, connection: HttpProtocol) -> None:
    connection.data_received(REQUEST)
    loop.advance(IDLE - 1)
    assert not is_closed(connection)
    loop.advance(1)
    assert is_closed(connection)


def test_each_request_begins_the_wait_anew_with_one_timer(loop: Loop, connection: HttpProtocol) -> None:
    connection.data_received(REQUEST)
    loop.advance(IDLE - 1)
    connection.data_received(REQUEST)
    assert len(loop.timers) == 1
    loop.advance(1)
    assert not is_closed(connection)
    loop.advance(IDLE - 2)
    assert not is_closed(connection)
    loop.advance(1)
    assert is_closed(connection)


def test_a_connection_that_sends_a_request_slowly_is_not_idle(loop: Loop, connection: HttpProtocol) -> None:
    connection.data_received(REQUEST)
    connection.data_received(REQUEST[:10])
    loop.advance(3 * IDLE)
    assert not is_closed(connection)


def test_a_lost_connection_leaves_no_timer(loop: Loop, connection: HttpProtocol) -> None:
    connection.data_received(REQUEST)
    connection.connection_lost(ConnectionResetError())
    assert loop.timers == []


def test_answers_to_requests_that_lie_ready_are_sent_in_a_row(loop: Loop, connection: HttpProtocol) -> None:
    """Together, and with the connection's end behind them."""
    connection.data_received(REQUEST * 2)
    connection.data_received(REQUEST.replace(b"host: x", b"host: x\r\nconnection: close"))
    transport = connection.transport
    assert isinstance(transport, Transport)
    assert is_closed(connection)
    assert b"".join(transport.written).count(b"HTTP/1.1 200 OK") == 3
    loop.advance(0)
    assert len(transport.written) == 1


def test_no_answer_waits_for_more_than_a_moment_of_other_requests(loop: Loop, connection: HttpProtocol) -> None:
    connection.data_received(REQUEST)
    transport = connection.transport
    assert isinstance(transport, Transport)
    loop.now += PATIENCE / 2
    connection.front.send_soon(connection)
    assert not transport.written
    loop.now += PATIENCE
    connection.front.send_soon(connection)
    assert transport.written


def test_few_bytes_of_answers_are_kept_back(connection: HttpProtocol) -> None:
    connection.data_received(REQUEST * 1000)
    transport = connection.transport
    assert isinstance(transport, Transport)
    kept = 1000 - b"".join(transport.written).count(b"HTTP/1.1 200 OK")
    assert 0 < kept * len(transport.written[0]) / transport.written[0].count(b"HTTP/1.1 200 OK") <= UNSENT_LIMIT
