"""Which services use a cache, and which volumes they need: found by the labels that KServe's defaulting sets.

Services are watched metadata-only; their kinds may not be installed. A kind that is not served is unknown, not empty:
then nothing is concluded from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from localmodel.api import Cache, NamespacedName
from localmodel.api.names import NODE_GROUP_ANNOTATION, PVC_NAME_ANNOTATION, serving_pvc_name, status_key
from localmodel.runtime.cache import KindNotServedError
from localmodel.runtime.client import Reader
from localmodel.runtime.objects import PartialObjectMetadata

from .indexes import BY_CACHE, InferenceService, LLMInferenceService
from .status import Problem, listed


@dataclass(frozen=True, slots=True, kw_only=True)
class Consumers:
    """The services of one cache, sorted by namespace and name."""

    inference_services: tuple[NamespacedName, ...] = ()
    llm_inference_services: tuple[NamespacedName, ...] = ()
    claims: frozenset[tuple[str, str]] = frozenset()
    """Namespace and node group of each serving claim that they need."""
    complete: bool = True
    """False: there were services of a kind that is not served now, so nothing may be removed."""
    strays: tuple[str, ...] = ()
    """Those that name a node group which the cache does not have, with it: they need no claim that it could make."""

    @property
    def problems(self) -> list[Problem]:
        """What the cache shows of its services: one problem, or none. It is the services' own, and so no failure."""
        if not self.strays:
            return []
        message = (
            f"no claim is made for {listed('service', self.strays)}, whose annotation {NODE_GROUP_ANNOTATION} names a "
            "group that the cache does not have: correct it, or add the group to the cache"
        )
        return [Problem(reason="NodeGroupNotOfCache", message=message, own=False)]


GroupOf = Callable[[PartialObjectMetadata], str]
"""The group that a service's own node selector admits; empty if it does not say."""


def consumers_of(reader: Reader, cache: Cache, admitted: GroupOf = lambda _: "") -> Consumers:
    """The services that use the cache now. Those of a kind that is not served stay as the status has them.

    `admitted` is asked about services that name no group, where the cache has several.
    """
    services = _labelled(reader, InferenceService, cache)
    llm_services = _labelled(reader, LLMInferenceService, cache)
    names = tuple(cache.status.inference_services) if services is None else _names(services)
    llm_names = tuple(cache.status.llm_inference_services) if llm_services is None else _names(llm_services)
    found = [*(services or ()), *(llm_services or ())]
    return Consumers(
        inference_services=names,
        llm_inference_services=llm_names,
        claims=frozenset(
            (service.namespace, group) for service in found for group in _groups_of(service, cache, admitted)
        ),
        complete=not (services is None and names) and not (llm_services is None and llm_names),
        strays=tuple(
            f"{service.namespace}/{service.name} ({named})"
            for service in found
            if (named := _named_group(service)) is not None and named not in cache.spec.node_groups
        ),
    )


def services_on(
    reader: Reader, cache: Cache, group: str, admitted: GroupOf
) -> tuple[list[PartialObjectMetadata], bool]:
    """The services that use the cache on the nodes of one of its groups.

    With False where services of a kind that is not served now may be missing.
    """
    found = [(_labelled(reader, InferenceService, cache), cache.status.inference_services)]
    found += [(_labelled(reader, LLMInferenceService, cache), cache.status.llm_inference_services)]
    services = [s for served, _ in found for s in served or () if group in _groups_of(s, cache, admitted)]
    return services, not any(served is None and names for served, names in found)


def _labelled(reader: Reader, kind: type[PartialObjectMetadata], cache: Cache) -> list[PartialObjectMetadata] | None:
    """None where the kind is not served."""
    try:
        return reader.list(kind, fields={BY_CACHE: status_key(cache.name, cache.namespace)})
    except KindNotServedError:
        return None


def _names(services: list[PartialObjectMetadata]) -> tuple[NamespacedName, ...]:
    return tuple(NamespacedName(namespace=service.namespace, name=service.name) for service in services)


def _groups_of(service: PartialObjectMetadata, cache: Cache, admitted: GroupOf) -> Iterable[str]:
    """The groups whose claims the service needs: the one that it names, if it is the cache's; without a name the one
    that its own node selector admits, else the cache's first (D-80).

    KServe's defaulting knows of no selector: its annotation says which claim the pods mount, so that one is needed too.
    """
    groups = cache.spec.node_groups
    named = _named_group(service)
    if named is not None:
        return [named] if named in groups else []
    claim = service.metadata.annotations.get(PVC_NAME_ANNOTATION)
    mounted = [group for group in groups if serving_pvc_name(cache.name, group) == claim]
    chosen = admitted(service) if len(groups) > 1 else ""
    return dict.fromkeys([chosen or next(iter([*mounted, *groups]), ""), *mounted]) if groups else []


def _named_group(service: PartialObjectMetadata) -> str | None:
    return service.metadata.annotations.get(NODE_GROUP_ANNOTATION)
