"""What a reflector is told, and what it counts."""

from __future__ import annotations

from dataclasses import dataclass, field

from localmodel.runtime.backoff import BackoffOptions

MIN_WATCH_TIMEOUT = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class ReflectorOptions:
    """What part of a collection is mirrored, and how."""

    namespace: str = ""
    labels: str = ""
    fields: str = ""
    page_size: int = 0
    """Objects per page of every list; 0: see `pager`."""
    use_watch_list: bool = True
    """Get the list as the first events of the watch, which costs the server the least memory (client-go's default
    since 1.35). A server that cannot do it says so, or is found out within seconds, and is listed from then on."""
    initial_events_silence: float = 5.0
    """Seconds, at most 10, without a new object or the end of a streamed list after which it is given up for a plain
    one: the server does not know what it was asked, and would never say that the list is complete."""
    initial_events_timeout: float = 30.0
    """Seconds that a streamed list may take in all before it is given up likewise."""
    min_watch_timeout: int = MIN_WATCH_TIMEOUT
    """Seconds. The server is asked to end each watch after a random time of one to two times this; at least 300."""
    silence_seconds: float = 90.0
    """Seconds without any data after which a watch counts as broken, once it has brought a bookmark: a server that
    sends them does so each minute. Until then the limit is the end that the server was asked for, and a margin."""
    internal_error_retry_seconds: float = 0.0
    """For so long an InternalError within a watch is answered by a new watch, and not by a list
    (MaxInternalErrorRetryDuration)."""
    backoff: BackoffOptions = field(default_factory=BackoffOptions)


@dataclass(slots=True)
class ReflectorStats:
    """Counters since the start; written by the reflector's thread, read by anyone."""

    lists: int = 0
    """Times that the whole collection was asked for, page by page or as a stream."""
    watches: int = 0
    """Watch requests, those that began with a streamed list included."""
    events: int = 0
    failures: int = 0
    """Failed requests and broken streams, each followed by a delay."""
    dropped: int = 0
    """Watch events that could not be read."""
