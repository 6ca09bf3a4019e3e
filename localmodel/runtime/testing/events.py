"""Events as kube-apiserver serves them: two groups, core/v1 and events.k8s.io/v1, that show the same stored objects.

Stored is the core form. `to_core` and `from_core` convert; the rest of this module is what the shared strategy
validates and by which fields it selects. Sources: pkg/apis/events/v1/conversion.go,
pkg/apis/core/validation/events.go and pkg/registry/core/event/strategy.go of kubernetes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from localmodel.runtime.objects import RESTMapping

from .answers import bad_value, required
from .metadata import qualified_name

Json = dict[str, Any]
Cause = dict[str, str]

CORE = RESTMapping.of("", "v1", "Event")
"""The group whose form is stored."""

_CORE_NAMES = {
    "regarding": "involvedObject",
    "note": "message",
    "reportingController": "reportingComponent",
    "deprecatedSource": "source",
    "deprecatedFirstTimestamp": "firstTimestamp",
    "deprecatedLastTimestamp": "lastTimestamp",
    "deprecatedCount": "count",
}
_EVENTS_NAMES = {core: new for new, core in _CORE_NAMES.items()}
_MAX_TEXT = 128
_MAX_NOTE = 1024
_NAMESPACE_MISMATCH = "does not match event.namespace"
_IMMUTABLE = (
    ("involvedObject", "involvedObject"),
    ("reason", "reason"),
    ("message", "message"),
    ("source", "source"),
    ("firstTimestamp", "firstTimestamp"),
    ("lastTimestamp", "lastTimestamp"),
    ("count", "count"),
    ("type", "type"),
    ("eventTime", "eventTime"),
    ("action", "action"),
    ("related", "related"),
    ("reportingComponent", "reportingController"),
    ("reportingInstance", "reportingInstance"),
)
"""Core field, and how the error of events.k8s.io/v1 names it."""


def to_core(event: Json) -> Json:
    """The stored form of an events.k8s.io/v1 event; the values are shared, not copied."""
    return {_CORE_NAMES.get(key, key): value for key, value in event.items()}


def from_core(event: Json) -> Json:
    """A stored event with the field names of events.k8s.io/v1; the values are shared, not copied."""
    return {_EVENTS_NAMES.get(key, key): value for key, value in event.items()}


def source_of(event: Json) -> str:
    """What the field selector `source` compares: the source's component, else the reporting component."""
    return str((event.get("source") or {}).get("component") or event.get("reportingComponent") or "")


def core_event_faults(new: Json, _: Json | None) -> Iterator[Cause]:
    """Faults of a write to core/v1: the rules of old, and more only for events that have an event time."""
    yield from _faults(new, controller="reportingComponent")


def event_faults(new: Json, old: Json | None) -> Iterator[Cause]:
    """Faults of a write to events.k8s.io/v1, named by the internal fields as on a real server ("message")."""
    core = to_core(new)
    yield from _faults(core, controller="reportingController")
    if old is None:
        yield from _strict_create_faults(core)
        return
    before = to_core(old)
    if core.get("series") != before.get("series"):
        yield from _series_faults(core)
    for field, shown in _IMMUTABLE:
        if (core.get(field) or None) != (before.get(field) or None):
            yield bad_value(shown, core.get(field) or "", "field is immutable")


def _faults(event: Json, *, controller: str) -> Iterator[Cause]:
    namespace = event["metadata"].get("namespace", "")
    about = (event.get("involvedObject") or {}).get("namespace") or ""
    if not event.get("eventTime"):
        if namespace not in ((about,) if about else ("", "default")):
            yield bad_value("involvedObject.namespace", about, _NAMESPACE_MISMATCH)
        return
    if not about and namespace not in ("default", "kube-system"):
        yield bad_value("involvedObject.namespace", about, _NAMESPACE_MISMATCH)
    reporter = event.get("reportingComponent") or ""
    if not reporter:
        yield required(controller)
    for why in qualified_name(reporter):
        yield bad_value(controller, reporter, why)
    for field in ("reportingInstance", "action", "reason"):
        text = event.get(field) or ""
        if not text:
            yield required(field)
        if len(text.encode()) > _MAX_TEXT:
            yield bad_value(field, "", f"can have at most {_MAX_TEXT} characters")
    if len((event.get("message") or "").encode()) > _MAX_NOTE:
        yield bad_value("message", "", f"can have at most {_MAX_NOTE} characters")


def _strict_create_faults(event: Json) -> Iterator[Cause]:
    yield from _series_faults(event)
    if not event.get("eventTime"):
        yield required("eventTime")
    if event.get("type") not in ("Normal", "Warning"):
        yield bad_value("type", "", f"has invalid value: {event.get('type') or ''}")
    for field in ("firstTimestamp", "lastTimestamp", "count", "source"):
        value = event.get(field)
        if any(value.values()) if isinstance(value, dict) else value:
            yield bad_value(field, "", "needs to be unset")


def _series_faults(event: Json) -> Iterator[Cause]:
    series = event.get("series")
    if series is None:
        return
    if (series.get("count") or 0) < 2:
        yield bad_value("series.count", "", "should be at least 2")
    if not series.get("lastObservedTime"):
        yield required("series.lastObservedTime")


def validator(
    faults: Callable[[Json, Json | None], Iterator[Cause]],
) -> Callable[[Json, Json | None, str], list[Cause]]:
    """The `validate` hook of a resource definition."""
    return lambda new, old, _: list(faults(new, old))
