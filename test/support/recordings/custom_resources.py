"""Custom resources: pruning, defaulting, nulls, validation texts, ratcheting, embedded objects, scale, columns."""

# A case is a line.
# ruff: noqa: E501

from __future__ import annotations

from typing import Any

from support.realanswers import Case, Step

from .crd_schemas import ANY_OF_BOTH, EMBEDDED, INT_OR_STRING, PRESERVE, array, map_list, obj, of_set
from .crds import CRDS, MERGE, crd, version

Json = dict[str, Any]
GROUP = "values.example.com"
PATH = f"/apis/{GROUP}/v1/namespaces/default/cogs"
S, INT, N, B = {"type": "string"}, {"type": "integer"}, {"type": "number"}, {"type": "boolean"}
FORMATS = (
    "date-time", "date", "byte", "duration", "uuid", "uuid3", "uuid4", "uuid5", "email", "hostname", "ipv4", "ipv6",
    "cidr", "mac", "uri", "isbn", "isbn10", "isbn13", "creditcard", "ssn", "hexcolor", "rgbcolor", "password",
    "bsonobjectid", "int32", "float", "odd",
)  # fmt: skip

PROPERTIES: dict[str, Json] = {
    "s": S,
    "i": INT,
    "n": N,
    "b": B,
    "o": obj({"a": S, "b": INT}),
    "l": array(S),
    "ll": array(array(INT)),
    "m": obj(additionalProperties=S),
    "mi": obj(additionalProperties=INT),
    "mo": obj(additionalProperties=obj({"a": S}, required=["a"])),
    "any": obj(additionalProperties=True),
    "none": obj(additionalProperties=False),
    "free": obj(**PRESERVE),
    "half": obj({"a": obj({"b": S})}, **PRESERVE),
    "freeAll": PRESERVE,
    "io": INT_OR_STRING,
    "ioAny": {**INT_OR_STRING, "anyOf": ANY_OF_BOTH},
    "ioAll": {**INT_OR_STRING, "allOf": [{"anyOf": ANY_OF_BOTH}, {"pattern": "^[0-9]+%$"}]},
    "enum": {"type": "string", "enum": ["S", "M", "L"]},
    "enumN": {"type": "integer", "enum": [1, 2]},
    "enumNull": {"type": "string", "nullable": True, "enum": ["a", None]},
    "enumF": {"type": "number", "enum": [1.5, 2]},
    "len": {"type": "string", "minLength": 2, "maxLength": 4},
    "pat": {"type": "string", "pattern": "^a+$", "minLength": 1},
    "range": {"type": "integer", "minimum": 1, "maximum": 10},
    "open": {"type": "integer", "minimum": 1, "maximum": 10, "exclusiveMinimum": True, "exclusiveMaximum": True},
    "rangeF": {"type": "number", "minimum": 0.5, "maximum": 2.5},
    "big": {"type": "number", "maximum": 1e21, "minimum": -1000000},
    "third": {"type": "integer", "multipleOf": 3},
    "tenth": {"type": "number", "multipleOf": 0.1},
    "items": {**array(S), "minItems": 1, "maxItems": 2},
    "props": obj(additionalProperties=S, minProperties=1, maxProperties=2),
    "req": obj({"a": S, "b": S}, required=["a", "b"]),
    "nul": {"type": "string", "nullable": True},
    "nulO": obj({"a": S}, nullable=True),
    "def": {"type": "string", "default": "d"},
    "defN": {"type": "string", "nullable": True, "default": "d"},
    "defO": obj({"x": {"type": "integer", "default": 1}, "y": S}, default={"y": "z"}),
    "defIn": obj({"x": {"type": "integer", "default": 1}}),
    "defL": array(obj({"x": {"type": "integer", "default": 1}, "y": S})),
    "defM": obj(additionalProperties=obj({"x": {"type": "integer", "default": 1}})),
    "set": of_set(S),
    "setO": of_set(obj({"a": S}, **{"x-kubernetes-map-type": "atomic"})),
    "ml": map_list(obj({"name": S, "v": INT}, required=["name"]), "name"),
    "ml2": map_list(
        obj({"port": INT, "proto": {"type": "string", "default": "TCP"}}, required=["port"]), "port", "proto"
    ),
    "any1": {"type": "object", "properties": {"a": S, "b": S}, "anyOf": [{"required": ["a"]}, {"required": ["b"]}]},
    "one1": {"type": "object", "properties": {"a": S, "b": S}, "oneOf": [{"required": ["a"]}, {"required": ["b"]}]},
    "all1": {"type": "string", "allOf": [{"minLength": 2}, {"pattern": "^a"}]},
    "not1": {"type": "string", "not": {"pattern": "^x"}},
    "any2": {
        "type": "object",
        "properties": {"kind": S, "size": INT, "names": array(S)},
        "anyOf": [
            {"properties": {"kind": {"enum": ["A"]}, "size": {"minimum": 5}}, "required": ["size"]},
            {"properties": {"kind": {"enum": ["B"]}, "names": {"items": {"minLength": 3}}}},
        ],
    },
    "one2": {
        "type": "object",
        "properties": {"a": INT, "b": INT},
        "oneOf": [{"properties": {"a": {"minimum": 5}}}, {"properties": {"b": {"maximum": 3}}}],
    },
    "emb": obj({"spec": obj({"a": S})}, **EMBEDDED),
    "embP": obj(**EMBEDDED, **PRESERVE),
    "embL": array(obj(**EMBEDDED, **PRESERVE)),
    "deep": obj({"a": obj({"b": array(obj({"c": obj({"d": INT}, required=["d"])}))})}),
    **{f"f{name.replace('-', '')}": {"type": "string", "format": name} for name in FORMATS},
    "fi": {"type": "integer", "format": "int32"},
    "fd": {"type": "number", "format": "date"},
    "ruled": obj({"min": INT, "max": INT}, **{"x-kubernetes-validations": [{"rule": "!has(self.min) || self.min <= self.max"}]}),
}  # fmt: skip
STATUS = obj({"phase": {"type": "string", "enum": ["A", "B"]}, "n": {"type": "integer", "minimum": 1}, "conds": map_list(
    obj({"type": S, "status": S}, required=["type"]), "type")})  # fmt: skip
SCHEMA = obj({"spec": obj(PROPERTIES), "status": STATUS})
VALUES = crd(GROUP, version(schema={"openAPIV3Schema": SCHEMA}, subresources={"status": {}}))
PLAIN = crd(
    "plain.example.com",
    version(schema={"openAPIV3Schema": {**SCHEMA, "required": ["spec"]}}),
    scope="Cluster",
)

BAD_LABELS = {"apiVersion": "v1", "kind": "Pod", "metadata": {"labels": {"a": "!"}, "name": "x", "odd": 1}}

SPECS: dict[str, Json] = {
    "everything right": {
        "s": "a", "i": 1, "n": 1.5, "b": True, "o": {"a": "x", "b": 2}, "l": ["a"], "m": {"k": "v"}, "io": 5,
        "enum": "S", "len": "abc", "range": 5, "set": ["a", "b"], "ml": [{"name": "a"}, {"name": "b"}],
    },
    "integer for string": {"s": 5},
    "float for string": {"s": 1.5},
    "bool for string": {"s": True},
    "list for string": {"s": ["a"]},
    "object for string": {"s": {"a": 1}},
    "null for string": {"s": None},
    "string for integer": {"i": "5"},
    "float for integer": {"i": 1.5},
    "whole float for integer": {"i": 2.0},
    "large integer": {"i": 2**53},
    "string for number": {"n": "x"},
    "integer for number": {"n": 3},
    "string for bool": {"b": "true"},
    "string for object": {"o": "x"},
    "list for object": {"o": []},
    "string for list": {"l": "x"},
    "object for list": {"l": {"a": 1}},
    "wrong items": {"l": ["a", 1, None, ["b"]]},
    "wrong nested items": {"ll": [[1, "x"], "y"]},
    "wrong map values": {"m": {"a": 1, "b": "x", "c": None}},
    "wrong map of integers": {"mi": {"a": "x"}},
    "map of objects": {"mo": {"k": {"a": "x"}, "l": {}, "m": {"z": 1}}},
    "open map": {"any": {"a": 1, "b": {"c": 1}, "d": [{"e": 1}]}},
    "closed map": {"none": {"a": 1}},
    "preserved": {"free": {"a": {"b": [1]}}, "freeAll": {"x": 1}},
    "half preserved": {"half": {"a": {"b": "x", "c": 1}, "d": {"e": 1}}},
    "preserved scalar": {"freeAll": 5},
    "unknown fields": {"zz": 1, "o": {"c": 1}, "l": ["a"], "defL": [{"q": 1}, {"y": "a", "w": {"v": 1}}]},
    "unknown in map": {"mo": {"k": {"a": "x", "b": 1}}},
    "int or string bool": {"io": True},
    "int or string float": {"io": 1.5},
    "int or string object": {"io": {"a": 1}},
    "int or string null": {"io": None},
    "int or string with anyOf bool": {"ioAny": True},
    "int or string with allOf": {"ioAll": "50%"},
    "int or string with allOf wrong": {"ioAll": "x"},
    "int or string with allOf number": {"ioAll": 5},
    "enum": {"enum": "XL"},
    "enum of wrong type": {"enum": 1},
    "enum of integers": {"enumN": 3},
    "enum of integers by float": {"enumN": 1.0},
    "enum with null": {"enumNull": None},
    "enum of floats": {"enumF": 2.5},
    "too short": {"len": "a"},
    "too long": {"len": "abcdef"},
    "length in characters": {"len": "äöüß"},
    "pattern": {"pat": "b"},
    "pattern with newline": {"pat": "a\n"},
    "pattern and length": {"pat": ""},
    "below range": {"range": 0},
    "above range": {"range": 11},
    "float in range of integers": {"range": 10.5},
    "at open minimum": {"open": 1},
    "at open maximum": {"open": 10},
    "below float range": {"rangeF": 0.25},
    "above float range": {"rangeF": 3},
    "integer at float range": {"rangeF": 0},
    "above big": {"big": 1e22},
    "below million": {"big": -1000001},
    "not a multiple": {"third": 4},
    "not a multiple of a tenth": {"tenth": 0.25},
    "a multiple of a tenth": {"tenth": 0.3},
    "integer multiple of a tenth": {"tenth": 2},
    "too few items": {"items": []},
    "too many items": {"items": ["a", "b", "c"]},
    "too few properties": {"props": {}},
    "too many properties": {"props": {"a": "1", "b": "2", "c": "3"}},
    "required": {"req": {"b": "x"}},
    "all required": {"req": {}},
    "required null": {"req": {"a": None, "b": "x"}},
    "nulls": {"s": None, "nul": None, "nulO": None, "def": None, "defN": None, "o": None, "l": None, "defO": None},
    "nulls in lists and maps": {"l": [None, "a"], "m": {"a": None}, "defL": [None, {"y": None}], "defM": {"k": None}},
    "defaults": {"defIn": {}, "defL": [{}, {"x": 5}], "defM": {"k": {}}},
    "set with repeats": {"set": ["a", "b", "a", "a", "b"]},
    "set of objects with repeats": {"setO": [{"a": "x"}, {"a": "y"}, {"a": "x"}]},
    "map list with repeats": {"ml": [{"name": "a", "v": 1}, {"name": "a", "v": 2}, {"name": "a"}]},
    "map list without key": {"ml": [{"v": 1}, {"v": 2}]},
    "map list of two keys": {"ml2": [{"port": 1}, {"port": 1, "proto": "UDP"}, {"port": 1, "proto": "TCP"}]},
    "map list of strings": {"ml": ["a"]},
    "anyOf none": {"any1": {}},
    "anyOf one": {"any1": {"a": "x"}},
    "oneOf none": {"one1": {}},
    "oneOf both": {"one1": {"a": "x", "b": "y"}},
    "allOf one": {"all1": "ab"},
    "allOf one fails": {"all1": "bb"},
    "allOf all fail": {"all1": "b"},
    "not": {"not1": "xy"},
    "anyOf nested first": {"any2": {"kind": "A", "size": 1}},
    "anyOf nested second": {"any2": {"kind": "B", "names": ["ab", "abc"]}},
    "anyOf nested neither": {"any2": {"kind": "C", "names": ["ab"]}},
    "oneOf nested both": {"one2": {"a": 6, "b": 1}},
    "oneOf nested none": {"one2": {"a": 1, "b": 9}},
    "embedded": {"emb": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": {"a": "b"}}},
    "embedded with unknown": {
        "emb": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x", "odd": 1}, "spec": {"z": 1}, "more": 1}
    },
    "embedded without type": {"emb": {"spec": {}}},
    "embedded with empty type": {"emb": {"apiVersion": "", "kind": ""}},
    "embedded with odd type": {"embP": {"apiVersion": "a/b/c", "kind": "My Kind"}},
    "embedded with wrong types": {"embP": {"apiVersion": 5, "kind": "Pod"}},
    "embedded with wrong metadata": {"embP": {"apiVersion": "v1", "kind": "Pod", "metadata": "x"}},
    "embedded with wrong labels": {"embP": {"apiVersion": "v1", "kind": "Pod", "metadata": {"labels": {"a": 1}}}},
    "embedded with bad labels": {"embP": BAD_LABELS, "embL": [BAD_LABELS]},
    "embedded with bad names": {
        "embP": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a/b", "namespace": "N"}}
    },
    "embedded with times": {
        "embP": {"apiVersion": "v1", "kind": "Pod", "metadata": {"creationTimestamp": None, "labels": {}, "name": ""}}
    },
    "deep": {"deep": {"a": {"b": [{"c": {"d": "x"}}, {"c": {}}, {"c": 1}, {"e": 1}]}}},
    "rule": {"ruled": {"min": 5, "max": 1}},
    "rule not asked": {"ruled": {"min": 5, "max": 1}, "s": 5},
    "rule and other": {"ruled": {"min": 5, "max": 1}, "pat": "b"},
    "format on number": {"fd": 1, "fi": 2**40},
    "format on integer as string": {"fi": "x", "fd": "x"},
    "several": {"s": 5, "len": "abcdef", "req": {"a": 1}, "set": ["a", "a"], "emb": {}},
}  # fmt: skip

TEXTS = {
    "date-time": ["2024-01-01T00:00:00Z", "2024-01-01t00:00:00.5+01:00", "2024-01-01", "now", "2024-13-01T00:00:00Z", ""],
    "date": ["2024-02-29", "2023-02-29", "2024-1-1", "2024-01-01T00:00:00Z"],
    "byte": ["YWJj", "YW", "Y!==", ""],
    "duration": ["1h30m", "1.5s", "5 days", "3 weeks", "x", "", "1", "0", "-5m", "10 sec"],
    "uuid": ["123e4567-e89b-12d3-a456-426614174000", "123E4567E89B12D3A456426614174000", "123"],
    "uuid3": ["123e4567-e89b-32d3-a456-426614174000", "123e4567-e89b-12d3-a456-426614174000"],
    "uuid4": ["123e4567-e89b-42d3-a456-426614174000", "123e4567-e89b-42d3-c456-426614174000"],
    "uuid5": ["123e4567-e89b-52d3-a456-426614174000", "123e4567-e89b-12d3-a456-426614174000"],
    "email": ["a@b.c", "A B <a@b.c>", "a", "a@", "@b"],
    "hostname": ["example.com", "a", "-a", "a_b", "a..b", "a" * 64 + ".com", "1.2.3.4"],
    "ipv4": ["1.2.3.4", "01.2.3.4", "1.2.3", "256.1.1.1", "::1"],
    "ipv6": ["::1", "1::2::3", "1.2.3.4", "::ffff:1.2.3.4"],
    "cidr": ["10.0.0.0/8", "10.0.0.1/8", "10.0.0.0", "::/0", "10.0.0.0/33"],
    "mac": ["01:23:45:67:89:ab", "0123.4567.89ab", "01:23:45", "01-23-45-67-89-ab"],
    "uri": ["http://a/b", "/a", "a", "", "mailto:x@y", "http://a b"],
    "isbn": ["0321751043", "978-0321751041", "123"],
    "isbn10": ["0321751043", "0321751044"],
    "isbn13": ["978-0321751041", "978-0321751042"],
    "creditcard": ["4111 1111 1111 1111", "4111111111111112", "x"],
    "ssn": ["111-22-3333", "111223333", "11-22-3333"],
    "hexcolor": ["#FFF", "abcdef", "#ABCD"],
    "rgbcolor": ["rgb(1,2,3)", "rgb(256,0,0)", "rgb(1, 2, 3)"],
    "password": ["x", ""],
    "bsonobjectid": ["507f1f77bcf86cd799439011", "x"],
    "int32": ["x"],
    "float": ["x"],
    "odd": ["x"],
}  # fmt: skip


def cog(name: str, *, group: str = GROUP, **more: Any) -> Json:
    return {"apiVersion": f"{group}/v1", "kind": "Cog", "metadata": {"name": name}, **more}


def dry(body: Any, query: str = "") -> Step:
    return Step("POST", f"{PATH}?dryRun=All{query}", body)


def formats() -> list[Step]:
    return [dry(cog("x", spec={f"f{name.replace('-', '')}": text})) for name, texts in TEXTS.items() for text in texts]


ONE = f"{PATH}/one"
LIVE: list[Case] = [
    Case("set up", (Step("POST", CRDS, VALUES),)),
    *(Case(f"create: {name}", (dry(cog("x", spec=spec)),)) for name, spec in SPECS.items()),
    Case("create: formats", tuple(formats())),
    *(
        Case(f"strict: {name}", (dry(cog("x", spec=SPECS[name]), "&fieldValidation=Strict"),))
        for name in ("unknown fields", "unknown in map", "embedded with unknown", "half preserved", "open map", "nulls")
    ),
    Case("ignore: unknown fields", (dry(cog("x", spec=SPECS["unknown fields"]), "&fieldValidation=Ignore"),)),
    Case("top level: spec string", (dry(cog("x", spec="x")),)),
    Case("top level: spec list", (dry(cog("x", spec=[])),)),
    Case("top level: spec null", (dry(cog("x", spec=None)),)),
    Case("top level: unknown fields", (dry(cog("x", odd=1, data={"a": 1})),)),
    Case("top level: status", (dry(cog("x", status={"phase": "Z"})),)),
    Case("metadata: unknown field", (dry({**cog("x"), "metadata": {"name": "x", "odd": 1, "labels": {"a": "b"}}}),)),
    Case("metadata: unknown field strict", (
        dry({**cog("x"), "metadata": {"name": "x", "odd": 1, "ownerReferences": [{"zz": 1}]}}, "&fieldValidation=Strict"),
    )),
    Case("metadata: label number", (dry({**cog("x"), "metadata": {"name": "x", "labels": {"a": 1}}}),)),
    Case("metadata: labels list", (dry({**cog("x"), "metadata": {"name": "x", "labels": ["a"]}}),)),
    Case("metadata: name number", (dry({**cog("x"), "metadata": {"name": 5}}),)),
    Case("metadata: finalizers string", (dry({**cog("x"), "metadata": {"name": "x", "finalizers": "a"}}),)),
    Case("metadata: odd finalizers", (dry({**cog("x"), "metadata": {"name": "x", "finalizers": ["a", "b.c", "d/e"]}}),)),
    Case("metadata: bad labels", (dry({**cog("x"), "metadata": {"name": "x", "labels": {"a b": "c d"}}}),)),
    Case("metadata: bad name", (dry(cog("Not_Good")),)),
    Case("metadata: empty maps", (dry({**cog("x"), "metadata": {"name": "x", "labels": {}, "annotations": {}}}),)),
    Case("metadata: sets generation and uid", (
        dry({**cog("x"), "metadata": {"name": "x", "generation": 7, "uid": "u", "selfLink": "s"}}),
    )),
    Case("update: ratcheting", (
        Step("POST", PATH, cog("one", spec={"s": "a", "len": "abc", "ml": [{"name": "a", "v": 1}]})),
        Step("PATCH", ONE, {"spec": {"s": "b", "len": "toolong"}}, MERGE),
        Step("PATCH", ONE, {"spec": {"i": "x"}}, MERGE),
        Step("PATCH", ONE, {"spec": {"zz": 1}}, MERGE),
        Step("PATCH", ONE, {"spec": {"zz": 1}}, (*MERGE, )),
        Step("PATCH", ONE, {"spec": {"set": ["a", "a"]}}, MERGE),
        Step("PATCH", ONE, {"spec": {"ml": [{"name": "a", "v": "x"}]}}, MERGE),
        Step("PATCH", ONE, {"spec": {"emb": {"spec": {}}}}, MERGE),
    )),
    Case("update: status", (
        Step("PATCH", f"{ONE}/status", {"status": {"phase": "A", "n": 1}, "spec": {"s": "ignored"}}, MERGE),
        Step("PATCH", f"{ONE}/status", {"status": {"phase": "Z"}}, MERGE),
        Step("PATCH", f"{ONE}/status", {"status": {"n": 0, "phase": 5}}, MERGE),
        Step("PATCH", f"{ONE}/status", {"status": {"odd": 0}}, MERGE),
        Step("PATCH", f"{ONE}/status", {"status": "x"}, MERGE),
        Step("PATCH", f"{ONE}/status", {"status": None}, MERGE),
        Step("PATCH", f"{ONE}/status", {"status": {"conds": [{"type": "a"}, {"type": "a"}]}}, MERGE),
        Step("PATCH", f"{ONE}/status", {"status": {"conds": [{"status": "a"}]}}, MERGE),
    )),
    Case("tear down", (Step("DELETE", ONE), Step("DELETE", f"{CRDS}/{VALUES['metadata']['name']}"))),
]  # fmt: skip

SCALED = crd(
    "scaled.example.com",
    version(
        schema={"openAPIV3Schema": obj({
            "spec": obj({"replicas": INT, "selector": S}),
            "status": obj({"replicas": INT, "selector": S}),
        })},
        subresources={"status": {}, "scale": {
            "specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas",
            "labelSelectorPath": ".status.selector"}},
        additionalPrinterColumns=[
            {"name": "Replicas", "type": "integer", "jsonPath": ".spec.replicas"},
            {"name": "Odd", "type": "string", "jsonPath": ".status.replicas", "priority": 1, "description": "odd"},
            {"name": "Bool", "type": "boolean", "jsonPath": ".spec.selector"},
            {"name": "Number", "type": "number", "jsonPath": ".spec.replicas", "format": "float"},
            {"name": "Labels", "type": "string", "jsonPath": ".metadata.labels"},
            {"name": "First", "type": "string", "jsonPath": ".metadata.finalizers[0]"},
            {"name": "Selector", "type": "string", "jsonPath": ".spec.selector"},
            {"name": "When", "type": "date", "jsonPath": ".spec.selector"},
        ],
    ),
    scope="Cluster",
)  # fmt: skip
SCALED_PATH = "/apis/scaled.example.com/v1/cogs"
TABLE = (("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io"),)
TWO, LATE = f"{SCALED_PATH}/two", f"{SCALED_PATH}/late"
SCALE = {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "two"}}
OTHERS = [
    Case("scale", (
        Step("POST", CRDS, SCALED),
        Step("POST", SCALED_PATH, cog("two", group="scaled.example.com", spec={"replicas": 2, "selector": "a=b"})),
        Step("GET", f"{TWO}/scale"),
        Step("PATCH", f"{TWO}/scale", {"spec": {"replicas": 5}}, MERGE),
        Step("PUT", f"{TWO}/scale", {**SCALE, "spec": {"replicas": 3}}),
        Step("PUT", f"{TWO}/scale", {**SCALE, "spec": {"replicas": -1}}),
        Step("PUT", f"{TWO}/scale", {**SCALE, "metadata": {"name": "two", "resourceVersion": "1"}, "spec": {"replicas": 1}}),
        Step("PATCH", f"{TWO}/status", {"status": {"replicas": 1, "selector": "a=b"}}, MERGE),
        Step("GET", f"{TWO}/scale"),
        Step("GET", TWO),
        Step("GET", SCALED_PATH, None, TABLE),
        Step("GET", TWO, None, TABLE),
        Step("POST", SCALED_PATH, cog("bad", group="scaled.example.com", spec={"replicas": -1})),
        Step("POST", SCALED_PATH, cog("bad", group="scaled.example.com", spec={"replicas": 2**40})),
        Step("POST", SCALED_PATH, cog("late", group="scaled.example.com", spec={})),
        Step("POST", SCALED_PATH, {**cog("", group="scaled.example.com"), "metadata": {}}),
        Step("GET", f"{LATE}/scale"),
        Step("PUT", f"{LATE}/scale", {**SCALE, "metadata": {"name": "late"}, "spec": {"replicas": 3}}),
        Step("GET", f"{SCALED_PATH}/none/scale"),
        Step("DELETE", f"{CRDS}/{SCALED['metadata']['name']}"),
    )),
    Case("without status subresource", (
        Step("POST", CRDS, PLAIN),
        Step("POST", "/apis/plain.example.com/v1/cogs", cog("one", group="plain.example.com", status={"phase": "A"})),
        Step("POST", "/apis/plain.example.com/v1/cogs", cog("one", group="plain.example.com", spec={}, status={"phase": "A"})),
        Step("POST", "/apis/plain.example.com/v1/cogs", cog("bad", group="plain.example.com", spec={}, status={"phase": "Z"})),
        Step("PATCH", "/apis/plain.example.com/v1/cogs/one", {"status": {"phase": "B"}}, MERGE),
        Step("PATCH", "/apis/plain.example.com/v1/cogs/one/status", {"status": {"phase": "B"}}, MERGE),
        Step("GET", "/apis/plain.example.com/v1/cogs", None, TABLE),
        Step("DELETE", f"{CRDS}/{PLAIN['metadata']['name']}"),
    )),
]  # fmt: skip

CASES = [*LIVE, *OTHERS]
