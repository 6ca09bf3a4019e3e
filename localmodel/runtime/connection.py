"""One HTTP connection, over TLS or not, that any thread can abort at every stage: dialling, handshake, exchange.

The standard library's connection cannot be reached while it connects: its socket is known to nobody before the TLS
handshake has ended, and a server that accepts and never answers holds the thread until the timeout. Here each socket is
known before it blocks, and names are resolved in a thread beside. Also, the time to connect is one budget for name,
addresses and handshake.
"""

from __future__ import annotations

import http.client
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeAlias

from .response import Response

_NOT_IN_TARGET = re.compile(r"[^\x21-\x7e]")
_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
_KEEPALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}
"""Seconds, seconds, probes. The system's own first probe comes after two hours, when firewalls have long forgotten an
idle connection; client-go sends one each 30 s."""

_AddressInfo: TypeAlias = tuple[socket.AddressFamily, socket.SocketKind, int, str, Any]


class Connection(http.client.HTTPConnection):
    """Owned by one thread; `abort` may be called from any. Never connects by itself: call `open`."""

    auto_open = 0
    _tunnel_host: str | None
    _tunnel: Callable[[], None]

    def __init__(
        self,
        host: str,
        port: int,
        *,
        tls: ssl.SSLContext | None,
        server_name: str = "",
        impersonation: Sequence[tuple[str, str]] = (),
    ) -> None:
        """`server_name`: what the certificate must be for, the host by default. `impersonation`: headers of every
        request, of which one name may occur several times.
        """
        super().__init__(host, port)
        self.default_port = http.client.HTTPS_PORT if tls else http.client.HTTP_PORT
        self._tls = tls
        self._server_name = server_name
        self._impersonation = impersonation
        self._host_header = self._authority(host, port)
        self._until = 0.0
        """When connecting has to have ended, in monotonic seconds."""
        self._guard = threading.Lock()
        """Guards the fields below."""
        self._last_socket: socket.socket | None = None
        """Known longer than `sock`, which is dropped once the server says that it will close."""
        self._is_aborted = False
        self._woken = threading.Event()
        """Set when the host's name is resolved, and by `abort`."""

    @property
    def opened_socket(self) -> socket.socket:
        """The open connection's socket, also after the headers of the last answer were read."""
        if self._last_socket is None:
            raise http.client.NotConnected
        return self._last_socket

    def reach(self, host: str, port: int, *, headers: Mapping[str, str]) -> None:
        """Makes what the connection was made for a proxy on the way to this server; `headers` are for the proxy."""
        self.set_tunnel(_bracketed(host), port, headers)
        self._host_header = self._authority(host, port)

    def _authority(self, host: str, port: int) -> str:
        return _bracketed(host) if port == self.default_port else f"{_bracketed(host)}:{port}"

    def open(self, timeout: float) -> None:
        """Connects within `timeout` seconds, the handshake included; raises OSError."""
        self._until = time.monotonic() + timeout
        try:
            self.connect()
            if self._tls is not None:
                name = self._server_name or self.host
                secure = self._tls.wrap_socket(self.sock, server_hostname=name, do_handshake_on_connect=False)
                self._take(secure)
                secure.settimeout(self._left())
                secure.do_handshake()
        except BaseException:
            self.close()
            raise

    def connect(self) -> None:
        """The part of `open` before TLS; what http.client does, on a socket that can be aborted."""
        self._dial()
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEPALIVE.items():
            if hasattr(socket, name):  # not on every system
                self.sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        self.sock.settimeout(self._left())
        if self._tunnel_host:
            self._tunnel()

    def ask(
        self,
        method: str,
        target: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str],
        time_left: Callable[[], float] | None = None,
    ) -> Response:
        """Sends a request and returns when the headers of the answer have come; `time_left` as for `Response`.

        Put together by http.client a request takes twice as long, and a third more for being sent in two pieces.
        Raises http.client.HTTPException (InvalidURL too), OSError, and ValueError for a header with a line break.
        """
        unsent = self._send_whole(self._head(method, target, body, headers) + (body or b""))
        response = Response(self.sock, method=method, time_left=time_left)
        try:
            response.begin()
        except BaseException as error:
            response.close()
            if unsent is not None and isinstance(error, Exception):
                raise unsent from error
            raise
        if unsent is not None:
            response.will_close = True
        if response.will_close:
            self.close()  # the answer keeps the socket until it is read
        return response

    def _send_whole(self, request: bytes) -> ConnectionError | None:
        """What kept the server from taking all of it: perhaps an answer that it gave before (429, 413)."""
        try:
            self.sock.sendall(request)
        except ConnectionError as error:
            return error
        return None

    def _head(self, method: str, target: str, body: bytes | None, headers: Mapping[str, str]) -> bytes:
        if _NOT_IN_TARGET.search(target):
            raise http.client.InvalidURL(f"{target!r} contains spaces, control characters or no ASCII")
        lines = [f"{method} {target} HTTP/1.1", f"Host: {self._host_header}", "Accept-Encoding: identity"]
        lines += [f"{name}: {value}" for name, value in (*headers.items(), *self._impersonation)]
        if body is not None or method in _WITH_BODY:
            lines.append(f"Content-Length: {len(body or b'')}")
        text = "\n".join(lines)
        if "\r" in text or text.count("\n") >= len(lines):
            raise ValueError("a header must not contain a line break")
        return text.replace("\n", "\r\n").encode("latin-1") + b"\r\n\r\n"

    def abort(self) -> None:
        """Fails whatever the owner does with the connection, now or later, with an OSError or an end of file."""
        with self._guard:
            self._is_aborted = True
            self._woken.set()
            shut(self._last_socket)

    def _dial(self) -> None:
        """Connects to the first address that answers, as `socket.create_connection`."""
        failure: OSError | None = None
        addresses = self._resolve()
        for number, (family, kind, protocol, _, target) in enumerate(addresses):
            try:
                sock = socket.socket(family, kind, protocol)
            except OSError as error:  # this machine has no IPv6, say
                failure = error
                continue
            try:
                self._take(sock)
                # An address that nobody answers at must leave some time to the others.
                sock.settimeout(self._left() / (len(addresses) - number))
                sock.connect(target)
            except OSError as error:
                sock.close()
                failure = error
            else:
                return
        raise failure or OSError(f"{self.host} has no address")

    def _resolve(self) -> Sequence[_AddressInfo]:
        """The host's addresses. Nothing ends a wait for a name server, so a thread of its own waits for it."""
        with suppress(socket.gaierror):
            return socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        outcome: list[Sequence[_AddressInfo] | OSError] = []

        def look_up() -> None:
            try:
                outcome.append(socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM))
            except OSError as error:
                outcome.append(error)
            self._woken.set()

        threading.Thread(target=look_up, name=f"resolve-{self.host}", daemon=True).start()
        self._woken.wait(self._left())
        if not outcome:
            raise TimeoutError(f"the name {self.host} was not resolved in time")
        if isinstance(outcome[0], OSError):
            raise outcome[0]
        return outcome[0]

    def _take(self, sock: socket.socket) -> None:
        """Makes the socket known to `abort`, before anything blocks on it."""
        with self._guard:
            self.sock = self._last_socket = sock
            if self._is_aborted:
                raise ConnectionAbortedError("the connection was aborted while it was opened")

    def _left(self) -> float:
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out while connecting")
        return left


def _bracketed(host: str) -> str:
    """As an address of IPv6 stands before a port."""
    return f"[{host}]" if ":" in host else host


def shut(sock: socket.socket | None) -> None:
    """Wakes whoever reads the socket. SSLSocket.shutdown would pull the TLS state from under the reader."""
    if sock is not None:
        with suppress(OSError):
            socket.socket.shutdown(sock, socket.SHUT_RDWR)
