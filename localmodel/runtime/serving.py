"""The HTTP endpoints of a program: `/metrics`, `/healthz`, `/readyz`.

`HttpServer` binds its port when it is made, so that a busy port fails before anything else has begun, and answers from
`start` to `stop` with the standard library's threading server. `HealthChecks` is one endpoint made of named checks.
Everything is served in plain HTTP to whoever reaches the port.
"""

from __future__ import annotations

import contextlib
import http.server
import os
import selectors
import socket
import socketserver
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from .errors import RuntimeLibraryError

log = structlog.get_logger(__name__)

Check = Callable[[], object]
"""Raises when something is unhealthy; the message is logged, not served."""

_IDLE_SECONDS = 10.0


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


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """`path` is what follows the route; `query` maps a parameter to its values, blank ones included."""

    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class HttpResponse:
    body: bytes
    code: int = 200
    content_type: str = "text/plain; charset=utf-8"


Route = Callable[[HttpRequest], HttpResponse]


class HealthChecks:
    """An endpoint such as /healthz: healthy while none of its named checks raises.

    200 "ok", or 500 with the list of checks and the reason withheld. `?verbose` gives the list in any case,
    `?exclude=NAME` leaves checks out, and the path /NAME below the endpoint runs one check.
    """

    def __init__(self, endpoint: str) -> None:
        """`endpoint` is its name in answers and logs, such as healthz."""
        self._endpoint = endpoint
        self._lock = threading.Lock()
        self._checks: dict[str, Check] = {}

    def add(self, name: str, check: Check) -> None:
        """Adds or replaces the check of that name."""
        with self._lock:
            self._checks[name] = check

    def serve(self, request: HttpRequest) -> HttpResponse:
        with self._lock:
            checks = dict(self._checks) or {"ping": lambda: None}
        name = request.path.strip("/")
        if name:
            return self._serve_one(name, checks.get(name))

        excluded = set(request.query.get("exclude", ()))
        lines, failed = [], False
        for name, check in sorted(checks.items()):
            if name in excluded:
                lines.append(f"[+]{name} excluded: ok")
            elif self._passes(name, check):
                lines.append(f"[+]{name} ok")
            else:
                failed = True
                lines.append(f"[-]{name} failed: reason withheld")
        lines += [
            f"warn: some health checks cannot be excluded: no matches for {name!r}"
            for name in sorted(excluded - set(checks))
        ]
        if failed:
            return HttpResponse("\n".join([*lines, f"{self._endpoint} check failed\n"]).encode(), 500)
        if "verbose" in request.query:
            return HttpResponse("\n".join([*lines, f"{self._endpoint} check passed\n"]).encode())
        return HttpResponse(b"ok")

    def _serve_one(self, name: str, check: Check | None) -> HttpResponse:
        if check is None:
            return HttpResponse(b"404 page not found\n", 404)
        if self._passes(name, check):
            return HttpResponse(b"ok")
        return HttpResponse(b"internal server error: reason withheld\n", 500)

    def _passes(self, name: str, check: Check) -> bool:
        try:
            check()
        except Exception as error:  # noqa: BLE001 - any failure of a check means unhealthy
            log.info("Health check failed", endpoint=self._endpoint, check=name, error=str(error))
            return False
        return True


def metrics_route(registry: CollectorRegistry) -> Route:
    """The metrics of a registry, in OpenMetrics or in Prometheus' text format as the client asks."""

    def serve(request: HttpRequest) -> HttpResponse:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return HttpResponse(encode(registry), content_type=content_type)

    return serve


class HttpServer:
    """Serves routes on one port, each request in a thread of its own; GET and HEAD only."""

    def __init__(self, name: str, address: Address, routes: Mapping[str, Route]) -> None:
        """Binds the port; raises OSError that names server and address. A route serves everything below its path."""
        self.name = name
        try:
            listening = _listen(address)
        except OSError as error:
            cause = os.strerror(error.errno) if error.errno else str(error)
            text = f"cannot serve {name} on {address.host}:{address.port}: {cause}; choose another address"
            raise OSError(error.errno, text) from error
        self._server = _Server(listening, dict(routes))
        self._wake, self._woken = socket.socketpair()
        self._thread: threading.Thread | None = None
        self._host = address.host

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """An address at which this machine reaches the server."""
        host = self._host if self._host not in ("", "0.0.0.0", "::") else "127.0.0.1"
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    def start(self) -> None:
        self._thread = threading.Thread(target=self._serve, name=f"http-{self.name}", daemon=True)
        self._thread.start()
        log.info("Serving HTTP", server=self.name, url=self.url, paths=sorted(self._server.routes))

    def stop(self) -> None:
        """Cuts open connections, frees the port and ends every thread. Idempotent; also for a server never started."""
        with contextlib.suppress(OSError):  # already stopped
            self._wake.send(b"\0")
        if self._thread is not None:
            self._thread.join()
        self._server.cut_connections()
        self._server.server_close()
        self._wake.close()
        self._woken.close()

    def _serve(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._server, selectors.EVENT_READ)
            selector.register(self._woken, selectors.EVENT_READ)
            while all(key.fileobj is self._server for key, _ in selector.select()):
                self._server.handle_request()


def _listen(address: Address) -> socket.socket:
    if address.host == "" and socket.has_dualstack_ipv6():
        # A machine may offer IPv6 sockets and yet have no IPv6 address.
        with contextlib.suppress(OSError):
            return socket.create_server(("", address.port), family=socket.AF_INET6, dualstack_ipv6=True)
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    return socket.create_server((address.host, address.port), family=family)


class _Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    """An HTTP server on a socket that listens already, which knows its open connections."""

    daemon_threads = False
    timeout = 0
    """`handle_request` is called when a connection waits."""

    def __init__(self, listening: socket.socket, routes: dict[str, Route]) -> None:
        super().__init__(listening.getsockname()[:2], _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self.server_address = listening.getsockname()[:2]
        self.routes = routes
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._connections.add(request)
        super().process_request(request, client_address)

    def close_request(self, request: Any) -> None:
        with self._lock:
            self._connections.discard(request)
        super().close_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        log.debug("HTTP connection failed", client=str(client_address), exc_info=True)

    def cut_connections(self) -> None:
        with self._lock:
            for connection in self._connections:
                with contextlib.suppress(OSError):  # the client was faster
                    connection.shutdown(socket.SHUT_RDWR)


class _Handler(http.server.BaseHTTPRequestHandler):
    server: _Server
    server_version = "localmodel"
    sys_version = ""
    timeout = _IDLE_SECONDS

    def do_GET(self) -> None:
        response = self._respond()
        self.send_response(response.code)
        self.send_header("Content-Type", response.content_type)
        self.send_header("Content-Length", str(len(response.body)))
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(response.body)

    do_HEAD = do_GET  # noqa: N815 - the name the base class looks for

    def _respond(self) -> HttpResponse:
        url = urlsplit(self.path)
        for prefix, route in self.server.routes.items():
            if url.path == prefix or url.path.startswith(prefix + "/"):
                query = parse_qs(url.query, keep_blank_values=True)
                try:
                    return route(HttpRequest(url.path[len(prefix) :], query, dict(self.headers.items())))
                except Exception:
                    log.exception("HTTP route failed", path=url.path)
                    return HttpResponse(b"internal server error\n", 500)
        return HttpResponse(b"404 page not found\n", 404)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        log.debug("HTTP request", client=self.client_address[0], request=format % args)
