"""The HTTP front: `ApiServerCore` behind uvicorn's server and httptools' parser.

uvicorn listens and shuts down, uvloop waits and speaks TLS, httptools parses. Between them stands `HttpProtocol`, one
per connection. It calls the core as soon as a request is whole and writes the whole answer at once: an ASGI cycle with
its task, its messages and its two writes costs several times what the core needs for an answer. All of it runs on the
event loop's thread, except requests that may have to wait for others (`ApiServerCore.may_block`), which get a thread.

The answers to requests that lie ready are sent in a row: to wake a client that waits costs more than most answers, and
one that is awake already is not woken again. None waits for more than two milliseconds and one request.

Watches are fed from any thread. Their connections gather in one queue, so that a write wakes the loop once, not once
per watcher; a batch that many watchers get is made into a chunk once. A connection whose socket is full is left alone:
what it misses waits in its `WatchResponse`, which is bounded; when that is over its bound the connection is cut.
"""

from __future__ import annotations

import asyncio
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from .core import ApiServerCore
from .messages import Request

if TYPE_CHECKING:
    from .connection import HttpProtocol

PATIENCE = 0.002
"""Seconds, about, after which no more requests are answered before the answers that are there are sent."""
BLOCKING_THREADS = 64
"""Requests that wait at the same time for others (webhooks, injected delays); more of them wait for a thread."""


class Front:
    """What the connections of one server share. uvicorn gets it in the place of an application, and never calls it."""

    def __init__(self, core: ApiServerCore) -> None:
        self.core = core
        # The connections on which a watch is served. Of the event loop's thread.
        self.watching: set[HttpProtocol] = set()
        # Those of them that have something to send; appended to from any thread.
        self._woken: deque[HttpProtocol] = deque()
        self._is_scheduled = False
        # Connections with answers that are to be sent. Of the event loop's thread.
        self._answered: list[HttpProtocol] = []
        # When the first of them began to wait.
        self._kept_since = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._threads: ThreadPoolExecutor | None = None
        # The last batch and its chunk: all watchers of a resource mostly get the same.
        self._batch, self._chunk = b"", b""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Never called: `HttpProtocol` goes to the core directly."""

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Says on which loop the connections live; before the first of them."""
        self._loop = loop

    def wake(self, connection: HttpProtocol) -> None:
        """The connection's watch has something to say. From any thread."""
        self._woken.append(connection)
        if not self._is_scheduled and self._loop is not None and not self._loop.is_closed():
            self._is_scheduled = True
            self._loop.call_soon_threadsafe(self._send_to_woken)

    def _send_to_woken(self) -> None:
        # Before the queue is emptied: whoever appends from now on schedules this again.
        self._is_scheduled = False
        for _ in range(len(self._woken)):
            self._woken.popleft().send_events()

    def send_soon(self, connection: HttpProtocol) -> None:
        """Has the connection send its answers once the requests that lie ready have been answered, or time is up."""
        now = connection.loop.time()
        if not self._answered:
            self._kept_since = now
            connection.loop.call_soon(self._send_answers)
        self._answered.append(connection)
        if now - self._kept_since > PATIENCE:
            self._send_answers()

    def _send_answers(self) -> None:
        answered, self._answered = self._answered, []
        for connection in answered:
            connection.flush()

    def chunk(self, batch: bytes) -> bytes:
        """The batch as a chunk of HTTP's chunked encoding."""
        if batch is not self._batch and batch != self._batch:
            self._batch, self._chunk = batch, b"%x\r\n%b\r\n" % (len(batch), batch)
        return self._chunk

    def run_in_thread(self, request: Request, connection: HttpProtocol) -> None:
        """Has a thread answer the request; the connection gets the answer on the loop."""
        if self._threads is None:
            self._threads = ThreadPoolExecutor(BLOCKING_THREADS, thread_name_prefix="apiserver-request")

        def answer() -> None:
            answered = self.core.handle(request)
            if self._loop is not None and not self._loop.is_closed():
                self._loop.call_soon_threadsafe(connection.finish_blocking, request, answered)

        self._threads.submit(answer)

    def end_watches(self) -> None:
        """Ends all watches in good order. Called on the event loop."""
        for connection in list(self.watching):
            connection.end_watch()

    def close(self) -> None:
        """Waits for no thread: a request that still waits is answered to nobody."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
