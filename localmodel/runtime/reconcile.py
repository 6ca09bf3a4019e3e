"""`Reconciler`, `Request` and `Result`: what a user of this library writes.

A reconciler is level-triggered: a request names an object, not an event. It is called with at most one worker per
request at a time; it reads the state, makes it so, and may be called again at any time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .objects import ObjectKey

if TYPE_CHECKING:
    from .builder import Builder
    from .client import Client, Reader
    from .clock import Clock
    from .events import EventRecorder

Request = ObjectKey
"""The object to reconcile: `namespace` (empty for cluster scope) and `name`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What follows a run without error. `requeue_after` > 0: the same request again after that many seconds."""

    requeue_after: float = 0.0


class Reconciler(ABC):
    """Brings one kind of object to its desired state.

    The controller sets the attributes below before the first run; a unit test sets them by hand or passes them to
    `__init__`.
    """

    client: Client
    """Cached reads, live writes."""
    live: Reader
    """Reads that go to the API server."""
    recorder: EventRecorder
    clock: Clock

    @abstractmethod
    def setup(self, builder: Builder) -> None:
        """Declares what is watched: `builder.for_(Kind).owns(Other)`."""

    @abstractmethod
    def reconcile(self, request: Request) -> Result | None:
        """Brings the object to its desired state. None means done.

        An exception queues the request again with backoff; `TerminalError` does not.
        """
