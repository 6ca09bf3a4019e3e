"""`Reconciler`, `Request` and `Result`: what a user of this library writes.

A reconciler is level-triggered: a request names an object, not an event. It is called with at most one worker per
request at a time; it reads the state, makes it so, and may be called again at any time. A run either returns or raises:
unlike in Go there is no result beside an error, so nothing about a result needs to be ignored.

A run is a context (`contextvars`): its deadline, its cancellation and the fields of its log lines. `within_run` takes a
thread of the reconciler's into it.

A unit test needs neither a controller nor a thread; it sets the attributes that the reconciler uses:

    reconciler = GreeterReconciler()
    reconciler.client = FakeClient(greeter)
    reconciler.reconcile(Request("default", "world"))
"""

from __future__ import annotations

import contextvars
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import structlog

from .objects import ObjectKey

if TYPE_CHECKING:
    from .builder import Builder
    from .client import Client, Reader
    from .clock import Clock
    from .events import EventRecorder

P = ParamSpec("P")
R = TypeVar("R")

Request = ObjectKey
"""The object to reconcile: `namespace` (empty for cluster scope) and `name`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What follows a run without error. By default nothing, until an event queues the request again."""

    requeue_after: float = 0.0
    """If > 0, the same request again after that many seconds. The failures before this run are forgotten."""
    requeue: bool = False
    """The same request again after the delay of a failure, which grows from run to run: something is not ready yet,
    nothing tells when it is, and it is no error. Ignored beside `requeue_after`."""
    priority: int | None = None
    """Of the request when it comes back; None: the one that it was handed out with."""

    def __post_init__(self) -> None:
        """Raises TypeError here, where it costs one run; in the queue it would end the controller."""
        if not isinstance(self.requeue_after, int | float):
            raise TypeError(f"requeue_after is {self.requeue_after!r}: give a number of seconds")
        if not isinstance(self.priority, int | None):
            raise TypeError(f"priority is {self.priority!r}: give an integer")


def current_reconcile_id() -> str:
    """The id of the run that the caller is part of, as in its log lines; "" outside of a run."""
    return str(structlog.contextvars.get_contextvars().get("reconcile_id", ""))


def within_run(function: Callable[P, R]) -> Callable[P, R]:
    """A function to be called in another thread (`Thread(target=)`, `Executor.map`) as part of the caller's run.

    There it has the run's deadline and cancellation, and its lines carry the run's fields.
    """
    context = contextvars.copy_context()

    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        # A context can be entered by one thread at a time, and this function called by many.
        return context.copy().run(function, *args, **kwargs)

    return call


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
