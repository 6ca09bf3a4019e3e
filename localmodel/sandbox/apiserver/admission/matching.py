"""`Target`: one write as admission sees it, and whether the rules and selectors of a webhook or policy are about it.

Rules, selectors and their texts: k8s.io/apiserver/pkg/admission/plugin/webhook (predicates/rules, namespace, object).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any

import msgspec

from localmodel.runtime.objects import GroupVersionKind
from localmodel.runtime.selectors import Selector
from localmodel.runtime.testing.definitions import AdmissionAttributes, ResourceDefinition
from localmodel.runtime.testing.registry import Registry

Json = dict[str, Any]

GROUP = "admissionregistration.k8s.io"


class Resource(msgspec.Struct, frozen=True):
    """A resource in one version, with the kind of its objects."""

    group: str
    version: str
    plural: str
    kind: GroupVersionKind

    @property
    def gvr(self) -> Json:
        return {"group": self.group, "version": self.version, "resource": self.plural}

    @property
    def gvk(self) -> Json:
        return {"group": self.kind.group, "version": self.kind.version, "kind": self.kind.kind}


class Target:
    """One write. What it costs to know more about it is paid once, and only if somebody asks."""

    def __init__(self, attributes: AdmissionAttributes, registry: Registry) -> None:
        self.attributes = attributes
        self._registry = registry
        definition = attributes.definition
        gvk = definition.mapping.gvk
        self.requested = Resource(gvk.group, gvk.version, definition.mapping.plural, attributes.kind or gvk)
        # A namespace lies in itself, as kube-apiserver has it.
        is_namespace = definition.group_resource == "namespaces"
        self.is_namespace = is_namespace
        self.namespace = attributes.name if is_namespace else attributes.namespace

    @property
    def is_exempt(self) -> bool:
        """Configurations of admission are never subject to it: one could lock out everybody for good."""
        return self.requested.group == GROUP

    @cached_property
    def equivalents(self) -> list[ResourceDefinition]:
        """Other definitions that serve the same stored objects."""
        own = self.attributes.definition
        return [
            definition
            for definition in self._registry.definitions()
            if definition.resource == own.resource and definition.mapping != own.mapping
        ]

    def matched(self, rules: Iterable[Json], policy: str) -> ResourceDefinition | None:
        """The definition under which one of the rules is about this write; None if none is."""
        rules = list(rules)
        own = self.attributes.definition
        if any(self._is_about(rule, own) for rule in rules):
            return own
        if policy == "Equivalent" and self.attributes.kind is None:
            for definition in self.equivalents:
                if any(self._is_about(rule, definition) for rule in rules):
                    return definition
        return None

    def _is_about(self, rule: Json, definition: ResourceDefinition) -> bool:
        gvk = definition.mapping.gvk
        return (
            _has(rule.get("operations"), self.attributes.operation)
            and _has(rule.get("apiGroups"), gvk.group)
            and _has(rule.get("apiVersions"), gvk.version)
            and self._is_in_scope(str(rule.get("scope") or "*"))
            and any(self._is_resource(resource, definition) for resource in rule.get("resources") or ())
            and self._is_named(rule.get("resourceNames") or ())
        )

    def _is_in_scope(self, scope: str) -> bool:
        return scope == "*" or (scope == "Namespaced") == self.attributes.definition.mapping.namespaced

    def _is_resource(self, pattern: str, definition: ResourceDefinition) -> bool:
        resource, _, subresource = pattern.partition("/")
        return resource in ("*", definition.mapping.plural) and subresource in ("*", self.attributes.subresource)

    def _is_named(self, names: Iterable[str]) -> bool:
        names = list(names)
        return not names or self.attributes.name in names

    def is_selected(self, selectors: Json) -> bool:
        """By `namespaceSelector` and `objectSelector`, either of which may be missing or empty."""
        return self._in_namespace(selectors.get("namespaceSelector")) and self._has_labels(
            selectors.get("objectSelector")
        )

    def _in_namespace(self, wanted: Json | None) -> bool:
        selector = Selector.of_label_selector(wanted or {})
        if selector.is_empty:
            return True
        attributes = self.attributes
        if not self.is_namespace and not attributes.definition.mapping.namespaced:
            return True
        if self.is_namespace and attributes.operation != "DELETE" and not attributes.subresource:
            return selector.matches(_labels(attributes.object))
        return selector.matches(_labels(self.namespace_object))

    @cached_property
    def namespace_object(self) -> Json | None:
        """The object of the namespace in which the write is; None outside of namespaces."""
        if not self.attributes.definition.mapping.namespaced and not self.is_namespace:
            return None
        entry = self._registry.store.get("namespaces", "", self.namespace)
        if entry is None:
            return self.attributes.old_object if self.is_namespace else None
        namespace: Json = msgspec.json.decode(entry.value)
        return namespace

    def _has_labels(self, wanted: Json | None) -> bool:
        """The new object's labels or the old one's."""
        selector = Selector.of_label_selector(wanted or {})
        return selector.is_empty or any(selector.matches(labels) for labels in self._label_sets())

    def _label_sets(self) -> Iterator[dict[str, str]]:
        for obj in (self.attributes.object, self.attributes.old_object):
            if obj is not None:
                yield _labels(obj)


def _has(values: Iterable[str] | None, value: str) -> bool:
    return values is not None and any(candidate in ("*", value) for candidate in values)


def _labels(obj: Json | None) -> dict[str, str]:
    return ((obj or {}).get("metadata") or {}).get("labels") or {}


def converted(obj: Json | None, source: ResourceDefinition, target: ResourceDefinition) -> Json | None:
    """An object of one definition as another shows it, as a private copy."""
    if obj is None or source is target:
        return obj
    stored: Json = msgspec.json.decode(msgspec.json.encode(obj))
    stored = source.to_storage(stored) if source.to_storage else stored
    gvk = target.mapping.gvk
    shown = {**stored, "apiVersion": gvk.api_version, "kind": gvk.kind}
    return target.from_storage(shown) if target.from_storage else shown
