"""`HttpProtocol`: one HTTP connection of the front, from bytes to a request of the core and back."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from http import HTTPStatus
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from .front import Front
from .messages import Answer, NoAnswer, Request, WatchResponse
from .peers import PeerCertificate

BODY_LIMIT = 3 * 1024 * 1024
"""Bytes of a request body, as kube-apiserver limits it."""
DISCARD_TIMEOUT = 10.0
"""Seconds in which a client may send the rest of a body that is too large, before its connection is closed."""
SHUTDOWN_TIMEOUT = 0.3
"""Seconds that a connection gets for its end when the server stops."""
BATCH_LIMIT = 256 * 1024
"""Bytes about which a watch gets at a time."""
UNSENT_LIMIT = 64 * 1024
"""Bytes of answers above which a connection keeps none back, to send them with those of others."""
PIPELINE_LIMIT = 64
"""Requests that a client may send before it has got the answers; reading stops there."""

_KEEPALIVE = ((socket.TCP_KEEPIDLE, 30), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3))
"""A peer that vanished without a word is noticed within a minute, also by a watch that has nothing to tell."""
_UNACKNOWLEDGED_MS = 60_000
_RESET = struct.pack("ii", 1, 0)
"""A linger time of zero: what is not sent is dropped, and the peer gets an RST."""
_HEADER_NAMES = {
    spelling.encode(): name
    for name in ("accept", "accept-encoding", "authorization", "connection", "content-length", "content-type", "host",
                 "user-agent")
    for spelling in (name, name.title())
}  # fmt: skip
"""Names as clients spell them, in lower case."""
_CONTROL_CHARACTERS = dict.fromkeys((*range(32), 127), " ")


class HttpProtocol(HttpToolsProtocol):
    """One connection. Requests are answered one after the other, in the order in which they came."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.front: Front = self.config.loaded_app
        # The client's certificate, if it showed one; read once, when the connection is made.
        self._peer: PeerCertificate | None = None
        # The request that is being received.
        self._url = b""
        self._fields: dict[str, str] = {}
        self._impersonation: list[tuple[str, str]] = []
        self._body: list[bytes] = []
        self._size = 0
        # Answers that are not sent yet.
        self._unsent: list[bytes] = []
        self._unsent_size = 0
        # Requests that are whole and wait for the one before, each with whether the connection outlives it.
        self._waiting: deque[tuple[Request, bool]] = deque()
        # The request at hand: a thread works on it, or its watch is being served.
        self._is_blocked = False
        self._watch: WatchResponse | None = None
        self._tick: asyncio.TimerHandle | None = None
        self._keep_alive = True
        self._is_http10 = False
        # Since when the connection waits for a request, in the loop's time; None while it has one.
        self._idle_since: float | None = None
        # The peer reads more slowly than we write.
        self._is_congested = False

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]
        self._peer = PeerCertificate.of(transport.get_extra_info("ssl_object"))
        _watch_over(transport.get_extra_info("socket"))

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        self._waiting.clear()
        self._unsent.clear()
        if self._watch is not None:
            self._watch.close()
            self._forget_watch()

    def data_received(self, data: bytes) -> None:
        self._idle_since = None
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # Answered as an ordinary request, like any server that does not know the protocol; then we hang up.
            self._keep_alive = False
        except httptools.HttpParserError:
            self.flush()
            self.send_400_response("Bad Request")

    def eof_received(self) -> None:
        """The peer says no more: over TLS the transport closes after this, so what it is owed goes out now."""
        self.flush()

    def pause_writing(self) -> None:
        self._is_congested = True
        self.flow.pause_reading()

    def resume_writing(self) -> None:
        self._is_congested = False
        self.flow.resume_reading()
        self.send_events()
        self._answer_waiting()

    def shutdown(self) -> None:
        """Asked by uvicorn when the server stops."""
        if self._watch is not None:
            self.end_watch()
        elif not self._is_blocked:
            self._close()
        self._keep_alive = False
        # Over TLS, closing waits for the peer to say goodbye.
        self.loop.call_later(SHUTDOWN_TIMEOUT, self.transport.abort)

    # What the parser calls.

    def on_message_begin(self) -> None:
        self._url, self._fields, self._impersonation, self._body, self._size = b"", {}, [], [], 0

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        key = _HEADER_NAMES.get(name)
        if key is None:
            key = name.decode("latin-1").lower()
            if key.startswith("impersonate-"):
                self._impersonation.append((key, value.decode("latin-1")))
        self._fields[key] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self._is_http10 = self.parser.get_http_version() == "1.0"
        if self._fields.get("expect", "").lower() == "100-continue" and not self._is_announced_too_large():
            self.flush()
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        if self._size > BODY_LIMIT:
            return
        self._body.append(body)
        self._size += len(body)
        if self._size > BODY_LIMIT:
            # Answered now, lest the client sends all of it; what still comes is thrown away.
            self._body.clear()
            self._accept(keep_alive=False)
            self.loop.call_later(DISCARD_TIMEOUT, self._close)

    def on_message_complete(self) -> None:
        if self._size > BODY_LIMIT:
            self._close()
        else:
            self._accept(keep_alive=self.parser.should_keep_alive() and not self.parser.should_upgrade())

    # Answering.

    def request(self) -> Request:
        """The request that has been received."""
        path, _, query = self._url.partition(b"?")
        if not path.startswith(b"/"):
            # The absolute form, as sent to proxies.
            path = httptools.parse_url(self._url).path or b"/"
        return Request(
            method=self.parser.get_method().decode("latin-1"),
            path=path.decode("latin-1"),
            raw_query=query.decode("latin-1"),
            headers=self._fields,
            body=self._body[0] if len(self._body) == 1 else b"".join(self._body),
            impersonation=tuple(self._impersonation),
            peer=self._peer,
            is_too_large=self._size > BODY_LIMIT,
        )

    def _is_announced_too_large(self) -> bool:
        length = self._fields.get("content-length", "")
        return length.isdigit() and int(length) > BODY_LIMIT

    def _accept(self, *, keep_alive: bool) -> None:
        if self._is_blocked or self._watch is not None or self._is_congested or self._waiting:
            self._waiting.append((self.request(), keep_alive))
            if len(self._waiting) >= PIPELINE_LIMIT:
                self.flow.pause_reading()
        else:
            self._answer(self.request(), keep_alive=keep_alive)

    def _answer_waiting(self) -> None:
        """Goes on with the requests that were sent ahead."""
        while self._waiting and not (self._is_blocked or self._watch or self._is_congested or self._is_closing):
            request, keep_alive = self._waiting.popleft()
            self._answer(request, keep_alive=keep_alive)
        if not self._waiting and not self._is_congested:
            self.flow.resume_reading()

    @property
    def _is_closing(self) -> bool:
        return self.parser is None or self.transport.is_closing()

    def _answer(self, request: Request, *, keep_alive: bool) -> None:
        self._keep_alive = keep_alive
        if self.front.core.may_block(request):
            self._is_blocked = True
            self.front.run_in_thread(request, self)
        else:
            self._send(request, self.front.core.handle(request))

    def finish_blocking(self, request: Request, answer: Answer) -> None:
        """A thread has answered."""
        self._is_blocked = False
        if self._is_closing:
            if isinstance(answer, WatchResponse):
                answer.close()
            return
        self._send(request, answer)
        self._answer_waiting()

    def _send(self, request: Request, answer: Answer) -> None:
        if isinstance(answer, WatchResponse):
            self._start_watch(request, answer)
            return
        if isinstance(answer, NoAnswer):
            self._abort(reset=True)
            return
        length = b"content-length: %d\r\n" % len(answer.body)
        head = self._head(answer.status, answer.content_type, length, answer.headers)
        data = head if request.method == "HEAD" else b"".join((head, answer.body))
        self._unsent.append(data)
        self._unsent_size += len(data)
        if self._unsent_size > UNSENT_LIMIT:
            self.flush()
        elif len(self._unsent) == 1:
            self.front.send_soon(self)
        self._end_answer()

    def flush(self) -> None:
        """Sends the answers that were kept back."""
        if self._unsent:
            data = b"".join(self._unsent)
            self._unsent.clear()
            self._unsent_size = 0
            self.transport.write(data)

    def _close(self) -> None:
        self.flush()
        self.transport.close()

    def _end_answer(self) -> None:
        self.server_state.total_requests += 1
        if not self._keep_alive:
            if self._size <= BODY_LIMIT:
                self._close()
        elif not self._waiting:
            self._idle_since = self.loop.time()
            if self.timeout_keep_alive_task is None:
                self._look_in(self.timeout_keep_alive)

    def _look_in(self, seconds: float) -> None:
        """One timer goes with a connection, not one with each of its requests."""
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def timeout_keep_alive_handler(self) -> None:
        """Closes a connection that has been idle for long."""
        self.timeout_keep_alive_task = None
        if self._is_closing:
            return
        since = self.loop.time() if self._idle_since is None else self._idle_since
        left = since + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self._look_in(left)
        else:
            self._close()

    def _head(self, status: int, content_type: str, length: bytes, headers: Any = ()) -> bytes:
        parts = [_START.get((status, content_type)) or _start(status, content_type)]
        for name, value in self.server_state.default_headers:
            parts += (name, b": ", value, b"\r\n")
        for name, value in headers:
            parts.append(f"{name.lower()}: {value.translate(_CONTROL_CHARACTERS)}\r\n".encode("latin-1", "replace"))
        if not self._keep_alive:
            parts.append(b"connection: close\r\n")
        parts += (length, b"\r\n")
        return b"".join(parts)

    def _abort(self, *, reset: bool) -> None:
        """Closes the connection in the middle; with `reset` the peer hears of a failure, not of an end."""
        connection = self.transport.get_extra_info("socket")
        if reset and connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.flush()
        self.transport.abort()

    # Watches.

    def _start_watch(self, request: Request, watch: WatchResponse) -> None:
        if request.method == "HEAD":
            watch.close()
        self._watch = watch
        self.front.watching.add(self)
        watch.on_end = self._wake
        # The head goes out at once, also before the first event: clients wait for it. HTTP/1.0 knows no chunks.
        self._keep_alive = self._keep_alive and not self._is_http10
        self.flush()
        self.transport.write(
            self._head(
                200, watch.content_type, b"" if self._is_http10 else b"transfer-encoding: chunked\r\n", watch.headers
            )
        )
        self._run_tick()
        self.send_events()

    def _wake(self) -> None:
        self.front.wake(self)

    def send_events(self) -> None:
        """Sends what the watch has to say, as long as the socket takes it."""
        watch = self._watch
        if watch is None:
            return
        while not (self._is_congested or watch.aborted):
            batch = watch.take(self._wake, limit=BATCH_LIMIT)
            if batch:
                self.transport.write(batch if self._is_http10 else self.front.chunk(batch))
            elif not watch.aborted:
                if watch.ended:
                    self._finish_watch()
                return
        if watch.aborted:
            # A peer that does not read would not read the end of the answer either.
            self._abort(reset=watch.is_reset)

    def end_watch(self) -> None:
        """The server's end of the watch: what is queued is still sent, unless the watch is half open by a fault."""
        if self._watch is None:
            return
        if self._watch.is_held:
            self._watch.abort()
        else:
            self._watch.finish()

    def _finish_watch(self) -> None:
        self._forget_watch()
        if not self._is_http10:
            self.transport.write(b"0\r\n\r\n")
        self._end_answer()
        self._answer_waiting()

    def _forget_watch(self) -> None:
        if self._tick is not None:
            self._tick.cancel()
        self._watch = self._tick = None
        self.front.watching.discard(self)

    def _run_tick(self) -> None:
        """Has the watch do what is due (bookmarks, its timeout), and comes back when the next is."""
        watch = self._watch
        if watch is not None:
            due = watch.tick()
            if not watch.ended:
                self._tick = self.loop.call_later(max(due, 0.01), self._run_tick)


_START: dict[tuple[int, str], bytes] = {}


def _start(status: int, content_type: str) -> bytes:
    """The head of an answer, as far as many answers share it."""
    phrase = HTTPStatus(status).phrase if status in HTTPStatus.__members__.values() else ""
    text = f"HTTP/1.1 {status} {phrase}\r\ncontent-type: {content_type}\r\ncache-control: no-cache, private\r\n"
    return _START.setdefault((status, content_type), text.encode("latin-1", "replace"))


def _watch_over(connection: socket.socket | None) -> None:
    if connection is None or connection.family not in (socket.AF_INET, socket.AF_INET6):
        return
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE:
        connection.setsockopt(socket.IPPROTO_TCP, option, value)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNACKNOWLEDGED_MS)
