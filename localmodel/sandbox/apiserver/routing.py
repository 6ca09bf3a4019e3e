"""From method and path to a `RequestInfo`: what authorization, audit and dispatch are about.

The rules are those of kube-apiserver's RequestInfoFactory: `/api/v1/...` and `/apis/GROUP/VERSION/...` are resource
requests, everything else is a non-resource path whose verb is the HTTP method in lower case.
"""

from __future__ import annotations

import re
from functools import lru_cache

import msgspec

from localmodel.runtime.errors import BadRequestError, NotFoundError, make_status
from localmodel.runtime.selectors import FieldSelector, SelectorError
from localmodel.runtime.testing.metadata import path_segment

from .messages import Request

_MALFORMED = re.compile(r"%(?![0-9A-Fa-f]{2})|[\x00-\x20\x7f]")
_VERBS = {"POST": "create", "GET": "get", "HEAD": "head", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
NAMESPACE_SUBRESOURCES = ("status", "finalize")
REMEMBERED_LENGTH = 1024
"""Characters of a request beyond which nothing about it is remembered, so that no client fills the memory."""


class RequestInfo(msgspec.Struct, frozen=True, kw_only=True):
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
    """What kube-apiserver answers to a path that leads nowhere below a group version that it serves."""
    # kubectl debug looks into the details of whatever is not found.
    message = "the server could not find the requested resource"
    return NotFoundError({**make_status("NotFound", 404, message), "details": {}})


def is_malformed(path: str) -> bool:
    """Go's HTTP server refuses such a path before anybody looks at it."""
    is_plain = "%" not in path and " " not in path and path.isprintable()
    return not is_plain and _MALFORMED.search(path) is not None


def check_name(info: RequestInfo) -> None:
    """Raises BadRequestError for a name that can be in no path (path.IsValidPathSegmentName)."""
    if faults := path_segment(info.name):
        raise BadRequestError.of(f'Name parameter invalid: "{info.name}": {", ".join(faults)}')


def parse(request: Request) -> RequestInfo:
    """Raises NotFoundError for paths with segments that cannot name anything."""
    if len(request.path) + len(request.raw_query) > REMEMBERED_LENGTH:
        return _parsed.__wrapped__(request.method, request.path, request.raw_query)
    return _parsed(request.method, request.path, request.raw_query)


@lru_cache(maxsize=4096)
def _parsed(method: str, path: str, raw_query: str) -> RequestInfo:
    """Remembered, for clients ask for the same again and again."""
    request = Request(method=method, path=path, raw_query=raw_query)
    segments = request.segments
    if segments[0] == "api" and len(segments) >= 3:
        group, version, rest = "", segments[1], segments[2:]
    elif segments[0] == "apis" and len(segments) >= 4:
        group, version, rest = segments[1], segments[2], segments[3:]
    else:
        return RequestInfo(verb=request.method.lower(), path=request.path)

    is_watch = rest[0] == "watch" and len(rest) > 1
    if is_watch:
        rest = rest[1:]
    if rest[0] == "namespaces" and len(rest) > 2 and not rest[1]:
        rest = rest[2:]  # of all namespaces
    if "" in (group or "-", version) or "" in rest or ("%" in request.path and _has_separators(segments)):
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
        verb="watch" if is_watch and request.method == "GET" else _resource_verb(request, name),
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


def _has_separators(segments: list[str]) -> bool:
    return any("/" in segment for segment in segments)


def _resource_verb(request: Request, name: str) -> str:
    # Methods are case-sensitive: "get" is none.
    verb = _VERBS.get(request.method) or (request.method.lower() if request.method.isupper() else "unknown")
    if verb == "get" and not name:
        # With a name it is a read of one object, whatever the query says.
        return "watch" if "watch" in request.raw_query and is_true(request.query.get("watch")) else "list"
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
