"""Where a server serves which kind (meta.RESTMapper), learnt by discovery.

One aggregated document each for /api and /apis where the server has them (1.26 and later), else the list of groups and
one document per group and version. What was learnt is kept; a kind that is not in it has it learnt anew, because a
CustomResourceDefinition may have come meanwhile, but not more often than each `REFRESH_PERIOD`: a program that asks for
a kind that never comes must not load the server.
https://kubernetes.io/docs/concepts/overview/kubernetes-api/#aggregated-discovery
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

import msgspec
import structlog

from .clock import Clock, RealClock
from .errors import ApiError, NoKindMatchError, NotFoundError, ServiceUnavailableError, TransportError
from .objects import RESTMapping

log = structlog.get_logger(__name__)

D = TypeVar("D")

REFRESH_PERIOD = 10.0
"""Seconds from one discovery to the next."""
_AGGREGATED = "application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"
_ACCEPT = ",".join((_AGGREGATED.format(version="v2"), _AGGREGATED.format(version="v2beta1"), "application/json"))


class RESTMapper(Protocol):
    """Finds where a kind is served."""

    def mapping(self, group: str, kind: str, version: str = "") -> RESTMapping:
        """In the given version, else in the one that the server prefers. Raises NoKindMatchError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class APIResource:
    """One resource as discovery shows it."""

    mapping: RESTMapping
    subresources: frozenset[str] = frozenset()


class Requests(Protocol):
    """What discovery needs of `request.Requester`."""

    def request(self, method: str, path: str, *, accept: str) -> bytes: ...


Versions = dict[str, APIResource]
"""The resource of one kind by version, the one that the server prefers first."""


class DiscoveryRESTMapper(RESTMapper):
    """Asks the API server. Thread-safe: one thread asks while others that need the answer wait for it."""

    def __init__(self, requester: Requests, *, clock: Clock | None = None, period: float = REFRESH_PERIOD) -> None:
        self._requester = requester
        self._clock = clock or RealClock()
        self._period = period
        self._lock = threading.Lock()
        """Held while discovering."""
        self._known: Mapping[tuple[str, str], Versions] = {}
        """By group and kind. Replaced as a whole, so that readers need no lock."""
        self._failed: dict[tuple[str, str], ApiError | TransportError] = {}
        """By group and version: why the last discovery did not learn what it serves."""
        self._learnt_at = float("-inf")

    def mapping(self, group: str, kind: str, version: str = "") -> RESTMapping:
        return self.resource(group, kind, version).mapping

    def resource(self, group: str, kind: str, version: str = "") -> APIResource:
        """The mapping and what else discovery tells. Raises NoKindMatchError, and what a request raises."""
        found = self._find(group, kind, version)
        if found is None:
            with self._lock:
                self._refresh()
            found = self._find(group, kind, version)
        if found is None:
            for (failed_group, failed_version), error in self._failed.items():
                if failed_group == group and version in ("", failed_version):
                    raise error.with_traceback(None)
            served = ", ".join(self._known.get((group, kind), ()))
            raise NoKindMatchError(
                f"the server serves no {kind} in {'/'.join(filter(None, (group, version))) or 'the core group'}"
                + (f", only in version {served}" if served else ": install its CustomResourceDefinition")
            )
        return found

    def _find(self, group: str, kind: str, version: str) -> APIResource | None:
        versions = self._known.get((group, kind), {})
        return versions.get(version) if version else next(iter(versions.values()), None)

    def _refresh(self) -> None:
        if self._clock.monotonic() - self._learnt_at < self._period:
            return
        former = [resource for versions in self._known.values() for resource in versions.values()]
        self._failed = {}
        known: dict[tuple[str, str], Versions] = {}
        for resource in self._discover():
            _add(known, resource)
        for resource in former:
            if (resource.mapping.gvk.group, resource.mapping.gvk.version) in self._failed:
                _add(known, resource)
        self._known, self._learnt_at = known, self._clock.monotonic()

    def _discover(self) -> Iterator[APIResource]:
        """A version that fails is passed over, as an aggregated API server that is down must not hide the rest."""
        for root in ("/api", "/apis"):
            document = self._document(root, _Root, accept=_ACCEPT)
            if document.kind == "APIGroupDiscoveryList":
                yield from self._aggregated(document.items or ())
            elif root == "/api":
                yield from self._walk("", document.core_versions or ())
            else:
                for group in document.groups or ():
                    yield from self._walk(group.name, group.ordered)

    def _aggregated(self, groups: Iterable[_AggregatedGroup]) -> Iterator[APIResource]:
        for group in groups:
            for version in group.versions:
                yield from _resources_of(group.metadata.name, version)
                if version.freshness == "Stale":
                    why = ServiceUnavailableError.of("the API server could not ask the one behind it lately")
                    self._fail(group.metadata.name, version.version, why)

    def _walk(self, group: str, versions: Iterable[str]) -> Iterator[APIResource]:
        """The resources of a group, version by version."""
        for version in versions:
            path = f"/apis/{group}/{version}" if group else f"/api/{version}"
            try:
                found = self._document(path, _Resources, accept="application/json")
            except NotFoundError:
                continue  # gone since it was listed
            except (ApiError, TransportError) as error:
                self._fail(group, version, error)
                continue
            yield from _legacy(group, version, found.resources or ())

    def _document(self, path: str, type_: type[D], *, accept: str) -> D:
        body = self._requester.request("GET", path, accept=accept)
        try:
            return msgspec.json.decode(body, type=type_)
        except msgspec.MsgspecError as error:
            raise TransportError(f"GET {path}: what came is no discovery document: {error}") from error

    def _fail(self, group: str, version: str, error: ApiError | TransportError) -> None:
        log.warning("cannot discover a group", group=group, version=version, error=str(error))
        self._failed[group, version] = error


def _add(known: dict[tuple[str, str], Versions], resource: APIResource) -> None:
    gvk = resource.mapping.gvk
    known.setdefault((gvk.group, gvk.kind), {}).setdefault(gvk.version, resource)


class _GroupVersionKind(msgspec.Struct):
    group: str = ""
    version: str = ""
    kind: str = ""


class _Named(msgspec.Struct):
    name: str = ""


class _AggregatedSubresource(msgspec.Struct):
    subresource: str


class _AggregatedResource(msgspec.Struct, rename="camel"):
    resource: str
    scope: str = "Namespaced"
    response_kind: _GroupVersionKind | None = None
    """None where only subresources are served."""
    subresources: tuple[_AggregatedSubresource, ...] = ()


class _AggregatedVersion(msgspec.Struct):
    version: str
    resources: tuple[_AggregatedResource, ...] = ()
    freshness: str = "Current"


class _AggregatedGroup(msgspec.Struct):
    metadata: _Named = msgspec.field(default_factory=_Named)
    versions: tuple[_AggregatedVersion, ...] = ()


class _Version(msgspec.Struct):
    version: str = ""


class _Group(msgspec.Struct, rename="camel"):
    name: str
    versions: tuple[_Version, ...] = ()
    preferred_version: _Version = msgspec.field(default_factory=_Version)

    @property
    def ordered(self) -> list[str]:
        """The preferred version first."""
        return sorted((v.version for v in self.versions), key=lambda version: version != self.preferred_version.version)


class _Root(msgspec.Struct):
    """An APIGroupDiscoveryList, an APIGroupList or an APIVersions."""

    kind: str
    items: tuple[_AggregatedGroup, ...] | None = None
    groups: tuple[_Group, ...] | None = None
    core_versions: tuple[str, ...] | None = msgspec.field(default=None, name="versions")


class _Resource(msgspec.Struct):
    name: str
    kind: str
    namespaced: bool = False


class _Resources(msgspec.Struct):
    resources: tuple[_Resource, ...] | None = None
    """None as Go writes an empty list."""


def _resources_of(group: str, version: _AggregatedVersion) -> Iterator[APIResource]:
    for resource in version.resources:
        kind = resource.response_kind
        if kind is not None:
            yield APIResource(
                mapping=RESTMapping.of(
                    group, version.version, kind.kind, resource.resource, namespaced=resource.scope != "Cluster"
                ),
                subresources=frozenset(sub.subresource for sub in resource.subresources),
            )


def _legacy(group: str, version: str, resources: Iterable[_Resource]) -> Iterator[APIResource]:
    """Subresources are listed beside their resource, as `deployments/scale`."""
    subresources: dict[str, set[str]] = {}
    for resource in resources:
        parent, _, subresource = resource.name.partition("/")
        if subresource:
            subresources.setdefault(parent, set()).add(subresource)
    for resource in resources:
        if "/" not in resource.name:
            yield APIResource(
                mapping=RESTMapping.of(group, version, resource.kind, resource.name, namespaced=resource.namespaced),
                subresources=frozenset(subresources.get(resource.name, ())),
            )
