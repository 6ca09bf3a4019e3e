"""What comes back for a request: `Answer`, a body with an end, and `Stream`, the body of a watch.

Both are read by one thread while the server may still be sending. They hide how http.client says that a connection
broke: every failure is a TransportError, or the CancelledError of the work in hand. An answer is never asked to be
compressed (http.client sends `Accept-Encoding: identity`): inflating 10 KB costs more time than the parsing of it,
and clusters are near. Made by `transport`.
"""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from . import cancellation
from .connection import Connection
from .errors import TransportError
from .response import Response

BROKEN = (http.client.HTTPException, OSError)
"""What a broken connection raises."""
_PIECE = 1 << 18
_LINES = 1 << 17


class Answer:
    """An answer whose body is read once: whole, or piece by piece as it arrives."""

    def __init__(
        self,
        response: Response,
        connection: Connection,
        doing: str,
        *,
        keep: Callable[[Connection], None],
    ) -> None:
        """`keep` gets the connection once it is free for another request."""
        self.code = response.status
        self.headers = response.fields
        self._response = response
        self._connection = connection
        self._doing = doing
        self._keep = keep

    def read(self) -> bytes:
        """The whole body; raises as `pieces` does."""
        return b"".join(self.pieces())

    def pieces(self) -> Iterator[bytes]:
        """The body as it arrives. Given up half-way, it closes the connection, whose rest nobody would read.

        Raises TransportError if the answer breaks off or the server is silent for too long, and CancelledError.
        """
        is_complete = False
        try:
            while piece := self._piece():
                yield piece
            is_complete = True
        finally:
            self._response.close()
            if is_complete and not self._response.will_close:
                self._keep(self._connection)
            else:
                self._connection.close()

    def close(self) -> None:
        """For an answer that is not read."""
        self._response.close()
        self._connection.close()

    def _piece(self) -> bytes:
        try:
            with cancellation.waking(self._connection.abort, self._doing):
                piece = self._response.read1(_PIECE)
        except BROKEN as error:
            cancellation.check(self._doing)
            raise TransportError(f"{self._doing}: {cause_of(error)}") from error
        if not piece and self._response.length:
            cancellation.check(self._doing)
            raise TransportError(f"{self._doing}: the answer ends {self._response.length} bytes before its end")
        return piece


class Stream:
    """The body of a watch. One thread reads it; any thread may close it, which wakes the reader."""

    def __init__(self, response: Response, connection: Connection, target: str) -> None:
        self.code = response.status
        self.headers = response.fields
        self._response = response
        self._connection = connection
        self._target = target
        self._closed = threading.Event()

    def read(self) -> bytes:
        """The whole body, of an answer that is not a stream, and the end of it."""
        try:
            with cancellation.waking(self._connection.abort, self._target):
                return self._response.read()
        except (*BROKEN, ValueError) as error:
            cancellation.check(self._target)
            raise TransportError(f"{self._target}: {cause_of(error)}") from error
        finally:
            self.close()

    def lines(self) -> Iterator[bytes]:
        """Complete lines, some with their newline. Ends on EOF and on `close`.

        Raises TransportError when the stream breaks, or is silent for longer than its limit.
        """
        begun: list[bytes] = []
        while parts := self._parts():
            for part in parts:
                if not begun and part.find(b"\n") == len(part) - 1:
                    lines = [part]  # servers flush event by event: nothing to take apart
                else:
                    begun.append(part)
                    if b"\n" not in part:
                        continue
                    *lines, rest = b"".join(begun).split(b"\n")
                    begun = [rest] if rest else []
                for line in lines:
                    if line and not line.isspace():
                        yield line

    def limit_silence(self, seconds: float) -> None:
        """From now on. Called by the reading thread."""
        with suppress(OSError):  # closed by another thread, which the next read will see
            self._connection.opened_socket.settimeout(seconds)

    def close(self) -> None:
        """Idempotent."""
        if self._closed.is_set():
            return
        self._closed.set()
        self._connection.abort()
        self._connection.close()

    def _parts(self) -> Sequence[bytes]:
        if self._closed.is_set():
            return ()
        try:
            return self._response.parts(_LINES)
        except TimeoutError as error:
            raise TransportError(f"watch {self._target}: silent for too long, the connection is half open") from error
        except (*BROKEN, ValueError, AttributeError) as error:
            if self._closed.is_set():
                return ()
            raise TransportError(f"watch {self._target}: {cause_of(error)}") from error


def cause_of(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
