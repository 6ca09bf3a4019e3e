"""From method and path to a `RequestInfo`: what authorization, audit and dispatch are about.

The rules are those of kube-apiserver's RequestInfoFactory: `/api/v1/...` and `/apis/GROUP/VERSION/...` are resource
requests, everything else is a non-resource path whose verb is the HTTP method in lower case.
"""

from __future__ import annotations

from dataclasses import dataclass

from localmodel.runtime.errors import NotFoundError, make_status
from localmodel.runtime.selectors import FieldSelector, SelectorError

from .messages import Request

_VERBS = {"POST": "create", "GET": "get", "HEAD": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
NAMESPACE_SUBRESOURCES = ("status", "finalize")


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestInfo:
    """One request as attributes. For a non-resource path only `verb` and `path` are set."""

    verb: str
    path: str
    is_resource: bool = False
    group: str = ""
    version: str = ""
    namespace: str = ""
    resource: str = ""
    name: str = ""
    subresource: str = ""
    selected_name: str = ""
    """Of a collection request: the one name that its field selector admits. A rule with resourceNames can allow it."""

    @property
    def group_resource(self) -> str:
        """`plural.group`, or `plural` in the core group."""
        return f"{self.resource}.{self.group}" if self.group else self.resource


def not_found_page() -> NotFoundError:
    """What kube-apiserver answers to a path that leads nowhere."""
    status = make_status("NotFound", 404, "the server could not find the requested resource")
    # kubectl debug looks into the details of whatever is not found.
    return NotFoundError({**status, "details": {}})


def parse(request: Request) -> RequestInfo:
    """Raises NotFoundError for paths with segments that cannot name anything."""
    verb = request.method.lower()
    plain = RequestInfo(verb=verb, path=request.path)
    segments = request.segments
    if segments[0] == "api" and len(segments) >= 3:
        group, version, rest = "", segments[1], segments[2:]
    elif segments[0] == "apis" and len(segments) >= 4:
        group, version, rest = segments[1], segments[2], segments[3:]
    else:
        return plain

    if not _UNNAMEABLE.isdisjoint(segments) or ("%" in request.path and _has_separators(segments)):
        raise not_found_page()
    namespace = ""
    if rest[0] == "namespaces" and len(rest) >= 2:
        namespace = rest[1]
        # /namespaces/NAME and its own subresources are about the namespace itself.
        if len(rest) > 2 and not (len(rest) == 3 and rest[2] in NAMESPACE_SUBRESOURCES):
            rest = rest[2:]
    if len(rest) > 3:
        raise not_found_page()
    resource, name, subresource = (*rest, "", "")[:3]
    return RequestInfo(
        verb=_resource_verb(request, name),
        path=request.path,
        is_resource=True,
        group=group,
        version=version,
        namespace=namespace,
        resource=resource,
        name=name,
        subresource=subresource,
        selected_name=_selected_name(request) if not name and "fieldSelector" in request.raw_query else "",
    )


_UNNAMEABLE = frozenset(("", ".", ".."))


def _has_separators(segments: list[str]) -> bool:
    return any("/" in segment or "%" in segment for segment in segments)


def _resource_verb(request: Request, name: str) -> str:
    verb = _VERBS.get(request.method, request.method.lower())
    if verb == "get" and "watch" in request.raw_query and is_true(request.query.get("watch")):
        return "watch"
    if verb == "get" and not name:
        return "list"
    return "deletecollection" if verb == "delete" and not name else verb


def _selected_name(request: Request) -> str:
    """The name in `fieldSelector=metadata.name=NAME`, as kube-apiserver reads it for authorization."""
    try:
        requirements = FieldSelector.of(request.query.get("fieldSelector") or "").requirements
    except SelectorError:  # the request is refused later, with a message about the selector
        return ""
    names = [r.value for r in requirements if r.field == "metadata.name" and not r.negated]
    return names[0] if names else ""


def is_true(value: str | None) -> bool:
    """How Kubernetes reads a boolean query parameter: present and not false or 0."""
    return value is not None and value.lower() not in ("false", "0")
