"""What the kubelet writes of a container's output, and what the options of a log select from it."""

from __future__ import annotations

import os
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from support.eventually import eventually

from localmodel.runtime.testing import FakeClock
from localmodel.sandbox.controllers.kubelet.logs import (
    LogOptions,
    LogOptionsError,
    LogWriter,
    parse_options,
    read_log,
)


class Log:
    """A log whose pieces are written one by one, at times of the fake clock."""

    def __init__(self, directory: Path) -> None:
        self.clock = FakeClock()
        self.start = self.clock.now()
        self.path = directory / "c" / "0.log"
        self.writer = LogWriter(self.path, self.clock)
        self.pipe = os.dup(self.writer.descriptor)
        self.writer.start()

    def say(self, text: str) -> None:
        size = self.path.stat().st_size
        os.write(self.pipe, text.encode())
        eventually(lambda: self.path.stat().st_size == size + len(text))

    def end(self) -> None:
        os.close(self.pipe)
        self.writer.finish(10)

    def read(self, **options: object) -> str:
        return b"".join(read_log(self.path, LogOptions(**options))).decode()  # type: ignore[arg-type]


@pytest.fixture
def log(tmp_path: Path) -> Log:
    log = Log(tmp_path)
    log.say("a\nb")
    log.clock.advance(10)
    log.say("b\nc\n")
    log.clock.advance(10)
    log.say("d")
    log.end()
    return log


def test_the_file_has_the_output_and_nothing_else(log: Log) -> None:
    assert log.path.read_text() == log.read() == "a\nbb\nc\nd"


def test_a_line_has_the_time_of_its_first_byte(log: Log) -> None:
    times = [line.split(" ")[0] for line in log.read(timestamps=True).splitlines()]
    assert times == [f"{log.start + timedelta(seconds=s):%Y-%m-%dT%H:%M:%S}.000000000Z" for s in (0, 0, 10, 20)]


@pytest.mark.parametrize(("lines", "expected"), [(0, ""), (1, "d"), (2, "c\nd"), (3, "bb\nc\nd"), (9, "a\nbb\nc\nd")])
def test_tail_counts_lines_also_one_without_an_end(log: Log, lines: int, expected: str) -> None:
    assert log.read(tail_lines=lines) == expected


def test_tail_does_not_count_the_end_of_the_last_line(tmp_path: Path) -> None:
    log = Log(tmp_path)
    log.say("a\nb\n")
    log.end()
    assert log.read(tail_lines=1) == "b\n"


def test_tail_finds_its_line_in_a_long_log(tmp_path: Path) -> None:
    log = Log(tmp_path)
    line = "x" * 999 + "\n"
    for _ in range(300):
        log.say(line)
    log.end()
    assert log.read(tail_lines=200) == line * 200


@pytest.mark.parametrize(("seconds", "expected"), [(-5, "a\nbb\nc\nd"), (5, "c\nd"), (10, "c\nd"), (15, "d"), (25, "")])
def test_since_selects_whole_lines_that_began_then(log: Log, seconds: float, expected: str) -> None:
    assert log.read(since=log.start + timedelta(seconds=seconds)) == expected


def test_the_limit_counts_bytes(log: Log) -> None:
    assert log.read(limit_bytes=3) == "a\nb"
    assert log.read(limit_bytes=100) == "a\nbb\nc\nd"


def test_following_ends_with_the_writer(tmp_path: Path) -> None:
    log, read = Log(tmp_path), []
    log.say("one\n")
    options = LogOptions(follow=True, timestamps=True)
    reader = threading.Thread(target=lambda: read.extend(read_log(log.path, options, writer=log.writer)))
    reader.start()
    eventually(lambda: len(read) == 1)
    log.say("tw")
    log.say("o\nthree")
    eventually(lambda: len(read) == 2)
    log.end()
    reader.join(10)
    assert [piece.decode().split(" ", 1)[1] for piece in read] == ["one\n", "two\n", "three"]


def test_a_container_that_leaves_its_output_open_ends_the_log_nevertheless(tmp_path: Path) -> None:
    log = Log(tmp_path)
    log.say("one\n")
    log.writer.finish(0)
    assert b"".join(read_log(log.path, LogOptions(follow=True), writer=log.writer)) == b"one\n"
    log.end()


@pytest.mark.parametrize(
    "query",
    [
        {"tailLines": "-1"},
        {"tailLines": "x"},
        {"limitBytes": "0"},
        {"sinceSeconds": "0"},
        {"sinceTime": "yesterday"},
        {"sinceSeconds": "1", "sinceTime": "2026-01-01T00:00:00Z"},
    ],
    ids=str,
)
def test_options_that_make_no_sense_are_refused(query: dict[str, str]) -> None:
    with pytest.raises(LogOptionsError, match=next(iter(query))):
        parse_options(query, FakeClock().now())


def test_seconds_are_counted_back_from_now() -> None:
    now = FakeClock().now()
    assert parse_options({"sinceSeconds": "60"}, now).since == now - timedelta(seconds=60)
