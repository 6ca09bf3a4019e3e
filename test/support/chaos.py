"""A proxy before an API server that cuts, delays, truncates, half-opens and expires what passes through it.

Plain HTTP to its clients, whatever the `RestConfig` says to the server; a client's own token is passed on. Faults are
given to the next request that fits or to a watch that is open; without one the proxy changes nothing.
"""

from __future__ import annotations

import enum
import http.client
import json
import random
import socket
import struct
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from localmodel.runtime.kubeconfig import RestConfig


class StreamFault(enum.Enum):
    """What happens to a watch that is open."""

    CUT = "cut"
    """The connection is reset."""
    END = "end"
    """The stream ends cleanly."""
    TRUNCATE = "truncate"
    """The next line breaks off in its middle; then the stream ends cleanly."""
    GARBAGE = "garbage"
    """A line that is no event, then everything goes on."""
    EXPIRE = "expire"
    """An ERROR event with code 410, then the end."""
    FAIL = "fail"
    """An ERROR event with code 500, then the end."""
    DELAY = "delay"
    """Nothing passes for a while; then all of it."""
    HALF_OPEN = "half-open"
    """Nothing passes any more, and nobody says so."""


class RequestFault(enum.Enum):
    """What happens to a list or watch request."""

    RESET = "reset"
    """The connection is reset before an answer."""
    EXPIRED = "expired"
    UNAVAILABLE = "unavailable"
    TOO_MANY = "too-many"
    UNAUTHORIZED = "unauthorized"
    TRUNCATE = "truncate"
    """Half of the body comes, then a reset (a watch: as RESET)."""


_STATUSES = {
    RequestFault.EXPIRED: (410, "Expired"),
    RequestFault.UNAVAILABLE: (503, "ServiceUnavailable"),
    RequestFault.TOO_MANY: (429, "TooManyRequests"),
    RequestFault.UNAUTHORIZED: (401, "Unauthorized"),
}


def _status(code: int, reason: str) -> dict[str, Any]:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "code": code,
        "reason": reason,
        "message": "chaos",
    }


class ChaosProxy:
    """Usage: `proxy = ChaosProxy(config)`, give clients `proxy.config`, cause faults, `proxy.stop()`."""

    def __init__(self, upstream: RestConfig, *, delay: float = 0.05) -> None:
        """`delay`: seconds of a DELAY."""
        self._upstream = upstream
        self._delay = delay
        self._lock = threading.Lock()
        self._streams: list[_Stream] = []
        self._next: list[RequestFault] = []
        self.stopped = threading.Event()
        """Ends every delay and every half-open stream."""
        self.applied: list[StreamFault | RequestFault] = []
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self) -> None:
                proxy._serve(self)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *args: None  # type: ignore[method-assign]  # broken pipes are the point
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), name="chaos", daemon=True)
        self._thread.start()

    @property
    def config(self) -> RestConfig:
        """Of a client that talks through the proxy."""
        return replace(self._upstream, server=f"http://127.0.0.1:{self._server.server_address[1]}", tls=None)

    @property
    def open_streams(self) -> int:
        with self._lock:
            return len(self._streams)

    def fail_next(self, fault: RequestFault) -> None:
        """The next list or watch meets this."""
        with self._lock:
            self._next.append(fault)

    def disturb(self, fault: StreamFault, rng: random.Random) -> bool:
        """Some open watch meets this at once; False if there is none that can.

        Only a watch that has shown a bookmark is half-opened: of others a client rightly expects less.
        """
        with self._lock:
            fit = [s for s in self._streams if not s.fault and (fault is not StreamFault.HALF_OPEN or s.bookmarked)]
            if not fit:
                return False
            stream = rng.choice(fit)
            self.applied.append(fault)
        stream.meet(fault)
        return True

    def calm(self) -> None:
        """Faults that wait for a request are forgotten."""
        with self._lock:
            self._next.clear()

    def stop(self) -> None:
        self.stopped.set()
        with self._lock:
            streams = list(self._streams)
        for stream in streams:
            stream.meet(StreamFault.CUT)
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        watch = "watch=true" in handler.path or "watch=1" in handler.path
        fault = self._fault_of(handler)
        if fault in _STATUSES:
            _answer(handler, *_STATUSES[fault])
            return
        if fault is RequestFault.RESET or (fault and watch):
            _reset(handler)
            return
        upstream = self._connect()
        headers = {name: value for name, value in handler.headers.items() if name.lower() not in ("host", "connection")}
        upstream.request(handler.command, handler.path, body or None, headers)
        response = upstream.getresponse()
        try:
            if watch and response.status == 200:
                _Stream(self, handler, upstream, response).pump()
            else:
                self._forward(handler, response, truncate=fault is RequestFault.TRUNCATE)
        finally:
            upstream.close()

    def _fault_of(self, handler: BaseHTTPRequestHandler) -> RequestFault | None:
        with self._lock:
            if handler.command != "GET" or not self._next:
                return None
            self.applied.append(self._next[0])
            return self._next.pop(0)

    def _connect(self) -> http.client.HTTPConnection:
        parts = urlsplit(self._upstream.server)
        assert parts.hostname is not None
        if self._upstream.tls is None:
            return http.client.HTTPConnection(parts.hostname, parts.port)
        return http.client.HTTPSConnection(parts.hostname, parts.port, context=self._upstream.tls())

    def _forward(self, handler: BaseHTTPRequestHandler, response: http.client.HTTPResponse, *, truncate: bool) -> None:
        data = response.read()
        handler.send_response(response.status)
        for name, value in response.getheaders():
            if name.lower() not in ("transfer-encoding", "content-length", "connection", "date", "server"):
                handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        if truncate:
            handler.wfile.write(data[: len(data) // 2])
            _reset(handler)
        else:
            handler.wfile.write(data)

    def _begin(self, stream: _Stream) -> None:
        with self._lock:
            self._streams.append(stream)

    def _end(self, stream: _Stream) -> None:
        with self._lock:
            self._streams.remove(stream)


class _Stream:
    """One watch on its way through the proxy."""

    def __init__(
        self,
        proxy: ChaosProxy,
        handler: BaseHTTPRequestHandler,
        upstream: http.client.HTTPConnection,
        response: http.client.HTTPResponse,
    ) -> None:
        self.fault: StreamFault | None = None
        self.bookmarked = False
        self._proxy = proxy
        self._handler = handler
        self._sock: socket.socket = upstream.sock
        self._response = response

    def meet(self, fault: StreamFault) -> None:
        """From any thread. What needs no next line happens now, by waking the pump."""
        self.fault = fault
        if fault in (StreamFault.CUT, StreamFault.END, StreamFault.EXPIRE, StreamFault.FAIL):
            self._shut(self._sock)

    def pump(self) -> None:
        """Forwards line after line until either side or a fault ends it."""
        self._proxy._begin(self)
        try:
            self._send_head()
            for line in self._lines():
                if not self._pass(line):
                    return
            self._finish()
        except OSError:
            self._handler.close_connection = True
        finally:
            self._proxy._end(self)

    def _lines(self) -> Any:
        while True:
            try:
                line = self._response.readline()
            except (OSError, http.client.HTTPException, ValueError):
                return
            if not line:
                return
            yield line

    def _pass(self, line: bytes) -> bool:
        """Whether the stream goes on."""
        match self.fault:
            case StreamFault.TRUNCATE:
                self._chunk(line[: len(line) // 2])
                self._chunk(b"")
                return False
            case StreamFault.GARBAGE:
                self.fault = None
                self._chunk(b'{"type": nonsense}\n')
            case StreamFault.DELAY:
                self.fault = None
                self._proxy.stopped.wait(self._proxy._delay)
            case StreamFault.HALF_OPEN:
                self._proxy.stopped.wait()
                return False
            case StreamFault():
                self._finish()
                return False
            case None:
                pass
        self.bookmarked = self.bookmarked or line.startswith(b'{"type":"BOOKMARK"')
        self._chunk(line)
        return True

    def _finish(self) -> None:
        match self.fault:
            case StreamFault.CUT:
                _reset(self._handler)
                return
            case StreamFault.HALF_OPEN:
                self._proxy.stopped.wait()
                return
            case StreamFault.EXPIRE:
                self._error(410, "Expired")
            case StreamFault.FAIL:
                self._error(500, "InternalError")
            case _:
                pass
        self._chunk(b"")

    def _error(self, code: int, reason: str) -> None:
        self._chunk(json.dumps({"type": "ERROR", "object": _status(code, reason)}).encode() + b"\n")

    def _send_head(self) -> None:
        self._handler.send_response(200)
        self._handler.send_header("Content-Type", "application/json")
        self._handler.send_header("Transfer-Encoding", "chunked")
        self._handler.end_headers()

    def _chunk(self, data: bytes) -> None:
        self._handler.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))

    @staticmethod
    def _shut(sock: socket.socket) -> None:
        try:
            sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # it has ended by itself


def _answer(handler: BaseHTTPRequestHandler, code: int, reason: str) -> None:
    body = json.dumps(_status(code, reason)).encode()
    handler.send_response(code)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def _reset(handler: BaseHTTPRequestHandler) -> None:
    """Closes with a RST, as a dead peer or a firewall does."""
    handler.close_connection = True
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.rfile.close()  # a file made of a socket keeps it open
    handler.connection.close()
