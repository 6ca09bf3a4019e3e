"""What goes into the transport-free core and what comes out of it: `Request`, `Response`, `WatchResponse`.

The HTTP front (`asgi`) makes a Request of what arrived and sends what `ApiServerCore.handle` returned; tests make
Requests by hand. A `WatchResponse` is a queue of lines, filled by the thread that writes to the store and emptied by
whoever serves the watch; nothing in it blocks.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote

import msgspec

JSON = "application/json"
Headers = Sequence[tuple[str, str]]

PENDING_LIMIT = 8 * 1024 * 1024
"""Bytes that may wait for a watcher; one that falls further behind is cut off and lists again, as on a real server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One HTTP request with its whole body. Header names are lower case; `path` is still percent-encoded."""

    method: str
    path: str
    raw_query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    impersonated_groups: tuple[str, ...] = ()
    """The values of Impersonate-Group, the one header that is read and may be repeated."""

    @property
    def query(self) -> dict[str, str]:
        """The first value of each parameter, those without value included."""
        return {name: values[0] for name, values in parse_qs(self.raw_query, keep_blank_values=True).items()}

    @property
    def segments(self) -> list[str]:
        """The decoded parts of the path."""
        return [unquote(segment) for segment in self.path.strip("/").split("/")]


@dataclass(slots=True, kw_only=True)
class Response:
    """One whole answer."""

    status: int
    body: bytes
    content_type: str = JSON
    headers: Headers = ()

    @classmethod
    def of_json(cls, value: Any, *, status: int = 200, content_type: str = JSON, headers: Headers = ()) -> Response:
        return cls(status=status, body=msgspec.json.encode(value), content_type=content_type, headers=headers)


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """The connection is closed without an answer, by an injected fault."""

    status: int = 0
    """The code of the answer that is lost; 0 if the request did not take effect."""


class WatchResponse:
    """The lines of one watch, waiting to be sent.

    `push` may be called from any thread, also while the server empties the queue; `wake` is called (from the pushing
    thread) when there is something new and nobody has been woken since the last `take`.
    """

    def __init__(self, *, headers: Headers = ()) -> None:
        self.headers = headers
        self.on_close: Callable[[], None] = lambda: None
        """Called once, when the watch is over for whatever reason."""
        self.tick: Callable[[], float] = lambda: 3600.0
        """Does what is due (bookmarks, the end at the timeout); returns the seconds until it must be called again."""
        self._lines: deque[bytes] = deque()
        self._pending = 0
        self._taken_once = False
        self._wake: Callable[[], None] | None = None
        self._lock = threading.Lock()
        # Set once, by the first of close, finish and an overflow. No line is accepted after that.
        self.ended = False
        self.aborted = False
        """The connection is to be reset instead of ended."""
        self._held = False

    def push(self, line: bytes) -> None:
        """Queues one line; cuts the watch off if its reader is too slow. The first batch may have any size."""
        with self._lock:
            if self.ended or self._held:
                return
            self._lines.append(line)
            self._pending += len(line)
            overflow = self._taken_once and self._pending > PENDING_LIMIT
            wake, self._wake = self._wake, None
        if overflow:
            self.close()
        if wake:
            wake()

    def take(self, wake: Callable[[], None] | None = None) -> bytes:
        """All that is queued. If that is nothing, `wake` is called once when there is something, or at the end."""
        with self._lock:
            self._taken_once = True
            batch = b"".join(self._lines)
            self._lines.clear()
            self._pending = 0
            self._wake = None if batch or self.ended else wake
        return batch

    def hold(self) -> None:
        """Half open: nothing more is sent, not even the end, until the reader goes away."""
        with self._lock:
            self._held = True
            self._lines.clear()
            self._pending = 0

    def finish(self) -> None:
        """Ends the watch; what is queued is still sent."""
        if not self._held:
            self._end(drop=False)

    def abort(self) -> None:
        """Ends the watch with a reset connection; drops what is queued."""
        self.aborted = True
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
        if wake:
            wake()


Answer = Response | WatchResponse | NoAnswer
"""What the core makes of a request."""
