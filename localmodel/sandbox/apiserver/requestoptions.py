"""The query parameters of resource requests as the registry's option objects, checked as kube-apiserver checks them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal, cast

from localmodel.runtime.client import Preconditions, Propagation, WriteOptions
from localmodel.runtime.errors import BadRequestError
from localmodel.runtime.listwatch import ListOptions, WatchOptions
from localmodel.runtime.testing.answers import invalid_options

from .fielderrors import Cause, forbidden, go_syntax, invalid, not_supported, required, too_long
from .messages import Request
from .routing import REMEMBERED_LENGTH, is_true

Query = Mapping[str, str]
Json = dict[str, Any]

_INTEGER = re.compile("[-+]?[0-9]+")
_FIELD_VALIDATION = ("", "Ignore", "Strict", "Warn")
_PROPAGATION = ("Foreground", "Background", "Orphan")
_MATCHES = ("", "Exact", "NotOlderThan")
_MANAGER_LIMIT = 128
"""Bytes of a field manager's name."""


def number(query: Query, name: str) -> int:
    """A whole number, 0 if the parameter is not there; raises BadRequestError in the words of Go's strconv."""
    text = query.get(name)
    if text is None:
        return 0
    if not _INTEGER.fullmatch(text):
        raise BadRequestError.of(f"strconv.ParseInt: parsing {go_syntax(text)}: invalid syntax")
    if len(text) > 20 or not -(2**63) <= int(text) < 2**63:
        raise BadRequestError.of(f"strconv.ParseInt: parsing {go_syntax(text)}: value out of range")
    return int(text)


def list_options(query: Query, namespace: str) -> ListOptions:
    """Raises InvalidError for a combination that makes no sense."""
    match = query.get("resourceVersionMatch", "")
    causes = _match_faults(query, match, watching=False)
    limit = number(query, "limit")
    number(query, "timeoutSeconds")
    if causes:
        raise invalid_options("ListOptions", causes)
    return ListOptions(
        namespace=namespace,
        label_selector=query.get("labelSelector", ""),
        field_selector=query.get("fieldSelector", ""),
        resource_version=query.get("resourceVersion", ""),
        resource_version_match=cast("Literal['', 'Exact', 'NotOlderThan']", match),
        limit=max(limit, 0),
        continue_=query.get("continue", ""),
    )


def _match_faults(query: Query, match: str, *, watching: bool) -> list[Cause]:
    """metainternalversion validation.ValidateListOptions."""
    initial = query.get("sendInitialEvents")
    causes = []
    if match:
        if not watching and not query.get("resourceVersion"):
            text = "resourceVersionMatch is forbidden unless resourceVersion is provided"
            causes.append(forbidden("resourceVersionMatch", text))
        if query.get("continue"):
            text = "resourceVersionMatch is forbidden when continue is provided"
            causes.append(forbidden("resourceVersionMatch", text))
        if watching and initial is None:
            text = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
            causes.append(forbidden("resourceVersionMatch", text))
    if watching and initial is not None and match != "NotOlderThan":
        text = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
        causes.append(forbidden("resourceVersionMatch", text))
    supported = _MATCHES[2:] if watching else (*_MATCHES[1:], "")
    if match and match not in supported:
        causes.append(not_supported("resourceVersionMatch", match, supported))
    elif match == "Exact" and query.get("resourceVersion") == "0":
        text = 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'
        causes.append(forbidden("resourceVersionMatch", text))
    if watching and query.get("continue"):
        text = "resourceVersionMatch is forbidden when continue is provided"
        causes.append(forbidden("resourceVersionMatch", text))
    if not watching and initial is not None:
        causes.append(forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"))
    return causes


def watch_options(query: Query, namespace: str, name: str) -> WatchOptions:
    """`name` is that of a watch on one object."""
    causes = _match_faults(query, query.get("resourceVersionMatch", ""), watching=True)
    initial = query.get("sendInitialEvents")
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
        send_initial_events=None if initial is None else is_true(initial),
        timeout_seconds=number(query, "timeoutSeconds"),
    )


def write_options(request: Request, *, kind: str) -> WriteOptions:
    """`kind` is CreateOptions, UpdateOptions or PatchOptions, for the message of a refusal."""
    user_agent = request.headers.get("user-agent", "")
    if len(request.raw_query) + len(user_agent) > REMEMBERED_LENGTH:
        return _write_options.__wrapped__(request.raw_query, user_agent, kind)
    return _write_options(request.raw_query, user_agent, kind)


@lru_cache(maxsize=1024)
def _write_options(raw_query: str, user_agent: str, kind: str) -> WriteOptions:
    """Remembered, for a client asks in the same way again and again."""
    request = Request(method="", path="", raw_query=raw_query)
    query, dry_run = request.query, request.values("dryRun")
    causes = write_faults(query, dry_run)
    if causes:
        raise invalid_options(kind, causes)
    return WriteOptions(
        dry_run=bool(dry_run),
        field_manager=query.get("fieldManager", "") or user_agent.partition("/")[0],
        field_validation=cast("Literal['', 'Ignore', 'Warn', 'Strict']", query.get("fieldValidation", "")),
    )


def write_faults(query: Query, dry_run: Sequence[str]) -> list[Cause]:
    """What is wrong with the options of a write (metav1 validation.ValidateCreateOptions and its like)."""
    causes = []
    manager = query.get("fieldManager", "")
    if len(manager.encode()) > _MANAGER_LIMIT:
        causes.append(too_long("fieldManager", _MANAGER_LIMIT))
    for position, character in enumerate(manager):
        if not (character.isprintable() or character == " "):
            text = f"invalid character U+{ord(character):04X} (at position {position})"
            causes.append(invalid("fieldManager", manager, text))
    causes += _dry_run_faults(dry_run)
    validation = query.get("fieldValidation", "")
    if validation not in _FIELD_VALIDATION:
        causes.append(not_supported("fieldValidation", validation, _FIELD_VALIDATION))
    return causes


def _dry_run_faults(values: Sequence[str]) -> list[Cause]:
    if all(value == "All" for value in values):
        return []
    listed = ", ".join(go_syntax(value) for value in values)
    text = f'Unsupported value: []string{{{listed}}}: supported values: "All"'
    return [{"reason": "FieldValueNotSupported", "message": text, "field": "dryRun"}]


def patch_options(request: Request, *, applies: bool) -> tuple[WriteOptions, bool]:
    """The options of a patch, and whether it is forced."""
    query = request.query
    causes: list[Cause] = []
    if applies and not query.get("fieldManager"):
        causes.append(required("fieldManager", "is required for apply patch"))
    if not applies and "force" in query:
        causes.append(forbidden("force", "may not be specified for non-apply patch"))
    if causes:
        raise invalid_options("PatchOptions", causes + write_faults(query, request.values("dryRun")))
    return write_options(request, kind="PatchOptions"), is_true(query.get("force"))


def delete_options(request: Request, body: Json) -> Json:
    """Keyword arguments of Registry.delete, from the body (DeleteOptions); without one, from the query."""
    sent = body or _delete_query(request)
    propagation, orphan = sent.get("propagationPolicy"), sent.get("orphanDependents")
    dry_run = sent.get("dryRun") or []
    causes = []
    if propagation is not None and propagation not in _PROPAGATION:
        causes.append(not_supported("propagationPolicy", propagation, (*_PROPAGATION, "nil")))
    if propagation is not None and orphan is not None:
        text = "orphanDependents and deletionPropagation cannot be both set"
        causes.append(invalid("propagationPolicy", propagation, text))
    causes += _dry_run_faults(dry_run)
    if causes:
        raise invalid_options("DeleteOptions", causes)
    if propagation is None and orphan is not None:
        propagation = "Orphan" if orphan else "Background"
    wanted = sent.get("preconditions") or {}
    preconditions = Preconditions(uid=wanted.get("uid"), resource_version=wanted.get("resourceVersion"))
    return {
        "propagation": cast("Propagation | None", propagation),
        "grace_period_seconds": sent.get("gracePeriodSeconds"),
        "preconditions": preconditions if wanted else None,
        "options": WriteOptions(dry_run=bool(dry_run)),
    }


def _delete_query(request: Request) -> Json:
    """The DeleteOptions that the query parameters make."""
    query = request.query
    sent: Json = {key: query[key] for key in ("propagationPolicy",) if key in query}
    if "gracePeriodSeconds" in query:
        sent["gracePeriodSeconds"] = number(query, "gracePeriodSeconds")
    if "orphanDependents" in query:
        sent["orphanDependents"] = is_true(query["orphanDependents"])
    if dry_run := request.values("dryRun"):
        sent["dryRun"] = dry_run
    return sent
