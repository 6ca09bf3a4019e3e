"""What the person who runs the demo sees: `RichView` on a terminal, `PlainView` on a pipe.

The demo tells a view what happens; a view decides how that looks. Bars move on a terminal only; plain lines say the
same, at most one per node and tenth of the way. No line is ever folded: what a terminal wraps can still be copied
whole. Notes may come from any thread.
"""

from __future__ import annotations

import contextlib
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TextIO

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.constrain import Constrain
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.text import Text

from .wording import progress, speed

Now = Callable[[], float]


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

    def __init__(self, stream: TextIO, *, now: Now = time.monotonic) -> None:
        self._stream = stream
        self._now = now
        self._started = now()

    def step(self, title: str) -> None:
        self._line(f"[{self._now() - self._started:5.1f} s] {title}")

    def note(self, text: str) -> None:
        self._indented(text, "  ")

    def success(self, text: str) -> None:
        self._indented(text, "  ok: ")

    def failure(self, text: str) -> None:
        self._indented(text, "FAILED: ")

    @contextlib.contextmanager
    def bars(self, nodes: Sequence[str]) -> Iterator[Bars]:  # noqa: ARG002 - each line names its node
        yield _PlainBars(self, _Meter(self._now))

    def _indented(self, text: str, prefix: str) -> None:
        for number, line in enumerate(text.splitlines()):
            self._line((prefix if number == 0 else " " * len(prefix)) + line)

    def _line(self, text: str) -> None:
        self._stream.write(text + "\n")
        self._stream.flush()


class _Meter:
    """Average speeds since progress began to be shown."""

    def __init__(self, now: Now) -> None:
        self._now = now
        self._started = now()
        self._final: dict[str, str] = {}

    def speed(self, node: NodeProgress) -> str:
        """A node's; it stays as it is once the node has everything."""
        if node.node not in self._final:
            text = speed(node.done, self._now() - self._started)
            if node.done != node.total or not node.total:
                return text
            self._final[node.node] = text
        return self._final[node.node]


class _PlainBars(Bars):
    def __init__(self, view: PlainView, meter: _Meter) -> None:
        self._view = view
        self._meter = meter
        self._said: dict[str, tuple[str, int]] = {}
        """Per node: the state and the tenths that were said last."""

    def update(self, nodes: Sequence[NodeProgress]) -> None:
        for node in nodes:
            tenths = node.done * 10 // node.total if node.total else 0
            if self._said.get(node.node) == (node.state, tenths):
                continue
            self._said[node.node] = (node.state, tenths)
            amount = ", ".join(text for text in (progress(node.done, node.total), self._meter.speed(node)) if text)
            self._view.note(f"{node.node}: {node.state:<12} {amount}".rstrip())


class RichView(View):
    """Colours and moving bars."""

    def __init__(self, console: Console, *, now: Now = time.monotonic) -> None:
        self._console = console
        self._now = now
        self._started = now()

    def step(self, title: str) -> None:
        elapsed = f"{self._now() - self._started:5.1f} s"
        self._console.print(Text.assemble((elapsed, "dim"), "  ", (title, "bold")), soft_wrap=True)

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
            TextColumn("{task.fields[amount]}", justify="right"),
            TextColumn("{task.fields[speed]}", justify="right"),
            TextColumn("{task.fields[state]}", style="cyan"),
        )
        with _NarrowProgress(*columns, console=self._console, refresh_per_second=10) as shown:
            tasks = {node: shown.add_task(node, total=None, amount="", speed="", state="waiting") for node in nodes}
            yield _RichBars(shown, tasks, _Meter(self._now))

    def _print(self, text: str, prefix: str, style: str) -> None:
        for number, line in enumerate(text.splitlines()):
            start = prefix if number == 0 else " " * len(prefix)
            self._console.print(start + line, style=style, markup=False, highlight=False, soft_wrap=True)


class _NarrowProgress(Progress):
    """Leaves room for the ^C that a terminal echoes: on a full line it would wrap, and the next redrawing, which counts
    on the cursor's row, would leave the first line standing."""

    def get_renderable(self) -> RenderableType:
        return _Narrow(super().get_renderable())


class _Narrow:
    def __init__(self, content: RenderableType) -> None:
        self._content = content

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Constrain(self._content, options.max_width - len("^C") - 1)


class _RichBars(Bars):
    def __init__(self, shown: Progress, tasks: dict[str, TaskID], meter: _Meter) -> None:
        self._shown = shown
        self._tasks = tasks
        self._meter = meter

    def update(self, nodes: Sequence[NodeProgress]) -> None:
        for node in nodes:
            self._shown.update(
                self._tasks[node.node],
                completed=node.done,
                total=node.total or None,
                amount=progress(node.done, node.total),
                speed=self._meter.speed(node),
                state=node.state,
            )


def make_view(stream: TextIO, *, plain: bool) -> View:
    """Bars on a terminal, unless plain lines are asked for."""
    return PlainView(stream) if plain or not stream.isatty() else RichView(Console(file=stream))
