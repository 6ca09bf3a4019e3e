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
"""How often the API server is asked about one kind."""


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
        self._answers: dict[type[Object], tuple[float, bool]] = {}
        """By kind: when it was asked about last, by the monotonic clock, and the answer."""

    def has(self, kind: type[Object], live: Reader, clock: Clock) -> bool:
        """Asks if the last answer is older than ASK_SECONDS. Raises what a live list raises but NotFoundError."""
        with self._lock:
            asked, served = self._answers.get(kind, (float("-inf"), True))
        if clock.monotonic() - asked < ASK_SECONDS:
            return served
        try:
            live.list(kind, limit=1)
        except NotFoundError:
            served = False
        else:
            served = True
        with self._lock:
            self._answers[kind] = clock.monotonic(), served
        return served
