"""HTTP to one API server: one keep-alive connection per thread for requests, one owned connection per watch.

A shared pool can be starved by watches (feasibility.md 1.5), and the standard library's connection is two to four times
faster than one; so every worker thread keeps its own connection and every watch owns another that it can shut from any
thread. Nothing here knows about kinds; see `rest`.
"""

from __future__ import annotations

import http.client
import select
import socket
import threading
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from . import cancellation, deadline
from .connection import Connection
from .errors import TransportError
from .kubeconfig import RestConfig

_IDEMPOTENT = frozenset({"GET", "HEAD", "PUT", "DELETE"})
_BROKEN = (http.client.HTTPException, OSError)
_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Response:
    """An answer that was read to its end."""

    code: int
    body: bytes
    headers: http.client.HTTPMessage


class Transport:
    """Sends requests with credentials and the user agent; raises TransportError when there is no answer.

    A request other than a watch stays within the `deadline` of the work in hand: DeadlineExceededError once it is over.
    The `cancellation` of the work in hand ends a request under way, and the opening of a watch, by CancelledError.
    """

    def __init__(self, config: RestConfig) -> None:
        self.config = config
        url = urlsplit(config.server)
        self._host, self._port = url.hostname or "", url.port or (443 if url.scheme == "https" else 80)
        self._prefix = url.path.rstrip("/")
        self._local = threading.local()
        self._lock = threading.Lock()
        """Guards the two fields below."""
        self._connections: weakref.WeakSet[Connection] = weakref.WeakSet()
        """Of all threads and watches. A thread's connection goes with the thread."""
        self._is_closed = False

    def request(self, method: str, target: str, *, body: bytes | None = None, headers: dict[str, str]) -> Response:
        """One request on this thread's connection. A 401 is answered by fresh credentials and one more try."""
        authorization = self.config.authorization()
        response = self._send(method, target, body, self._headers(headers, authorization))
        if response.code == 401:
            authorization = self._fresh_authorization(authorization)
            response = self._send(method, target, body, self._headers(headers, authorization))
        return response

    def stream(self, target: str, *, headers: dict[str, str], silence: float) -> tuple[int, Stream]:
        """Opens a GET on a connection of its own; returns the HTTP code and the body to be read piece by piece."""
        authorization = self.config.authorization()
        stream = self._open_stream(target, self._headers(headers, authorization), silence)
        if stream.code == 401:
            stream.close()
            authorization = self._fresh_authorization(authorization)
            stream = self._open_stream(target, self._headers(headers, authorization), silence)
        return stream.code, stream

    def close(self) -> None:
        """Aborts the connections of all threads; a thread that waits for an answer gets a TransportError at once."""
        with self._lock:
            self._is_closed = True
            connections = list(self._connections)
        for connection in connections:
            connection.abort()

    def _open_stream(self, target: str, headers: dict[str, str], silence: float) -> Stream:
        doing = f"watch {target}"
        connection = self._new_connection()
        try:
            with cancellation.waking(connection.abort, doing):
                self._open(connection, self.config.connect_timeout)
                sock = connection.opened_socket
                sock.settimeout(min(silence, self.config.request_timeout))
                connection.request("GET", self._prefix + target, headers=headers)
                response = connection.getresponse()
                sock.settimeout(silence)
                return Stream(response, connection, target)
        except _BROKEN as error:
            connection.close()
            cancellation.check(doing)
            raise TransportError(f"cannot watch {self.config.server}{target}: {_cause(error)}") from error

    def _send(self, method: str, target: str, body: bytes | None, headers: dict[str, str]) -> Response:
        doing = f"{method} {target}"
        for last_try in (False, True):
            deadline.check(doing)
            kept = self._kept_connection()
            connection = kept or self._new_connection()
            try:
                with cancellation.waking(connection.abort, doing):
                    if not kept:
                        self._open(connection, self._limited(self.config.connect_timeout))
                        self._local.connection = connection
                    return self._exchange(connection, method, target, body, headers)
            except _BROKEN as error:
                self._forget(connection)
                cancellation.check(doing)
                # A kept connection may have been closed by the server just now; a fresh one that breaks is an error.
                if last_try or not kept or method not in _IDEMPOTENT:
                    raise TransportError(f"{method} {self.config.server}{target}: {_cause(error)}") from error
            except BaseException:
                self._forget(connection)  # cut off half-way (Ctrl-C): the next answer on it would be this request's
                raise
        raise AssertionError("unreachable")

    def _open(self, connection: Connection, timeout: float) -> None:
        try:
            connection.open(timeout)
        except _BROKEN as error:
            cancellation.check(f"connecting to {self.config.server}")
            raise TransportError(f"cannot connect to {self.config.server}: {_cause(error)}") from error

    def _exchange(
        self, connection: Connection, method: str, target: str, body: bytes | None, headers: dict[str, str]
    ) -> Response:
        """Each wait is bounded by the deadline anew: many short ones must not add up to a long one."""
        sock = connection.opened_socket
        sock.settimeout(self._limited(self.config.request_timeout))
        connection.request(method, self._prefix + target, body=body, headers=headers)
        answer = connection.getresponse()
        pieces = []
        while piece := answer.read1(_PIECE):
            pieces.append(piece)
            sock.settimeout(self._limited(self.config.request_timeout))
        if answer.length:
            raise http.client.IncompleteRead(b"", answer.length)
        answer.close()
        if answer.will_close:
            self._forget(connection)
        return Response(answer.status, b"".join(pieces), answer.headers)

    def _limited(self, seconds: float) -> float:
        left = deadline.remaining()
        return seconds if left is None else max(0.001, min(left, seconds))

    def _kept_connection(self) -> Connection | None:
        """This thread's connection, if it is open and idle."""
        connection: Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            return None
        if connection.sock is None or _is_readable(connection.sock):
            self._forget(connection)  # idle and readable: the server has closed it
            return None
        return connection

    def _forget(self, connection: Connection) -> None:
        connection.close()
        self._local.connection = None

    def _new_connection(self) -> Connection:
        """One that is not open yet, but known to `close`; raises TransportError after it."""
        config = self.config
        proxy = urlsplit(config.proxy) if config.proxy else None
        host, port = (proxy.hostname or "", proxy.port or 3128) if proxy else (self._host, self._port)
        connection = Connection(host, port, tls=config.tls, server_name=config.server_name or self._host)
        if proxy:
            connection.set_tunnel(self._host, self._port)
        with self._lock:
            if self._is_closed:
                raise TransportError(f"the client of {config.server} is closed")
            self._connections.add(connection)
        return connection

    def _headers(self, headers: dict[str, str], authorization: str | None) -> dict[str, str]:
        common = {"User-Agent": self.config.user_agent}
        if authorization:
            common["Authorization"] = authorization
        return common | headers

    def _fresh_authorization(self, refused: str | None) -> str | None:
        """Reads the credentials again, unless another thread has done so since the refused ones were sent."""
        current = self.config.authorization()
        return current if current != refused else self.config.authorization(refresh=True)


class Stream:
    """The body of a watch. One thread reads it; any thread may close it, which wakes the reader."""

    def __init__(
        self,
        response: http.client.HTTPResponse,
        connection: Connection,
        target: str,
    ) -> None:
        self.code = response.status
        self.headers = response.headers
        self._response = response
        self._connection = connection
        self._target = target
        self._closed = threading.Event()

    def read(self) -> bytes:
        """The whole body, for an answer that is not a stream."""
        try:
            with cancellation.waking(self._connection.abort, self._target):
                return self._response.read()
        except (*_BROKEN, ValueError) as error:
            cancellation.check(self._target)
            raise TransportError(f"{self._target}: {_cause(error)}") from error

    def lines(self) -> Iterator[bytes]:
        """Complete lines without their newline. Ends on EOF and on `close`.

        Raises TransportError when the stream breaks, or is silent for longer than the limit it was opened with.
        """
        rest = b""
        while True:
            piece = self._piece()
            if not piece:
                return
            *complete, rest = (rest + piece).split(b"\n")
            for line in complete:
                if line.strip():
                    yield line

    def _piece(self) -> bytes:
        if self._closed.is_set():
            return b""
        try:
            return self._response.read1(1 << 16)
        except TimeoutError as error:
            raise TransportError(f"watch {self._target}: silent for too long, the connection is half open") from error
        except (*_BROKEN, ValueError, AttributeError) as error:
            if self._closed.is_set():
                return b""
            raise TransportError(f"watch {self._target}: {_cause(error)}") from error

    def close(self) -> None:
        if self._closed.is_set():
            return
        self._closed.set()
        self._connection.abort()
        self._connection.close()


def _is_readable(sock: socket.socket) -> bool:
    try:
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        return bool(poll.poll(0))
    except (OSError, ValueError):
        return True


def _cause(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
