"""A `ListerWatcher` whose watches can be held back: a cache then lags behind the server for as long as a test wants."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from localmodel.runtime.listwatch import (
    ListerWatcher,
    ListOptions,
    ListPage,
    WatchEvent,
    WatchOptions,
    WatchStream,
)
from localmodel.runtime.objects import Object


class Lagging(ListerWatcher):
    """Lists and watches by another; between `hold` and `release` no watch delivers anything."""

    def __init__(self, inner: ListerWatcher) -> None:
        self._inner = inner
        self._flowing = threading.Event()
        self._flowing.set()
        self._held: set[str] = set()

    def hold(self, *types: str) -> None:
        """Events of these types, or all."""
        self._held.clear()
        self._held.update(types)
        self._flowing.clear()

    def release(self) -> None:
        self._flowing.set()

    def list_page(self, kind: type[Object], options: ListOptions) -> ListPage:
        return self._inner.list_page(kind, options)

    def watch(self, kind: type[Object], options: WatchOptions) -> WatchStream:
        return _HeldBack(self._inner.watch(kind, options), self._flowing, self._held)


class _HeldBack(WatchStream):
    def __init__(self, inner: WatchStream, flowing: threading.Event, held: set[str]) -> None:
        self._inner = inner
        self._flowing = flowing
        self._held = held

    def __iter__(self) -> Iterator[WatchEvent]:
        for event in self._inner:
            if not self._held or event.type in self._held:
                self._flowing.wait(30)
            yield event

    def limit_silence(self, seconds: float) -> None:
        self._inner.limit_silence(seconds)

    def close(self) -> None:
        self._inner.close()
        self._flowing.set()
