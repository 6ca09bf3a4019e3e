"""Objects and paths that the scenarios share."""

from __future__ import annotations

from typing import Any

from support.recorded import Step, step

Json = dict[str, Any]

MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"
YAML = "application/yaml"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
METADATA_ONLY = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
METADATA_LIST = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"


def core(namespace: str, plural: str, name: str = "", sub: str = "") -> str:
    return "/".join(part for part in (f"/api/v1/namespaces/{namespace}/{plural}", name, sub) if part)


def grouped(group: str, namespace: str, plural: str, name: str = "", sub: str = "") -> str:
    return "/".join(part for part in (f"/apis/{group}/v1/namespaces/{namespace}/{plural}", name, sub) if part)


def config_map(name: str, data: Json | None = None, **metadata: Any) -> Json:
    found: Json = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, **metadata}}
    return found | ({"data": data} if data is not None else {})


def pod(name: str, **metadata: Any) -> Json:
    spec = {"containers": [{"name": "main", "image": "img:1"}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, **metadata}, "spec": spec}


def deployment(name: str, **spec: Any) -> Json:
    template = {
        "metadata": {"labels": {"app": name}},
        "spec": {"containers": [{"name": "main", "image": "img:1", "ports": [{"containerPort": 80}]}]},
    }
    wanted = {"replicas": 1, "selector": {"matchLabels": {"app": name}}, "template": template, **spec}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": wanted}


def service(name: str, **spec: Any) -> Json:
    wanted = {"selector": {"app": name}, "ports": [{"name": "http", "port": 80}], "clusterIP": "None", **spec}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": wanted}


def job(name: str) -> Json:
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "img:1"}]}}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": {"template": template}}


def widget_crd(plural: str, kind: str, **version: Any) -> Json:
    """A CRD of the group `PLURAL.test`, so that scenarios do not meet. Its spec merges lists in several ways."""
    item = {"type": "object", "properties": {"name": {"type": "string"}, "value": {"type": "string"}}}
    spec = {
        "type": "object",
        "properties": {
            "size": {"type": "integer"},
            "color": {"type": "string", "default": "red"},
            "nested": {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}}},
            "whole": {
                "type": "object",
                "x-kubernetes-map-type": "atomic",
                "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
            },
            "free": {"type": "object", "additionalProperties": {"type": "string"}},
            "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
            "tags": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
            "atoms": {"type": "array", "items": {"type": "string"}},
            "items": {
                "type": "array",
                "items": {**item, "required": ["name"]},
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["name"],
            },
        },
    }
    status = {"type": "object", "properties": {"phase": {"type": "string"}}}
    schema = {"type": "object", "properties": {"spec": spec, "status": status}}
    group = f"{plural}.test"
    served = {
        "name": "v1",
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": schema},
        **version,
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": plural, "kind": kind, "singular": kind.lower(), "listKind": f"{kind}List"},
            "versions": [served],
        },
    }


def install(crd: Json) -> Step:
    """Creates a CRD; the sender waits until it is served."""
    return step("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd, compare="a CRD's own defaults")


def custom(plural: str, kind: str, name: str, **content: Any) -> Json:
    return {"apiVersion": f"{plural}.test/v1", "kind": kind, "metadata": {"name": name}, **content}
