"""events.k8s.io/v1, in a module of its own because its Event has the name of core/v1's (in Go: `eventsv1`).

Both kinds show the same stored objects; this one is what is written nowadays (KEP-383), and only its series may change.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from .core import EventSeries, ObjectReference
from .mapping import RESTMapping
from .meta import MicroTime, Object


class Event(Object):
    """One thing that happened to an object, or a series of equal ones."""

    mapping: ClassVar[RESTMapping] = RESTMapping.of("events.k8s.io", "v1", "Event")
    event_time: MicroTime | None = None
    series: EventSeries | None = None
    reporting_controller: str = ""
    reporting_instance: str = ""
    action: str = ""
    reason: str = ""
    regarding: ObjectReference = Field(default_factory=ObjectReference)
    related: ObjectReference | None = None
    note: str = ""
    type: str = ""
