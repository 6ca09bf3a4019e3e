"""Container logs: written with the time of each piece, and read as `kubectl logs` asks.

A container writes its output, both streams in one, into a pipe. `LogWriter` copies that to a plain file, N.log for the
Nth run, and notes in N.times when each piece arrived: records of 16 bytes, the piece's offset in the log and the time
in nanoseconds. A line's time is that of its first byte. `read_log` gives what the options select, and follows a log
until its writer is done; it waits for the writer, it does not poll.
"""

from __future__ import annotations

import os
import struct
import threading
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Self

from localmodel.runtime.clock import Clock

PIECE = 65536
LOOK_UP = 5.0
"""Seconds after which one who waits for more looks whether it is still wanted."""
_RECORD = struct.Struct("<qq")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogOptions:
    """The options of core/v1 PodLogOptions that select from a log."""

    follow: bool = False
    timestamps: bool = False
    tail_lines: int | None = None
    since: datetime | None = None
    limit_bytes: int | None = None


class LogOptionsError(ValueError):
    """An option's value cannot be read or is not allowed; the message names the option."""


def parse_options(query: Mapping[str, str], now: datetime) -> LogOptions:
    """Of the parameters of a request; raises LogOptionsError."""
    since_seconds, since_time = _number(query, "sinceSeconds", least=1), query.get("sinceTime")
    if since_seconds is not None and since_time:
        raise LogOptionsError("sinceSeconds: at most one of sinceTime and sinceSeconds may be given")
    since = datetime.fromtimestamp(now.timestamp() - since_seconds, UTC) if since_seconds is not None else None
    if since_time:
        try:
            since = datetime.fromisoformat(since_time)
        except ValueError as error:
            raise LogOptionsError(f"sinceTime: {since_time!r} is not a time") from error
        since = since if since.tzinfo else since.replace(tzinfo=UTC)
    return LogOptions(
        follow=flag(query, "follow"),
        timestamps=flag(query, "timestamps"),
        tail_lines=_number(query, "tailLines", least=0),
        limit_bytes=_number(query, "limitBytes", least=1),
        since=since,
    )


def flag(query: Mapping[str, str], name: str) -> bool:
    """A boolean parameter; one without a value is true."""
    return query.get(name, "false").lower() not in ("false", "0")


def _number(query: Mapping[str, str], name: str, *, least: int) -> int | None:
    text = query.get(name)
    if not text:
        return None
    try:
        number = int(text)
    except ValueError:
        raise LogOptionsError(f"{name}: {text!r} is not a whole number") from None
    if number < least:
        raise LogOptionsError(f"{name}: {number} is less than {least}")
    return number


class LogWriter:
    """Copies a pipe to a log. `descriptor` is the end that a process writes to; `start` closes it here."""

    def __init__(self, path: Path, clock: Clock) -> None:
        """Makes the files; raises OSError."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._clock = clock
        self._log = path.open("ab", buffering=0)
        self._times = times_path(path).open("ab", buffering=0)
        self._read_end, self.descriptor = os.pipe()
        self._grown = threading.Condition()
        """Guards `_size` and `_done`, and tells readers of a change."""
        self._size = self._log.tell()
        self._done = False
        self._thread = threading.Thread(target=self._copy, name=f"log-{path.parent.name}", daemon=True)

    def start(self) -> None:
        """The process has the pipe: from now on its output is copied."""
        os.close(self.descriptor)
        self._thread.start()

    def abandon(self) -> None:
        """No process came to write."""
        os.close(self.descriptor)
        self._finish()

    def finish(self, timeout: float) -> None:
        """The process has ended. Waits for the rest of its output; no longer for what a stray child still writes."""
        self._thread.join(timeout)
        with self._grown:
            self._done = True
            self._grown.notify_all()

    def wait_beyond(self, size: int) -> bool:
        """Waits a while until the log is longer than `size`; False if it never will be."""
        with self._grown:
            if self._size <= size and not self._done:
                self._grown.wait(LOOK_UP)
            return self._size > size or not self._done

    def _copy(self) -> None:
        try:
            while piece := os.read(self._read_end, PIECE):
                now = self._clock.now() - _EPOCH
                nanoseconds = (now.days * 86400 + now.seconds) * 10**9 + now.microseconds * 1000
                # The record first: so no byte of a log is without its time.
                self._times.write(_RECORD.pack(self._size, nanoseconds))
                self._log.write(piece)
                with self._grown:
                    self._size += len(piece)
                    self._grown.notify_all()
        finally:
            self._finish()

    def _finish(self) -> None:
        os.close(self._read_end)
        self._log.close()
        self._times.close()
        with self._grown:
            self._done = True
            self._grown.notify_all()


def times_path(log: Path) -> Path:
    return log.with_suffix(".times")


class _Times:
    """When the pieces of a log arrived, read as far as they are written."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._offsets: list[int] = []
        self._nanoseconds: list[int] = []

    def refresh(self) -> Self:
        data = self._file.read()
        whole = len(data) - len(data) % _RECORD.size
        self._file.seek(whole - len(data), os.SEEK_CUR)
        for offset, nanoseconds in _RECORD.iter_unpack(data[:whole]):
            self._offsets.append(offset)
            self._nanoseconds.append(nanoseconds)
        return self

    def at(self, offset: int) -> bytes:
        """The time of a byte, as the kubelet writes it before a line."""
        index = bisect_right(self._offsets, offset) - 1
        seconds, rest = divmod(self._nanoseconds[index] if index >= 0 else 0, 10**9)
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z ".encode()

    def first_since(self, since: datetime) -> int | None:
        """The offset of the first piece at or after a time; None if there is none yet."""
        index = bisect_left(self._nanoseconds, int((since - _EPOCH).total_seconds() * 10**6) * 1000)
        return self._offsets[index] if index < len(self._offsets) else None


def read_log(
    path: Path, options: LogOptions, *, writer: LogWriter | None = None, wanted: Callable[[], bool] = lambda: True
) -> Iterator[bytes]:
    """The selected part of a log, in pieces; with `follow`, of one that its `writer` still writes, until the end.

    Stops when it is no longer `wanted`, which is asked every few seconds at least. Raises OSError.
    """
    with path.open("rb") as log, times_path(path).open("rb") as times_file:
        pieces = _pieces(log, _Times(times_file).refresh(), options, writer if options.follow else None, wanted)
        left = options.limit_bytes
        for piece in pieces:
            if left is None:
                yield piece
                continue
            yield piece[:left]
            left -= len(piece[:left])
            if left == 0:
                return


def _pieces(
    log: BinaryIO, times: _Times, options: LogOptions, writer: LogWriter | None, wanted: Callable[[], bool]
) -> Iterator[bytes]:
    start = tail_start(log, options.tail_lines) if options.tail_lines is not None else 0
    if options.since is not None:
        start = max(start, _since_start(log, times, options.since))
    log.seek(start)
    # The beginning of a line whose end is not there yet, and its offset: a time stands before whole lines only.
    rest, rest_at = b"", start
    while True:
        while piece := log.read(PIECE):
            if not options.timestamps:
                yield piece
                continue
            times.refresh()
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                yield times.at(rest_at) + line + b"\n"
                rest_at += len(line) + 1
        if writer is None or not wanted() or not writer.wait_beyond(log.tell()):
            break
    if rest:
        yield times.at(rest_at) + rest


def tail_start(log: BinaryIO, lines: int) -> int:
    """The offset at which the last `lines` lines begin; a last line without an end counts."""
    position = end = log.seek(0, os.SEEK_END)
    if lines == 0:
        return end
    found = 0
    while position > 0:
        size = min(PIECE, position)
        position -= size
        log.seek(position)
        block = log.read(size)
        index = len(block)
        while (index := block.rfind(b"\n", 0, index)) >= 0:
            if position + index == end - 1:
                continue  # it ends the last line
            found += 1
            if found == lines:
                return position + index + 1
    return 0


def _since_start(log: BinaryIO, times: _Times, since: datetime) -> int:
    """Where the first line begins that is not older than `since`; the end if there is none."""
    offset = times.first_since(since)
    if offset is None:
        return log.seek(0, os.SEEK_END)
    if offset == 0:
        return 0
    log.seek(offset - 1)
    while block := log.read(PIECE):
        index = block.find(b"\n")
        if index >= 0:
            return log.tell() - len(block) + index + 1
    return log.tell()
