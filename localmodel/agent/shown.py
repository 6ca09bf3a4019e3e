"""What the agent tells of, fit for everybody who may read it: statuses, conditions, events, log lines.

A URI can hold a password (`https://me:password@host/`) or be signed (`?X-Amz-Signature=`), and comes back in messages
of ours, of download images and of libraries. Whoever may read an event or a log may not have read the cache. A file's
name need not be text, and what is no text cannot be written into any object: the status of all models would stay behind
for one file. Where the URI itself is the matter, in a spec or a Job's arguments, it stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import MutableMapping
from typing import Any, Final

from localmodel.runtime.events import EventRecorder, EventType
from localmodel.runtime.objects import Object

_URI: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s\"'<>`]+")

_MOST: Final = 2000


def shown(text: str) -> str:
    """The text without user information and queries of the URIs in it, and without what is no character."""
    if not text.isascii():
        text = text.encode(errors="backslashreplace").decode()
    return _URI.sub(_redacted, text) if "://" in text else text


def brief(text: str) -> str:
    """What is shown of the text in a status, which holds that of every model: a URI alone may have thousands of
    characters, and an API server stores no object of more than some megabytes."""
    text = shown(text)
    return text if len(text) <= _MOST else f"{text[: _MOST // 2]} [...] {text[-_MOST // 2 :]}"


def _redacted(found: re.Match[str]) -> str:
    uri = found[0]
    if "@" not in uri and "?" not in uri:
        return uri
    # Imported here: most URIs have neither.
    from localmodel.download.errors import redact_uri

    return redact_uri(uri)


class ShownEvents(EventRecorder):
    """A recorder that tells only what may be shown."""

    def __init__(self, recorder: EventRecorder) -> None:
        self._recorder = recorder

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
        """See `EventRecorder.event`."""
        self._recorder.event(obj, type_, reason, shown(message), action=action, related=related)


def log_processor(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor for all texts of a line, a traceback among them."""
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = shown(value)
    return event
