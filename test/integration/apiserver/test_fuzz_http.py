"""Whatever bytes arrive on a connection, the server stays up and answers the next healthy request.

A few seconds of always the same bytes; with FUZZ_SECONDS so many seconds of new ones.
"""

from __future__ import annotations

import json
import os
import random
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from localmodel.sandbox.apiserver.server import ApiServer, ApiServerOptions

SECONDS = float(os.environ.get("FUZZ_SECONDS", "0"))
ROUNDS = 40
PATIENCE = 20.0
"""Seconds within which a healthy request is answered."""
SILENCE = 0.1
"""Seconds after which nobody waits for more of an answer."""

HEAD = b"POST /api/v1/namespaces/default/configmaps HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
FRAMES = (
    b"GET /version HTTP/1.0\r\n\r\n",
    b"GET /version HTTP/1.1\r\n\r\n",
    b"GET /version HTTP/9.9\r\nhost: x\r\n\r\n",
    b"GET /version\r\n\r\n",
    b"GET  /version HTTP/1.1\r\nhost: x\r\n\r\n",
    b"\r\n\r\n\r\nGET /version HTTP/1.1\r\nhost: x\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n",
    b"GET /version HTTP/1.1\r\nhost: x\r\nx: " + b"y" * 200_000 + b"\r\n\r\n",
    b"GET /version HTTP/1.1\r\n" + b"a: b\r\n" * 5_000 + b"\r\n",
    HEAD + b"content-length: 2\r\n\r\n{}GET /version HTTP/1.1\r\nhost: x\r\n\r\n",
    HEAD + b"content-length: -1\r\n\r\n{}",
    HEAD + b"content-length: 99999999999999999999\r\n\r\n{}",
    HEAD + b"content-length: 2\r\ncontent-length: 3\r\n\r\n{}",
    HEAD + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    HEAD + b"transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    HEAD + b"transfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    HEAD + b"transfer-encoding: chunked\r\n\r\nffffffffffffffff\r\n{}",
    HEAD + b"transfer-encoding: gzip\r\n\r\n{}",
    HEAD + b"expect: 100-continue\r\ncontent-length: 2\r\n\r\n{}",
    HEAD + b"content-encoding: gzip\r\ncontent-length: 2\r\n\r\n{}",
    HEAD + b"content-length: 60000\r\ncontent-type: application/yaml\r\n\r\n" + b"[" * 60_000,
    b"GET /api/v1/configmaps?watch=1&timeoutSeconds=1 HTTP/1.1\r\nhost: x\r\n\r\n"
    b"GET /version HTTP/1.1\r\nhost: x\r\n\r\n",
)
"""Beginnings of what a client may send, good and bad."""


@pytest.fixture(scope="module")
def server() -> Iterator[ApiServer]:
    with ApiServer(ApiServerOptions()) as server:
        yield server


class Wire:
    """Sends bytes to a server, each time on a connection of its own."""

    def __init__(self, server: ApiServer) -> None:
        host, _, port = server.url.removeprefix("https://").rpartition(":")
        self._address = (host, int(port))
        self._context = ssl.create_default_context()
        self._context.check_hostname = False
        self._context.verify_mode = ssl.CERT_NONE
        self._authorization = f"authorization: Bearer {server.token_for('admin', ('system:masters',))}\r\n".encode()

    def send(self, data: bytes, *, silence: float = SILENCE) -> bytes:
        """What comes back until the server is silent, as when it waits for more of a request, or has gone."""
        received = b""
        with socket.create_connection(self._address, PATIENCE) as plain:
            wrapped = self._context.wrap_socket(plain)
            with suppress(OSError):
                wrapped.sendall(data)
            wrapped.settimeout(silence)
            with suppress(ssl.SSLError, ConnectionError, TimeoutError):
                while piece := wrapped.recv(1 << 16):
                    received += piece
        return received

    def authorized(self, data: bytes) -> bytes:
        """A request with credentials put behind its first line."""
        line, separator, rest = data.partition(b"\r\n")
        return line + separator + self._authorization + rest if separator else data

    def check_health(self) -> None:
        request = b"GET /api/v1/namespaces/default HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
        head, _, body = self.send(self.authorized(request), silence=PATIENCE).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        assert json.loads(body)["kind"] == "Namespace"


def disturbed(data: bytes, chance: random.Random) -> bytes:
    """The bytes with some changed, cut out, doubled or put in."""
    piece = bytearray(data)
    for _ in range(chance.randrange(4)):
        start = chance.randrange(len(piece) + 1)
        end = min(len(piece), start + chance.randrange(20))
        match chance.randrange(4):
            case 0:
                piece[start:end] = chance.randbytes(end - start)
            case 1:
                del piece[start:end]
            case 2:
                piece[start:start] = piece[start:end]
            case _:
                piece[start:start] = chance.choice([b"\r\n", b"\x00", b"\xff", b"%00", b"\r\n\r\n", b": ", b"chunked"])
    return bytes(piece)


def check(wire: Wire, chance: random.Random, rounds: int) -> None:
    for _ in range(rounds):
        data = disturbed(chance.choice(FRAMES), chance) if chance.random() < 0.9 else chance.randbytes(300)
        answer = wire.send(wire.authorized(data) if chance.random() < 0.7 else data)
        assert not answer.startswith(b"HTTP/1.1 500"), (data[:500], answer[:500])


@pytest.mark.parametrize("frame", range(len(FRAMES)))
def test_no_frame_breaks_the_server(server: ApiServer, frame: int) -> None:
    wire = Wire(server)
    answer = wire.send(wire.authorized(FRAMES[frame]))
    assert not answer.startswith(b"HTTP/1.1 500"), answer[:500]
    wire.check_health()


def test_no_bytes_break_the_server(server: ApiServer) -> None:
    wire = Wire(server)
    check(wire, random.Random(1), ROUNDS)
    wire.check_health()
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        number = random.randrange(2**32)
        check(wire, random.Random(number), ROUNDS)
        wire.check_health()
