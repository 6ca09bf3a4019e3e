"""A loopback server that speaks to each connection by a function of the test's, byte by byte."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field


@dataclass
class RawServer:
    url: str
    heads: list[bytes] = field(default_factory=list)
    """What came first on each connection, and whatever `next_head` read."""

    def next_head(self, connection: socket.socket) -> bytes:
        """The head of the next request; empty at the end of the connection."""
        head = b""
        while b"\r\n\r\n" not in head:
            piece = connection.recv(1 << 16)
            if not piece:
                return b""
            head += piece
        self.heads.append(head)
        return head


@contextmanager
def raw_server(serve: Callable[[RawServer, socket.socket], object]) -> Iterator[RawServer]:
    """`serve` gets each connection in a thread of its own, at its end the connection is closed."""
    listening = socket.create_server(("127.0.0.1", 0))
    state = RawServer(f"http://127.0.0.1:{listening.getsockname()[1]}")
    open_connections: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def run(connection: socket.socket) -> None:
        with connection, suppress(OSError):  # clients that give up are the point
            serve(state, connection)

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection = listening.accept()[0]
                open_connections.append(connection)
                threads.append(threading.Thread(target=run, args=(connection,), daemon=True))
                threads[-1].start()

    accepting = threading.Thread(target=accept, daemon=True)
    accepting.start()
    try:
        yield state
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        accepting.join(5)
        listening.close()
        for connection in open_connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(5)
