"""`FakeRecorder`: an `EventRecorder` that keeps what it is told, for tests of reconcilers.

>>> recorder = FakeRecorder()
>>> recorder.event(Namespace(metadata=ObjectMeta(name="models")), "Warning", "Full", "no space left")
>>> recorder.lines
['Warning Full no space left']
"""

from __future__ import annotations

from dataclasses import dataclass, field

from localmodel.runtime.events import EventType
from localmodel.runtime.objects import Object


@dataclass(frozen=True, slots=True)
class RecordedEvent:
    """One call of `EventRecorder.event`; `object` is as it was then."""

    object: Object = field(repr=False)
    type: EventType
    reason: str
    message: str
    action: str = ""
    related: Object | None = None

    def __str__(self) -> str:
        return f"{self.type} {self.reason} {self.message}"


class FakeRecorder:
    """Keeps the events in `events`. Thread-safe, as appending to a list is."""

    def __init__(self) -> None:
        self.events: list[RecordedEvent] = []

    def event(
        self,
        obj: Object,
        type_: EventType,
        reason: str,
        message: str,
        *,
        action: str = "",
        related: Object | None = None,
    ) -> None:
        self.events.append(RecordedEvent(obj.deepcopy(), type_, reason, message, action or reason, related))

    @property
    def reasons(self) -> list[str]:
        return [event.reason for event in self.events]

    @property
    def lines(self) -> list[str]:
        """Each as "type reason message"."""
        return [str(event) for event in self.events]

    def expect(self, reason: str, message: str = "", *, type_: EventType | None = None) -> RecordedEvent:
        """The first event with that reason, with `message` in its message, and of that type if one is given.

        Raises AssertionError, naming what was recorded, if there is none.
        """
        for event in self.events:
            if event.reason == reason and message in event.message and type_ in (None, event.type):
                return event
        wanted = " ".join(part for part in (type_ or "", reason, message) if part)
        recorded = "".join(f"\n  {line}" for line in self.lines) or " nothing"
        raise AssertionError(f"no event {wanted!r} was recorded, but:{recorded}")
