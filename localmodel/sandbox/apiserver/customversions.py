"""What one version of a custom resource does with its objects: pruning, defaulting, validation, columns, subresources.

`definitions_of` makes the registry's definitions of a CustomResourceDefinition, one per served version.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from localmodel.runtime.errors import BadRequestError, MethodNotAllowedError
from localmodel.runtime.objects import RESTMapping
from localmodel.runtime.testing.definitions import Causes, ResourceDefinition
from localmodel.runtime.testing.subresources import SCALE_PATHS, ScalePaths

from . import schema as structural
from .acceptance import Acceptor
from .builtins import SCALE, STATUS
from .definitions import API_RESOURCE, PRINTER, SCHEMA
from .discovery import ApiResource
from .embedded import coerce, embedded_faults
from .fielderrors import Cause, below, invalid, join
from .gotypes import decode_metadata
from .jsonpath import compile_path
from .rulememory import RememberedRules
from .schema import Schema
from .table import custom_printer
from .validation import MISSING, list_faults, validate

Json = dict[str, Any]

_BLOCKING = frozenset(
    {
        "FieldValueNotSupported",
        "FieldValueRequired",
        "FieldValueTooLong",
        "FieldValueTooMany",
        "FieldValueTypeInvalid",
    }
)
"""Faults that leave an object too odd for rules to be asked about it."""
_UNCHECKED = (
    "some validation rules were not checked because the object was invalid; correct the existing errors to complete "
    "validation"
)
_VERBS = ("delete", "deletecollection", "get", "list", "patch", "create", "update", "watch")
"""In the order in which discovery has them."""
_MAX_REPLICAS = 2**31 - 1


def definitions_of(crd: Json) -> list[ResourceDefinition]:
    """The definitions of all served versions, the preferred one first."""
    storage = next(version["name"] for version in crd["spec"]["versions"] if version.get("storage"))
    served = [version for version in crd["spec"]["versions"] if version.get("served")]
    return [_definition(crd, version, storage) for version in sorted(served, key=lambda v: _priority(v["name"]))]


_VERSION = re.compile(r"v(\d+)(?:(alpha|beta)(\d+))?", re.ASCII)


def _priority(name: str) -> tuple[int, int, int, str]:
    """v2 before v1 before v1beta2 before v1alpha1 before any other name (version.CompareKubeAwareVersionStrings)."""
    match = _VERSION.fullmatch(name)
    if match is None:
        return 3, 0, 0, name
    stability = ("", "beta", "alpha").index(match[2] or "")
    return stability, -int(match[1]), -int(match[3] or 0), name


def _definition(crd: Json, version: Json, storage: str) -> ResourceDefinition:
    spec, names = crd["spec"], crd["status"]["acceptedNames"]
    namespaced, name = spec["scope"] == "Namespaced", version["name"]

    def mapping_of(version_name: str) -> RESTMapping:
        return RESTMapping.of(spec["group"], version_name, names["kind"], names["plural"], namespaced=namespaced)

    handler = _Version(crd, version, mapping_of(name))
    subresources = version.get("subresources") or {}
    shown = ApiResource(
        group=spec["group"],
        version=name,
        kind=names["kind"],
        plural=names["plural"],
        singular=names.get("singular") or names["kind"].lower(),
        namespaced=namespaced,
        verbs=_VERBS,
        short_names=tuple(names.get("shortNames") or ()),
        categories=tuple(names.get("categories") or ()),
        subresources=(*((STATUS,) if "status" in subresources else ()), *((SCALE,) if handler.scale else ())),
    )
    fields = [selectable["jsonPath"] for selectable in version.get("selectableFields") or ()]
    # What is stored may differ from what this version shows: in apiVersion, and in fields that an earlier schema let
    # through or did not default.
    differs = len(spec["versions"]) > 1 or len(crd["status"]["storedVersions"]) > 1 or crd["metadata"]["generation"] > 1
    return ResourceDefinition(
        mapping=mapping_of(name),
        storage=mapping_of(storage) if differs else None,
        from_storage=handler.read if differs else None,
        status_subresource="status" in subresources,
        is_accepted=handler.is_accepted,
        accepts_status=handler.accepts_status,
        prune=handler.prune,
        drop_nulls=handler.drop_nulls,
        default=handler.default,
        prepare=handler.prepare,
        warn=_finalizer_warnings,
        validate=handler.validate,
        fields={path.removeprefix("."): _selectable(path) for path in fields},
        schema=structural.merge_schema(handler.tree),
        extra={
            API_RESOURCE: shown,
            PRINTER: custom_printer(version.get("additionalPrinterColumns") or ()),
            SCHEMA: {**handler.raw, "x-kubernetes-selectable-fields": [{"fieldPath": path[1:]} for path in fields]},
            SCALE_PATHS: handler.scale,
            "crd_uid": crd["metadata"]["uid"],
            "crd": (spec, names, handler.is_terminating),
        },
    )


class _Version:
    """The hooks of one version."""

    def __init__(self, crd: Json, version: Json, mapping: RESTMapping) -> None:
        self.raw: Json = (version.get("schema") or {}).get("openAPIV3Schema") or {}
        self.tree = structural.compile_schema(self.raw)
        self.is_terminating = bool(crd["metadata"].get("deletionTimestamp"))
        self.scale = _scale_paths((version.get("subresources") or {}).get("scale"))
        self._mapping = mapping
        self._accepts = Acceptor(self.tree)
        # Objects written since then are as this schema wants them; of older ones nothing is known.
        self._known_since = int(crd["metadata"].get("resourceVersion") or 0)
        self._rules = RememberedRules(self.tree)
        self._status = self.tree.properties.get("status") or Schema({})

    def is_accepted(self, new: Json, old: Json | None) -> bool:
        is_known = old is not None and int(old["metadata"]["resourceVersion"]) > self._known_since
        return self._accepts(new, old if is_known else None)

    def accepts_status(self, status: Json, revision: int, uid: str, generation: bytes) -> bool:
        """As `is_accepted` and `validate` would, of an object whose other parts stay as they are."""
        return (
            revision > self._known_since
            and self.scale is None
            and self.tree.additional is None
            and self._accepts.field("status", status)
            and (not self.tree.has_rules_below or self._rules.is_in_order(uid, int(generation)))
        )

    def prune(self, obj: Json) -> list[str]:
        """Raises BadRequestError for metadata of wrong types."""
        unknown: list[str] = []
        wrong = decode_metadata(obj["metadata"], unknown)
        dropped = sorted(f"metadata.{name}" for name in unknown)
        if wrong is None:
            dropped += structural.prune(self.tree, obj)
            fault = coerce(self.tree, obj, "", dropped)
            wrong = None if fault is None else join(fault)
        if wrong is not None:
            gvk = self._mapping.gvk
            raise BadRequestError.of(
                f'{gvk.kind} in version "{gvk.version}" cannot be handled as a {gvk.kind}: {wrong}'
            )
        return dropped

    def drop_nulls(self, obj: Json) -> None:
        structural.drop_nulls(self.tree, obj)

    def default(self, obj: Json) -> None:
        structural.default(self.tree, obj)

    def read(self, obj: Json) -> Json:
        """A stored object as the schema of now shows it."""
        structural.prune(self.tree, obj)
        structural.drop_nulls(self.tree, obj)
        structural.default(self.tree, obj)
        return obj

    def prepare(self, _: Json, old: Json | None) -> None:
        """Raises MethodNotAllowedError for a create while the definition is being deleted."""
        if old is None and self.is_terminating:
            text = "create not allowed while custom resource definition is terminating"
            details = {"group": self._mapping.gvk.group, "kind": self._mapping.plural}
            raise MethodNotAllowedError.of(text, details=details)

    def validate(self, new: Json, old: Json | None, subresource: str) -> Causes:
        if subresource == "status":
            status = new.get("status")
            accepted = "status" not in new or self._accepts.field("status", status)
            causes = [] if accepted else below("status", validate(self._status, status))
            causes += self._scale_status_faults(new)
            accepted = accepted and old is not None and self._has_lists_of(new, old)
        else:
            accepted = self._accepts(new, old)
            causes = [] if accepted else validate(self.tree, new, MISSING if old is None else old)
            causes += [*self._scale_faults(new), *self._scale_status_faults(new)]
            causes += [] if accepted else embedded_faults(self.tree, new)
        # What is accepted has none but those of the old object, for which nothing is said here.
        if not accepted and self.tree.has_unique_lists_below and (old is None or not list_faults(self.tree, old)):
            causes += list_faults(self.tree, new)
        if not self.tree.has_rules_below:
            return causes
        if any(cause["reason"] in _BLOCKING for cause in causes):
            return [*causes, invalid("<nil>", None, _UNCHECKED)]
        return causes + self._rules.validate(new, old)

    def _has_lists_of(self, new: Json, old: Json) -> bool:
        """Whether all lists with unique items are as they were, apart from those in the status."""
        return self.tree.additional is None and all(
            name == "status" or new.get(name) == old.get(name)
            for name, child in self.tree.properties.items()
            if child.has_unique_lists_below
        )

    def _scale_faults(self, obj: Json) -> list[Cause]:
        return _replica_faults(obj, self.scale.spec) if self.scale else []

    def _scale_status_faults(self, obj: Json) -> list[Cause]:
        if self.scale is None:
            return []
        causes = _replica_faults(obj, self.scale.status)
        if self.scale.selector:
            value, wrong = _at(obj, self.scale.selector, str, "string")
            causes += [invalid(self.scale.selector, "", wrong)] if wrong and value is not None else []
        return causes


_STANDARD_FINALIZERS = ("orphan", "foregroundDeletion", "kubernetes")


def _finalizer_warnings(new: Json, old: Json | None) -> list[str]:
    had = (old["metadata"].get("finalizers") or ()) if old else ()
    warnings = []
    for name in sorted(set(new["metadata"].get("finalizers") or ()) - set(had)):
        if "/" not in name and name not in _STANDARD_FINALIZERS:
            path = " including a path (/)" if "." in name else ""
            warnings.append(
                f'metadata.finalizers: "{name}": prefer a domain-qualified finalizer name{path} to avoid accidental '
                "conflicts with other finalizer writers"
            )
    return warnings


def _scale_paths(scale: Json | None) -> ScalePaths | None:
    if scale is None:
        return None
    return ScalePaths(scale["specReplicasPath"], scale["statusReplicasPath"], scale.get("labelSelectorPath") or "")


def _at(obj: Json, path: str, type_: type, go_type: str) -> tuple[Any, str]:
    """The value at a dotted path, and what is wrong with it (NestedInt64, NestedString)."""
    current: Any = obj
    names = path.removeprefix(".").split(".")
    for index, name in enumerate(names):
        if not isinstance(current, dict):
            seen = ".".join(names[: index + 1])
            found = f"{current} is of the type {_go_name(current)}, expected map[string]interface{{}}"
            return current, f".{seen} accessor error: {found}"
        if name not in current:
            return None, ""
        current = current[name]
    if isinstance(current, bool) or not isinstance(current, type_):
        text = f".{'.'.join(names)} accessor error: {current} is of the type {_go_name(current)}, expected {go_type}"
        return current, text
    return current, ""


def _go_name(value: Any) -> str:
    match value:
        case None:
            return "<nil>"
        case bool():
            return "bool"
        case int():
            return "int64"
        case float():
            return "float64"
        case str():
            return "string"
        case list():
            return "[]interface {}"
        case _:
            return "map[string]interface {}"


def _replica_faults(obj: Json, path: str) -> list[Cause]:
    value, wrong = _at(obj, path, int, "int64")
    if wrong:
        return [invalid(path, 0, wrong)]
    if value is not None and value < 0:
        return [invalid(path, value, "should be a non-negative integer")]
    if value is not None and value > _MAX_REPLICAS:
        return [invalid(path, value, f"should be less than or equal to {_MAX_REPLICAS}")]
    return []


def _selectable(path: str) -> Callable[[Json], str]:
    find = compile_path(path)

    def value(obj: Json) -> str:
        found = find(obj)
        if not found or found[0] is None:
            return ""
        return str(found[0]).lower() if isinstance(found[0], bool) else str(found[0])

    return value
