"""The validating webhooks of both kinds of cache, at KServe's paths and with its rules (kserve-behaviour.md 10).

A URI is cached by one LocalModelCache; the groups of a LocalModelNamespaceCache exist; a cache that services use is not
deleted. What KServe's get wrong is not done: who uses a cache is asked of the API server, not read from a status that
may be old or never filled (D-25, D-27), an update is judged by what it changes (D-26), and what KServe's minimal
definitions let through is refused here (D-24, D-28). `config/webhook` registers both (D-03).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

from localmodel.api import Cache, LocalModelCache, LocalModelNamespaceCache, LocalModelNodeGroup
from localmodel.api.names import LOCAL_MODEL_LABEL, is_label_value, is_object_name
from localmodel.runtime.client import Reader
from localmodel.runtime.errors import NotFoundError
from localmodel.runtime.objects import ObjectKey, PartialObjectMetadata, parse_quantity
from localmodel.runtime.webhook import AdmissionRequest, CustomValidator, DeniedError, Warnings, WebhookBuilder
from localmodel.runtime.webhook.builder import Registrar

from .indexes import SERVICES, cache_of_service
from .sizes import size_fault

C = TypeVar("C", bound=Cache)


def register_validators(server: Registrar, live: Reader) -> None:
    """Serves both. `live` reads from the API server itself: what admission goes by must not lag behind."""
    builder = WebhookBuilder(server)
    builder.for_(LocalModelCache).with_validator(LocalModelCacheValidator(live)).complete()
    builder.for_(LocalModelNamespaceCache).with_validator(LocalModelNamespaceCacheValidator(live)).complete()


class CacheValidator(CustomValidator[C], Generic[C]):
    """What both scopes share. The reads raise ApiError, which refuses the request with its message."""

    def __init__(self, live: Reader) -> None:
        self._live = live

    def validate_create(self, obj: C, request: AdmissionRequest) -> Warnings:  # noqa: ARG002
        _check_spec(obj)
        return [*self._judge_uri(obj), *self._judge_groups(obj, obj.spec.node_groups)]

    def validate_update(self, old: C, new: C, request: AdmissionRequest) -> Warnings:  # noqa: ARG002
        if new.is_deleting or old.spec == new.spec:
            return None
        uri = old.spec.source_model_uri
        if uri not in ("", new.spec.source_model_uri):
            raise DeniedError(f"spec.sourceModelUri: StorageUri is immutable: it stays {uri}, make another cache")
        _check_spec(new)
        added = [group for group in new.spec.node_groups if group not in old.spec.node_groups]
        return [*([] if uri else self._judge_uri(new)), *self._judge_groups(new, added)]

    def validate_delete(self, obj: C, request: AdmissionRequest) -> Warnings:  # noqa: ARG002
        for kind in SERVICES:
            for service in self._users(obj, kind):
                name = f"{service.namespace}/{service.name}" if obj.namespace else service.name
                raise DeniedError(f"{_named(obj)} is being used by {kind.mapping.gvk.kind} {name}")
        return None

    @abstractmethod
    def _judge_uri(self, cache: C) -> list[str]:
        """Warnings about a URI that the cache did not have before; raises DeniedError."""

    @abstractmethod
    def _judge_groups(self, cache: C, added: Iterable[str]) -> list[str]:
        """Warnings about groups that the cache did not name before; raises DeniedError."""

    def _users(self, cache: C, kind: type[PartialObjectMetadata]) -> list[PartialObjectMetadata]:
        if not is_label_value(cache.name):
            return []  # no service can name it
        try:
            found = self._live.list(kind, namespace=cache.namespace, labels={LOCAL_MODEL_LABEL: cache.name})
        except NotFoundError:  # the kind is not installed
            return []
        return [service for service in found if cache_of_service(service) == ObjectKey(cache.namespace, cache.name)]

    def _missing(self, groups: Iterable[str]) -> Iterator[str]:
        """Asked for one by one, as far as the caller goes on: users write the list."""
        for name in dict.fromkeys(groups):
            if not is_object_name(name) or self._live.find(LocalModelNodeGroup, name) is None:
                yield name


class LocalModelCacheValidator(CacheValidator[LocalModelCache]):
    """Of LocalModelCaches. KServe lets them name groups that come later; here that is a warning."""

    def _judge_uri(self, cache: LocalModelCache) -> list[str]:
        uri, warnings = cache.spec.source_model_uri, []
        for other in self._live.list(LocalModelCache):
            if other.name == cache.name:
                continue
            if other.spec.source_model_uri == uri:
                raise DeniedError(f"LocalModelCache {other.name} has the same StorageURI {uri}")
            if other.spec.source_model_uri.removesuffix("/") == uri.removesuffix("/"):
                warnings.append(
                    f"LocalModelCache {other.name} has {other.spec.source_model_uri}, which serves the same services: "
                    "the model lies on the nodes twice"
                )
        return warnings

    def _judge_groups(self, cache: LocalModelCache, added: Iterable[str]) -> list[str]:  # noqa: ARG002
        return [f"LocalModelNodeGroup {name} not found: the cache waits for it" for name in self._missing(added)]


class LocalModelNamespaceCacheValidator(CacheValidator[LocalModelNamespaceCache]):
    """Of LocalModelNamespaceCaches. Each namespace may cache a URI of its own."""

    def _judge_uri(self, cache: LocalModelNamespaceCache) -> list[str]:  # noqa: ARG002
        return []

    def _judge_groups(self, cache: LocalModelNamespaceCache, added: Iterable[str]) -> list[str]:  # noqa: ARG002
        for name in self._missing(added):
            raise DeniedError(f"NodeGroup {name} not found: make the LocalModelNodeGroup first, or name another")
        return []


def _check_spec(cache: Cache) -> None:
    """What the full definitions refuse themselves, and the minimal ones do not."""
    spec = cache.spec
    if not spec.source_model_uri:
        raise DeniedError("spec.sourceModelUri: say where the model comes from, as hf://org/model")
    if not spec.node_groups:
        raise DeniedError("spec.nodeGroups: name at least one LocalModelNodeGroup")
    if fault := size_fault(spec):
        raise DeniedError(f"spec: {fault}")
    try:
        parse_quantity(spec.model_size)
    except ValueError as error:
        raise DeniedError(f"spec.modelSize: {error}") from error


def _named(cache: Cache) -> str:
    kind = cache.mapping.gvk.kind
    return f"{kind} {cache.namespace}/{cache.name}" if cache.namespace else f"{kind} {cache.name}"
