"""Hypothesis strategies for requests of the API: mostly sensible ones with one thing or another wrong with them."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from hypothesis import strategies as st

from .apicore import widget_crd
from .recorded import Step

Json = dict[str, Any]

NAMES = st.sampled_from(["a", "b", "default", "w", "A_B", "a.b", "x" * 260, "..", "a%2Fb", "%ff", ""])
NAMESPACES = st.sampled_from(["default", "default", "default", "other", "nope", "A", "%00"])
PLURALS = st.sampled_from(
    ["/api/v1|configmaps", "/api/v1|secrets", "/api/v1|pods", "/api/v1|services", "/api/v1|events", "/api/v1|nodes",
     "/api/v1|namespaces", "/api/v1|serviceaccounts", "/api/v1|persistentvolumes", "/apis/apps/v1|deployments",
     "/apis/batch/v1|jobs", "/apis/example.com/v1|widgets", "/apis/coordination.k8s.io/v1|leases",
     "/apis/events.k8s.io/v1|events", "/apis/rbac.authorization.k8s.io/v1|roles",
     "/apis/apiextensions.k8s.io/v1|customresourcedefinitions", "/apis/policy/v1|poddisruptionbudgets",
     "/apis/authorization.k8s.io/v1|selfsubjectaccessreviews", "/apis/discovery.k8s.io/v1|endpointslices",
     "/apis/admissionregistration.k8s.io/v1|validatingwebhookconfigurations", "/apis/nope/v1|nopes"]
)  # fmt: skip
SUBRESOURCES = st.sampled_from(
    ["", "", "", "", "status", "scale", "binding", "eviction", "log", "token", "finalize", "x"]
)
METHODS = st.sampled_from(["GET", "GET", "POST", "POST", "PUT", "PATCH", "PATCH", "PATCH", "DELETE", "HEAD", "OPTIONS"])
TEXTS = st.one_of(st.sampled_from(["", "a", "0", "1", "-1", "true", "false", "x=y", "99999999999999999999", "\x00", "é",
                                   "All", "Exact", "NotOlderThan", "Strict", "Orphan", "a in (b", "metadata.name=a"]),
                  st.text(max_size=6))  # fmt: skip
PARAMETERS = st.sampled_from(
    ["limit", "continue", "resourceVersion", "resourceVersionMatch", "labelSelector", "fieldSelector", "watch",
     "timeoutSeconds", "sendInitialEvents", "allowWatchBookmarks", "dryRun", "fieldManager", "fieldValidation", "force",
     "gracePeriodSeconds", "propagationPolicy", "orphanDependents", "pretty", "includeObject", "export"]
)  # fmt: skip
CONTENT_TYPES = st.sampled_from(
    ["application/json", "application/json", "application/json", "application/yaml", "application/merge-patch+json",
     "application/json-patch+json", "application/strategic-merge-patch+json", "application/apply-patch+yaml",
     "application/vnd.kubernetes.protobuf", "", "text/plain", ";"]
)  # fmt: skip
ACCEPTS = st.sampled_from(
    ["", "application/json", "*/*", "application/json;as=Table;v=v1;g=meta.k8s.io,application/json", "text/html",
     "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
     "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io", "application/vnd.kubernetes.protobuf"]
)  # fmt: skip

LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**65), 2**65), st.floats(allow_nan=False, allow_infinity=False), TEXTS
)
KEYS = st.sampled_from(
    ["metadata", "spec", "status", "data", "name", "labels", "annotations", "finalizers", "ownerReferences", "uid",
     "managedFields", "resourceVersion", "kind", "apiVersion", "replicas", "selector", "template", "containers",
     "$patch",
     "image", "ports", "matchLabels", "rules", "conditions", "type", "$retainKeys", "items",
     "$setElementOrder/containers", "deletionTimestamp", "creationTimestamp", "generateName", "namespace", "fieldsV1",
     "operation", "manager", "time", "versions", "schema", "openAPIV3Schema", "properties", "names", "group", "target",
     "size", "tags", "parts", "é"]
)  # fmt: skip
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=4)),
    max_leaves=10,
)

WIDGET_CRD = widget_crd(
    size={"type": "integer", "minimum": 0},
    colour={"type": "string", "default": "red"},
    tags={"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
    parts={
        "type": "array",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["name"],
        "items": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"},
                                                                         "n": {"type": "integer"}}},
    },
)  # fmt: skip
_POD = {"containers": [{"name": "m", "image": "i", "ports": [{"containerPort": 80}]}], "restartPolicy": "Never"}
_TEMPLATE = {"metadata": {"labels": {"a": "b"}}, "spec": _POD}
OBJECTS: dict[str, Json] = {
    "configmaps": {"kind": "ConfigMap", "apiVersion": "v1", "data": {"k": "v"}},
    "secrets": {"kind": "Secret", "apiVersion": "v1", "data": {"k": "dg=="}},
    "pods": {"kind": "Pod", "apiVersion": "v1", "spec": _POD},
    "services": {"kind": "Service", "apiVersion": "v1", "spec": {"ports": [{"port": 80}], "selector": {"a": "b"}}},
    "events": {"kind": "Event", "apiVersion": "v1", "involvedObject": {"namespace": "default", "name": "a"}},
    "nodes": {"kind": "Node", "apiVersion": "v1", "spec": {}},
    "namespaces": {"kind": "Namespace", "apiVersion": "v1"},
    "serviceaccounts": {"kind": "ServiceAccount", "apiVersion": "v1"},
    "persistentvolumes": {"kind": "PersistentVolume", "apiVersion": "v1", "spec": {"capacity": {"storage": "1Gi"}}},
    "deployments": {"kind": "Deployment", "apiVersion": "apps/v1",
                    "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": _TEMPLATE}},
    "jobs": {"kind": "Job", "apiVersion": "batch/v1", "spec": {"template": {"spec": _POD}}},
    "widgets": {"kind": "Widget", "apiVersion": "example.com/v1",
                "spec": {"size": 1, "tags": ["x"], "parts": [{"name": "p", "n": 1}]}},
    "leases": {"kind": "Lease", "apiVersion": "coordination.k8s.io/v1", "spec": {"holderIdentity": "a"}},
    "roles": {"kind": "Role", "apiVersion": "rbac.authorization.k8s.io/v1", "rules": []},
    "customresourcedefinitions": {key: value for key, value in WIDGET_CRD.items() if key != "metadata"},
}  # fmt: skip


@st.composite
def bodies(draw: st.DrawFn, plural: str, name: str) -> bytes:
    """JSON of an object of the kind with something put in some place of it, anything else, or not even JSON."""
    kind = draw(st.integers(0, 11))
    if kind == 0:
        return draw(st.binary(max_size=40))
    if kind == 1:
        return json.dumps(draw(VALUES)).encode()
    if kind == 2:
        operations = st.fixed_dictionaries(
            {"op": st.sampled_from(["add", "remove", "replace", "test", "move", "copy", "x"]),
             "path": st.sampled_from(["/spec", "/metadata/labels", "/metadata", "", "/data/k", "/spec/size", "x",
                                      "/kind",
                                      "/metadata/finalizers", "/metadata/finalizers/0", "/spec/tags/-"])},
            optional={"value": VALUES, "from": st.sampled_from(["/spec", "/metadata/name", "/data"])},
        )  # fmt: skip
        return json.dumps(draw(st.lists(operations, max_size=3))).encode()
    obj: Json = json.loads(json.dumps(OBJECTS.get(plural, {"spec": {}})))
    obj["metadata"] = {"name": name} if name else {"generateName": "g-"}
    if kind >= 6:
        _disturb(draw, obj)
    text = json.dumps(obj).encode()
    return text[: draw(st.integers(0, len(text)))] if kind == 3 else text


def _disturb(draw: st.DrawFn, obj: Json) -> None:
    """Puts a value, or several, somewhere into the object."""
    for _ in range(draw(st.integers(1, 3))):
        place: Any = obj
        while True:
            inner = [key for key in (place if isinstance(place, dict) else range(len(place)))
                     if isinstance(place[key], dict | list) and place[key]]  # fmt: skip
            if not inner or draw(st.booleans()):
                break
            place = place[draw(st.sampled_from(inner))]
        value = draw(VALUES)
        if isinstance(place, list):
            place.append(value)
        else:
            place[draw(st.one_of(st.sampled_from(list(place)), KEYS) if place else KEYS)] = value


@st.composite
def requests(draw: st.DrawFn) -> Step:
    """One request."""
    base, _, plural = draw(PLURALS).partition("|")
    name, method, namespace = draw(NAMES), draw(METHODS), draw(NAMESPACES)
    is_cluster = plural in ("nodes", "namespaces", "persistentvolumes", "customresourcedefinitions") or base.endswith(
        "x"
    )
    path = (
        f"{base}/{plural}" if is_cluster or draw(st.integers(0, 9)) == 0 else f"{base}/namespaces/{namespace}/{plural}"
    )
    if method not in ("POST",) or draw(st.integers(0, 5)) == 0:
        path += f"/{name}" if name and draw(st.integers(0, 3)) else ""
        sub = draw(SUBRESOURCES)
        path += f"/{sub}" if sub and name else ""
    query = draw(st.lists(st.tuples(PARAMETERS, TEXTS), max_size=3))
    if draw(st.booleans()):
        query = []
    target = path + ("?" + "&".join(f"{k}={quote(v)}" for k, v in query) if query else "")
    headers = {"accept": draw(ACCEPTS), "content-type": draw(CONTENT_TYPES)}
    if method == "PATCH" and draw(st.booleans()):
        headers["content-type"] = "application/merge-patch+json"
    headers = {key: value for key, value in headers.items() if value}
    body = b"" if method in ("GET", "HEAD") else draw(bodies(plural, name))
    return Step(method, target, body, headers)
