"""The states of a reflector, and what follows on each.

    Streaming -> Watching     the list is complete and in the sink; the same stream goes on as the watch
    Streaming -> Streaming    at once, for the newest state: the last version is unknown to the server
    Streaming -> Listing      the server cannot stream lists, or seems not to
    Listing -> Watching       the list is in the sink
    Listing -> Listing        at once, for the newest state
    Watching -> Watching      clean end of the stream: again from the last version, without a list
    Watching -> relisting     410: the version is too old. Relisting is Streaming where that works, else Listing
    any -> Waiting -> any     after a failure; 429 and broken connections resume the watch, others list again
    any -> Stopped

No path leads from a failure to its retry without a delay, and none out of the loop but `stop`.
"""

from __future__ import annotations

from dataclasses import dataclass

from .open_watch import OpenWatch


@dataclass(frozen=True, slots=True)
class Streaming:
    """The next step gets the collection as the initial events of a watch."""

    newest: bool = False
    """Ask without a version: the one we know is too old for the server, or unknown to it."""


@dataclass(frozen=True, slots=True)
class Listing:
    """The next step lists the collection."""

    newest: bool = False
    """As in `Streaming`."""


@dataclass(frozen=True, slots=True)
class Watching:
    """The next step follows the collection until the stream ends."""

    opened: OpenWatch | None = None
    """The stream that brought the list; None: a new one from the last resource version."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """The next step waits for `delay` seconds."""

    delay: float
    then: Streaming | Listing | Watching


@dataclass(frozen=True, slots=True)
class Stopped:
    """There is no next step."""


State = Streaming | Listing | Watching | Waiting | Stopped
