"""The query parameters of resource requests as the registry's option objects, checked as kube-apiserver checks them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeVar, cast

from localmodel.runtime.client import Preconditions, Propagation, WriteOptions
from localmodel.runtime.errors import BadRequestError
from localmodel.runtime.listwatch import ListOptions, WatchOptions
from localmodel.runtime.testing.answers import invalid_options

from .fielderrors import Cause, forbidden, not_supported, required
from .routing import is_true

Query = Mapping[str, str]
Json = dict[str, Any]
N = TypeVar("N", int, float)

_FIELD_VALIDATION = ("", "Ignore", "Strict", "Warn")
_PROPAGATION = ("Background", "Foreground", "Orphan")
_MATCHES = ("", "Exact", "NotOlderThan")


def number(query: Query, name: str, *, parse: Callable[[str], int] = int) -> int:
    """A whole number, 0 if the parameter is not there."""
    text = query.get(name, "")
    try:
        return parse(text) if text else 0
    except ValueError:
        raise BadRequestError.of(
            f'strconv.ParseInt: parsing "{text}": invalid syntax (query parameter {name})'
        ) from None


def list_options(query: Query, namespace: str) -> ListOptions:
    """Raises InvalidError for a combination that makes no sense."""
    match = query.get("resourceVersionMatch", "")
    causes = _match_faults(query, match, watching=False)
    limit = number(query, "limit")
    if causes:
        raise invalid_options("ListOptions", causes)
    return ListOptions(
        namespace=namespace,
        label_selector=query.get("labelSelector", ""),
        field_selector=query.get("fieldSelector", ""),
        resource_version=query.get("resourceVersion", ""),
        resource_version_match=cast(Literal["", "Exact", "NotOlderThan"], match),
        limit=max(limit, 0),
        continue_=query.get("continue", ""),
    )


def _match_faults(query: Query, match: str, *, watching: bool) -> list[Cause]:
    causes = []
    initial = query.get("sendInitialEvents")
    if match and match not in _MATCHES:
        causes.append(not_supported("resourceVersionMatch", match, _MATCHES[1:]))
    if watching:
        if match and initial is None:
            text = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
            causes.append(forbidden("resourceVersionMatch", text))
        if initial is not None and match != "NotOlderThan":
            text = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
            causes.append(forbidden("resourceVersionMatch", text))
    elif initial is not None:
        causes.append(forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"))
    elif match:
        if not query.get("resourceVersion"):
            text = "resourceVersionMatch is forbidden unless resourceVersion is provided"
            causes.append(forbidden("resourceVersionMatch", text))
        elif query.get("continue"):
            text = "resourceVersionMatch is forbidden when continue is provided"
            causes.append(forbidden("resourceVersionMatch", text))
        elif match == "Exact" and query.get("resourceVersion") == "0":
            text = 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'
            causes.append(forbidden("resourceVersionMatch", text))
    return causes


def watch_options(query: Query, namespace: str, name: str) -> WatchOptions:
    """`name` is that of a watch on one object."""
    causes = _match_faults(query, query.get("resourceVersionMatch", ""), watching=True)
    send_initial_events = is_true(query.get("sendInitialEvents"))
    bookmarks = is_true(query.get("allowWatchBookmarks"))
    if causes:
        raise invalid_options("ListOptions", causes)
    fields = query.get("fieldSelector", "")
    if name:
        fields = f"{fields},metadata.name={name}".removeprefix(",")
    return WatchOptions(
        namespace=namespace,
        label_selector=query.get("labelSelector", ""),
        field_selector=fields,
        resource_version=query.get("resourceVersion", ""),
        allow_bookmarks=bookmarks,
        send_initial_events=send_initial_events,
        timeout_seconds=number(query, "timeoutSeconds"),
    )


def write_options(query: Query, user_agent: str, *, kind: str) -> WriteOptions:
    """`kind` is CreateOptions, UpdateOptions or PatchOptions, for the message of a refusal."""
    causes = []
    validation = query.get("fieldValidation", "")
    if validation not in _FIELD_VALIDATION:
        causes.append(not_supported("fieldValidation", validation, _FIELD_VALIDATION))
    if len(query.get("fieldManager", "")) > 128:
        causes.append(
            {
                "reason": "FieldValueTooLong",
                "field": "fieldManager",
                "message": "Too long: may not be more than 128 bytes",
            }
        )
    causes += _dry_run_faults(query.get("dryRun"))
    if causes:
        raise invalid_options(kind, causes)
    return WriteOptions(
        dry_run="dryRun" in query,
        field_manager=query.get("fieldManager", "") or user_agent.partition("/")[0],
        field_validation=cast(Literal["", "Ignore", "Warn", "Strict"], validation),
    )


def _dry_run_faults(value: Any) -> list[Cause]:
    return [] if value in (None, "All") else [not_supported("dryRun", value, ("All",))]


def apply_force(query: Query, *, applies: bool) -> bool:
    """The force parameter of a patch, and what goes with it."""
    causes = []
    if applies and not query.get("fieldManager"):
        causes.append(required("fieldManager", "is required for apply patch"))
    if not applies and "force" in query:
        causes.append(forbidden("force", "may not be specified for non-apply patch"))
    if causes:
        raise invalid_options("PatchOptions", causes)
    return is_true(query.get("force"))


def delete_options(query: Query, body: Json) -> Json:
    """Keyword arguments of Registry.delete, from the body (DeleteOptions), or from the query if there is none."""
    query = {} if body else query
    propagation = body.get("propagationPolicy") or query.get("propagationPolicy")
    orphan = body.get("orphanDependents")
    if propagation is None and orphan is not None:
        propagation = "Orphan" if orphan else "Background"
    dry_run = body.get("dryRun") or ([query["dryRun"]] if "dryRun" in query else [])
    causes = [fault for value in dry_run for fault in _dry_run_faults(value)]
    if propagation is not None and propagation not in _PROPAGATION:
        causes.append(not_supported("propagationPolicy", propagation, (*_PROPAGATION, "nil")))
    if causes:
        raise invalid_options("DeleteOptions", causes)
    grace = body.get("gracePeriodSeconds")
    if grace is None and query.get("gracePeriodSeconds"):
        grace = number(query, "gracePeriodSeconds")
    wanted = body.get("preconditions") or {}
    preconditions = Preconditions(uid=wanted.get("uid"), resource_version=wanted.get("resourceVersion"))
    return {
        "propagation": cast("Propagation | None", propagation),
        "grace_period_seconds": grace,
        "preconditions": preconditions if wanted else None,
        "options": WriteOptions(dry_run=bool(dry_run)),
    }
