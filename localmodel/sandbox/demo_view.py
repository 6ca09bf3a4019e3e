"""What the person who runs the demo sees: `RichView` on a terminal, `PlainView` on a pipe.

The demo tells a view what happens; a view decides how that looks. Bars move on a terminal only; plain lines say the
same, at most one per node and tenth of the way.
"""

from __future__ import annotations

import contextlib
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

MIB = 2**20


@dataclass(frozen=True, slots=True)
class NodeProgress:
    """How far one node is."""

    node: str
    state: str
    done: int = 0
    """Bytes on its disk."""
    total: int = 0
    """Bytes of the model; 0 while unknown."""


class Bars(ABC):
    """The progress of all nodes, drawn again and again."""

    @abstractmethod
    def update(self, nodes: Sequence[NodeProgress]) -> None: ...


class View(ABC):
    """Tells what the demo does."""

    @abstractmethod
    def step(self, title: str) -> None:
        """A new part begins."""

    @abstractmethod
    def note(self, text: str) -> None:
        """A fact within the part."""

    @abstractmethod
    def success(self, text: str) -> None:
        """Something that had to hold does hold."""

    @abstractmethod
    def failure(self, text: str) -> None:
        """The demo ends here."""

    @abstractmethod
    def bars(self, nodes: Sequence[str]) -> contextlib.AbstractContextManager[Bars]:
        """Shows progress while the context lasts."""


class PlainView(View):
    """One line per fact."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._started = time.monotonic()

    def step(self, title: str) -> None:
        self._line(f"[{time.monotonic() - self._started:5.1f} s] {title}")

    def note(self, text: str) -> None:
        self._indented(text, "  ")

    def success(self, text: str) -> None:
        self._indented(text, "  ok: ")

    def failure(self, text: str) -> None:
        self._indented(text, "FAILED: ")

    @contextlib.contextmanager
    def bars(self, nodes: Sequence[str]) -> Iterator[Bars]:  # noqa: ARG002 - each line names its node
        yield _PlainBars(self)

    def _indented(self, text: str, prefix: str) -> None:
        for number, line in enumerate(text.splitlines()):
            self._line((prefix if number == 0 else " " * len(prefix)) + line)

    def _line(self, text: str) -> None:
        self._stream.write(text + "\n")
        self._stream.flush()


class _PlainBars(Bars):
    def __init__(self, view: PlainView) -> None:
        self._view = view
        self._started = time.monotonic()
        self._said: dict[str, tuple[str, int]] = {}
        """Per node: the state and the tenths that were said last."""

    def update(self, nodes: Sequence[NodeProgress]) -> None:
        for node in nodes:
            tenths = node.done * 10 // node.total if node.total else 0
            if self._said.get(node.node) == (node.state, tenths):
                continue
            self._said[node.node] = (node.state, tenths)
            speed = node.done / MIB / max(time.monotonic() - self._started, 0.1)
            amount = f"{node.done / MIB:.1f}/{node.total / MIB:.1f} MiB, {speed:.1f} MiB/s" if node.total else ""
            self._view.note(f"{node.node}: {node.state:<12} {amount}".rstrip())


class RichView(View):
    """Colours and moving bars."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console()
        self._started = time.monotonic()

    def step(self, title: str) -> None:
        elapsed = time.monotonic() - self._started
        self._console.print(f"[dim]{elapsed:5.1f} s[/dim]  [bold]{title}[/bold]")

    def note(self, text: str) -> None:
        self._print(text, "         ", "dim")

    def success(self, text: str) -> None:
        self._print(text, "       ✓ ", "green")

    def failure(self, text: str) -> None:
        self._print(text, "       ✗ ", "bold red")

    @contextlib.contextmanager
    def bars(self, nodes: Sequence[str]) -> Iterator[Bars]:
        columns = (
            TextColumn("         {task.description}"),
            BarColumn(bar_width=32),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            TextColumn("[cyan]{task.fields[state]}"),
        )
        with Progress(*columns, console=self._console, refresh_per_second=10) as progress:
            tasks = {node: progress.add_task(node, total=None, state="waiting") for node in nodes}
            yield _RichBars(progress, tasks)

    def _print(self, text: str, prefix: str, style: str) -> None:
        for number, line in enumerate(text.splitlines()):
            start = prefix if number == 0 else " " * len(prefix)
            self._console.print(start + line, style=style, markup=False, highlight=False, soft_wrap=True)


class _RichBars(Bars):
    def __init__(self, progress: Progress, tasks: dict[str, TaskID]) -> None:
        self._progress = progress
        self._tasks = tasks

    def update(self, nodes: Sequence[NodeProgress]) -> None:
        for node in nodes:
            total = node.total or None
            self._progress.update(self._tasks[node.node], completed=node.done, total=total, state=node.state)


def make_view(stream: TextIO, *, plain: bool) -> View:
    """Bars on a terminal, unless plain lines are asked for."""
    return PlainView(stream) if plain or not stream.isatty() else RichView(Console(file=stream))
