"""A scripted API server for reflectors: each list and each watch gets the next answer of a script.

`ScriptedListerWatcher` records every request. A watch's script is a sequence of events and of what ends it: `EOF`, an
exception, or `OPEN` (the default at the end of a script: the stream stays open until it is closed, and `send` adds
to it). Without scripts for streamed lists it is a server that cannot stream them. `StepClock` is a clock for code that
is stepped by hand: a wait takes no time and moves the clock on.
"""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from localmodel.runtime.errors import InvalidError
from localmodel.runtime.listwatch import INITIAL_EVENTS_END, ListOptions, ListPage, WatchEvent, WatchOptions
from localmodel.runtime.objects import Object

EOF = "EOF"
OPEN = "OPEN"

Script = Sequence[WatchEvent | Exception | str | Callable[[], None]]


def config_map(name: str, resource_version: int | str, *, namespace: str = "default", **metadata: Any) -> bytes:
    """The raw JSON of a ConfigMap as a server sends it."""
    meta = {
        "name": name,
        "namespace": namespace,
        "uid": f"uid-{namespace}-{name}",
        "resourceVersion": str(resource_version),
        "managedFields": [{"manager": "test", "fieldsV1": {"f:data": {}}}],
        **metadata,
    }
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"version": str(resource_version)}}
    return json.dumps(body).encode()


def page(resource_version: int | str, *items: bytes, continue_: str = "") -> ListPage:
    return ListPage(items, str(resource_version), continue_)


def event(type_: str, raw: bytes) -> WatchEvent:
    return WatchEvent(type_, raw)


def bookmark(resource_version: int | str) -> WatchEvent:
    return WatchEvent("BOOKMARK", json.dumps({"metadata": {"resourceVersion": str(resource_version)}}).encode())


def marker(resource_version: int | str, value: str = "true") -> WatchEvent:
    """The bookmark that ends initial events, if the annotation's value is "true"."""
    metadata = {"resourceVersion": str(resource_version), "annotations": {INITIAL_EVENTS_END: value}}
    return WatchEvent("BOOKMARK", json.dumps({"metadata": metadata}).encode())


def error_event(status: dict[str, Any]) -> WatchEvent:
    return WatchEvent("ERROR", json.dumps(status).encode())


def eventually(condition: Callable[[], Any], *, timeout: float = 30.0) -> None:
    """Waits until the condition holds; fails the test if it does not in time."""
    deadline = time.monotonic() + timeout
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        pause.wait(0.002)


class ScriptedStream:
    """One watch. Counts how often it was closed."""

    def __init__(self, script: Script) -> None:
        self._script = deque(script)
        self._changed = threading.Condition()
        self.closes = 0
        self.silences: list[float] = []
        """The limits set since it was opened."""

    def limit_silence(self, seconds: float) -> None:
        self.silences.append(seconds)

    def send(self, *items: WatchEvent | Exception | str) -> None:
        with self._changed:
            self._script.extend(items)
            self._changed.notify_all()

    def __iter__(self) -> Iterator[WatchEvent]:
        while True:
            item = self._next()
            if item is None or item == EOF:
                return
            if isinstance(item, Exception):
                raise item
            if callable(item):
                item()
            elif isinstance(item, WatchEvent):
                yield item

    def _next(self) -> Any:
        with self._changed:
            while not self.closes:
                if self._script and self._script[0] != OPEN:
                    return self._script.popleft()
                self._script.clear()
                self._changed.wait()
            return None

    def close(self) -> None:
        with self._changed:
            self.closes += 1
            self._changed.notify_all()


class ScriptedListerWatcher:
    """Answers from scripts. The last list answer is repeated; watches beyond the script stay open."""

    def __init__(
        self,
        lists: Sequence[ListPage | Exception | Callable[[], ListPage]] = (),
        watches: Sequence[Script | Exception] = (),
        streams: Sequence[Script | Exception] | None = None,
    ) -> None:
        """`streams` are the answers to watches that ask for initial events; None refuses them as old servers do."""
        self._lists = deque(lists)
        self._watches = deque(watches)
        self._streams = None if streams is None else deque(streams)
        self._lock = threading.Lock()
        self.lists: list[ListOptions] = []
        self.watches: list[WatchOptions] = []
        self.streams: list[ScriptedStream] = []
        self.requests: list[str] = []
        """"list RV", "watch RV" and "stream RV", in order; a refused "stream RV" only if streams are scripted."""

    def then_list(self, *answers: ListPage | Exception) -> None:
        with self._lock:
            self._lists.extend(answers)

    def then_watch(self, *scripts: Script | Exception) -> None:
        with self._lock:
            self._watches.extend(scripts)

    def then_stream(self, *scripts: Script | Exception) -> None:
        """Only for a server that was made with `streams`."""
        assert self._streams is not None
        with self._lock:
            self._streams.extend(scripts)

    def list_page(self, kind: type[Object], options: ListOptions) -> ListPage:
        with self._lock:
            self.lists.append(options)
            self.requests.append(f"list {options.resource_version or options.continue_ or '-'}")
            answer = self._lists.popleft() if len(self._lists) > 1 else self._lists[0]
        if isinstance(answer, Exception):
            raise answer
        return answer() if callable(answer) else answer

    def watch(self, kind: type[Object], options: WatchOptions) -> ScriptedStream:
        if options.send_initial_events and self._streams is None:
            raise InvalidError.of(
                "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled"
            )
        with self._lock:
            self.watches.append(options)
            if options.send_initial_events:
                self.requests.append(f"stream {options.resource_version or '-'}")
                scripts = self._streams
            else:
                self.requests.append(f"watch {options.resource_version}")
                scripts = self._watches
            script = scripts.popleft() if scripts else ()
        if isinstance(script, Exception):
            raise script
        stream = ScriptedStream(script)
        self.streams.append(stream)
        return stream


class StepClock:
    """Every wait ends at once, is recorded in `waits`, and moves the clock on by what was waited."""

    def __init__(self) -> None:
        self.elapsed = 1000.0
        self.waits: list[float] = []

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.elapsed)

    def monotonic(self) -> float:
        return self.elapsed

    def advance(self, seconds: float) -> None:
        self.elapsed += seconds

    def wait(self, condition: threading.Condition, timeout: float | None) -> None:
        raise AssertionError("nothing that is stepped waits on a condition")

    def wait_event(self, event: threading.Event, timeout: float) -> bool:
        self.waits.append(timeout)
        self.elapsed += timeout
        return event.is_set()
