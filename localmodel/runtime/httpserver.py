"""`HttpServer`: routes on one port, over HTTP or HTTPS, which slow, silent or many clients cannot take from the others.

One thread accepts; each connection has a thread of its own, and their number is bounded. Reads and writes have no
timeout: `httpconnections` knows what each connection does and since when, so a client that sends a byte a minute is cut
as soon as one that sends nothing. HTTP/1.1 with keep-alive.

The certificate is asked for anew at each connection (`CertificateSource`), so it changes without a restart. Neighbours:
`serving` (metrics and health), `webhook` (admission) and `certwatcher` (the certificate).
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
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, cast
from urllib.parse import parse_qs, urlsplit

import structlog

from .address import Address, listen
from .cancellation import Cancellation
from .errors import RuntimeLibraryError
from .httpconnections import Connection, Connections, Phase, ServerLimits

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequest:
    """`path` is what follows the route; `query` maps a parameter to its values, blank ones included; the names of
    `headers` are in lower case."""

    path: str = ""
    query: Mapping[str, list[str]] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Hidden, as the body is, from logs that show the variables of a traceback: they hold tokens and secrets."""
    body: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class HttpResponse:
    body: bytes
    code: int = 200
    content_type: str = "text/plain; charset=utf-8"


Route = Callable[[HttpRequest], HttpResponse]

_RETRY_SECONDS = 0.1
"""After a connection could not be accepted."""
_LAST_SECONDS = 1.0
"""For routes to end after their connections were cut and their requests cancelled."""
_DISCARDED_BYTES = 32 * 1024 * 1024
"""Read, of a body that is too large, so that the client gets to read the answer."""


class CertificateSource(Protocol):
    """Where a server gets the certificate for its next connection, such as a `CertWatcher`."""

    @property
    def ssl_context(self) -> ssl.SSLContext:
        """Raises RuntimeLibraryError while there is no certificate; the connection is then closed."""


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
        """Binds the port; raises OSError that names server and address.

        A route serves everything below its path that no longer one serves.
        """
        self.name = name
        self.methods = methods
        self.limits = limits or ServerLimits()
        self.routes: Mapping[str, Route] = dict(routes or {})
        """Replaced, not changed, by `add_route`."""
        try:
            self._listening = listen(address)
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
        self._connections = Connections(self.limits)
        self._lock = threading.Lock()
        """Held while `routes` is replaced."""
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
        with self._lock:
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
        self._stopping = True
        with contextlib.suppress(OSError):  # already stopped
            self._wake.send(b"\0")
        if self._thread is not None:
            self._thread.join()
        self._listening.close()
        self._connections.finish(grace)
        self.cancellation.cancel()
        left = self._connections.join(_LAST_SECONDS)
        if left:
            log.warning("HTTP requests outlived their server", server=self.name, count=left)
        self._wake.close()
        self._woken.close()

    # the accepting thread ---------------------------------------------------------------------------------------

    def _serve(self) -> None:
        tick = min(1.0, self.limits.read_timeout / 4, self.limits.patience)
        listening = False
        with selectors.DefaultSelector() as selector:
            selector.register(self._woken, selectors.EVENT_READ)
            while not self._stopping:
                room = self._connections.make_room()
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
        try:
            self._connections.start(accepted, str(address[0]), self._converse, f"http-{self.name}-connection")
        except RuntimeError as error:  # the system gives no more threads; it may later
            log.warning("HTTP connection not accepted", server=self.name, error=str(error))
            accepted.close()

    # a connection's thread --------------------------------------------------------------------------------------

    def _converse(self, connection: Connection) -> None:
        try:
            with self.cancellation.scope():
                if isinstance(connection.socket, ssl.SSLSocket) and not self._shake_hands(connection.socket):
                    return
                _Handler(connection, self)
        except Exception as error:
            log.debug("HTTP connection failed", client=connection.client, error=str(error), exc_info=True)
        finally:
            connection.socket.close()
            connection.enter(Phase.CLOSED)
            # The accepting thread may wait for room.
            with contextlib.suppress(OSError):  # it has not read the last ones yet, or the server has stopped
                self._wake.send(b"\0")

    def _shake_hands(self, sock: ssl.SSLSocket) -> bool:
        try:
            sock.do_handshake()
        except (ssl.SSLEOFError, ConnectionError) as error:  # the client hung up, as probes of a port do
            log.debug("TLS handshake abandoned", server=self.name, error=str(error))
            return False
        except OSError as error:
            log.info("TLS handshake failed", server=self.name, error=str(error))
            return False
        return True


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

    def __init__(self, connection: Connection, server: HttpServer) -> None:
        self._connection = connection
        self._server = server
        super().__init__(connection.socket, (connection.client, 0), cast("Any", server))

    def handle_one_request(self) -> None:
        if not cast("io.BufferedReader", self.rfile).peek(1):
            self.close_connection = True
            return
        self._connection.enter(Phase.READING)
        super().handle_one_request()
        self._connection.enter(Phase.IDLE)
        if self._server.stopping:
            self.close_connection = True

    def do_GET(self) -> None:
        try:
            response = self._respond()
        except _Refused as refused:
            response = refused.response
            self.close_connection = True
        self._connection.enter(Phase.WRITING)
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
        try:
            url = urlsplit(self.path)
            query = parse_qs(url.query, keep_blank_values=True)
        except ValueError as error:
            raise _Refused(400, "the request's address cannot be read") from error
        body = self._body()
        routes = self._server.routes
        prefix = max((p for p in routes if url.path == p or url.path.startswith(p + "/")), key=len, default=None)
        if prefix is None:
            return HttpResponse(b"404 page not found\n", 404)
        self._connection.enter(Phase.ANSWERING)
        headers = {name.lower(): value for name, value in self.headers.items()}
        try:
            return routes[prefix](HttpRequest(path=url.path[len(prefix) :], query=query, headers=headers, body=body))
        except Exception:
            log.exception("HTTP route failed", path=url.path)
            return HttpResponse(b"internal server error\n", 500)

    def _body(self) -> bytes:
        """The request's body; raises _Refused, ConnectionError."""
        lengths = self.headers.get_all("Content-Length", ["0"])
        # The parser stops at a line that is no header field. Whatever made us and a proxy before us disagree on where
        # the body ends would let a client put a request of its own behind it.
        if self.headers.defects or len(lengths) > 1:
            raise _Refused(400, "the header fields cannot be read")
        if "Transfer-Encoding" in self.headers:
            raise _Refused(411, "send the body with its Content-Length")
        text = lengths[0].strip()
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
