"""Runs a reconciler by hand: on a FakeClient, with a recorder that keeps the events."""

from __future__ import annotations

from typing import TypeVar

from localmodel.runtime.clock import Clock
from localmodel.runtime.reconcile import Reconciler
from localmodel.runtime.testing import FakeClient, FakeClock, FakeRecorder

R = TypeVar("R", bound=Reconciler)


def wire(reconciler: R, client: FakeClient, clock: Clock | None = None) -> R:
    """Gives a reconciler what its controller would; cached and live reads are the same."""
    reconciler.client = client
    reconciler.live = client
    reconciler.clock = clock or FakeClock()
    reconciler.recorder = FakeRecorder()
    return reconciler
