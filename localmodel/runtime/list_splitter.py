"""Takes the items out of a list's JSON while the rest of it is still on its way, so that no list is ever held whole.

A server answers a list at version "0" in one piece, which may be hundreds of megabytes. A parser in Python would be far
too slow to find the items in it, and a fast one wants whole documents. So the text is cut at a place that looks like
the border between two items, and the part before it is given to the fast parser as an array: if it parses, the cut was
a border, whatever the text looks like, because JSON is read from left to right in one way only. If it does not, an
earlier place is tried, and at last the text is left to grow. What such a place looks like is learned from the first
item; a document without any (other spacing, items that are no objects) is decoded whole at its end.

So the result never depends on a guess, only the memory does. Nothing here knows of HTTP; see `rest_listwatch`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

CUT_SIZE = 1 << 17
"""Bytes that are collected before a cut is tried: some items of 10 KB, and what fits a processor's cache."""
_TRIES = 4
"""Places tried for each look of a border before more text is waited for."""

_ITEMS = re.compile(rb'"items"\s*:\s*\[')
_FIRST_ITEM = re.compile(rb'(\s*)(\{\s*"[^"\\]*"\s*:\s*[\[{"]?)')


class ListMeta(msgspec.Struct, rename="camel"):
    """metav1.ListMeta, as far as it is used."""

    resource_version: str = ""
    continue_: str = msgspec.field(default="", name="continue")


class _List(msgspec.Struct):
    items: list[msgspec.Raw] | None
    """Null is an empty list of Go's. What lacks them is no list: taken for an empty one it would empty a cache."""
    metadata: ListMeta = msgspec.field(default_factory=ListMeta)


_decode_list = msgspec.json.Decoder(_List).decode
_decode_items = msgspec.json.Decoder(list[msgspec.Raw]).decode


class ListSplitter:
    """One list: `feed` it the pieces of the body, then `finish`. Each item is given exactly once, in order."""

    def __init__(self, cut_size: int = CUT_SIZE) -> None:
        self.metadata = ListMeta()
        """That of the list; set by `finish`, since it may stand behind the items."""
        self._cut_size = cut_size
        self._head = b""
        """The document up to and with the bracket that opens its items; empty until that is known."""
        self._looks: tuple[bytes, ...] = ()
        """What a border between two items may look like, the likeliest first; empty until there is a first item."""
        self._pieces: list[bytes] = []
        """What has come behind the head and is not yet given."""
        self._size = 0
        """Bytes in `_pieces`."""
        self._try_at = cut_size
        """So many bytes make the next try to cut worth its time: doubled by each failure, so that all tries together
        take no more than a few times the length of the text."""

    def feed(self, piece: bytes) -> list[msgspec.Raw]:
        """The items that are complete with this piece; often none. They share memory: keep none of them for long."""
        self._pieces.append(piece)
        self._size += len(piece)
        if self._size < self._try_at:
            return []
        text = b"".join(self._pieces)
        if not self._head:
            text = self._without_head(text)
        items, rest = self._cut(text) if self._head else ([], text)
        self._pieces, self._size = [rest], len(rest)
        self._try_at = max(self._cut_size, self._size + self._cut_size // 2) if items else 2 * self._size
        return items

    def finish(self) -> list[msgspec.Raw]:
        """The remaining items. Raises msgspec.MsgspecError if all that was fed is not one JSON list."""
        # The document without the items already given is a document, too.
        whole = _decode_list(b"".join((self._head, *self._pieces)))
        self.metadata = whole.metadata
        self._pieces, self._size = [], 0
        return whole.items or []

    def _without_head(self, text: bytes) -> bytes:
        """Takes the head off the text, if it is there whole."""
        for match in _ITEMS.finditer(text):
            head = text[: match.end()]
            try:
                found = _decode_list(head + b"]}").items is not None
            except msgspec.MsgspecError:
                continue  # these are the items of something inside
            if found:
                self._head = head
                return text[match.end() :]
        return text

    def _cut(self, text: bytes) -> tuple[list[msgspec.Raw], bytes]:
        """The items before the last border that can be found, and the text behind it."""
        if not self._looks:
            self._looks = _looks_of_a_border(text)
        for border in self._borders(text):
            try:
                # The brace that ends the last item is the first byte of the border, the comma behind it is the second.
                items = _decode_items(b"".join((b"[", memoryview(text)[: border + 1], b"]")))
            except msgspec.MsgspecError:
                continue
            return items, text[border + 2 :]
        return [], text

    def _borders(self, text: bytes) -> Iterator[int]:
        """Where there may be one, from the end; each place once."""
        tried: set[int] = set()
        for look in self._looks:
            at = len(text)
            for _ in range(_TRIES):
                at = text.rfind(look, 0, at)
                if at < 0:
                    break
                if at not in tried:
                    tried.add(at)
                    yield at


def _looks_of_a_border(text: bytes) -> tuple[bytes, ...]:
    first = _FIRST_ITEM.match(text)
    if first is None:
        return ()
    spacing, opening = first.groups()
    return b"}," + spacing + opening, b"}, " + opening, b"}," + spacing + b"{", b"}, {"
