"""Reading the cache behind an entry, of either scope."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from localmodel.runtime.client import Reader
from localmodel.runtime.errors import ForbiddenError, NotFoundError
from localmodel.runtime.objects import ObjectKey

if TYPE_CHECKING:
    from localmodel.api.caches import Cache

log = structlog.get_logger(__name__)


def find_cache(reader: Reader, *, name: str, namespace: str = "") -> Cache | None:
    """The LocalModelNamespaceCache of that namespace, the LocalModelCache where it is empty; None if it is gone.

    Raises ApiError and TransportError; NotFoundError where the kind itself is not found.
    """
    # Imported here: an idle agent never needs it.
    from localmodel.api.caches import LocalModelCache, LocalModelNamespaceCache

    try:
        if namespace:
            return reader.get(LocalModelNamespaceCache, name, namespace=namespace)
        return reader.get(LocalModelCache, name)
    except NotFoundError as error:
        if not (error.status.get("details") or {}).get("name"):
            raise  # The kind is not served, as for a moment while an API server starts: that says nothing of the cache.
        return None


def is_wanted_by(reader: Reader, cache: ObjectKey, uri: str, *, unless_told: bool = False) -> bool:
    """Whether the cache exists, is not being deleted and names this URI.

    `unless_told` is the answer where caches may not be read, as under KServe's role.
    """
    try:
        found = find_cache(reader, name=cache.name, namespace=cache.namespace)
    except ForbiddenError as error:
        log.debug("a cache may not be read", cache=str(cache), error=str(error))
        return unless_told
    return found is not None and not found.is_deleting and found.spec.source_model_uri == uri
