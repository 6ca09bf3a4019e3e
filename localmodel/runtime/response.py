"""http.client's response, made for many small answers and for long streams.

The standard library reads header fields with a parser of e-mails, which takes longer than the server does, and through
a buffer that an event of 10 KB does not fit. Everything else is inherited: what ends a body, and what a broken one is.
"""

from __future__ import annotations

import http.client
import io
import socket
from collections.abc import Sequence
from typing import Any

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

    def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
        super().__init__(_WideSocket(sock), *args, **options)  # type: ignore[arg-type]

    def begin(self) -> None:
        """Reads status and headers; raises http.client.HTTPException or OSError."""
        if self.headers is not None:
            return
        version, status, self.reason = self._read_status()  # type: ignore[attr-defined]
        while status == http.client.CONTINUE:
            self._read_fields()
            version, status, self.reason = self._read_status()  # type: ignore[attr-defined]
        if not version.startswith("HTTP/1."):
            raise http.client.UnknownProtocol(version)
        self.code = self.status = status
        self.version = 10 if version == "HTTP/1.0" else 11
        self.headers = self.fields = self._read_fields()
        self._find_the_end()

    def _read_fields(self) -> Headers:
        fields = Headers()
        for _ in range(_MAX_FIELDS + 1):
            line = self.fp.readline(_MAX_LINE + 1)
            if len(line) > _MAX_LINE:
                raise http.client.LineTooLong("header line")
            if line in (b"\r\n", b"\n"):
                return fields
            name, colon, value = line.decode("iso-8859-1").partition(":")
            if not colon:
                raise http.client.HTTPException(f"the connection broke within the headers, or {name[:80]!r} is none")
            fields.add(name, value.strip())
        raise http.client.HTTPException(f"more than {_MAX_FIELDS} headers")

    def _find_the_end(self) -> None:
        """RFC 9112, section 6.3: the body ends by its chunks, by its length, or with the connection."""
        self.chunked = self.fields.get("transfer-encoding", "").lower() == "chunked"
        self.chunk_left = None
        self.will_close = self._check_close()  # type: ignore[attr-defined]
        length = self.fields.get("content-length", "")
        self.length = int(length) if length.isdigit() and not self.chunked else None
        if self.status in _NO_BODY or self._method == "HEAD":  # type: ignore[attr-defined]
            self.length = 0
        if not self.chunked and self.length is None:
            self.will_close = True


class _WideSocket:
    """A socket as HTTPResponse uses it, once, with a larger buffer."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def makefile(self, mode: str) -> Any:
        assert mode == "rb"
        return self._sock.makefile("rb", _BUFFER)
