"""Chunks: whatever way they arrive in, the body is the same."""

from __future__ import annotations

import http.client
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localmodel.runtime.chunks import Chunks


def chunked(parts: list[bytes], extension: bytes, trailer: bytes) -> bytes:
    return b"".join(b"%x%s\r\n%s\r\n" % (len(part), extension, part) for part in parts) + b"0\r\n" + trailer + b"\r\n"


@given(
    parts=st.lists(st.binary(min_size=1, max_size=40)),
    extension=st.sampled_from([b"", b";a=b", b" "]),
    trailer=st.sampled_from([b"", b"Expires: never\r\n", b"A: b\r\nC: d\r\n"]),
    rest=st.sampled_from([b"", b"HTTP/1.1 200 OK"]),
    cuts=st.lists(st.integers(0, 400)),
)
def test_a_body_does_not_depend_on_how_it_arrives(
    parts: list[bytes], extension: bytes, trailer: bytes, rest: bytes, cuts: list[int]
) -> None:
    data = chunked(parts, extension, trailer)
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    chunks, found = Chunks(), list[bytes]()
    for start, end in pairwise(places):
        assert not chunks.ended
        found += chunks.feed(data[start:end] + (rest if end == len(data) else b""))
    assert (b"".join(found), chunks.ended, chunks.rest) == (b"".join(parts), True, rest)
    assert all(found)
    assert len(places) > 2 or found == parts


@pytest.mark.parametrize(
    "data", [b"\r\n", b"x\r\n", b"-5\r\n", b"3\r\nabcd\r\n0\r\n\r\n", b"3\r\nabc4\r\nabcd\r\n", b"9" * 70_000]
)
def test_what_are_no_chunks_is_an_error(data: bytes) -> None:
    with pytest.raises(http.client.HTTPException):
        Chunks().feed(data)


def test_each_chunk_is_given_as_far_as_it_has_come() -> None:
    chunks = Chunks()
    arrived = (b"5\r\nhe", b"l", b"lo\r\n2", b"\r\n!!", b"\r\n1\r\na\r\n1\r\nb")
    assert [chunks.feed(data) for data in arrived] == [[b"he"], [b"l"], [b"lo"], [b"!!"], [b"a", b"b"]]
