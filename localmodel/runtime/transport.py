"""HTTP to one API server: one keep-alive connection per thread for requests, one owned connection per watch.

A shared pool can be starved by watches (feasibility.md 1.5), and the standard library's connection is two to four times
faster than one; so every worker thread keeps its own connection and every watch owns another that it can shut from any
thread. A connection whose answer is still being read belongs to that answer (`answer`); the thread gets it back after.
Nothing here knows about kinds; see `rest`.
"""

from __future__ import annotations

import base64
import select
import socket
import threading
import weakref
from collections.abc import Callable
from typing import TypeVar
from urllib.parse import SplitResult, unquote, urlsplit

from . import cancellation, deadline
from .answer import BROKEN, Answer, Stream, cause_of
from .connection import Connection
from .errors import TransportError
from .kubeconfig import RestConfig

_SENT_AGAIN = frozenset({"GET", "HEAD", "PUT"})
"""A PUT carries the version that it replaces. A DELETE that was executed might, sent again, hit a successor."""

AnswerT = TypeVar("AnswerT", Answer, Stream)


class Transport:
    """Sends requests with credentials and the user agent; raises TransportError when there is no answer.

    A 401 is answered by fresh credentials and one more try. A request other than a watch stays within the `deadline` of
    the work in hand: DeadlineExceededError once it is over. The `cancellation` of the work in hand ends a request under
    way, and the opening of a watch, by CancelledError.
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

    def request(self, method: str, target: str, *, body: bytes | None = None, headers: dict[str, str]) -> Answer:
        """One request on this thread's connection; returns when the answer's headers have come."""
        return self._authorized(headers, lambda complete: self._send(method, target, body, complete))

    def stream(self, target: str, *, headers: dict[str, str], silence: float) -> Stream:
        """Opens a GET on a connection of its own, whose body is read line by line; whatever its code is."""
        return self._authorized(headers, lambda complete: self._open_stream(target, complete, silence))

    def close(self) -> None:
        """Aborts the connections of all threads; a thread that waits for an answer gets a TransportError at once."""
        with self._lock:
            self._is_closed = True
            connections = list(self._connections)
        for connection in connections:
            connection.abort()

    def _authorized(self, headers: dict[str, str], send: Callable[[dict[str, str]], AnswerT]) -> AnswerT:
        authorization = self.config.authorization()
        answer = send(self._headers(headers, authorization))
        if answer.code != 401:
            return answer
        answer.close()
        return send(self._headers(headers, self._fresh_authorization(authorization)))

    def _open_stream(self, target: str, headers: dict[str, str], silence: float) -> Stream:
        doing = f"watch {target}"
        connection = self._new_connection()
        try:
            with cancellation.waking(connection.abort, doing):
                self._open(connection, self.config.connect_timeout)
                sock = connection.opened_socket
                sock.settimeout(min(silence, self.config.request_timeout))
                response = connection.ask("GET", self._prefix + target, headers=headers)
                if response.status < 300:  # else the body is an error, which has an end
                    sock.settimeout(silence)
                return Stream(response, connection, target)
        except BROKEN as error:
            connection.close()
            cancellation.check(doing)
            raise TransportError(f"cannot watch {self.config.server}{target}: {cause_of(error)}") from error

    def _send(self, method: str, target: str, body: bytes | None, headers: dict[str, str]) -> Answer:
        doing = f"{method} {target}"
        for last_try in (False, True):
            deadline.check(doing)
            kept = self._take_kept()
            connection = kept or self._new_connection()
            try:
                with cancellation.waking(connection.abort, doing):
                    if not kept:
                        self._open(connection, self._limited(self.config.connect_timeout))
                    connection.opened_socket.settimeout(self._time_left())
                    response = connection.ask(
                        method, self._prefix + target, body=body, headers=headers, time_left=self._time_left
                    )
                return Answer(response, connection, doing, keep=self._keep)
            except BROKEN as error:
                connection.close()
                cancellation.check(doing)
                # A kept connection may have been closed by the server just now; a fresh one that breaks is an error,
                # and so is silence: the request may be under way.
                if last_try or not kept or method not in _SENT_AGAIN or isinstance(error, TimeoutError):
                    raise TransportError(f"{method} {self.config.server}{target}: {cause_of(error)}") from error
            except BaseException:
                connection.close()  # cut off half-way (Ctrl-C): the next answer on it would be this request's
                raise
        raise AssertionError("unreachable")

    def _open(self, connection: Connection, timeout: float) -> None:
        try:
            connection.open(timeout)
        except BROKEN as error:
            cancellation.check(f"connecting to {self.config.server}")
            raise TransportError(f"cannot connect to {self.config.server}: {cause_of(error)}") from error

    def _time_left(self) -> float:
        """For the next wait for the server."""
        return self._limited(self.config.request_timeout)

    def _limited(self, seconds: float) -> float:
        left = deadline.remaining()
        if left is None:
            return seconds
        if left <= 0:
            raise TimeoutError("the time for the work in hand is over")
        return min(left, seconds)

    def _take_kept(self) -> Connection | None:
        """This thread's connection, if it is open and idle; the thread has none from then on."""
        connection: Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            return None
        self._local.connection = None
        if connection.sock is None or _is_readable(connection.sock):
            connection.close()  # idle and readable: the server has closed it
            return None
        return connection

    def _keep(self, connection: Connection) -> None:
        """For this thread's next request, unless it has made one meanwhile, on another connection."""
        if getattr(self._local, "connection", None) is None:
            self._local.connection = connection
        else:
            connection.close()

    def _new_connection(self) -> Connection:
        """One that is not open yet, but known to `close`; raises TransportError after it."""
        config = self.config
        proxy = urlsplit(config.proxy) if config.proxy else None
        host, port = (proxy.hostname or "", proxy.port or 3128) if proxy else (self._host, self._port)
        tls = config.tls() if config.tls else None
        connection = Connection(
            host, port, tls=tls, server_name=config.server_name or self._host, impersonation=config.impersonation
        )
        if proxy:
            connection.reach(self._host, self._port, headers=_proxy_headers(proxy))
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


def _proxy_headers(proxy: SplitResult) -> dict[str, str]:
    if proxy.username is None:
        return {}
    pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return {"Proxy-Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}


def _is_readable(sock: socket.socket) -> bool:
    try:
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        return bool(poll.poll(0))
    except (OSError, ValueError):
        return True
