"""A server that accepts connections and never says a word."""

from __future__ import annotations

import selectors
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class HangingServer:
    """Takes whatever connects; `wait_for_connection` says when somebody did."""

    def __init__(self, port: int = 0) -> None:
        self._listening = socket.create_server(("127.0.0.1", port))
        self.port = int(self._listening.getsockname()[1])
        self._wake, self._woken = socket.socketpair()
        self._accepted: list[socket.socket] = []
        self._connections = threading.Semaphore(0)
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def wait_for_connection(self, timeout: float = 10.0) -> None:
        assert self._connections.acquire(timeout=timeout), "nobody connected"

    def stop(self) -> None:
        self._wake.send(b"\0")
        self._thread.join()
        for sock in (self._listening, self._wake, self._woken, *self._accepted):
            sock.close()

    def _accept(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._listening, selectors.EVENT_READ)
            selector.register(self._woken, selectors.EVENT_READ)
            while all(key.fileobj is self._listening for key, _ in selector.select()):
                self._accepted.append(self._listening.accept()[0])
                self._connections.release()


@contextmanager
def hanging_server(port: int = 0) -> Iterator[HangingServer]:
    server = HangingServer(port)
    try:
        yield server
    finally:
        server.stop()
