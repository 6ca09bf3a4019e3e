"""Faults of metadata, and what the server makes of it."""

from __future__ import annotations

from typing import Any

from support.recorded import Scenario, step

from .common import MERGE, config_map, core

_NS = "r-metadata"
_CMS = core(_NS, "configmaps")
_UID = "11111111-1111-4111-8111-111111111111"

_OWNER = {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": _UID}


def _meta(**metadata: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}


_CREATES: list[dict[str, Any]] = [
    _meta(),
    _meta(name=""),
    _meta(name=None),
    _meta(name="A"),
    _meta(name="a b"),
    _meta(name="-a"),
    _meta(name="a/b"),
    _meta(name="a%b"),
    _meta(name=".."),
    _meta(name="."),
    _meta(name="a..b"),
    _meta(name="x" * 253, labels={"long": "y"}),
    _meta(name="x" * 254),
    _meta(name="\u00e9"),
    _meta(generateName="A-"),
    _meta(generateName="-gen-"),
    _meta(generateName="x-gen-"),
    _meta(generateName="x" * 300),
    _meta(name="both", generateName="x-gen-"),
    _meta(name="ns1", namespace="other"),
    _meta(name="ns2", namespace=_NS),
    _meta(name="ns3", namespace=""),
    _meta(name="server", uid=_UID, creationTimestamp="2001-01-01T00:00:00Z", generation=7, selfLink="/x"),
    _meta(name="rv", resourceVersion="5"),
    _meta(name="rv0", resourceVersion="0"),
    _meta(name="rvx", resourceVersion="x"),
    _meta(name="deleted", deletionTimestamp="2001-01-01T00:00:00Z", deletionGracePeriodSeconds=5),
    _meta(name="generation", generation=-1),
    _meta(name="label1", labels={"": "x"}),
    _meta(name="label2", labels={"a b": "x"}),
    _meta(name="label3", labels={"a": "x y"}),
    _meta(name="label4", labels={"a": "x" * 64}),
    _meta(name="label5", labels={"x" * 64: "x"}),
    _meta(name="label6", labels={"/a": "x"}),
    _meta(name="label7", labels={"a/b/c": "x"}),
    _meta(name="label8", labels={"A.B/c": "x"}),
    _meta(name="label9", labels={"-a": "-b"}),
    _meta(name="label10", labels={"a": None}),
    _meta(name="label11", labels={f"{'y' * 254}/a": "x"}),
    _meta(name="annotation1", annotations={"": "x"}),
    _meta(name="annotation2", annotations={"a b": "x"}),
    _meta(name="annotation3", annotations={"A.B/c": "x y\n"}),
    _meta(name="annotation4", annotations={"a": "x" * (256 * 1024)}),
    _meta(name="annotation5", annotations={"a": "x" * (256 * 1024 - 1)}, labels={"big": "y"}),
    _meta(name="finalizer1", finalizers=["nope"]),
    _meta(name="finalizer2", finalizers=["a.b/c"]),
    _meta(name="finalizer3", finalizers=["a b/c"]),
    _meta(name="finalizer4", finalizers=[""]),
    _meta(name="finalizer5", finalizers=["kubernetes", "orphan", "foregroundDeletion"]),
    _meta(name="finalizer6", finalizers=["orphan"]),
    _meta(name="finalizer7", finalizers=["a.b/c", "a.b/c"]),
    _meta(name="owner1", ownerReferences=[_OWNER]),
    _meta(name="owner2", ownerReferences=[{}]),
    _meta(name="owner3", ownerReferences=[{**_OWNER, "apiVersion": "a/b/c"}]),
    _meta(name="owner4", ownerReferences=[{**_OWNER, "controller": True}, {**_OWNER, "name": "q", "controller": True}]),
    _meta(name="owner5", ownerReferences=[_OWNER, _OWNER]),
    _meta(name="owner6", ownerReferences=[{**_OWNER, "kind": "Event"}]),
    _meta(name="owner7", ownerReferences=[{**_OWNER, "controller": None, "blockOwnerDeletion": True}]),
    _meta(name="owner8", ownerReferences=[{**_OWNER, "uid": "x"}]),
    _meta(name="managed1", managedFields=[{}]),
    _meta(name="managed2", managedFields=[{"manager": "m", "operation": "Nope", "fieldsType": "FieldsV1"}]),
    _meta(name="managed3", managedFields=[{"manager": "m", "operation": "Update", "fieldsType": "Nope"}]),
    _meta(
        name="managed4",
        managedFields=[
            {"manager": "m", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": {"x": 1}}
        ],
    ),
    _meta(
        name="managed5",
        managedFields=[
            {
                "manager": "m",
                "operation": "Update",
                "apiVersion": "v1",
                "time": "2001-01-01T00:00:00Z",
                "fieldsType": "FieldsV1",
                "fieldsV1": {"f:data": {"f:a": {}}},
            }
        ],
    ),
    _meta(name="managed6", managedFields=[{"manager": "x" * 129, "operation": "Update", "fieldsType": "FieldsV1"}]),
    _meta(name="managed7", managedFields=[{"manager": "a\n", "operation": "Update", "fieldsType": "FieldsV1"}]),
    _meta(name="managed8", managedFields="x"),
    _meta(name="managed9", managedFields=[5]),
]

_UPDATES: list[dict[str, Any]] = [
    {"metadata": {"name": "b"}},
    {"metadata": {"namespace": "other"}},
    {"metadata": {"uid": _UID}},
    {"metadata": {"resourceVersion": "1"}},
    {"metadata": {"resourceVersion": "x"}},
    {"metadata": {"resourceVersion": "0"}},
    {"metadata": {"resourceVersion": 5}},
    {"metadata": {"creationTimestamp": "2001-01-01T00:00:00Z"}},
    {"metadata": {"creationTimestamp": None}},
    {"metadata": {"generation": 5}},
    {"metadata": {"generateName": "y-"}},
    {"metadata": {"selfLink": "/x"}},
    {"metadata": {"deletionTimestamp": "2001-01-01T00:00:00Z"}},
    {"metadata": {"deletionGracePeriodSeconds": 5}},
    {"metadata": {"labels": {"a b": "c"}}},
    {"metadata": {"labels": None}},
    {"metadata": {"labels": []}},
    {"metadata": {"annotations": {"a": 5}}},
    {"metadata": {"annotations": {"x": "y" * (256 * 1024)}}},
    {"metadata": {"finalizers": ["nope"]}},
    {"metadata": {"ownerReferences": [{"kind": "x"}]}},
    {"metadata": {"managedFields": "x"}},
    {"metadata": {"managedFields": [5]}},
    {"metadata": {"managedFields": [{"manager": "m"}]}},
    {"metadata": None},
    {"metadata": 5},
    {"kind": "Secret"},
    {"kind": None},
    {"apiVersion": "v2"},
    {"apiVersion": "apps/v1"},
]
_CM = core("r-metaupdate", "configmaps", "a")

SCENARIOS = (
    Scenario(_NS, tuple(step("POST", _CMS, body) for body in _CREATES)),
    Scenario(
        "r-metaupdate",
        (
            step("POST", core("r-metaupdate", "configmaps"), config_map("a", {"k": "v"})),
            *(step("PATCH", _CM, body, content_type=MERGE) for body in _UPDATES),
            *(
                step("PUT", _CM, config_map("a", {"k": "w"}) | {"metadata": {"name": "a", **body["metadata"]}})
                for body in _UPDATES
                if isinstance(body.get("metadata"), dict)
            ),
            step("PUT", _CM, {"data": {"k": "v"}}),
            step("PUT", _CM, {"metadata": {"name": "a"}, "kind": "Secret", "apiVersion": "v1"}),
            step("PUT", _CM, {"metadata": {"name": "a"}, "kind": "ConfigMap", "apiVersion": "v2"}),
            step("PUT", core("r-metaupdate", "configmaps", "nope"), config_map("nope")),
            step("PUT", core("r-metaupdate", "configmaps", "nope"), config_map("nope", uid=_UID)),
            step("PUT", core("r-metaupdate", "configmaps", "nope"), config_map("nope", resourceVersion="1")),
            step("PATCH", core("r-metaupdate", "configmaps", "nope"), {}, content_type=MERGE),
            step("GET", _CM),
        ),
    ),
)
