"""`wire`: a reconciler made ready for a unit test, without manager and threads."""

from __future__ import annotations

from typing import TypeVar

from localmodel.runtime.client import Client
from localmodel.runtime.clock import Clock
from localmodel.runtime.reconcile import Reconciler

from .fake_clock import FakeClock
from .recorder import FakeRecorder

R = TypeVar("R", bound=Reconciler)


def wire(reconciler: R, client: Client, clock: Clock | None = None) -> R:
    """Gives a reconciler what its controller would; cached and live reads are the same, events are kept.

    >>> wire(GreeterReconciler(), FakeClient(greeter)).reconcile(Request("default", "world"))
    """
    reconciler.client = client
    reconciler.live = client
    reconciler.clock = clock or FakeClock()
    reconciler.recorder = FakeRecorder()
    return reconciler
