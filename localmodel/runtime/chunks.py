"""Takes a body out of the chunks that a server sends it in (RFC 9112, section 7.1), many chunks at a time.

A server flushes each watch event as a chunk. http.client reads a chunk with four calls of its own and gives back each
alone, which costs more than to decode the event in it; here all that one read of the socket has brought is one piece.
"""

from __future__ import annotations

import http.client

_MAX_HEAD = 1 << 16
_END_OF_HEADS = b"\r\n\r\n"


class Chunks:
    """One body: `feed` it what arrives until it has `ended`."""

    def __init__(self) -> None:
        self.ended = False
        """The last chunk is there, and the trailer behind it."""
        self.rest = b""
        """What came behind the end."""
        self._left = 0
        """Bytes that are still to come of the chunk under way."""
        self._head = b"\r\n"
        """What there is of the next head (size and extensions), from the line end before it; the first lacks that."""
        self._is_last = False
        """There are no more chunks, only the trailer."""

    def feed(self, data: bytes) -> list[bytes]:
        """The parts of the body that are in the data, none empty, each of one chunk.

        Raises http.client.HTTPException for what are no chunks.
        """
        if self._head:
            data, self._head = self._head + data, b""
        parts: list[bytes] = []
        at = 0
        while not self._is_last:
            end = at + self._left
            if at < end and at < len(data):
                parts.append(data[at:end])
            if end > len(data):
                self._left = end - len(data)
                break
            head_end = data.find(b"\r\n", end + 2)
            if head_end < 0:
                self._left = 0
                self._keep_head(data[end:])
                break
            self._left = _size(data[end:head_end])
            self._is_last = not self._left
            at = head_end if self._is_last else head_end + 2
        if self._is_last:
            self._end(data[at:])
        return parts

    def _keep_head(self, head: bytes) -> None:
        if len(head) > _MAX_HEAD:
            raise http.client.LineTooLong("chunk size")
        self._head = head

    def _end(self, trailer: bytes) -> None:
        """Whatever the trailer says is ignored."""
        _, end, rest = trailer.partition(_END_OF_HEADS)
        if end:
            self.ended, self.rest = True, rest
        else:
            self._keep_head(trailer)


def _size(head: bytes) -> int:
    digits = head.partition(b";")[0]
    try:
        size = int(digits, 16)
    except ValueError:
        size = -1
    if size < 0 or not head.startswith(b"\r\n"):
        raise http.client.HTTPException(f"not the head of a chunk: {head[:80]!r}")
    return size
