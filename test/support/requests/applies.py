"""Server-side apply: managedFields, conflicts, merging and removal, subresources, resets."""

from __future__ import annotations

from typing import Any

from support.recorded import Scenario, Step, step

from .common import (
    APPLY,
    JSON_PATCH,
    MERGE,
    config_map,
    core,
    custom,
    deployment,
    grouped,
    install,
    service,
    widget_crd,
)

Json = dict[str, Any]


def _apply(target: str, body: Any, manager: str, *, force: bool = False, query: str = "", **more: str) -> Step:
    forced = "&force=true" if force else ""
    return step("PATCH", f"{target}?fieldManager={manager}{forced}{query}", body, content_type=APPLY, **more)


def _merge(target: str, body: Any, manager: str) -> Step:
    return step("PATCH", f"{target}?fieldManager={manager}", body, content_type=MERGE)


_CM = core("r-apply", "configmaps", "a")
_GADGETS = grouped("agadgets.test", "r-applycustom", "agadgets")


def _gadget(**spec: Any) -> Json:
    return custom("agadgets", "AGadget", "g", spec=spec)


_D = grouped("apps", "r-applydeploy", "deployments", "d")


def _deployment(*containers: Json, **spec: Any) -> Json:
    template: Json = {"metadata": {"labels": {"app": "d"}}, "spec": {"containers": list(containers)}}
    whole = {"selector": {"matchLabels": {"app": "d"}}, "template": template, **spec}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": whole}


_BAD: list[Any] = [
    b"",
    b"{",
    b"[]",
    b"5",
    b"null",
    b"x",
    {},
    {"apiVersion": "v1"},
    {"kind": "ConfigMap"},
    {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}},
    {"apiVersion": "v2", "kind": "ConfigMap", "metadata": {"name": "a"}},
    {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "other"}},
    {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "other"}},
    {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "uid": "x"}},
    {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "resourceVersion": "1"}},
    {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "resourceVersion": "x"}},
    {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "managedFields": []}},
    {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "managedFields": [{"manager": "m"}]}},
    {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "labels": {"a b": "c"}}},
    {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"a": 5}},
    {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": []},
    {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "nope": 1},
    {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": None},
    {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"x": None}},
    {"apiVersion": "v1", "kind": "ConfigMap", "metadata": 5},
    {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "generation": 5}},
    {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "creationTimestamp": "2001-01-01T00:00:00Z"}},
    {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "deletionTimestamp": "2001-01-01T00:00:00Z"}},
    {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "generateName": "x"}},
]

SCENARIOS = (
    Scenario(
        "r-applybad",
        (
            *(_apply(core("r-applybad", "configmaps", "a"), body, "m") for body in _BAD),
            step("PATCH", core("r-applybad", "configmaps", "a"), config_map("a"), content_type=APPLY),
            step("GET", core("r-applybad", "configmaps", "a")),
            step("DELETE", core("r-applybad", "configmaps", "a")),
            _apply(core("r-applybad", "configmaps", "a"), config_map("a", uid="x"), "m"),
            _apply(core("r-applybad", "configmaps", "a"), config_map("a", resourceVersion="1"), "m"),
            _apply(core("r-applybad", "configmaps", "A"), config_map("A"), "m"),
            _apply(core("r-applynope", "configmaps", "a"), config_map("a"), "m"),
        ),
    ),
    Scenario(
        "r-apply",
        (
            _apply(_CM, config_map("a", {"x": "1", "y": "1"}, labels={"l": "1"}), "one"),
            _apply(_CM, config_map("a", {"x": "1", "y": "1"}, labels={"l": "1"}), "one"),
            _apply(_CM, config_map("a", {"x": "2"}), "two"),
            _apply(_CM, config_map("a", {"x": "2", "y": "2"}, labels={"l": "2"}), "two"),
            _apply(_CM, config_map("a", {"x": "1", "z": "1"}), "two"),
            _apply(_CM, config_map("a", {"x": "2", "z": "1"}), "two", force=True),
            _apply(_CM, config_map("a", {"y": "1"}), "one"),
            _merge(_CM, {"data": {"y": "3", "u": "1"}}, "three"),
            _apply(_CM, config_map("a", {"y": "1"}), "one"),
            _apply(_CM, config_map("a", {"y": "3"}), "one"),
            _merge(_CM, {"data": {"z": None}}, "three"),
            _apply(_CM, config_map("a", {"z": "1"}), "two"),
            _apply(_CM, config_map("a"), "one"),
            _apply(_CM, config_map("a"), "two"),
            step("GET", _CM),
            _merge(_CM, {"metadata": {"labels": {"n": "1"}, "annotations": {"n": "1"}, "finalizers": ["a.b/c"]}}, "m"),
            _apply(_CM, config_map("a", finalizers=["a.b/d"]), "one"),
            _apply(_CM, config_map("a", finalizers=["a.b/c"]), "one"),
            _apply(_CM, config_map("a"), "one"),
            _apply(_CM, config_map("a", ownerReferences=[{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"}]),
                   "one"),
            _apply(_CM, config_map("a", resourceVersion="1"), "one"),
            _apply(_CM, config_map("a", resourceVersion="@{19:metadata.resourceVersion}"), "one"),
            _apply(_CM, config_map("a", {"dry": "1"}), "one", query="&dryRun=All"),
            step("PUT", _CM, config_map("a", {"put": "1"})),
            step("PUT", _CM, config_map("a", {"put": "2"}, managedFields=[])),
            step("PUT", _CM, config_map("a", {"put": "2"}, managedFields=[{}])),
            step("PATCH", _CM, {"metadata": {"managedFields": [{}]}}, content_type=MERGE),
            step("PATCH", _CM, [{"op": "replace", "path": "/metadata/managedFields", "value": [{}]}],
                 content_type=JSON_PATCH),
            _apply(_CM, config_map("a", {"again": "1"}), "one"),
            step("GET", _CM),
            _apply(_CM, b"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  yaml: 'yes'\n", "yaml"),
            _apply(core("r-apply", "configmaps", "b"), config_map("b", {"x": "1"}), "kubectl"),
        ),
    ),
    Scenario(
        "r-applymany",
        (
            step("POST", core("r-applymany", "configmaps?fieldManager=creator"), config_map("a", {"k": "0"})),
            *(
                _merge(core("r-applymany", "configmaps", "a"), {"data": {f"k{index}": "1"}}, f"updater-{index:02}")
                for index in range(13)
            ),
            _merge(core("r-applymany", "configmaps", "a"), {"data": {"k0": "2", "k12": "2"}}, "updater-99"),
        ),
    ),
    Scenario(
        "r-applymigrate",
        (
            step(
                "POST",
                core("r-applymigrate", "configmaps?fieldManager=kubectl-client-side-apply"),
                config_map("a", {"k": "0"}, annotations={
                    "kubectl.kubernetes.io/last-applied-configuration":
                    '{"apiVersion":"v1","data":{"k":"0"},"kind":"ConfigMap","metadata":{"annotations":{},"name":"a",'
                    '"namespace":"r-applymigrate"}}\n',
                }),
            ),
            _apply(core("r-applymigrate", "configmaps", "a"), config_map("a", {"k": "1"}), "kubectl"),
            _apply(core("r-applymigrate", "configmaps", "a"), config_map("a", {"k": "1"}), "kubectl", force=True),
            step("GET", core("r-applymigrate", "configmaps", "a")),
        ),
    ),
    Scenario(
        "r-applycustom",
        (
            install(widget_crd("agadgets", "AGadget")),
            _apply(f"{_GADGETS}/g", _gadget(size=1, tags=["a", "b"], items=[{"name": "x", "value": "1"}],
                   whole={"a": "1"}, nested={"a": "1"}, free={"f": "1"}, atoms=["1"]), "one"),
            _apply(f"{_GADGETS}/g", _gadget(tags=["c"], items=[{"name": "y", "value": "1"}], nested={"b": "1"},
                   free={"g": "1"}), "two"),
            _apply(f"{_GADGETS}/g", _gadget(tags=["a"], items=[{"name": "x"}]), "two"),
            _apply(f"{_GADGETS}/g", _gadget(whole={"b": "1"}, atoms=["2"], items=[{"name": "x", "value": "2"}]), "two"),
            _apply(f"{_GADGETS}/g", _gadget(whole={"b": "1"}, atoms=["2"], items=[{"name": "x", "value": "2"}]), "two",
                   force=True),
            _apply(f"{_GADGETS}/g", _gadget(size=1), "one"),
            _apply(f"{_GADGETS}/g", _gadget(size=2, color="blue", any={"deep": {"x": [1]}}), "one"),
            _merge(f"{_GADGETS}/g", {"spec": {"any": {"deep": {"y": 1}}, "free": {"h": "1"}, "tags": ["z"]}}, "up"),
            _merge(f"{_GADGETS}/g/status", {"status": {"phase": "x"}}, "up"),
            _apply(f"{_GADGETS}/g/status", {"apiVersion": "agadgets.test/v1", "kind": "AGadget",
                   "metadata": {"name": "g"}, "status": {"phase": "y"}}, "st"),
            _apply(f"{_GADGETS}/g/status", {"apiVersion": "agadgets.test/v1", "kind": "AGadget",
                   "metadata": {"name": "g"}, "status": {"phase": "y"}, "spec": {"size": 9}}, "st", force=True),
            _apply(f"{_GADGETS}/g", {**_gadget(size=2), "status": {"phase": "z"}}, "one"),
            _apply(f"{_GADGETS}/g", _gadget(nope=1), "one"),
            _apply(f"{_GADGETS}/g", _gadget(size="x"), "one"),
            _apply(f"{_GADGETS}/g", _gadget(items=[{"value": "x"}]), "one"),
            _apply(f"{_GADGETS}/g", _gadget(items=[{"name": "d"}, {"name": "d"}]), "one"),
            _apply(f"{_GADGETS}/g", _gadget(tags=["d", "d"]), "one"),
            _apply(f"{_GADGETS}/g", _gadget(tags="d"), "one"),
            _apply(f"{_GADGETS}/g", _gadget(), "one"),
            _apply(f"{_GADGETS}/g", custom("agadgets", "AGadget", "g"), "one"),
            _apply(f"{_GADGETS}/nope/status", {"apiVersion": "agadgets.test/v1", "kind": "AGadget",
                   "metadata": {"name": "nope"}, "status": {"phase": "y"}}, "st"),
            step("GET", f"{_GADGETS}/g"),
            step("PUT", f"{_GADGETS}/g", {**_gadget(size=5), "metadata": {"name": "g",
                 "resourceVersion": "@{22:metadata.resourceVersion}"}}),
        ),
    ),
    Scenario(
        "r-applydeploy",
        (
            _apply(_D, _deployment({"name": "main", "image": "img:1", "ports": [{"containerPort": 80}]}), "one"),
            _apply(_D, _deployment({"name": "main", "image": "img:2"}), "two"),
            _apply(_D, _deployment({"name": "main", "env": [{"name": "A", "value": "1"}]},
                   {"name": "side", "image": "s"}), "two"),
            _apply(_D, _deployment({"name": "main", "image": "img:2", "ports": [{"containerPort": 80},
                   {"containerPort": 81, "protocol": "UDP"}]}), "one"),
            step("PATCH", f"{_D}?fieldManager=three", {"spec": {"replicas": 3}}, content_type=MERGE),
            step("PATCH", f"{_D}/scale?fieldManager=scaler", {"spec": {"replicas": 4}}, content_type=MERGE),
            _apply(_D, {**_deployment({"name": "main", "image": "img:2"}), "spec": {**_deployment(
                {"name": "main", "image": "img:2"})["spec"], "replicas": 7}}, "one"),
            step("PATCH", f"{_D}/status?fieldManager=ctl", {"status": {"replicas": 1, "conditions": [
                {"type": "Available", "status": "True", "lastUpdateTime": None, "lastTransitionTime": None}]}},
                content_type=MERGE),
            _apply(_D, _deployment({"name": "main", "image": "img:2"}), "one"),
            _apply(_D, _deployment({"image": "img:2"}), "one"),
            _apply(_D, _deployment({"name": "main", "image": "a"}, {"name": "main", "image": "b"}), "one"),
            _apply(_D, _deployment({"name": "main", "image": 5}), "one"),
            step("GET", _D),
            step("POST", grouped("apps", "r-applydeploy", "deployments?fieldManager=poster"), deployment("e")),
            step("POST", core("r-applydeploy", "services?fieldManager=poster"), service("s")),
            _apply(core("r-applydeploy", "services", "s"), service("s", ports=[{"port": 80, "name": "http"},
                   {"port": 81, "name": "more"}]), "one"),
            _apply(core("r-applydeploy", "services", "s"), service("s", ports=[{"port": 80, "name": "web"}]), "one"),
            _apply(core("r-applydeploy", "secrets", "s"), {"apiVersion": "v1", "kind": "Secret",
                   "metadata": {"name": "s"}, "stringData": {"a": "b"}}, "one"),
            _apply(core("r-applydeploy", "secrets", "s"), {"apiVersion": "v1", "kind": "Secret",
                   "metadata": {"name": "s"}, "stringData": {"a": "c"}}, "one"),
            _apply(core("r-applydeploy", "serviceaccounts", "s"), {"apiVersion": "v1", "kind": "ServiceAccount",
                   "metadata": {"name": "s"}, "imagePullSecrets": [{"name": "x"}]}, "one"),
        ),
    ),
)  # fmt: skip
