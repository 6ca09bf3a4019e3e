"""Reading the cache behind an entry, of either scope."""

from __future__ import annotations

from localmodel.api.caches import Cache, LocalModelCache, LocalModelNamespaceCache
from localmodel.runtime.client import Reader


def find_cache(reader: Reader, *, name: str, namespace: str = "") -> Cache | None:
    """The LocalModelNamespaceCache of that namespace, the LocalModelCache where it is empty; None if it is gone."""
    if namespace:
        return reader.find(LocalModelNamespaceCache, name, namespace=namespace)
    return reader.find(LocalModelCache, name)
