"""Kinds whose CustomResourceDefinition is absent: removed by half, or not installed yet.

Of such a kind nothing is known, which is not the same as none. Reading it raises KindNotServedError where the manager
started without it; if it goes later, what was not seen to be deleted stays in the cache. Both must hold up nothing that
goes without the kind, the end of a deleted cache above all, and everything works again when the definition is back.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterable
from typing import Final, ParamSpec

from localmodel.runtime.cache import KindNotServedError
from localmodel.runtime.client import Reader
from localmodel.runtime.clock import Clock
from localmodel.runtime.errors import NotFoundError
from localmodel.runtime.objects import Object
from localmodel.runtime.reconcile import Request

P = ParamSpec("P")

ASK_SECONDS: Final = 15.0
"""How often the API server is asked about a kind that it serves."""


def if_served(concerned: Callable[P, Iterable[Request]]) -> Callable[P, Iterable[Request]]:
    """For a function that says whom an event concerns: nobody, where it reads a kind that is not served.

    Nothing is lost by that. Whoever would be concerned reads the same kind in its run, and is tried again until the
    kind is there.
    """

    @functools.wraps(concerned)
    def found(*args: P.args, **kwargs: P.kwargs) -> Iterable[Request]:
        try:
            return list(concerned(*args, **kwargs))
        except KindNotServedError:
            return ()

    return found


class ServedKinds:
    """Whether the API server serves a kind at present, whatever the cache still has of it. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: dict[type[Object], float] = {}
        """By kind: when it was served last, by the monotonic clock. Not that it was not: it may be back by now."""

    def has(self, kind: type[Object], live: Reader, clock: Clock) -> bool:
        """Asks if it was not seen to be served for ASK_SECONDS. Raises what a live list raises but NotFoundError."""
        with self._lock:
            seen = self._seen.get(kind, float("-inf"))
        if clock.monotonic() - seen < ASK_SECONDS:
            return True
        try:
            live.list(kind, limit=1)
        except NotFoundError:
            return False
        with self._lock:
            self._seen[kind] = clock.monotonic()
        return True
