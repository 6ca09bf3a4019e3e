"""`HttpServer`: routes on one port, over HTTP or HTTPS, which slow, silent or many clients cannot take from the others.

Each connection has a thread of its own, and the number of connections is bounded. A connection is always in one of five
phases (`_Phase`), which only its own thread changes; the accepting thread looks at them and cuts a connection that
overstays a phase, or that waits while a new client finds no room. So no read or write needs a timeout, and a client
that sends a byte a minute is cut as soon as one that sends nothing. HTTP/1.1 with keep-alive.

The certificate is asked for anew at each connection (`CertificateSource`), so it changes without a restart. Neighbours:
`serving` (metrics and health), `webhook` (admission) and `certwatcher`.
"""

from __future__ import annotations

import contextlib
import http.server
import io
import os
import select
import selectors
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol, cast
from urllib.parse import parse_qs, urlsplit

import structlog

from .cancellation import Cancellation
from .errors import RuntimeLibraryError

log = structlog.get_logger(__name__)


class AddressError(RuntimeLibraryError, ValueError):
    """The text is not an address to listen on."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen. An empty host is every interface, port 0 a free port."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address | None:
        """Of ":8080", "127.0.0.1:0", "[::1]:8080" (net.Listen's forms); None for "" and "0", which mean off."""
        if text in ("", "0"):
            return None
        host, separator, port = text.rpartition(":")
        bracketed = host.startswith("[") and host.endswith("]")
        if not separator or not port.isascii() or not port.isdigit() or int(port) > 65535:
            raise AddressError(f"{text!r} is not an address: write HOST:PORT, :PORT, or 0 for off")
        if ":" in host and not bracketed:
            raise AddressError(f"{text!r} is not an address: put an IPv6 host in brackets, as [::1]:8080")
        return cls(host[1:-1] if bracketed else host, int(port))


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequest:
    """`path` is what follows the route; `query` maps a parameter to its values, blank ones included; the names of
    `headers` are in lower case."""

    path: str = ""
    query: Mapping[str, list[str]] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class HttpResponse:
    body: bytes
    code: int = 200
    content_type: str = "text/plain; charset=utf-8"


Route = Callable[[HttpRequest], HttpResponse]


class CertificateSource(Protocol):
    """Where a server gets the certificate for its next connection, such as a `CertWatcher`."""

    @property
    def ssl_context(self) -> ssl.SSLContext:
        """Raises RuntimeLibraryError while there is no certificate; the connection is then closed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerLimits:
    """What a server allows its clients. Durations are in seconds."""

    connections: int = 128
    """At the same time, each with a thread. Beyond, those that wait the longest give way; if none waits, new ones do,
    in the socket's backlog."""
    patience: float = 1.0
    """Before a connection that waits, or is slow to send a request, gives way to a new one."""
    read_timeout: float = 30.0
    """For the TLS handshake up to the first byte, for sending one request, and for taking its answer."""
    idle_timeout: float = 90.0
    """Between two requests; Go's clients give up an idle connection after as long."""
    body_bytes: int = 0
    """The largest body of a request; beyond, the answer is 413."""


class _Phase(Enum):
    OPENING = "opening"
    """Accepted: the TLS handshake and the wait for the first byte. Then READING."""
    READING = "reading"
    """Part of a request has come. Then ANSWERING, or WRITING for a request that is refused."""
    ANSWERING = "answering"
    """The route works, as long as it likes. Then WRITING."""
    WRITING = "writing"
    """The client takes the answer. Then IDLE."""
    IDLE = "idle"
    """Between two requests. Then READING."""
    CLOSED = "closed"
    """The thread is about to end."""


_WAITING = (_Phase.OPENING, _Phase.IDLE)
_LAST_SECONDS = 1.0
"""For routes to end after their connections were cut and their requests cancelled."""
_RETRY_SECONDS = 0.1
"""After a connection could not be accepted."""
_DISCARDED_BYTES = 32 * 1024 * 1024
"""Read, of a body that is too large, so that the client gets to read the answer."""


@dataclass(eq=False, slots=True)
class _Connection:
    """One client. `lock` guards the phase and is the server's."""

    socket: socket.socket
    client: str
    lock: threading.Condition
    phase: _Phase = _Phase.OPENING
    since: float = field(default_factory=time.monotonic)
    thread: threading.Thread | None = None

    def enter(self, phase: _Phase) -> None:
        with self.lock:
            self.phase, self.since = phase, time.monotonic()
            self.lock.notify_all()

    def cut(self) -> None:
        """Wakes the thread from whatever it reads or writes, which fails."""
        # Not SSLSocket.shutdown: it takes the TLS layer away under the thread that uses it.
        with contextlib.suppress(OSError):  # the client was faster
            socket.socket.shutdown(self.socket, socket.SHUT_RDWR)


class HttpServer:
    """Serves routes on one port. GET and HEAD, or the methods given."""

    def __init__(
        self,
        name: str,
        address: Address,
        routes: Mapping[str, Route] | None = None,
        *,
        methods: tuple[str, ...] = ("GET", "HEAD"),
        tls: CertificateSource | None = None,
        limits: ServerLimits | None = None,
    ) -> None:
        """Binds the port; raises OSError that names server and address. A route serves everything below its path."""
        self.name = name
        self.methods = methods
        self.limits = limits or ServerLimits()
        self.routes: Mapping[str, Route] = dict(routes or {})
        """Replaced, not changed, by `add_route`."""
        try:
            self._listening = _listen(address)
        except OSError as error:
            cause = os.strerror(error.errno) if error.errno else str(error)
            text = f"cannot serve {name} on {address.host}:{address.port}: {cause}; choose another address"
            raise OSError(error.errno, text) from error
        self._listening.setblocking(False)
        self._host = address.host
        self._port = int(self._listening.getsockname()[1])
        self._tls = tls
        self._wake, self._woken = socket.socketpair()
        self._wake.setblocking(False)
        self._thread: threading.Thread | None = None
        self.cancellation = Cancellation()
        """Of the work of the routes."""
        self._changed = threading.Condition()
        """Guards the fields below; notified when a connection enters a phase."""
        self._connections: list[_Connection] = []
        """Whose threads may be alive."""
        self._stopping = False

    @property
    def port(self) -> int:
        return self._port

    @property
    def url(self) -> str:
        """An address at which this machine reaches the server."""
        host = self._host if self._host not in ("", "0.0.0.0", "::") else "127.0.0.1"
        scheme = "https" if self._tls else "http"
        return f"{scheme}://[{host}]:{self.port}" if ":" in host else f"{scheme}://{host}:{self.port}"

    @property
    def stopping(self) -> bool:
        return self._stopping

    def add_route(self, path: str, route: Route) -> None:
        """Adds a route, also while the server runs; raises ValueError for a path that is taken."""
        with self._changed:
            if path in self.routes:
                raise ValueError(f"{self.name} serves {path} already: choose another path")
            self.routes = {**self.routes, path: route}

    def start(self) -> None:
        self._thread = threading.Thread(target=self._serve, name=f"http-{self.name}", daemon=True)
        self._thread.start()
        log.info("Serving HTTP", server=self.name, url=self.url, paths=sorted(self.routes))

    def stop(self, grace: float = 0.0) -> None:
        """Frees the port and ends every thread. Idempotent; also for a server never started.

        Requests under way are answered if it takes no longer than `grace` seconds; then they are cancelled and cut.
        """
        with self._changed:
            self._stopping = True
        with contextlib.suppress(OSError):  # already stopped
            self._wake.send(b"\0")
        if self._thread is not None:
            self._thread.join()
        self._listening.close()
        with self._changed:
            for connection in self._connections:
                if connection.phase in _WAITING:
                    connection.cut()
            self._changed.wait_for(lambda: not self._open(), timeout=grace)
            for connection in self._connections:
                connection.cut()
        self.cancellation.cancel()
        self._join(time.monotonic() + _LAST_SECONDS)
        self._wake.close()
        self._woken.close()

    def _join(self, until: float) -> None:
        for connection in self._connections:
            if connection.thread is not None:
                connection.thread.join(max(0.0, until - time.monotonic()))
        left = [connection for connection in self._connections if connection.thread and connection.thread.is_alive()]
        if left:
            log.warning("HTTP requests outlived their server", server=self.name, count=len(left))

    # the accepting thread ---------------------------------------------------------------------------------------

    def _serve(self) -> None:
        tick = min(1.0, self.limits.read_timeout / 4, self.limits.patience)
        listening = False
        with selectors.DefaultSelector() as selector:
            selector.register(self._woken, selectors.EVENT_READ)
            while not self._stopping:
                room = self._make_room()
                if room and not listening:
                    selector.register(self._listening, selectors.EVENT_READ)
                elif listening and not room:
                    selector.unregister(self._listening)
                listening = room
                for key, _ in selector.select(tick if self._connections else None):
                    if key.fileobj is self._listening:
                        self._accept()
                    else:
                        self._woken.recv(4096)

    def _make_room(self) -> bool:
        """Cuts connections that overstay their phase, or that are in the way; whether there is room for one more."""
        now = time.monotonic()
        with self._changed:
            self._connections = [c for c in self._connections if c.thread and c.thread.is_alive()]
            open_ = self._open()
            for connection in open_:
                if now - connection.since > self._allowance(connection.phase):
                    log.debug("HTTP connection overdue", client=connection.client, phase=connection.phase.value)
                    connection.cut()
            if len(open_) < self.limits.connections:
                return True
            giving_way = [
                c for c in open_ if c.phase in (*_WAITING, _Phase.READING) and now - c.since > self.limits.patience
            ]
            if giving_way:
                min(giving_way, key=lambda c: (c.phase is not _Phase.IDLE, c.since)).cut()
            return False

    def _open(self) -> list[_Connection]:
        return [connection for connection in self._connections if connection.phase is not _Phase.CLOSED]

    def _allowance(self, phase: _Phase) -> float:
        match phase:
            case _Phase.ANSWERING:
                return float("inf")
            case _Phase.IDLE:
                return self.limits.idle_timeout
            case _:
                return self.limits.read_timeout

    def _accept(self) -> None:
        try:
            accepted, address = self._listening.accept()
        except BlockingIOError:  # the client has gone again
            return
        except OSError as error:
            log.warning("HTTP connection not accepted", server=self.name, error=str(error))
            # No file descriptor is free, say, and the client still waits: not at once again, unless it is the end.
            select.select([self._woken], [], [], _RETRY_SECONDS)
            return
        accepted.setblocking(True)
        if self._tls is not None:
            try:
                accepted = _wrapped(accepted, self._tls)
            except (OSError, RuntimeLibraryError) as error:
                log.info("TLS not possible", server=self.name, error=str(error))
                return
        connection = _Connection(accepted, str(address[0]), self._changed)
        connection.thread = threading.Thread(
            target=self._converse, args=(connection,), name=f"http-{self.name}-connection", daemon=True
        )
        with self._changed:
            self._connections.append(connection)
        connection.thread.start()

    # a connection's thread --------------------------------------------------------------------------------------

    def _converse(self, connection: _Connection) -> None:
        try:
            with self.cancellation.scope():
                if isinstance(connection.socket, ssl.SSLSocket) and not self._shake_hands(connection.socket):
                    return
                _Handler(connection, self)
        except Exception as error:
            log.debug("HTTP connection failed", client=connection.client, error=str(error), exc_info=True)
        finally:
            connection.socket.close()
            connection.enter(_Phase.CLOSED)
            # The accepting thread may wait for room.
            with contextlib.suppress(OSError):  # it has not read the last ones yet, or the server has stopped
                self._wake.send(b"\0")

    def _shake_hands(self, sock: ssl.SSLSocket) -> bool:
        try:
            sock.do_handshake()
        except OSError as error:
            log.info("TLS handshake failed", server=self.name, error=str(error))
            return False
        return True


def _listen(address: Address) -> socket.socket:
    if address.host == "" and socket.has_dualstack_ipv6():
        # A machine may offer IPv6 sockets and yet have no IPv6 address.
        with contextlib.suppress(OSError):
            return socket.create_server(("", address.port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=128)
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    return socket.create_server((address.host, address.port), family=family, backlog=128)


def _wrapped(accepted: socket.socket, tls: CertificateSource) -> socket.socket:
    """The connection with TLS, before the handshake; closed if that fails."""
    try:
        return tls.ssl_context.wrap_socket(accepted, server_side=True, do_handshake_on_connect=False)
    except BaseException:
        accepted.close()
        raise


class _Refused(Exception):  # noqa: N818 - an answer, not an error of ours
    """The request is answered without its route; the connection cannot be used again."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.response = HttpResponse(f"{message}\n".encode(), code)


class _Handler(http.server.BaseHTTPRequestHandler):
    """The requests of one connection; works in its constructor, as the base class wants it."""

    protocol_version = "HTTP/1.1"
    server_version = "localmodel"
    sys_version = ""
    disable_nagle_algorithm = True
    wbufsize = -1
    """An answer leaves in one piece."""

    def __init__(self, connection: _Connection, server: HttpServer) -> None:
        self._connection = connection
        self._server = server
        super().__init__(connection.socket, (connection.client, 0), cast("Any", server))

    def handle_one_request(self) -> None:
        if not cast("io.BufferedReader", self.rfile).peek(1):
            self.close_connection = True
            return
        self._connection.enter(_Phase.READING)
        super().handle_one_request()
        self._connection.enter(_Phase.IDLE)
        if self._server.stopping:
            self.close_connection = True

    def do_GET(self) -> None:
        try:
            response = self._respond()
        except _Refused as refused:
            response = refused.response
            self.close_connection = True
        self._connection.enter(_Phase.WRITING)
        self.send_response(response.code)
        self.send_header("Content-Type", response.content_type)
        self.send_header("Content-Length", str(len(response.body)))
        self.send_header("X-Content-Type-Options", "nosniff")
        if self.close_connection or self._server.stopping:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(response.body)

    do_HEAD = do_POST = do_GET  # noqa: N815 - the names the base class looks for

    def _respond(self) -> HttpResponse:
        if self.command not in self._server.methods:
            raise _Refused(405, "method not allowed")
        body = self._body()
        url = urlsplit(self.path)
        for prefix, route in self._server.routes.items():
            if url.path == prefix or url.path.startswith(prefix + "/"):
                self._connection.enter(_Phase.ANSWERING)
                headers = {name.lower(): value for name, value in self.headers.items()}
                query = parse_qs(url.query, keep_blank_values=True)
                try:
                    return route(HttpRequest(path=url.path[len(prefix) :], query=query, headers=headers, body=body))
                except Exception:
                    log.exception("HTTP route failed", path=url.path)
                    return HttpResponse(b"internal server error\n", 500)
        return HttpResponse(b"404 page not found\n", 404)

    def _body(self) -> bytes:
        """The request's body; raises _Refused, ConnectionError."""
        if "Transfer-Encoding" in self.headers:
            raise _Refused(411, "send the body with its Content-Length")
        text = self.headers.get("Content-Length", "0").strip()
        if not (text.isascii() and text.isdigit()):
            raise _Refused(400, "Content-Length is not a number")
        length, limit = int(text), self._server.limits.body_bytes
        if length > limit:
            self._discard(length)
            raise _Refused(413, f"request entity is too large; limit is {limit} bytes")
        body = self.rfile.read(length)
        if len(body) < length:
            raise ConnectionError(f"the client hung up after {len(body)} of {length} bytes")
        return body

    def _discard(self, length: int) -> None:
        left = min(length, _DISCARDED_BYTES)
        while left > 0 and (chunk := self.rfile.read(min(left, 65536))):
            left -= len(chunk)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        log.debug("HTTP request", client=self._connection.client, request=format % args)
