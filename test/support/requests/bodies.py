"""Malformed and unusual bodies."""

from __future__ import annotations

import json

from support.recorded import Scenario, Step, step

from .common import APPLY, JSON_PATCH, MERGE, YAML, config_map, core

_CMS = core("r-json", "configmaps")
_HEAD = b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"}'


def _post(body: bytes, **more: str) -> Step:
    return step("POST", _CMS, body, **more)


_MALFORMED = [
    b"",
    b" ",
    b"{",
    b"}",
    b"[]",
    b"[",
    b"5",
    b'"x"',
    b"null",
    b"true",
    b"x",
    b"{}",
    b"{]",
    b'{"a"}',
    b'{"a":}',
    b'{"a":1,}',
    b'{"a" 1}',
    b"{'a':1}",
    b'{"a":NaN}',
    b'{"a":Infinity}',
    b'{"a":01}',
    b'{"a":+1}',
    b'{"a":1.}',
    b'{"a":-}',
    b'{"a":1e}',
    b'{"a":tru}',
    b'{"a":nul',
    b'{"a":"\x01"}',
    b'{"a":"\\x"}',
    b'{"a":"\\u12"}',
    b'{"a":"b',
    _HEAD,
    _HEAD + b"} trailing",
    _HEAD + b"}{}",
    _HEAD + b"},",
    b"\xef\xbb\xbf" + _HEAD + b"}",
    b"\xff\xfe{\x00}\x00",
    b"\xff",
    b'{"kind":5}',
    b'{"kind":"ConfigMap","apiVersion":5}',
    b'{"kind":"ConfigMap","apiVersion":"v1","metadata":5}',
    b'{"kind":"ConfigMap","apiVersion":"v1","metadata":[]}',
    b'{"kind":"ConfigMap","apiVersion":"v1","metadata":null}',
    b'{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":5}}',
    b'{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a","labels":5}}',
    b'{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a","labels":{"a":5}}}',
    b'{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a","creationTimestamp":"yesterday"}}',
    b'{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a","generation":"5"}}',
    b'{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a","generation":1.5}}',
    b'{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a","finalizers":"x"}}',
    b'{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a","ownerReferences":[5]}}',
    b'{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a"},"data":{"a":5}}',
    b'{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a"},"data":{"a":{}}}',
    b'{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a"},"data":[]}',
    b'{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a"},"data":"x"}',
    b'{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a"},"binaryData":{"a":"!"}}',
    b'{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a"},"immutable":"yes"}',
    b'{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a"},"immutable":1}',
    b'{"kind":"ConfigMap","apiVersion":"v1"}',
    b'{"kind":"configmap","apiVersion":"v1","metadata":{"name":"a"}}',
    b'{"kind":"ConfigMap","apiVersion":"v2","metadata":{"name":"a"}}',
    b'{"kind":"ConfigMap","apiVersion":"a/b/c","metadata":{"name":"a"}}',
    b'{"kind":"ConfigMap","metadata":{"name":"no-version"}}',
    b'{"apiVersion":"v1","metadata":{"name":"no-kind"}}',
    b'{"metadata":{"name":"no-type"}}',
    b'{"kind":"Secret","apiVersion":"v1","metadata":{"name":"a"}}',
    b'{"kind":"Deployment","apiVersion":"apps/v1","metadata":{"name":"a"}}',
    b'{"kind":"Deployment","apiVersion":"v1","metadata":{"name":"a"}}',
    b'{"kind":"Nope","apiVersion":"v1","metadata":{"name":"a"}}',
    b'{"kind":"Nope","apiVersion":"nope.test/v1","metadata":{"name":"a"}}',
    b'{"kind":"ConfigMapList","apiVersion":"v1","metadata":{},"items":[]}',
    b'{"kind":"List","apiVersion":"v1","metadata":{},"items":[]}',
    b'{"kind":"Status","apiVersion":"v1","metadata":{}}',
    b'{"KIND":"ConfigMap","apiVersion":"v1","Metadata":{"Name":"case"},"DATA":{"a":"b"}}',
    _HEAD.replace(b'"x"', b'"dup"') + b',"data":{"a":"1","a":"2"},"data":{"b":"3"}}',
    _HEAD.replace(b'"x"', b'"lone"') + b',"data":{"a":"\\ud800","b":"\\ud83d\\ude00","c":"\\u0000"}}',
    _HEAD.replace(b'"x"', b'"utf8"') + b',"data":{"a":"\xff\xfe","b":"\xc3\xa9"}}',
    _HEAD.replace(b'"x"', b'"space"') + b',  \n"data"\t:\r\n{"a" : "b" } } \n\n',
    _HEAD.replace(b'"x"', b'"big","generation":99999999999999999999') + b"}",
    _HEAD.replace(b'"x"', b'"exp","generation":1e3') + b"}",
    _HEAD.replace(b'"x"', b'"float","generation":1.0') + b"}",
]

_DEEP = [
    _HEAD + b',"a":' + b"[" * 20_000 + b"]" * 20_000 + b"}",
    _HEAD + b',"a":' + b'{"a":' * 20_000 + b"1" + b"}" * 20_000 + b"}",
]

_YAML_BODIES = [
    b"",
    b"metadata:\n  name: y-plain\ndata:\n  a: b\n",
    b"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: y-typed\ndata:\n  a: b\n",
    b"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: y-numbers\ndata:\n  a: 1\n",
    b"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: y-date\ndata:\n  a: 2020-01-01\n",
    b"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: y-time\ndata:\n  a: 2020-01-01T00:00:00Z\n",
    b"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: y-yes\ndata:\n  a: yes\n",
    b"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: y-octal\ndata:\n  a: '1'\n  b: 0x1F\n",
    b"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: y-null\ndata:\n  a: ~\n  b: null\n",
    b"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: y-binary\ndata:\n  a: !!binary aGk=\n",
    b"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: y-str\ndata:\n  a: !!str 5\n",
    b"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: y-tag\ndata:\n  a: !foo 5\n",
    b"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: y-python\ndata:\n  a: !!python/object/apply:os.system [ls]\n",
    b"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: y-dup\ndata:\n  a: x\n  a: z\n",
    b"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: y-intkey\ndata:\n  1: x\n  true: z\n",
    b"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: y-merge\ndata: &d\n  a: x\nbinaryData:\n  <<: *d\n",
    b"apiVersion: v1\nkind: ConfigMap\nmetadata: &m\n  name: y-anchor\n  labels:\n    a: &l x\n    b: *l\n",
    b"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: y-multi\n---\napiVersion: v1\nkind: ConfigMap\n",
    b"---\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: y-start\n",
    b"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: y-end\n...\n",
    b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"y-json"}}',
    b"apiVersion: v1\nkind: [\n",
    b"\tapiVersion: v1\n",
    b"- a\n- b\n",
    b"just text\n",
    b"5\n",
    b"a: *nope\n",
    b"? [a, b]\n: c\n",
    b"a: \xff\n",
    b"a: \x01\n",
    b"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: y-unicode\ndata:\n  a: \xc3\xa9\n",
    b"a: &a [x,x,x,x,x,x,x,x,x]\n"
    + b"".join(b"%c: &%c [%s]\n" % (98 + n, 98 + n, b",".join([b"*%c" % (97 + n)] * 9)) for n in range(8)),
]

_TYPES = [
    "application/json; charset=utf-8",
    "application/json;charset=latin1",
    "APPLICATION/JSON",
    "application/json; x",
    "application/json,application/yaml",
    "text/json",
    "text/plain",
    "application/x-www-form-urlencoded",
    "application/xml",
    "*/*",
    "application/*",
    "json",
    "/",
    ";",
    MERGE,
    JSON_PATCH,
    APPLY,
    "application/vnd.kubernetes.protobuf",
    "application/cbor",
    "application/apply-patch+cbor",
]

_OBJECT = json.dumps(config_map("t")).encode()

_PROTOBUF = "application/vnd.kubernetes.protobuf"


def _unknown(api_version: bytes, kind: bytes, raw: bytes) -> bytes:
    """A runtime.Unknown with its magic."""
    type_ = b"\x0a" + bytes([len(api_version)]) + api_version + b"\x12" + bytes([len(kind)]) + kind
    return b"k8s\x00\x0a" + bytes([len(type_)]) + type_ + b"\x12" + bytes([len(raw)]) + raw


_META = b"\x0a\x03\x0a\x01p"  # ConfigMap.metadata.name = "p"

_PROTOBUF_BODIES = [
    b"k8s\x00",
    b"k8s\x00\xff",
    b"k8s",
    b"k8x\x00abc",
    b"\x00\x00\x00\x00",
    b"{}",
    _unknown(b"v1", b"ConfigMap", _META),
    _unknown(b"v1", b"ConfigMap", _META)[:-2],
    _unknown(b"v1", b"ConfigMap", b"\x0a\x7f\x0a\x01q"),
    _unknown(b"v1", b"ConfigMap", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"),
    _unknown(b"v1", b"Secret", _META),
    _unknown(b"v1", b"Nope", _META),
    _unknown(b"nope.test/v1", b"Nope", _META),
    _unknown(b"", b"", b""),
]

SCENARIOS = (
    Scenario("r-json", tuple(_post(body) for body in _MALFORMED)),
    Scenario("r-deep", tuple(step("POST", core("r-deep", "configmaps"), body) for body in _DEEP)),
    Scenario(
        "r-yaml",
        tuple(step("POST", core("r-yaml", "configmaps"), body, content_type=YAML) for body in _YAML_BODIES),
    ),
    Scenario(
        "r-types",
        (
            *(step("POST", core("r-types", "configmaps"), _OBJECT, content_type=type_) for type_ in _TYPES),
            step("POST", core("r-types", "configmaps"), _OBJECT, content_type=""),
            step("POST", core("r-types", "configmaps"), b"", content_type="text/plain"),
            *(step("PUT", core("r-types", "configmaps", "t"), _OBJECT, content_type=type_) for type_ in _TYPES[:8]),
            *(step("PATCH", core("r-types", "configmaps", "t"), b"{}", content_type=type_) for type_ in _TYPES),
            step("PATCH", core("r-types", "configmaps", "t"), b"{}", content_type=""),
            *(step("DELETE", core("r-types", "configmaps", "t"), b"{}", content_type=type_) for type_ in _TYPES),
        ),
    ),
    Scenario(
        "r-protobuf",
        tuple(
            step("POST", core("r-protobuf", "configmaps"), body, content_type=_PROTOBUF) for body in _PROTOBUF_BODIES
        ),
    ),
    Scenario(
        "r-large",
        (
            step("POST", core("r-large", "configmaps"), config_map("a", {"a": "x" * 1_100_000})),
            step("POST", core("r-large", "configmaps"), config_map("b", {"a": "x" * 1_048_576})),
            step("POST", core("r-large", "configmaps"), config_map("c", {"a": "x" * 1_048_577})),
            step("POST", core("r-large", "secrets"), {"metadata": {"name": "s"}, "data": {"a": "eHh4" * 350_000}}),
        ),
    ),
)
