"""`KubeletServer`: the HTTPS port of the simulated kubelets, at which an API server asks for container logs.

One port on the loopback address serves all simulated nodes: each Node announces it in its status, an API server dials
the address and port that it finds there, and the path names the pod, of which there is one. The certificate is the
kubelet's own; API servers do not verify it unless they are told to. Every connection has a thread: there are few.
What a kubelet offers beside logs (exec, attach, port-forward) is refused.
"""

from __future__ import annotations

import http.server
import json
import select
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, cast
from urllib.parse import parse_qsl, unquote, urlsplit

import structlog

from localmodel.runtime.client import Client
from localmodel.runtime.clock import Clock, RealClock
from localmodel.runtime.errors import ApiError, TransportError, make_status
from localmodel.runtime.objects import ObjectKey
from localmodel.sandbox.apiserver.tls import Authority, ensure_certificate

from .access import Access, AccessDeniedError
from .kubelet import PodNotFoundError
from .logs import LogOptionsError, LogWriter, flag, parse_options, read_log
from .pod import LogNotFoundError

log = structlog.get_logger(__name__)

HOST = "127.0.0.1"
HANDSHAKE_SECONDS = 10.0
_NOT_THERE = ("exec", "attach", "portForward", "run", "cri", "checkpoint")


class LogSource(Protocol):
    """What knows the logs of pods; the kubelet."""

    def open_log(self, key: ObjectKey, container: str, *, previous: bool) -> tuple[Path, LogWriter | None]: ...


class KubeletServer:
    """Binds a free port at once, serves once it is started. A Runnable."""

    need_leader_election = False

    def __init__(
        self, client: Client, logs: LogSource, *, directory: Path, anonymous: bool = False, clock: Clock | None = None
    ) -> None:
        """`directory` keeps the certificate. `anonymous`: whoever reaches the port may ask. Raises OSError."""
        clock = clock or RealClock()
        authority = Authority.ensure(directory, now=clock.now())
        certificate = ensure_certificate(directory, authority, host=HOST, now=clock.now())
        self._server = _Server(Access(client, certificate, anonymous=anonymous, clock=clock), logs, clock)

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def start(self, stop: threading.Event) -> None:
        """Serves until `stop` is set; requests under way are cut."""
        thread = threading.Thread(target=self._server.serve_forever, name="kubelet-server", daemon=True)
        thread.start()
        stop.wait()
        self._server.shutdown()
        self._server.server_close()
        thread.join()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, access: Access, logs: LogSource, clock: Clock) -> None:
        self.access = access
        self.logs = logs
        self.clock = clock
        super().__init__((HOST, 0), _Handler)

    def finish_request(self, request: Any, client_address: Any) -> None:
        """In the connection's own thread: the handshake may take its time."""
        sock = cast("socket.socket", request)
        sock.settimeout(HANDSHAKE_SECONDS)
        try:
            wrapped = self.access.context().wrap_socket(sock, server_side=True)
        except (OSError, ApiError, TransportError) as error:
            log.info("TLS handshake with the kubelet failed", error=str(error))
            return
        wrapped.settimeout(None)
        try:
            super().finish_request(wrapped, client_address)
        finally:
            wrapped.close()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - the base class's
        log.debug("a connection of the kubelet failed", exc_info=True)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "localmodel-kubelet"
    sys_version = ""
    disable_nagle_algorithm = True

    @property
    def _kubelet(self) -> _Server:
        return cast("_Server", self.server)

    def do_GET(self) -> None:
        try:
            self._kubelet.access.check(cast("ssl.SSLSocket", self.connection))
        except AccessDeniedError as error:
            self._answer(error.code, str(error))
            return
        url = urlsplit(self.path)
        parts = [unquote(part) for part in url.path.strip("/").split("/")]
        if parts == ["healthz"]:
            self._answer(200, "ok")
        elif parts[0] == "containerLogs" and len(parts) == 4:
            query = dict(parse_qsl(url.query, keep_blank_values=True))
            self._container_log(ObjectKey(parts[1], parts[2]), parts[3], query)
        elif parts[0] in _NOT_THERE:
            text = f"the sandbox's kubelet cannot {parts[0]}: containers are plain processes of this machine"
            # As a Status: an API server hands this on to kubectl as it is.
            status = make_status("NotImplemented", 501, text)
            self._answer(501, json.dumps(status), content_type="application/json")
        else:
            self._answer(404, "404 page not found")

    do_POST = do_PUT = do_GET  # noqa: N815 - the names the base class looks for

    def _container_log(self, key: ObjectKey, container: str, query: Mapping[str, str]) -> None:
        try:
            options = parse_options(query, self._kubelet.clock.now())
            path, writer = self._kubelet.logs.open_log(key, container, previous=flag(query, "previous"))
            path.stat()
        except LogOptionsError as error:
            self._answer(422, str(error))
        except PodNotFoundError as error:
            self._answer(404, f"{error}\n")
        except LogNotFoundError as error:
            self._answer(400, str(error))
        except FileNotFoundError as error:
            self._answer(400, f"the log of container {container} in pod {key.name} is gone: {error.filename}")
        except (ApiError, TransportError, OSError) as error:
            self._answer(500, str(error))
        else:
            self._stream(read_log(path, options, writer=writer, wanted=self._is_wanted))

    def _stream(self, pieces: Iterator[bytes]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for piece in pieces:
            if piece:
                self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")

    def _is_wanted(self) -> bool:
        """Whether the client still listens: it has nothing more to say, so what can be read is its end."""
        readable, _, _ = select.select([self.connection], [], [], 0)
        return not readable

    def _answer(self, code: int, text: str, *, content_type: str = "text/plain; charset=utf-8") -> None:
        body = text.encode()
        self.send_response(code)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        if self.command != "GET":
            self.send_header("Connection", "close")  # its body is not read
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        log.debug("kubelet request", request=format % args)
