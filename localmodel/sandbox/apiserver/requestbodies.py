"""Bodies as what the request needs: an object of the kind at this place, or a patch of one of four types.

The checks and their words are those of kube-apiserver's decoders: what a body says of its own kind must fit where it
was sent, and what a patch is must fit its type. What the fields may be is the schemas' affair.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from localmodel.runtime.client import APPLY_PATCH, JSON_PATCH, STRATEGIC_MERGE_PATCH, PatchType
from localmodel.runtime.errors import BadRequestError
from localmodel.runtime.testing.answers import unfit_patch, wrong_kind
from localmodel.runtime.testing.definitions import ResourceDefinition
from localmodel.runtime.testing.metadatatypes import go_name
from localmodel.runtime.testing.patch import check_operations, no_map

from .negotiation import duplicate_fields, parse_json, unrecognized

Json = dict[str, Any]
Definitions = Callable[[], Iterable[ResourceDefinition]]

_TYPE_META = 'struct { APIVersion string "json:\\"apiVersion,omitempty\\""; Kind string "json:\\"kind,omitempty\\"" }'
_META_KINDS = ("List", "Status", "DeleteOptions", "Scale")


def typed_object(value: Any, body: bytes, definition: ResourceDefinition, known: Definitions) -> Json:
    """The object of a decoded body, of this kind. Raises BadRequestError, InvalidError."""
    gvk = definition.mapping.gvk
    value = {} if value is None else value
    if not isinstance(value, dict):
        why = f"json: cannot unmarshal {go_name(value)} into Go value of type {_TYPE_META}"
        raise unrecognized(body, gvk.kind, f"couldn't get version/kind; json parse error: {why}")
    for field in ("kind", "apiVersion"):
        if value.get(field) is None:
            value.pop(field, None)
        elif not isinstance(value[field], str):
            why = f"json: cannot unmarshal {go_name(value[field])} into Go struct field .{field} of type string"
            raise unrecognized(body, gvk.kind, f"couldn't get version/kind; json parse error: {why}")
    if value.get("apiVersion", "").count("/") > 1:
        raise unrecognized(body, gvk.kind, f"unexpected GroupVersion string: {value['apiVersion']}")
    if definition.strategic:
        _check_builtin(value, definition, known)
    else:
        _check_custom(value, body, definition)
    return value


def _check_builtin(obj: Json, definition: ResourceDefinition, known: Definitions) -> None:
    """The scheme knows all built-in kinds: a wrong one cannot be converted, an unknown one not be decoded."""
    gvk = definition.mapping.gvk
    kind, api_version = obj.get("kind") or gvk.kind, obj.get("apiVersion") or gvk.api_version
    if (kind, api_version) == (gvk.kind, gvk.api_version):
        obj["kind"], obj["apiVersion"] = kind, api_version
        return
    version = api_version.rpartition("/")[2]
    kinds = {(d.mapping.gvk.kind, d.mapping.gvk.api_version) for d in known() if d.strategic}
    is_known = (kind, api_version) in kinds or (kind.removesuffix("List"), api_version) in kinds
    if is_known or (api_version == "v1" and kind in _META_KINDS):
        internal = f"{gvk.group.partition('.')[0] or 'core'}.{gvk.kind}"
        why = f"converting ({version}.{kind}) to ({internal}): unknown conversion"
    else:
        why = f'no kind "{kind}" is registered for version "{api_version}" in scheme "pkg/runtime/scheme.go:100"'
    raise _mishandled(kind, version, gvk.kind, why)


def _check_custom(obj: Json, body: bytes, definition: ResourceDefinition) -> None:
    gvk = definition.mapping.gvk
    if not obj.get("kind"):
        shown = body.decode("utf-8", "replace").strip()
        raise unrecognized(body, gvk.kind, f"Object 'Kind' is missing in '{shown}'")
    if (sent := obj.get("apiVersion", "")) != gvk.api_version:
        raise BadRequestError.of(
            f"the API version in the data ({sent}) does not match the expected API version ({gvk.api_version})"
        )
    if obj["kind"] != gvk.kind:
        metadata = obj.get("metadata")
        raise wrong_kind(
            definition, str((metadata or {}).get("name") or "") if isinstance(metadata, dict) else "", obj["kind"]
        )


def _mishandled(kind: str, version: str, wanted: str, why: str) -> BadRequestError:
    return BadRequestError.of(f'{kind} in version "{version}" cannot be handled as a {wanted}: {why}')


def decode_patch(
    body: bytes, patch_type: PatchType, validation: str, definition: ResourceDefinition
) -> tuple[Any, list[str]]:
    """The value of a patch, and warnings about keys that stand twice in it.

    Raises BadRequestError, RequestEntityTooLargeError (JSON patch), InvalidError (strict field validation).
    """
    if patch_type == APPLY_PATCH:
        return _applied(body, validation, definition), []
    try:
        value = parse_json(body)
    except ValueError as error:
        raise BadRequestError.of(f"error decoding patch: {error}") from None
    if patch_type == JSON_PATCH:
        value = check_operations(value)
    elif value is None and definition.strategic and patch_type == STRATEGIC_MERGE_PATCH:
        value = {}
    elif value is None:
        raise BadRequestError.of("Invalid JSON Patch")
    elif not isinstance(value, dict):
        raise no_map(value)
    if validation == "Ignore":
        return value, []
    prefix = "json patch duplicate field" if patch_type == JSON_PATCH else "duplicate field"
    twice = [f'{prefix} "{path}"' for path in duplicate_fields(body, value)]
    if twice and validation == "Strict":
        raise unfit_patch(definition, value, f"strict decoding error: {', '.join(twice)}")
    return value, twice


def _applied(body: bytes, validation: str, definition: ResourceDefinition) -> Json:
    """An apply patch, which may be YAML or JSON; keys that stand twice are refused in strict mode only."""
    from . import yamlbody

    gvk = definition.mapping.gvk
    try:
        # JSON is tried first: it is what clients send, and much faster to read.
        try:
            value = parse_json(body)
            twice = duplicate_fields(body, value) if validation == "Strict" else []
        except ValueError:
            document = yamlbody.decode(body, find_duplicates=validation == "Strict")
            value, twice = document.value, document.duplicates
    except yamlbody.YamlError as error:
        raise BadRequestError.of(f"error decoding YAML: error converting YAML to JSON: {error}") from None
    if twice:
        raise BadRequestError.of(f"error strict decoding YAML: {', '.join(twice)}")
    if not isinstance(value, dict | None):
        raise BadRequestError.of(
            "error decoding YAML: error unmarshaling JSON: while decoding JSON: json: cannot unmarshal "
            f"{go_name(value)} into Go value of type map[string]interface {{}}"
        )
    value = value or {}
    kind, api_version = value.get("kind") or "", value.get("apiVersion") or ""
    if (kind, api_version) != (gvk.kind, gvk.api_version):
        shown = api_version if "/" in str(api_version) else f"/{api_version}"
        raise BadRequestError.of(f"invalid object type: {shown}, Kind={kind}")
    if not isinstance(value.get("metadata"), dict | None):
        raise BadRequestError.of(
            f"failed to create typed patch object (/; {shown_type(definition)}): .metadata: expected map, "
            f"got &{{{value['metadata']}}}"
        )
    return value


def shown_type(definition: ResourceDefinition) -> str:
    """A group, version and kind as Go prints it."""
    gvk = definition.mapping.gvk
    return f"{gvk.group}/{gvk.version}, Kind={gvk.kind}"
