"""The connections of a server: in which phase each is, which of them have to go, and how all of them end.

A connection is always in one of the phases of `Phase`. Its own thread moves it on; the server's accepting thread looks
at all of them and cuts the ones that overstay a phase, or that wait while a new client finds no room. To cut is to shut
the socket down: the thread wakes from whatever it reads or writes, and ends.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum


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


class Phase(Enum):
    """What a connection does."""

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


_WAITING = (Phase.OPENING, Phase.IDLE)


@dataclass(eq=False, slots=True)
class Connection:
    """One client; `changed` guards the phase and is shared by the connections of a server."""

    socket: socket.socket
    client: str
    changed: threading.Condition
    thread: threading.Thread = field(init=False)
    phase: Phase = Phase.OPENING
    since: float = field(default_factory=time.monotonic)

    def enter(self, phase: Phase) -> None:
        with self.changed:
            self.phase, self.since = phase, time.monotonic()
            self.changed.notify_all()

    def cut(self) -> None:
        # Not SSLSocket.shutdown: it takes the TLS layer away under the thread that uses it.
        with contextlib.suppress(OSError):  # the client was faster
            socket.socket.shutdown(self.socket, socket.SHUT_RDWR)


class Connections:
    """The connections whose threads may be alive."""

    def __init__(self, limits: ServerLimits) -> None:
        self._limits = limits
        self.changed = threading.Condition()
        """Guards the list and the phases; notified when a connection enters a phase."""
        self._all: list[Connection] = []

    def __bool__(self) -> bool:
        return bool(self._all)

    def start(self, accepted: socket.socket, client: str, converse: Callable[[Connection], None], name: str) -> None:
        """Adds a connection whose thread, of that name, converses; called by the accepting thread, as `make_room`.

        Raises RuntimeError if the system gives no more threads.
        """
        connection = Connection(accepted, client, self.changed)
        connection.thread = threading.Thread(target=converse, args=(connection,), name=name, daemon=True)
        with self.changed:
            connection.thread.start()
            self._all.append(connection)

    def make_room(self) -> bool:
        """Cuts connections that overstay their phase, or that are in the way; whether there is room for one more."""
        now = time.monotonic()
        with self.changed:
            self._all = [connection for connection in self._all if connection.thread.is_alive()]
            open_ = self._open()
            for connection in open_:
                if now - connection.since > self._allowance(connection.phase):
                    connection.cut()
            if len(open_) < self._limits.connections:
                return True
            giving_way = [
                connection
                for connection in open_
                if connection.phase in (*_WAITING, Phase.READING) and now - connection.since > self._limits.patience
            ]
            if giving_way:
                min(giving_way, key=lambda c: (c.phase is not Phase.IDLE, c.since)).cut()
            return False

    def finish(self, grace: float) -> None:
        """Cuts those that wait; the others when they have answered, or after `grace` seconds."""
        with self.changed:
            for connection in self._all:
                if connection.phase in _WAITING:
                    connection.cut()
            self.changed.wait_for(lambda: not self._open(), timeout=grace)
            for connection in self._all:
                connection.cut()

    def join(self, timeout: float) -> int:
        """Waits at most `timeout` seconds for the threads to end; how many have not."""
        until = time.monotonic() + timeout
        for connection in self._all:
            connection.thread.join(max(0.0, until - time.monotonic()))
        return sum(connection.thread.is_alive() for connection in self._all)

    def _open(self) -> list[Connection]:
        return [connection for connection in self._all if connection.phase is not Phase.CLOSED]

    def _allowance(self, phase: Phase) -> float:
        match phase:
            case Phase.ANSWERING:
                return float("inf")
            case Phase.IDLE:
                return self._limits.idle_timeout
            case _:
                return self._limits.read_timeout
