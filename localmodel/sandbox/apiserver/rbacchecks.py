"""Validation of roles and bindings, in the words of kube-apiserver (pkg/apis/rbac/validation)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from localmodel.runtime.testing.metadata import dns1123_subdomain

from .fielderrors import Cause, invalid, not_supported, required
from .rbac import GROUP

Json = dict[str, Any]

_SUBJECTS = {"ServiceAccount": "", "User": GROUP, "Group": GROUP}
"""Kinds of subjects and the API group of each."""


def role(new: Json, _: Json | None) -> Iterator[Cause]:
    yield from _rules(new, is_namespaced=True)


def cluster_role(new: Json, _: Json | None) -> Iterator[Cause]:
    yield from _rules(new, is_namespaced=False)


def role_binding(new: Json, old: Json | None) -> Iterator[Cause]:
    yield from _binding(new, old, is_namespaced=True)


def cluster_role_binding(new: Json, old: Json | None) -> Iterator[Cause]:
    yield from _binding(new, old, is_namespaced=False)


def _rules(new: Json, *, is_namespaced: bool) -> Iterator[Cause]:
    for index, rule in enumerate(new.get("rules") or ()):
        path, urls = f"rules[{index}]", rule.get("nonResourceURLs")
        if not rule.get("verbs"):
            yield required(f"{path}.verbs", "verbs must contain at least one value")
        if urls:
            if is_namespaced:
                yield _urls(path, urls, "namespaced rules cannot apply to non-resource URLs")
            if rule.get("apiGroups") or rule.get("resources") or rule.get("resourceNames"):
                yield _urls(path, urls, "rules cannot apply to both regular resources and non-resource URLs")
            continue
        if not rule.get("apiGroups"):
            yield required(f"{path}.apiGroups", "resource rules must supply at least one api group")
        if not rule.get("resources"):
            yield required(f"{path}.resources", "resource rules must supply at least one resource")


def _urls(path: str, urls: list[str], text: str) -> Cause:
    shown = ", ".join(json.dumps(url) for url in urls)
    return _shown(f"{path}.nonResourceURLs", f"[]string{{{shown}}}", text)


def _shown(field: str, value: str, text: str) -> Cause:
    """The cause of a bad value that is given as Go shows it."""
    return {"reason": "FieldValueInvalid", "message": f"Invalid value: {value}: {text}", "field": field}


def _binding(new: Json, old: Json | None, *, is_namespaced: bool) -> Iterator[Cause]:
    reference = new.get("roleRef") or {}
    if reference.get("apiGroup") != GROUP:
        yield not_supported("roleRef.apiGroup", reference.get("apiGroup", ""), (GROUP,))
    kinds = ("Role", "ClusterRole") if is_namespaced else ("ClusterRole",)
    if reference.get("kind") not in kinds:
        yield not_supported("roleRef.kind", reference.get("kind", ""), kinds)
    if not reference.get("name"):
        yield required("roleRef.name")
    for index, subject in enumerate(new.get("subjects") or ()):
        yield from _subject(subject, f"subjects[{index}]", is_namespaced=is_namespaced)
    if old is not None and reference != old.get("roleRef"):
        fields = (("APIGroup", "apiGroup"), ("Kind", "kind"), ("Name", "name"))
        shown = ", ".join(f"{name}:{json.dumps(reference.get(field, ''))}" for name, field in fields)
        yield _shown("roleRef", f"rbac.RoleRef{{{shown}}}", "cannot change roleRef")


def _subject(subject: Json, path: str, *, is_namespaced: bool) -> Iterator[Cause]:
    kind, name, group = subject.get("kind", ""), subject.get("name", ""), subject.get("apiGroup", "")
    if not name:
        yield required(f"{path}.name")
    if kind not in _SUBJECTS:
        yield not_supported(f"{path}.kind", kind, _SUBJECTS)
        return
    if kind == "ServiceAccount":
        for text in dns1123_subdomain(name) if name else ():
            yield invalid(f"{path}.name", name, text)
        if not is_namespaced and not subject.get("namespace"):
            yield required(f"{path}.namespace")
    if group != _SUBJECTS[kind]:
        yield not_supported(f"{path}.apiGroup", group, (_SUBJECTS[kind],))
