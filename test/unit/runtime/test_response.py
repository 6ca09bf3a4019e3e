"""The response that reads its headers itself finds what http.client finds."""

from __future__ import annotations

import http.client
import io
from typing import Any

import pytest

from localmodel.runtime.response import Response


class Bytes:
    """Stands for a socket from which all has arrived."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, *_: Any) -> io.BufferedReader:
        return io.BufferedReader(io.BytesIO(self._data))  # type: ignore[arg-type]


ANSWERS = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\ncontent-length:5\r\nCONNECTION: close\r\n\r\nhello",
    b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello",
    b"HTTP/1.1 200 OK\r\n\r\nuntil the end",
    b"HTTP/1.1 200 OK\r\nContent-Length: much\r\n\r\nuntil the end",
    b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nuntil the end",
    b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\nKeep-Alive: timeout=5\r\n\r\nhello",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\nX: y\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\nContent-Length: 9\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
    b'HTTP/1.1 429 S\r\nRetry-After: 3\r\nWarning: 299 - "a"\r\nwarning: 299 - "b"\r\nContent-Length: 5\r\n\r\nhello',
]


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_an_answer_is_what_http_client_takes_it_for(answer: bytes, method: str) -> None:
    ours = Response(Bytes(answer), method=method)  # type: ignore[arg-type]
    theirs = http.client.HTTPResponse(Bytes(answer), method=method)  # type: ignore[arg-type]
    ours.begin()
    theirs.begin()
    for name in ("status", "version", "chunked", "length", "will_close"):
        assert getattr(ours, name) == getattr(theirs, name), name
    assert ours.fields.get("retry-after", "") == theirs.headers.get("Retry-After", "")
    assert list(ours.fields.get_all("Warning")) == theirs.headers.get_all("Warning", [])
    assert ours.read() == theirs.read()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n",
        b"HTTP/1.1 200 OK\r\nno field\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 101 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000 + b"\r\n\r\n",
    ],
)
def test_what_is_no_answer_is_an_error(answer: bytes) -> None:
    with pytest.raises(http.client.HTTPException):
        Response(Bytes(answer), method="GET").begin()  # type: ignore[arg-type]


def test_announcements_before_the_answer_are_skipped() -> None:
    before = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n"
    data = before + b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
    response = Response(Bytes(data), method="GET")  # type: ignore[arg-type]
    response.begin()
    assert (response.status, response.read()) == (200, b"hi")


def test_a_folded_header_is_one() -> None:
    data = b'HTTP/1.1 200 OK\r\nWarning: 299 - "a\r\n\t b"\r\nContent-Length: 2\r\n\r\nhi'
    response = Response(Bytes(data), method="GET")  # type: ignore[arg-type]
    response.begin()
    assert (response.fields.get("Warning"), response.read()) == ('299 - "a b"', b"hi")


def test_a_length_is_written_in_ascii() -> None:
    response = Response(Bytes(b"HTTP/1.1 200 OK\r\nContent-Length: \xb2\r\n\r\nhi"), method="GET")  # type: ignore[arg-type]
    response.begin()
    assert response.length is None
