"""The sides that only read what the stand-in server sends: how fast it is, which nobody behind it can exceed."""

from __future__ import annotations

import socket
import threading
from urllib.parse import urlsplit

from localmodel.runtime.objects import Node, Object

from .case import Context
from .measure import Lap, request_events
from .objects import ModelNode

MORE = 4
"""As for the sides beside it."""
_BUFFER = 1 << 20


def drain_nodes(context: Context) -> dict[str, float]:
    return _drain(context, Node)


def drain_custom_objects(context: Context) -> dict[str, float]:
    return _drain(context, ModelNode)


def _drain(context: Context, kind: type[Object]) -> dict[str, float]:
    """Reads and drops the bytes of a watch until the server has sent all."""
    address = urlsplit(context.server)
    count = context.size * MORE
    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.sendall(f"GET {kind.mapping.path()}?watch=true HTTP/1.1\r\nHost: benchmark\r\n\r\n".encode())
        connection.recv(_BUFFER)
        reader = threading.Thread(target=_read, args=(connection,), daemon=True)
        reader.start()
        lap = Lap()
        seconds = request_events(context.server, kind.mapping.plural, count)
        return lap.rates(count) | {"per_second": count / seconds}


def _read(connection: socket.socket) -> None:
    buffer = bytearray(_BUFFER)
    while connection.recv_into(buffer):
        pass
