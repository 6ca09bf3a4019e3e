"""Mirrors one collection into a sink: gets it whole once, then follows it by watching, and heals every failure.

`machine` is the reflector: one function per state of `states`, stepped until it is stopped. `initial_events` collects a
streamed list until it is complete, `open_watch` is one watch under way, `watch_event` reads what a server puts into
events besides objects, `trouble` is what is wrong at the moment, `sink` is where all goes, `options` says what is
mirrored and how. Plain lists are the business of `pager`.

Neighbours: `listwatch.ListerWatcher` below, `informer` (the sink) above. Rules: reference/runtimes.md 2.1 to 2.3, and
2.19 as one table.
"""

from .machine import Reflector
from .options import ReflectorOptions, ReflectorStats
from .sink import Sink
from .states import Listing, State, Stopped, Streaming, Waiting, Watching

__all__ = [
    "Listing",
    "Reflector",
    "ReflectorOptions",
    "ReflectorStats",
    "Sink",
    "State",
    "Stopped",
    "Streaming",
    "Waiting",
    "Watching",
]
