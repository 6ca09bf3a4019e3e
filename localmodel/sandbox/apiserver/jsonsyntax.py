"""What is wrong with a JSON text, in the words of Go's encoding/json, which clients of a real server see.

Only texts that the fast decoder refused come here, so it may be slow. The grammar is that of RFC 8259; as in Go, bytes
that are not UTF-8 are no fault (they become U+FFFD), and neither are lone surrogates.
"""

from __future__ import annotations

import re

MAX_DEPTH = 10_000
"""Containers within each other that Go's scanner takes."""

_SPACE = b" \t\r\n"
_NUMBER_START = b"-0123456789"
_DIGITS = b"0123456789"
_HEX = b"0123456789abcdefABCDEF"
_LITERALS = {ord("t"): b"true", ord("f"): b"false", ord("n"): b"null"}
_STRING = re.compile(rb'[^"\\\x00-\x1f]*')


class _SyntaxFaultError(ValueError):
    """The first fault; its text is the message."""


def fault_of(text: bytes) -> str | None:
    """The message for the first fault in a JSON text, None if there is none."""
    scanner = _Scanner(text)
    try:
        scanner.run()
    except _SyntaxFaultError as fault:
        return str(fault)
    return None


class _Scanner:
    """Reads one text from left to right. What is open is in `_open`: `{`, `[`."""

    def __init__(self, text: bytes) -> None:
        self._text, self._at = text, 0
        self._open: list[int] = []
        # The innermost container has just been opened: its first element has no comma before it.
        self._fresh = False

    def run(self) -> None:
        self._value()
        while self._open:
            is_object = self._open[-1] == ord("{")
            if self._peek() == (ord("}") if is_object else ord("]")):
                self._at += 1
                self._open.pop()
                self._fresh = False
            else:
                self._element(is_object)
        self._skip()
        if self._at < len(self._text):
            raise self._unexpected("after top-level value")

    def _element(self, is_object: bool) -> None:
        """A member or item: the comma before it, but for the first, and what comes up to the end of a scalar."""
        if not self._fresh:
            self._take(ord(","), "after object key:value pair" if is_object else "after array element")
            self._peek()
        self._fresh = False
        if is_object:
            self._key()
        self._value()

    def _value(self) -> None:
        """One scalar, or the opening of a container."""
        byte = self._peek()
        if byte in b"{[":
            self._open.append(byte)
            if len(self._open) > MAX_DEPTH:
                raise self._unexpected("exceeded max depth")
            self._at += 1
            self._fresh = True
        elif byte == ord('"'):
            self._string()
        elif byte in _NUMBER_START:
            self._number()
        elif byte in _LITERALS:
            self._literal(_LITERALS[byte])
        else:
            raise self._unexpected("looking for beginning of value")

    def _key(self) -> None:
        if self._peek() != ord('"'):
            raise self._unexpected("looking for beginning of object key string")
        self._string()
        self._peek()
        self._take(ord(":"), "after object key")

    def _string(self) -> None:
        self._at += 1
        while True:
            match = _STRING.match(self._text, self._at)
            self._at = match.end() if match else self._at
            byte = self._current()
            if byte < 0x20:
                raise self._unexpected("in string literal")
            self._at += 1
            if byte == ord('"'):
                return
            self._escape()

    def _escape(self) -> None:
        if self._current() not in b'"\\/bfnrtu':
            raise self._unexpected("in string escape code")
        is_unicode = self._current() == ord("u")
        self._at += 1
        for _ in range(4 if is_unicode else 0):
            if self._current() not in _HEX:
                raise self._unexpected("in \\u hexadecimal character escape")
            self._at += 1

    def _number(self) -> None:
        if self._text[self._at] == ord("-"):
            self._at += 1
            if self._or_space() not in _DIGITS:
                raise self._unexpected("in numeric literal")
        if self._text[self._at] == ord("0"):
            self._at += 1
        else:
            self._digits()
        if self._text[self._at : self._at + 1] == b".":
            self._at += 1
            self._some_digits("after decimal point in numeric literal")
        if self._text[self._at : self._at + 1] in (b"e", b"E"):
            self._at += 1
            if self._text[self._at : self._at + 1] in (b"+", b"-"):
                self._at += 1
            self._some_digits("in exponent of numeric literal")

    def _some_digits(self, context: str) -> None:
        if self._or_space() not in _DIGITS:
            raise self._unexpected(context)
        self._digits()

    def _digits(self) -> None:
        while self._at < len(self._text) and self._text[self._at] in _DIGITS:
            self._at += 1

    def _literal(self, wanted: bytes) -> None:
        for index, byte in enumerate(wanted):
            if self._or_space() != byte:
                raise self._unexpected(f"in literal {wanted.decode()} (expecting {_quoted(byte)})" if index else "")
            self._at += 1

    def _peek(self) -> int:
        """The next byte that is no space."""
        self._skip()
        return self._current()

    def _skip(self) -> None:
        while self._at < len(self._text) and self._text[self._at] in _SPACE:
            self._at += 1

    def _current(self) -> int:
        if self._at >= len(self._text):
            raise _SyntaxFaultError("unexpected end of JSON input")
        return self._text[self._at]

    def _or_space(self) -> int:
        """The current byte; at the end a space, with which Go's scanner tries whether a literal is complete."""
        return self._text[self._at] if self._at < len(self._text) else ord(" ")

    def _take(self, wanted: int, context: str) -> None:
        if self._current() != wanted:
            raise self._unexpected(context)
        self._at += 1

    def _unexpected(self, context: str) -> _SyntaxFaultError:
        return _SyntaxFaultError(f"invalid character {_quoted(self._or_space())} {context}")


def _quoted(byte: int) -> str:
    """A byte as Go quotes the character with its number."""
    special = {ord("'"): r"'\''", ord('"'): "'\"'", ord("\\"): r"'\\'", 9: r"'\t'", 10: r"'\n'", 13: r"'\r'"}
    if byte in special:
        return special[byte]
    if byte in (7, 8, 11, 12):
        return {7: r"'\a'", 8: r"'\b'", 11: r"'\v'", 12: r"'\f'"}[byte]
    if byte < 0x20 or byte == 0x7F:
        return f"'\\x{byte:02x}'"
    if byte < 0x7F or (byte >= 0xA1 and byte != 0xAD):
        return f"'{chr(byte)}'"
    return f"'\\u{byte:04x}'"
