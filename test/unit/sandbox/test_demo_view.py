"""What the person sees: lines that can be copied, bars that leave room, speeds."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from localmodel.sandbox.demo_view import NodeProgress, PlainView, RichView, View, make_view
from localmodel.sandbox.wording import MIB

WIDTH = 80
COMMAND = "kubectl --kubeconfig /tmp/a-rather-long-directory/kubeconfig get localmodelcaches,pods --all-namespaces"


class Screen:
    """A terminal of 80 columns, or a pipe, and a clock that is moved by hand."""

    def __init__(self, *, terminal: bool) -> None:
        self.stream = io.StringIO()
        self.time = 0.0
        console = Console(file=self.stream, width=WIDTH, force_terminal=True, color_system=None, legacy_windows=False)
        self.view: View = RichView(console, now=self.now) if terminal else PlainView(self.stream, now=self.now)

    def now(self) -> float:
        return self.time

    @property
    def lines(self) -> list[str]:
        """What was written, without a terminal's escape sequences."""
        return re.sub(r"\x1b\[[?0-9;]*[A-Za-z]", "", self.stream.getvalue()).rstrip("\n").splitlines()


@pytest.fixture(params=[True, False], ids=["terminal", "pipe"])
def screen(request: pytest.FixtureRequest) -> Screen:
    return Screen(terminal=request.param)


@pytest.mark.parametrize("say", ["step", "note", "success", "failure"])
def test_a_long_line_is_not_folded(screen: Screen, say: str) -> None:
    getattr(screen.view, say)(COMMAND)
    assert len(screen.lines) == 1
    assert screen.lines[0].endswith(COMMAND)


def test_brackets_are_text_and_no_markup(screen: Screen) -> None:
    screen.view.step("in /tmp/[bold]/x")
    screen.view.note("in /tmp/[/bold]/x")
    assert ["/tmp/[bold]/x" in screen.lines[0], "/tmp/[/bold]/x" in screen.lines[1]] == [True, True]


def test_a_speed_is_shown_once_there_are_bytes_and_stays_at_the_end(screen: Screen) -> None:
    with screen.view.bars(["node-1"]) as bars:
        bars.update([NodeProgress("node-1", "waiting", 0, 10 * MIB)])
        screen.time = 2.0
        bars.update([NodeProgress("node-1", "downloading", 5 * MIB, 10 * MIB)])
        screen.time = 4.0
        bars.update([NodeProgress("node-1", "verifying", 10 * MIB, 10 * MIB)])
        screen.time = 40.0
        bars.update([NodeProgress("node-1", "downloaded", 10 * MIB, 10 * MIB)])
    assert not any("?" in line for line in screen.lines)
    assert "10.0/10.0 MiB" in screen.lines[-1]
    assert "2.5 MiB/s" in screen.lines[-1]


def test_bars_leave_room_for_what_a_terminal_echoes() -> None:
    screen = Screen(terminal=True)
    name = "a-node-with-quite-a-long-name"
    with screen.view.bars([name]) as bars:
        screen.time = 1.0
        bars.update([NodeProgress(name, "insufficientstorage", 5 * MIB, 10 * MIB)])
    assert "node" in screen.lines[-1]
    assert len(screen.lines[-1]) <= WIDTH - len("^C") - 1


def test_plain_lines_say_each_state_and_tenth_once() -> None:
    screen = Screen(terminal=False)
    with screen.view.bars(["node-1"]) as bars:
        for done in (0, 1, 2, 15, 19, 100):
            bars.update([NodeProgress("node-1", "downloading", done, 100)])
    assert len(screen.lines) == 3


def test_plain_lines_without_a_total() -> None:
    screen = Screen(terminal=False)
    with screen.view.bars(["node-1"]) as bars:
        bars.update([NodeProgress("node-1", "waiting")])
    assert screen.lines == ["  node-1: waiting"]


def test_a_failure_of_many_lines_stays_aligned() -> None:
    screen = Screen(terminal=False)
    screen.view.failure("first\nsecond")
    assert screen.lines == ["FAILED: first", "        second"]


def test_a_pipe_gets_plain_lines() -> None:
    assert isinstance(make_view(io.StringIO(), plain=False), PlainView)
