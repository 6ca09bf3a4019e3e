"""JSON, merge and strategic merge patches, good and bad."""

from __future__ import annotations

from typing import Any

from support.recorded import Scenario, Step, step

from .common import (
    JSON_PATCH,
    MERGE,
    STRATEGIC,
    config_map,
    core,
    custom,
    deployment,
    grouped,
    install,
    pod,
    service,
    widget_crd,
)


def _op(op: str, path: Any, **more: Any) -> dict[str, Any]:
    return {"op": op, "path": path, **more}


_JSON_PATCHES: list[Any] = [
    b"",
    b"{}",
    b"5",
    b"null",
    b"[",
    b"[]",
    [{}],
    [5],
    [None],
    [_op("nope", "/data")],
    [{"op": "add", "value": 1}],
    [_op("add", "/data/x")],
    [_op("add", "data/x", value="1")],
    [_op("add", "", value={"metadata": {"name": "a"}})],
    [_op("add", 5, value=1)],
    [_op("test", "/data/k", value="v")],
    [_op("test", "/data/k", value="w")],
    [_op("test", "/data/nope", value=None)],
    [_op("test", "/nope/nope", value="x")],
    [_op("remove", "/data/nope")],
    [_op("remove", "/nope/nope")],
    [_op("replace", "/data/nope", value="x")],
    [_op("replace", "/data/k", value=5)],
    [_op("add", "/data/new", value="1"), _op("remove", "/data/new")],
    [_op("add", "/data/a~1b", value="1")],
    [_op("add", "/data/a.b", value="1")],
    [_op("add", "/metadata/labels", value={"x": "y"})],
    [_op("add", "/metadata/labels/z", value="1")],
    [_op("add", "/metadata/finalizers", value=["a.b/c"])],
    [_op("add", "/metadata/finalizers/-", value="a.b/d")],
    [_op("add", "/metadata/finalizers/0", value="a.b/e")],
    [_op("add", "/metadata/finalizers/9", value="a.b/f")],
    [_op("add", "/metadata/finalizers/-1", value="a.b/g")],
    [_op("add", "/metadata/finalizers/x", value="a.b/g")],
    [_op("remove", "/metadata/finalizers/7")],
    [_op("remove", "/metadata/finalizers/-1")],
    [_op("copy", "/data/copy", **{"from": "/data/k"})],
    [_op("copy", "/data/copy")],
    [_op("copy", "/data/copy2", **{"from": "/data/nope"})],
    [_op("move", "/data/moved", **{"from": "/data/copy"})],
    [_op("move", "/data/moved", **{"from": "/data/nope"})],
    [_op("remove", "/metadata/finalizers")],
    [_op("remove", "/metadata")],
    [_op("remove", "/kind")],
    [_op("remove", "")],
    [_op("replace", "/metadata/name", value="b")],
    [_op("replace", "/metadata/resourceVersion", value="1")],
    [_op("replace", "/kind", value="Secret")],
    [_op("add", "/data", value={"only": "this"})],
    [_op("add", "/unknown", value=1)],
    [_op("test", "/metadata/name", value="a")] * 10001,
]

_MERGES: list[Any] = [
    b"",
    b"[]",
    b"5",
    b"null",
    b'"x"',
    b"{",
    b'{"a":NaN}',
    {},
    {"data": None},
    {"data": {"a": "1", "b": None}},
    {"data": {"a": None}},
    {"data": 5},
    {"data": [1]},
    {"data": {"a": 5}},
    {"unknown": {"a": None}},
    {"metadata": {"labels": {"a": "b"}}},
    {"metadata": {"labels": {"a": "b"}}},
    {"metadata": {"labels": {}}},
    {"metadata": {"labels": None}},
    {"metadata": {"finalizers": ["x.y/z"]}},
    {"metadata": {"finalizers": []}},
    {"immutable": None},
    {"immutable": "x"},
    {"binaryData": {"x": "aGk="}},
    {"binaryData": {"x": "!!"}},
    {"binaryData": None, "data": {"z": "1"}},
    {"$patch": "replace", "data": {"x": "1"}},
    {"status": {"x": 1}},
    {"kind": "ConfigMap", "apiVersion": "v1"},
]

_DEPLOYMENT = grouped("apps", "r-strategic", "deployments", "d")


def _containers(*items: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {"spec": {"template": {"spec": {"containers": list(items), **spec}}}}


_STRATEGIC: list[Any] = [
    b"",
    b"[]",
    b"5",
    b"null",
    {},
    {"spec": {"replicas": 2}},
    {"spec": {"replicas": None}},
    {"spec": {"replicas": "x"}},
    _containers({"name": "main", "image": "img:2"}),
    _containers({"name": "side", "image": "side:1"}),
    _containers({"image": "img:3"}),
    _containers({"name": "main", "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]}),
    _containers({"name": "main", "env": [{"name": "A", "$patch": "delete"}, {"name": "C", "value": "3"}]}),
    _containers({"name": "main", "env": [{"$patch": "replace"}, {"name": "D", "value": "4"}]}),
    _containers({"name": "main", "ports": [{"containerPort": 81, "name": "x"}]}),
    _containers({"name": "main", "ports": [{"containerPort": 80, "$patch": "delete"}]}),
    _containers({"name": "main", "command": ["a", "b"], "args": ["c"]}),
    _containers({"name": "main", "command": ["d"]}),
    _containers({"name": "main", "command": None}),
    _containers({"name": "main", "args": []}),
    _containers({"name": "side", "$patch": "delete"}),
    _containers({"name": "nope", "$patch": "delete"}),
    _containers({"name": "main", "$patch": "nope"}),
    _containers({"$patch": "delete"}),
    _containers({"$patch": "nope"}),
    _containers(5),  # type: ignore[arg-type]
    _containers({"name": "main", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}, volumes=[{"name": "v"}]),
    _containers(volumes=[{"name": "v", "hostPath": {"path": "/h"}}]),
    _containers(volumes=[{"name": "v", "$retainKeys": ["name", "configMap"], "configMap": {"name": "c"}}]),
    _containers(volumes=[{"name": "v", "$retainKeys": ["configMap"], "emptyDir": {}}]),
    _containers(volumes=[{"name": "v", "$retainKeys": "x"}]),
    _containers(
        volumes=[{"name": "w", "emptyDir": {}}], **{"$setElementOrder/volumes": [{"name": "w"}, {"name": "v"}]}
    ),
    _containers(**{"$setElementOrder/volumes": [{"name": "v"}, {"name": "w"}]}),
    _containers(**{"$setElementOrder/volumes": "x"}),
    _containers(
        {"name": "zz", "image": "z"},
        {"name": "aa", "image": "a"},
        **{"$setElementOrder/containers": [{"name": "zz"}, {"name": "main"}, {"name": "aa"}]},
    ),
    _containers(**{"$setElementOrder/containers": [{"name": "aa"}, {"name": "main"}, {"name": "zz"}]}),
    _containers({"name": "aa", "image": "b"}, **{"$setElementOrder/containers": [{"name": "main"}]}),
    {"spec": {"selector": {"$patch": "replace", "matchLabels": {"app": "d"}}}},
    {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}},
    {"spec": {"strategy": {"$patch": "replace", "type": "RollingUpdate"}}},
    {"spec": {"strategy": None}},
    {"spec": {"strategy": {"$patch": "nope"}}},
    {"spec": {"template": {"metadata": {"labels": {"b": "c"}, "annotations": {"x": "y"}}}}},
    {"spec": {"template": {"metadata": {"annotations": {"$patch": "delete"}}}}},
    {"spec": {"template": {"metadata": {"annotations": None}}}},
    {"metadata": {"finalizers": ["a.b/c", "a.b/d"]}},
    {"metadata": {"finalizers": ["a.b/e"]}},
    {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a.b/c"]}},
    {
        "metadata": {
            "$setElementOrder/finalizers": ["a.b/e", "a.b/f", "a.b/d"],
            "finalizers": ["a.b/f"],
        }
    },
    {"metadata": {"$deleteFromPrimitiveList/finalizers": "x"}},
    {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a.b/d", "a.b/e", "a.b/f"]}},
    {"metadata": {"ownerReferences": [{"uid": "u1", "apiVersion": "v1", "kind": "Pod", "name": "p"}]}},
    {"metadata": {"ownerReferences": [{"uid": "u2", "apiVersion": "v1", "kind": "Pod", "name": "q"}]}},
    {"metadata": {"ownerReferences": [{"uid": "u1", "$patch": "delete"}]}},
    {"metadata": {"ownerReferences": [{"$patch": "replace"}]}},
    {"unknown": 1},
    {"spec": {"unknown": {"x": 1}}},
    {"$patch": "delete"},
    {"$patch": "replace"},
    {"$patch": 5},
    {"status": {"replicas": 5}},
]

_POD = core("r-strategicpod", "pods", "p")


def _patches(target: str, bodies: list[Any], content_type: str) -> tuple[Step, ...]:
    return tuple(step("PATCH", target, body, content_type=content_type) for body in bodies)


_GADGET = grouped("pgadgets.test", "r-custompatch", "pgadgets", "g")

SCENARIOS = (
    Scenario(
        "r-jsonpatch",
        (
            step("POST", core("r-jsonpatch", "configmaps"), config_map("a", {"k": "v"})),
            *_patches(core("r-jsonpatch", "configmaps", "a"), _JSON_PATCHES, JSON_PATCH),
            step("PATCH", core("r-jsonpatch", "configmaps", "nope"), [], content_type=JSON_PATCH),
            step("GET", core("r-jsonpatch", "configmaps", "a")),
        ),
    ),
    Scenario(
        "r-mergepatch",
        (
            step("POST", core("r-mergepatch", "configmaps"), config_map("a", {"k": "v"})),
            *_patches(core("r-mergepatch", "configmaps", "a"), _MERGES, MERGE),
            step("GET", core("r-mergepatch", "configmaps", "a")),
        ),
    ),
    Scenario(
        "r-strategic",
        (
            step("POST", grouped("apps", "r-strategic", "deployments"), deployment("d")),
            *_patches(_DEPLOYMENT, _STRATEGIC, STRATEGIC),
            step("GET", _DEPLOYMENT),
        ),
    ),
    Scenario(
        "r-strategicpod",
        (
            step("POST", core("r-strategicpod", "pods"), pod("p")),
            *_patches(
                _POD,
                [
                    {"spec": {"tolerations": [{"key": "a", "operator": "Exists"}]}},
                    {"spec": {"tolerations": [{"key": "b", "operator": "Exists"}]}},
                    {"spec": {"containers": [{"name": "main", "image": "img:9"}]}},
                    {"metadata": {"labels": {"a": "b"}}},
                ],
                STRATEGIC,
            ),
            *_patches(
                f"{_POD}/status",
                [
                    {"status": {"conditions": [{"type": "Ready", "status": "True"}]}},
                    {"status": {"conditions": [{"type": "Other", "status": "False"}], "phase": "Running"}},
                    {"status": {"conditions": [{"type": "Ready", "status": "False", "reason": "x"}]}},
                    {"status": {"conditions": [{"type": "Other", "$patch": "delete"}]}},
                    {"spec": {"nodeName": "n"}, "metadata": {"labels": {"x": "y"}}},
                    {"status": {"podIPs": [{"ip": "10.0.0.1"}], "podIP": "10.0.0.1"}},
                ],
                STRATEGIC,
            ),
            step("POST", core("r-strategicpod", "services"), service("s")),
            *_patches(
                core("r-strategicpod", "services", "s"),
                [
                    {"spec": {"ports": [{"port": 81, "name": "x"}]}},
                    {"spec": {"ports": [{"port": 80, "targetPort": 8080}]}},
                    {"spec": {"ports": [{"port": 81, "$patch": "delete"}]}},
                    {"spec": {"selector": {"b": "c"}}},
                    {"spec": {"selector": {"app": None}}},
                ],
                STRATEGIC,
            ),
        ),
    ),
    Scenario(
        "r-custompatch",
        (
            install(widget_crd("pgadgets", "PGadget")),
            step(
                "POST",
                grouped("pgadgets.test", "r-custompatch", "pgadgets"),
                custom("pgadgets", "PGadget", "g", spec={"size": 1, "items": [{"name": "a"}], "tags": ["x"]}),
            ),
            *_patches(_GADGET, [{}, {"spec": {"size": 2}}], STRATEGIC),
            *_patches(
                _GADGET,
                [
                    {"spec": {"size": 2}},
                    {"spec": {"size": 2}},
                    {"spec": {"size": None}},
                    {"spec": {"color": None}},
                    {"spec": {"items": [{"name": "b"}]}},
                    {"spec": {"items": [{"name": "b"}, {"name": "b"}]}},
                    {"spec": {"items": [{"value": "b"}]}},
                    {"spec": {"tags": ["x", "x"]}},
                    {"spec": {"size": "x"}},
                    {"spec": {"any": {"x": None, "y": {"z": None}}}},
                    {"spec": {"free": {"a": None, "b": "c"}}},
                    {"spec": {"free": {"a": 5}}},
                    {"spec": 5},
                    {"spec": None},
                    {"status": {"phase": "x"}},
                    {"other": 1},
                    {"metadata": {"other": 1}},
                    {"metadata": {"labels": {"a": 5}}},
                    {"metadata": {"labels": "x"}},
                    {"metadata": {"name": "b"}},
                    {"kind": "Other"},
                    {"apiVersion": "pgadgets.test/v2"},
                    b"[]",
                    b"x",
                ],
                MERGE,
            ),
            *_patches(f"{_GADGET}/status", [{"status": {"phase": "x"}}, {"spec": {"size": 5}}, {"status": 5}], MERGE),
            *_patches(
                _GADGET,
                [
                    [_op("add", "/spec", value={})],
                    [_op("add", "/spec/size", value=7)],
                    [_op("replace", "/spec/size", value="x")],
                    [_op("remove", "/spec/nope")],
                    [_op("test", "/spec/size", value=7.0)],
                    [_op("test", "/spec/size", value=8)],
                ],
                JSON_PATCH,
            ),
            step("GET", _GADGET),
        ),
    ),
    Scenario(
        "r-patchnone",
        tuple(
            step("PATCH", core("r-patchnone", "configmaps", "none"), body, content_type=content_type)
            for content_type, body in (
                (JSON_PATCH, {"op": "remove"}),
                (JSON_PATCH, [_op("odd", "/x")]),
                (JSON_PATCH, []),
                (MERGE, ["no object"]),
                (MERGE, {"kind": "Other"}),
                (STRATEGIC, ["no object"]),
                (STRATEGIC, {"$patch": "delete"}),
            )
        ),
    ),
)
