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
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from . import deadline
from .errors import TransportError
from .kubeconfig import RestConfig

_IDEMPOTENT = frozenset({"GET", "HEAD", "PUT", "DELETE"})
_BROKEN = (http.client.HTTPException, OSError)


@dataclass(frozen=True, slots=True)
class Response:
    """An answer that was read to its end."""

    code: int
    body: bytes
    headers: http.client.HTTPMessage


class Transport:
    """Sends requests with credentials and the user agent; raises TransportError when there is no answer.

    A request other than a watch stays within the `deadline` of the work in hand: DeadlineExceededError once it is over.
    """

    def __init__(self, config: RestConfig) -> None:
        self.config = config
        url = urlsplit(config.server)
        self._host, self._port = url.hostname or "", url.port or (443 if url.scheme == "https" else 80)
        self._prefix = url.path.rstrip("/")
        self._local = threading.local()
        self._connections: weakref.WeakSet[http.client.HTTPConnection] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._is_closed = False

    def request(self, method: str, target: str, *, body: bytes | None = None, headers: dict[str, str]) -> Response:
        """One request on this thread's connection. A 401 is answered by fresh credentials and one more try."""
        response = self._send(method, target, body, headers, refresh=False)
        if response.code == 401:
            response = self._send(method, target, body, headers, refresh=True)
        return response

    def stream(self, target: str, *, headers: dict[str, str], silence: float) -> tuple[int, Stream]:
        """Opens a GET on a connection of its own; returns the HTTP code and the body to be read piece by piece."""
        for refresh in (False, True):
            stream = self._open_stream(target, headers, silence, refresh=refresh)
            if stream.code != 401 or refresh:
                break
            stream.close()
        return stream.code, stream

    def close(self) -> None:
        """Shuts the connections of all threads; a thread that waits for an answer gets a TransportError at once."""
        with self._lock:
            self._is_closed = True
            connections = list(self._connections)
        for connection in connections:
            _shut(connection.sock)

    def _open_stream(self, target: str, headers: dict[str, str], silence: float, *, refresh: bool) -> Stream:
        connection = self._connect(silence)
        try:
            connection.request("GET", self._prefix + target, headers=self._headers(headers, refresh=refresh))
            # getresponse() drops the socket when the server says it will close; the reader must still be wakeable.
            sock = connection.sock
            return Stream(connection.getresponse(), sock, connection, target)
        except _BROKEN as error:
            connection.close()
            raise TransportError(f"cannot watch {self.config.server}{target}: {_cause(error)}") from error

    def _send(
        self, method: str, target: str, body: bytes | None, headers: dict[str, str], *, refresh: bool
    ) -> Response:
        all_headers = self._headers(headers, refresh=refresh)
        deadline.check(f"{method} {target}")
        for last_try in (False, True):
            connection, reused = self._connection()
            try:
                connection.sock.settimeout(self._time_for_an_answer())
                connection.request(method, self._prefix + target, body=body, headers=all_headers)
                answer = connection.getresponse()
                response = Response(answer.status, answer.read(), answer.headers)
            except _BROKEN as error:
                self._forget(connection)
                # A kept connection may have been closed by the server just now; a fresh one that breaks is an error.
                if last_try or not reused or method not in _IDEMPOTENT:
                    raise TransportError(f"{method} {self.config.server}{target}: {_cause(error)}") from error
                continue
            if answer.will_close:
                self._forget(connection)
            return response
        raise AssertionError("unreachable")

    def _time_for_an_answer(self) -> float:
        left = deadline.remaining()
        return self.config.request_timeout if left is None else max(0.001, min(left, self.config.request_timeout))

    def _connection(self) -> tuple[http.client.HTTPConnection, bool]:
        """This thread's connection, and whether it was used before."""
        connection: http.client.HTTPConnection | None = getattr(self._local, "connection", None)
        if connection is not None and connection.sock is not None:
            if not _is_readable(connection.sock):
                return connection, True
            self._forget(connection)  # idle and readable: the server has closed it
        if self._is_closed:
            raise TransportError(f"the client of {self.config.server} is closed")
        connection = self._connect(self.config.request_timeout)
        self._local.connection = connection
        with self._lock:
            self._connections.add(connection)
        return connection, False

    def _forget(self, connection: http.client.HTTPConnection) -> None:
        connection.close()
        self._local.connection = None

    def _connect(self, read_timeout: float) -> http.client.HTTPConnection:
        connection = self._new_connection()
        try:
            connection.connect()
        except OSError as error:
            raise TransportError(f"cannot connect to {self.config.server}: {_cause(error)}") from error
        sock: socket.socket = connection.sock
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.settimeout(read_timeout)
        return connection

    def _new_connection(self) -> http.client.HTTPConnection:
        config = self.config
        proxy = urlsplit(config.proxy) if config.proxy else None
        host, port = (proxy.hostname or "", proxy.port or 3128) if proxy else (self._host, self._port)
        connection: http.client.HTTPConnection
        if config.tls is None:
            connection = http.client.HTTPConnection(host, port, timeout=config.connect_timeout)
        elif config.server_name:
            connection = _NamedConnection(host, port, config)
        else:
            connection = http.client.HTTPSConnection(host, port, timeout=config.connect_timeout, context=config.tls)
        if proxy:
            connection.set_tunnel(self._host, self._port)
        return connection

    def _headers(self, headers: dict[str, str], *, refresh: bool) -> dict[str, str]:
        authorization = self.config.authorization(refresh=refresh)
        common = {"User-Agent": self.config.user_agent}
        if authorization:
            common["Authorization"] = authorization
        return common | headers


class _NamedConnection(http.client.HTTPSConnection):
    """Verifies the server's certificate against `tls-server-name` instead of the host."""

    def __init__(self, host: str, port: int, config: RestConfig) -> None:
        super().__init__(host, port, timeout=config.connect_timeout, context=config.tls)
        self._named = config

    def connect(self) -> None:
        http.client.HTTPConnection.connect(self)
        assert self._named.tls is not None
        self.sock = self._named.tls.wrap_socket(self.sock, server_hostname=self._named.server_name)


class Stream:
    """The body of a watch. One thread reads it; any thread may close it, which wakes the reader."""

    def __init__(
        self,
        response: http.client.HTTPResponse,
        sock: socket.socket,
        connection: http.client.HTTPConnection,
        target: str,
    ) -> None:
        self.code = response.status
        self.headers = response.headers
        self._response = response
        self._socket = sock
        self._connection = connection
        self._target = target
        self._closed = threading.Event()

    def read(self) -> bytes:
        """The whole body, for an answer that is not a stream."""
        try:
            return self._response.read()
        except (*_BROKEN, ValueError) as error:
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
        _shut(self._socket)
        self._connection.close()


def _shut(sock: socket.socket | None) -> None:
    """Wakes whoever reads the socket. SSLSocket.shutdown would pull the TLS state from under the reader."""
    if sock is not None:
        with suppress(OSError):
            socket.socket.shutdown(sock, socket.SHUT_RDWR)


def _is_readable(sock: socket.socket) -> bool:
    try:
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        return bool(poll.poll(0))
    except (OSError, ValueError):
        return True


def _cause(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
