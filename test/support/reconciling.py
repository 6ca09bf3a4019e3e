"""Runs a reconciler by hand: on a FakeClient, with a recorder that keeps the events."""

from __future__ import annotations

from typing import TypeVar

from localmodel.runtime.clock import Clock
from localmodel.runtime.objects import Object
from localmodel.runtime.reconcile import Reconciler
from localmodel.runtime.testing import FakeClient, FakeClock

R = TypeVar("R", bound=Reconciler)


class Recorder:
    """Keeps what was recorded, as (object's name, type, reason, message)."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str, str, str]] = []

    def event(self, obj: Object, type_: str, reason: str, message: str) -> None:
        self.events.append((obj.name, type_, reason, message))

    @property
    def reasons(self) -> list[str]:
        return [reason for _, _, reason, _ in self.events]


def wire(reconciler: R, client: FakeClient, clock: Clock | None = None) -> R:
    """Gives a reconciler what its controller would; cached and live reads are the same."""
    reconciler.client = client
    reconciler.live = client
    reconciler.clock = clock or FakeClock()
    reconciler.recorder = Recorder()
    return reconciler
