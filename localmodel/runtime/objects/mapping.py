"""What names a kind and an object: `GroupVersionKind`, `RESTMapping`, `ObjectKey`. Needs no pydantic to be imported."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import msgspec

_NOT_IN_SEGMENT = re.compile(r"^\.\.?$|[^\x21-\x7e]|[/?#%]")
"""What leads to another place than a name does (rest.IsValidPathSegmentName, and what would have to be escaped)."""


@dataclass(frozen=True, slots=True)
class GroupVersionKind:
    """Group (empty for the core group), version and kind."""

    group: str
    version: str
    kind: str
    api_version: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "api_version", f"{self.group}/{self.version}" if self.group else self.version)

    def __str__(self) -> str:
        return f"{self.api_version}, Kind={self.kind}"


@dataclass(frozen=True, slots=True)
class RESTMapping:
    """Where a kind is served (meta.RESTMapping): its plural and whether it lives in namespaces."""

    gvk: GroupVersionKind
    plural: str
    namespaced: bool = True
    group_resource: str = field(init=False, repr=False, compare=False)
    """`plural.group`, or `plural` for the core group: as errors and RBAC messages name a resource."""

    def __post_init__(self) -> None:
        name = f"{self.plural}.{self.gvk.group}" if self.gvk.group else self.plural
        object.__setattr__(self, "group_resource", name)

    @classmethod
    def of(cls, group: str, version: str, kind: str, plural: str = "", *, namespaced: bool = True) -> RESTMapping:
        """`plural` defaults to the kind in lower case with an s."""
        return cls(GroupVersionKind(group, version, kind), plural or f"{kind.lower()}s", namespaced)

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """The URL path of a collection, an object or a subresource; a namespace is ignored for cluster-scoped kinds.

        Raises ValueError for what would lead elsewhere: no object can have such a name.
        """
        for segment in (namespace, name):
            if _NOT_IN_SEGMENT.search(segment):
                raise ValueError(f"{segment!r} is no part of a path: no object can have it as its name")
        parts = ["/apis/" + self.gvk.api_version if self.gvk.group else "/api/" + self.gvk.version]
        if self.namespaced and namespace:
            parts += ["namespaces", namespace]
        parts += [part for part in (self.plural, name, subresource) if part]
        return "/".join(parts)


class ObjectKey(msgspec.Struct, frozen=True, order=True, gc=False):
    """Namespace (empty for cluster scope) and name (client.ObjectKey)."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name

    @classmethod
    def parse(cls, text: str) -> ObjectKey:
        """The key of "namespace/name" or "name"."""
        namespace, _, name = text.rpartition("/")
        return cls(namespace, name)
