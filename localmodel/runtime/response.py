"""http.client's response, made for many small answers and for long streams.

The standard library reads header fields with a parser of e-mails, which takes longer than the server does, chunks one
by one (here: `chunks`), and all through a buffer that an event of 10 KB does not fit. Everything else is inherited:
what ends a body, and what a broken one is.
"""

from __future__ import annotations

import http.client
import io
import socket
from collections.abc import Callable, Sequence
from typing import Any

from .chunks import Chunks

_BUFFER = 1 << 16
_MAX_LINE = 1 << 16
_MAX_FIELDS = 100
_NO_BODY = frozenset({204, 304})


class Headers:
    """Header fields; their names' case does not matter."""

    def __init__(self) -> None:
        self._values: dict[str, list[str]] = {}

    def add(self, name: str, value: str) -> None:
        self._values.setdefault(name.lower(), []).append(value)

    def fold(self, name: str, more: str) -> None:
        """Goes on with the last value of that name (RFC 9112, section 5.2)."""
        values = self._values[name.lower()]
        values[-1] = f"{values[-1]} {more}"

    def get(self, name: str, default: Any = None) -> Any:
        """The first value."""
        values = self._values.get(name.lower())
        return values[0] if values else default

    def get_all(self, name: str) -> Sequence[str]:
        return self._values.get(name.lower(), ())


class Response(http.client.HTTPResponse):
    """One answer. `fields` are its headers, once `begin` has read them."""

    fp: io.BufferedReader
    headers: Any
    """What http.client itself looks into; None before `begin`."""
    fields: Headers
    _chunks: Chunks | None = None
    """Of a body that comes in chunks."""

    def __init__(self, sock: socket.socket, *, method: str, time_left: Callable[[], float] | None = None) -> None:
        """`time_left` bounds each wait for more, in seconds; it may raise TimeoutError. None: the socket's timeout."""
        super().__init__(_WideSocket(sock, time_left), method=method)  # type: ignore[arg-type]

    def begin(self) -> None:
        """Reads status and headers; raises http.client.HTTPException or OSError."""
        if self.headers is not None:
            return
        version, status, self.reason = self._read_status()  # type: ignore[attr-defined]
        while 100 <= status < 200 and status != http.client.SWITCHING_PROTOCOLS:
            self._read_fields()
            version, status, self.reason = self._read_status()  # type: ignore[attr-defined]
        if not version.startswith("HTTP/1."):
            raise http.client.UnknownProtocol(version)
        self.code = self.status = status
        self.version = 10 if version == "HTTP/1.0" else 11
        self.headers = self.fields = self._read_fields()
        self._find_the_end()

    def read(self, amt: int | None = None) -> bytes:
        """The rest of the body; `amt` is for bodies without chunks."""
        return super().read(amt) if self._chunks is None else b"".join(iter(self.read1, b""))

    def read1(self, n: int = _BUFFER) -> bytes:
        """`parts` in one."""
        return super().read1(n) if self._chunks is None else b"".join(self.parts(n))

    def parts(self, n: int = _BUFFER) -> Sequence[bytes]:
        """What has come of the body, or comes first, chunk by chunk; none at its end.

        Reads at most `n` bytes from the socket, once if that brings something.
        """
        if self._chunks is None:
            piece = super().read1(n)
            return (piece,) if piece else ()
        while self.fp is not None and not self._chunks.ended:
            data = self.fp.read1(n)
            if not data:
                raise http.client.IncompleteRead(b"")
            if parts := self._chunks.feed(data):
                return parts
        self.will_close = self.will_close or bool(self._chunks.rest)  # nobody asked for that
        return ()

    def _read_fields(self) -> Headers:
        fields, name = Headers(), ""
        for _ in range(_MAX_FIELDS + 1):
            line = self.fp.readline(_MAX_LINE + 1)
            if len(line) > _MAX_LINE:
                raise http.client.LineTooLong("header line")
            if line in (b"\r\n", b"\n"):
                return fields
            if name and line[:1] in (b" ", b"\t"):
                fields.fold(name, line.decode("iso-8859-1").strip())
                continue
            name, colon, value = line.decode("iso-8859-1").partition(":")
            if not colon:
                raise http.client.HTTPException(f"the connection broke within the headers, or {name[:80]!r} is none")
            fields.add(name, value.strip())
        raise http.client.HTTPException(f"more than {_MAX_FIELDS} headers")

    def _find_the_end(self) -> None:
        """RFC 9112, section 6.3: the body ends by its chunks, by its length, or with the connection."""
        self.chunked = self.fields.get("transfer-encoding", "").lower() == "chunked"
        if self.chunked and self._method != "HEAD":  # type: ignore[attr-defined]
            self._chunks = Chunks()
        self.will_close = self._check_close()  # type: ignore[attr-defined]
        length = self.fields.get("content-length", "")
        self.length = int(length) if length.isdecimal() and not self.chunked else None
        if self.status in _NO_BODY or self._method == "HEAD":  # type: ignore[attr-defined]
            self.length = 0
        if not self.chunked and self.length is None:
            self.will_close = True


class _WideSocket:
    """A socket as HTTPResponse uses it, once, with a larger buffer."""

    def __init__(self, sock: socket.socket, time_left: Callable[[], float] | None) -> None:
        self._sock = sock
        self._time_left = time_left

    def makefile(self, mode: str) -> Any:
        assert mode == "rb"
        if self._time_left is None:
            return self._sock.makefile("rb", _BUFFER)
        return io.BufferedReader(_Bounded(self._sock, self._time_left), _BUFFER)


class _Bounded(io.RawIOBase):
    """Reads a socket, with a new timeout for each wait: many short ones must not add up to more than there is time."""

    def __init__(self, sock: socket.socket, time_left: Callable[[], float]) -> None:
        self._sock = sock
        self._time_left = time_left
        self._raw = sock.makefile("rb", 0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(self._time_left())
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()
