"""The lines of watches: events as the answers of a watch have them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from localmodel.runtime.listwatch import WatchEvent
from localmodel.runtime.testing.definitions import ResourceDefinition
from localmodel.runtime.testing.watching import BLUEPRINT, typed_blueprint

from .negotiation import Representation
from .table import partial_metadata

if TYPE_CHECKING:
    from .resources import ResourceHandler

_LINE_START = {
    event_type: f'{{"type":"{event_type}","object":'.encode()
    for event_type in ("ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR")
}


def event_line(event_type: str, obj: bytes) -> bytes:
    """One event; `obj` is the JSON of its object."""
    return b"".join((_LINE_START[event_type], obj, b"}\n"))


class Lines:
    """Makes the lines of one watch. The plain line of an event is made once for all watches that get it in a row.

    Only the initial events come in pieces, among them the object as the store has it: they may be many, wait long, and
    are told to each watch for itself.
    """

    _last: tuple[str, Any, bytes] = ("", None, b"")

    def __init__(self, handler: ResourceHandler, definition: ResourceDefinition, form: Representation, include: str):
        self._handler, self._definition, self._form, self._include = handler, definition, form, include
        self._with_definitions = True
        self.is_initial = True

    def pieces(self, event: WatchEvent) -> tuple[bytes, ...]:
        """The line of an event, as `WatchResponse.push` takes it."""
        if self.is_initial and not self._form.form:
            return (_LINE_START[event.type], bytes(event.object), b"}\n")
        return (self.line(event),)

    def line(self, event: WatchEvent) -> bytes:
        """The line of an event in the form that the client asked for."""
        if not self._form.form or event.type == "ERROR":
            event_type, obj, line = Lines._last
            if event_type != event.type or obj is not event.object:
                line = event_line(event.type, bytes(event.object))
                Lines._last = (event.type, event.object, line)
            return line
        obj = msgspec.json.decode(event.object)
        if self._form.form == "Table":
            metadata = {"resourceVersion": obj["metadata"].get("resourceVersion", "")}
            value = self._handler.table_of(
                self._definition,
                metadata,
                [obj],
                self._form,
                self._include,
                with_definitions=self._with_definitions,
            )
            self._with_definitions = False
        else:
            value = partial_metadata(obj, version=self._form.version)
            notes = value["metadata"].get("annotations") or {}
            if event.type == "BOOKMARK" and BLUEPRINT in notes:
                notes[BLUEPRINT] = typed_blueprint(f"{value['kind']}List", value["apiVersion"])
        return event_line(event.type, msgspec.json.encode(value))
