"""Discovery documents: which groups, versions and resources are served.

Clients that ask for it get the aggregated form (one document each for /api and /apis); they recognize it by the
Content-Type of the answer alone, so that must carry the parameters. Others walk the legacy documents.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from .builtins import Subresource
from .messages import JSON, Response
from .negotiation import media_types

Json = dict[str, Any]


class ApiResource(msgspec.Struct, frozen=True, kw_only=True):
    """One served resource, as discovery shows it."""

    group: str
    version: str
    kind: str
    plural: str
    singular: str
    namespaced: bool
    verbs: tuple[str, ...]
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: tuple[Subresource, ...] = ()


def _group_versions(resources: Iterable[ApiResource]) -> dict[str, dict[str, list[ApiResource]]]:
    """Resources by group and version: groups in the order in which they are registered, resources by name."""
    groups: dict[str, dict[str, list[ApiResource]]] = {}
    for group in dict.fromkeys(resource.group for resource in resources):
        groups[group] = {}
    for resource in sorted(resources, key=lambda resource: resource.plural):
        groups.setdefault(resource.group, {}).setdefault(resource.version, []).append(resource)
    return groups


def aggregated_version(accept: str) -> str | None:
    """v2 or v2beta1 if the client prefers the aggregated form, else None."""
    for name, parameters in media_types(accept):
        if name != JSON:
            continue
        if parameters.get("as") != "APIGroupDiscoveryList":
            return None
        if parameters.get("g") == "apidiscovery.k8s.io" and parameters.get("v") in ("v2", "v2beta1"):
            return parameters["v"]
    return None


def root(path: str, accept: str, resources: Sequence[ApiResource], *, server: str) -> Response:
    """The answer to /api and /apis."""
    groups = _group_versions(resources)
    core = path == "/api"
    wanted = {group: versions for group, versions in groups.items() if (group == "") == core}
    version = aggregated_version(accept)
    if version is not None:
        document = {
            "kind": "APIGroupDiscoveryList",
            "apiVersion": f"apidiscovery.k8s.io/{version}",
            "metadata": {},
            "items": [_aggregated_group(group, versions) for group, versions in wanted.items()],
        }
        content_type = f"{JSON};g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"
        return Response.of_json(document, content_type=content_type)
    if core:
        host = server.partition("://")[2]
        addresses = [{"clientCIDR": "0.0.0.0/0", "serverAddress": host}]
        return Response.of_json({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": addresses})
    items = [legacy_group(group, list(versions)) for group, versions in wanted.items()]
    return Response.of_json({"kind": "APIGroupList", "apiVersion": "v1", "groups": items})


def group_document(group: str, resources: Sequence[ApiResource]) -> Json | None:
    """The answer to /apis/GROUP, None if there is no such group."""
    versions = _group_versions(resources).get(group)
    if versions is None:
        return None
    return {"kind": "APIGroup", "apiVersion": "v1", **legacy_group(group, list(versions))}


def legacy_group(group: str, versions: list[str]) -> Json:
    named = [{"groupVersion": f"{group}/{version}", "version": version} for version in versions]
    return {"name": group, "versions": named, "preferredVersion": named[0]}


def version_document(group: str, version: str, resources: Sequence[ApiResource]) -> Json | None:
    """The answer to /api/v1 and /apis/GROUP/VERSION, None if nothing is served there."""
    served = _group_versions(resources).get(group, {}).get(version)
    if served is None:
        return None
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": f"{group}/{version}" if group else version,
        "resources": [entry for resource in served for entry in _legacy_resource(resource)],
    }


def _legacy_resource(resource: ApiResource) -> list[Json]:
    entry: Json = {
        "name": resource.plural,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": list(resource.verbs),
    }
    if resource.short_names:
        entry["shortNames"] = list(resource.short_names)
    if resource.categories:
        entry["categories"] = list(resource.categories)
    entries = [entry]
    for subresource in resource.subresources:
        entry = {
            "name": f"{resource.plural}/{subresource.name}",
            "singularName": "",
            "namespaced": resource.namespaced,
            "kind": subresource.kind or resource.kind,
            "verbs": list(subresource.verbs),
        }
        if subresource.kind:
            entry |= {"group": subresource.group, "version": subresource.version}
        entries.append(entry)
    return entries


def _aggregated_group(group: str, versions: dict[str, list[ApiResource]]) -> Json:
    return {
        "metadata": {"name": group, "creationTimestamp": None},
        "versions": [
            {"version": version, "freshness": "Current", "resources": [_aggregated_resource(r) for r in resources]}
            for version, resources in versions.items()
        ],
    }


def _aggregated_resource(resource: ApiResource) -> Json:
    entry: Json = {
        "resource": resource.plural,
        "responseKind": {"group": resource.group, "version": resource.version, "kind": resource.kind},
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": resource.singular,
        "verbs": list(resource.verbs),
    }
    if resource.short_names:
        entry["shortNames"] = list(resource.short_names)
    if resource.categories:
        entry["categories"] = list(resource.categories)
    if resource.subresources:
        entry["subresources"] = [
            {
                "subresource": subresource.name,
                "responseKind": {
                    "group": subresource.group if subresource.kind else resource.group,
                    "version": subresource.version or resource.version,
                    "kind": subresource.kind or resource.kind,
                },
                "verbs": list(subresource.verbs),
            }
            for subresource in resource.subresources
        ]
    return entry
