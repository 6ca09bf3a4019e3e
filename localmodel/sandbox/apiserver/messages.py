"""What goes into the transport-free core and what comes out of it: `Request`, `Response`, `WatchResponse`,
`StreamResponse`.

The HTTP front (`front`) makes a Request of what arrived and sends what `ApiServerCore.handle` returned; tests make
Requests by hand. A `WatchResponse` is a queue of lines, filled by the thread that writes to the store and emptied by
whoever serves the watch; nothing in it blocks.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, Self, TypeVar, overload
from urllib.parse import parse_qs, unquote_to_bytes

import msgspec

from .peers import PeerCertificate

T = TypeVar("T")

JSON = "application/json"
Headers = Sequence[tuple[str, str]]

PENDING_LIMIT = 8 * 1024 * 1024
"""Bytes that may wait for a watcher; one that falls further behind is cut off and lists again, as on a real server."""
STREAM_LIMIT = 1024 * 1024
"""Bytes that may wait for the reader of a stream before its writer waits, too."""


class _Once(Generic[T]):
    """A property that is computed once; functools' own takes a lock each time, until Python 3.12."""

    def __init__(self, compute: Callable[[Any], T]) -> None:
        self._compute = compute
        self._name = compute.__name__
        self.__doc__ = compute.__doc__

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(self, instance: object, owner: type) -> T: ...
    def __get__(self, instance: object | None, owner: type) -> Self | T:
        if instance is None:
            return self
        value = instance.__dict__[self._name] = self._compute(instance)
        return value


class Request(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """One HTTP request with its whole body. Header names are lower case; `path` is still percent-encoded."""

    method: str
    path: str
    raw_query: str = ""
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)
    body: bytes = b""
    impersonation: tuple[tuple[str, str], ...] = ()
    """The Impersonate headers, in the order given: the only ones that are read and may be repeated."""
    peer: PeerCertificate | None = None
    """The client's certificate, if it showed one."""
    is_too_large: bool = False
    """The body is larger than the server takes, and left out."""

    @_Once
    def query(self) -> dict[str, str]:
        """The first value of each parameter, those without value included."""
        if not self.raw_query:
            return {}
        return {name: values[0] for name, values in parse_qs(self.raw_query, keep_blank_values=True).items()}

    def values(self, name: str) -> list[str]:
        """All values of a parameter that may be repeated."""
        return parse_qs(self.raw_query, keep_blank_values=True).get(name, []) if name in self.raw_query else []

    @_Once
    def segments(self) -> list[str]:
        """The decoded parts of the path."""
        if self.path.isascii() and "%" not in self.path:
            return self.path.strip("/").split("/")
        raw = self.path.encode("latin-1", "replace")
        return [unquote_to_bytes(segment).decode("utf-8", "replace") for segment in raw.strip(b"/").split(b"/")]


class Response(msgspec.Struct, kw_only=True):
    """One whole answer."""

    status: int
    body: bytes
    content_type: str = JSON
    headers: Headers = ()

    @classmethod
    def of_json(cls, value: Any, *, status: int = 200, content_type: str = JSON, headers: Headers = ()) -> Response:
        return cls(status=status, body=msgspec.json.encode(value), content_type=content_type, headers=headers)


class NoAnswer(msgspec.Struct, frozen=True):
    """The connection is closed without an answer, by an injected fault."""

    status: int = 0
    """The code of the answer that is lost; 0 if the request did not take effect."""


class WatchResponse:
    """The lines of one watch, waiting to be sent.

    `push` may be called from any thread, also while the server empties the queue; `wake` is called (from the pushing
    thread) when there is something new and nobody has been woken since the last `take`. Lines wait as the bytes that
    were pushed, so that many watches can share them.
    """

    def __init__(self, *, headers: Headers = (), content_type: str = JSON) -> None:
        self.headers = headers
        self.content_type = content_type
        self.on_close: Callable[[], None] = lambda: None
        """Called once, when the watch is over for whatever reason."""
        self.tick: Callable[[], float] = lambda: 3600.0
        """Does what is due (bookmarks, the end at the timeout); returns the seconds until it must be called again."""
        self.on_end: Callable[[], None] = lambda: None
        """Called once, at the end: by whoever serves the watch to hear of it also while it does not `take`."""
        # Lines in pieces; the last piece of a line ends with a line break.
        self._lines: deque[bytes] = deque()
        self._pending = 0
        self._taken_once = False
        self._wake: Callable[[], None] | None = None
        self._lock = threading.Lock()
        # Set once, by the first of close, finish and an overflow. No line is accepted after that.
        self.ended = False
        self.aborted = False
        """The connection is to be closed without the end of the answer: the reader is too slow."""
        self.is_reset = False
        """It is to be reset as well: an injected fault wants it so."""
        self.is_held = False
        """It is half open: see `hold`."""

    def push(self, *line: bytes) -> None:
        """Queues one line, in one or more pieces; cuts the watch off if its reader is too slow.

        What is pushed before the first `take` may have any size.
        """
        with self._lock:
            if self.ended or self.is_held:
                return
            self._lines.extend(line)
            if self._taken_once:
                self._pending += sum(map(len, line))
            overflows = self._pending > PENDING_LIMIT
            wake, self._wake = self._wake, None
        if overflows:
            self.abort()
        if wake:
            wake()

    def take(self, wake: Callable[[], None] | None = None, *, limit: int | None = None) -> bytes:
        """What is queued: all of it, or the first lines of together about `limit` bytes.

        If that is nothing, `wake` is called once when there is something, or at the end.
        """
        with self._lock:
            self._taken_once = True
            lines = self._lines if limit is None else self._first_lines(limit)
            batch = b"".join(lines)
            if limit is None:
                lines.clear()
            self._pending = max(self._pending - len(batch), 0) if self._lines else 0
            self._wake = None if batch or self.ended else wake
        return batch

    def hold(self) -> None:
        """Half open: nothing more is sent, not even the end, until the reader goes away."""
        with self._lock:
            self.is_held = True
            self._lines.clear()
            self._pending = 0

    def _first_lines(self, limit: int) -> deque[bytes]:
        """Takes out lines until they have `limit` bytes, the last of them whole."""
        if len(self._lines) == 1:
            lines, self._lines = self._lines, deque()
            return lines
        lines, size = deque(), 0
        while self._lines and (size < limit or not lines[-1].endswith(b"\n")):
            lines.append(self._lines.popleft())
            size += len(lines[-1])
        return lines

    def finish(self) -> None:
        """Ends the watch; what is queued is still sent."""
        if not self.is_held:
            self._end(drop=False)

    def abort(self, *, reset: bool = False) -> None:
        """Ends the watch in the middle, with a closed or a reset connection; drops what is queued."""
        self.aborted, self.is_reset = True, reset
        self._end(drop=True)

    def close(self) -> None:
        """Ends the watch and drops what is queued: the reader is gone. Idempotent."""
        self._end(drop=True)

    def _end(self, *, drop: bool) -> None:
        with self._lock:
            first, self.ended = not self.ended, True
            if drop:
                self._lines.clear()
            wake, self._wake = self._wake, None
        if first:
            self.on_close()
            self.on_end()
        if wake:
            wake()


class StreamResponse(WatchResponse):
    """The text of an answer that is still being made, such as a log that is followed.

    Its writer is a thread that may wait: nothing is dropped and nobody is cut off when the reader is slow.
    """

    def __init__(self, *, content_type: str) -> None:
        super().__init__(content_type=content_type)
        self._room = threading.Condition()
        self._unsent = 0
        """Bytes written and not taken. Guarded by `_room`."""

    def write(self, data: bytes) -> None:
        """Queues a piece; waits while there is more than STREAM_LIMIT, until the stream has ended."""
        with self._room:
            while self._unsent > STREAM_LIMIT and not self.ended:
                self._room.wait()
            self._unsent += len(data)
        self.push(data)

    def take(self, *args: Any, **options: Any) -> bytes:
        """As a watch's; makes room for the writer."""
        batch = super().take(*args, **options)
        if batch:
            with self._room:
                self._unsent -= len(batch)
                self._room.notify_all()
        return batch

    def _end(self, *, drop: bool) -> None:
        super()._end(drop=drop)
        with self._room:
            self._room.notify_all()


Answer = Response | WatchResponse | NoAnswer
"""What the core makes of a request."""
