"""Lists as kube-apiserver answers them: resource version semantics, selectors, pages.

A continue token names the revision of the first page and the key to go on behind, so that all pages together are one
state of the past; it expires when the store's history no longer reaches back. Rules:
https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions
"""

from __future__ import annotations

import base64
import binascii
import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec

from localmodel.runtime.listwatch import ListOptions, ListPage

from .answers import (
    CONTINUE_EXPIRED,
    bad_request,
    cause,
    expired,
    forbidden_value,
    invalid_options,
    too_large_resource_version,
)
from .definitions import Causes, ResourceDefinition
from .selection import Selection
from .store import CompactedError, Entry, VersionedStore

_MAX_DIGITS = 19
_INCONSISTENT = -1
"""In a continue token: go on with the present state."""


@dataclass(slots=True)
class Page(ListPage):
    """A page; `remaining` is the number of items behind it, None if that is not known (selectors)."""

    items: Sequence[bytes]
    remaining: int | None = None


class _Token(msgspec.Struct, frozen=True):
    """`after` is the key of the last item of the page before."""

    v: Literal["meta.k8s.io/v1"]
    rv: int
    after: tuple[str, str]


def parse_resource_version(text: str) -> int:
    """0 for an empty text; raises BadRequestError unless it is a number."""
    if not text:
        return 0
    why = "" if text.isascii() and text.isdigit() else "invalid syntax"
    if not why and len(text) > _MAX_DIGITS:
        why = "value out of range"
    if why:
        raise bad_request(f'resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": {why}')
    return int(text)


def list_objects(store: VersionedStore, definition: ResourceDefinition, options: ListOptions) -> Page:
    """One page. Raises BadRequestError, InvalidError (options), ExpiredError, ServerTimeoutError (future version)."""
    _check_options(options)
    selection = Selection.of(definition, options.namespace, options.label_selector, options.field_selector)
    token = _decode_token(options.continue_) if options.continue_ else None
    revision, entries = _snapshot(store, selection, options, token)
    if token is not None:
        start = bisect.bisect_right(entries, tuple(token.after), key=lambda entry: entry.key)
        entries = entries[start:]
    if selection.selects:
        entries = [entry for entry in entries if selection.matches(entry)]
    # "Any version" is answered from the watch cache, which does not page.
    limit = options.limit if options.resource_version != "0" or token else 0
    rest = entries[limit:] if limit > 0 else []
    page = entries[:limit] if rest else entries
    return Page(
        items=[definition.present(entry.value) for entry in page],
        resource_version=str(revision),
        continue_=_encode_token(_Token("meta.k8s.io/v1", revision, page[-1].key)) if rest else "",
        remaining=len(rest) if rest and not selection.selects else None,
    )


def _check_options(options: ListOptions) -> None:
    """metav1validation.ValidateListOptions."""
    causes: Causes = []
    match, version = options.resource_version_match, options.resource_version
    if match and options.continue_:
        causes.append(
            forbidden_value("resourceVersionMatch", "resourceVersionMatch is forbidden when continue is provided")
        )
    elif match and not version:
        why = "resourceVersionMatch is forbidden unless resourceVersion is provided"
        causes.append(forbidden_value("resourceVersionMatch", why))
    elif match == "Exact" and version == "0":
        why = 'resourceVersionMatch "Exact" is forbidden for resourceVersion "0"'
        causes.append(forbidden_value("resourceVersionMatch", why))
    elif match not in ("", "Exact", "NotOlderThan"):
        why = f'Unsupported value: "{match}": supported values: "Exact", "NotOlderThan", ""'
        causes.append(cause("FieldValueNotSupported", "resourceVersionMatch", why))
    if causes:
        raise invalid_options("ListOptions", causes)
    if options.continue_ and version not in ("", "0"):
        raise bad_request("specifying resource version is not allowed when using continue")


def _snapshot(
    store: VersionedStore, selection: Selection, options: ListOptions, token: _Token | None
) -> tuple[int, list[Entry]]:
    """The state that the request asks for, and its revision."""
    resource, namespace = selection.definition.resource, selection.namespace
    if token is not None:
        at = None if token.rv == _INCONSISTENT else token.rv
        try:
            return store.list(resource, namespace=namespace, at=at)
        except CompactedError as error:
            fresh = _encode_token(_Token("meta.k8s.io/v1", _INCONSISTENT, token.after))
            raise expired(CONTINUE_EXPIRED, continue_=fresh) from error
    wanted, match = parse_resource_version(options.resource_version), options.resource_version_match
    if wanted > store.revision:
        raise too_large_resource_version(wanted, store.revision)
    # A limit with a version and no match is the legacy form of Exact.
    if wanted and (match == "Exact" or (not match and options.limit > 0)):
        try:
            return store.list(resource, namespace=namespace, at=wanted)
        except CompactedError as error:
            raise expired("The resourceVersion for the provided list is too old.") from error
    return store.list(resource, namespace=namespace)


def _encode_token(token: _Token) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(token)).decode().rstrip("=")


def _decode_token(text: str) -> _Token:
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), type=_Token)
    except (binascii.Error, msgspec.DecodeError, ValueError) as error:
        raise bad_request(f"invalid continue token: continue key is not valid: {error}") from error
