"""Random writes of a custom resource, as hypothesis draws them: creates, updates, patches and applies, also of status.

They are about what a schema leaves open or refuses, what defaulting and pruning do, and who owns what afterwards.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from .apicore import widget_crd

Json = dict[str, Any]

JSON, MERGE = "application/json", "application/merge-patch+json"
OPERATIONS, APPLY = "application/json-patch+json", "application/apply-patch+yaml"
KIND = {"apiVersion": "example.com/v1", "kind": "Widget"}
CURRENT = "current"
"""Stands for the resource version that the object has."""


@dataclass(frozen=True, slots=True)
class Write:
    """One request for the object at hand; of a POST and a PUT the body gets its name."""

    method: str
    body: Any
    content_type: str = JSON
    subresource: str = ""
    query: str = ""
    agent: str = "one/1"


_TEXT: Json = {"type": "string"}
_COLOURED: Json = {**_TEXT, "default": "red"}
_PART: Json = {"type": "object", "required": ["name"], "properties": {"name": _TEXT, "n": {"type": "integer"}}}
_PARTS: Json = {
    "type": "array",
    "items": _PART,
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["name"],
}
STATUS_SCHEMA: Json = {
    "type": "object",
    "properties": {
        "phase": {**_TEXT, "enum": ["A", "B"]},
        "count": {"type": "integer", "minimum": 0},
        "colour": _COLOURED,
        "models": {"type": "object", "additionalProperties": {**_TEXT, "maxLength": 3}},
        "parts": _PARTS,
    },
}


def random_crd() -> Json:
    """The definition of the resource that the writes are about."""
    inner = {"a": {"type": "integer"}, "b": {**_TEXT, "default": "b"}, "nil": {**_TEXT, "nullable": True}}
    crd = widget_crd(
        size={"type": "integer", "minimum": 0},
        colour=_COLOURED,
        tags={"type": "array", "items": _TEXT, "x-kubernetes-list-type": "set"},
        atom={"type": "array", "items": {"type": "integer"}},
        inner={"type": "object", "properties": inner},
        parts=_PARTS,
        any={"x-kubernetes-preserve-unknown-fields": True},
        ios={"x-kubernetes-int-or-string": True},
    )
    properties = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    rule = "!has(oldSelf.size) || !has(self.size) || self.size >= oldSelf.size"
    properties["spec"]["x-kubernetes-validations"] = [{"rule": rule, "message": "size may not shrink"}]
    properties["status"] = STATUS_SCHEMA
    return copy.deepcopy(crd)


def _optional(**fields: Any) -> st.SearchStrategy[Json]:
    return st.fixed_dictionaries({}, optional=fields)


_fields = st.sampled_from(["size", "colour", "tags", "inner", "atom", "any", "ios", "unknown"])
_values = st.sampled_from(
    [0, 1, 2, -1, "x", None, [], ["t", "u"], ["t", "t"], {"a": 2}, {"a": "no"}, {"b": None}, {"c": 1}, {"nil": None},
     {"nil": "s"}, 1.5, True, {}]
)  # fmt: skip
_parts = st.lists(
    st.sampled_from([{"name": "a"}, {"name": "b", "n": 1}, {"name": "a", "n": 2}, {"n": 3}, {"name": "c", "n": None}]),
    max_size=3,
)
_right_spec = _optional(
    size=st.integers(0, 5),
    colour=st.sampled_from(["blue", "red"]),
    tags=st.lists(st.sampled_from("tuv"), unique=True, max_size=3),
    inner=st.sampled_from([{"a": 1}, {"b": "c"}, {"nil": None}, {"nil": "x"}, {}]),
    atom=st.lists(st.integers(0, 3), max_size=2),
    parts=_parts,
    any=_values,
    ios=st.sampled_from([1, "a", "10%"]),
)
_specs = st.one_of(_right_spec, _right_spec, st.dictionaries(_fields, _values, max_size=3))
_statuses = st.one_of(
    _optional(
        phase=st.sampled_from("AB"),
        count=st.integers(0, 5),
        models=st.dictionaries(st.sampled_from("xyz"), st.sampled_from(["1", "2", None])),
        parts=_parts,
    ),
    _optional(
        phase=st.sampled_from(["A", "B", "C", None]),
        count=st.sampled_from([0, -1, 1.5, None]),
        colour=st.sampled_from(["blue", None, 3]),
        unknown=st.just(1),
        parts=st.one_of(st.none(), _parts),
    ),
)
_labels = st.dictionaries(st.sampled_from("lm"), st.sampled_from(["1", "2", None]), max_size=2)
_owner = {"apiVersion": "v1", "kind": "Node", "name": "n"}
_metadata = _optional(
    labels=_labels,
    annotations=_labels,
    finalizers=st.sampled_from([[], ["example.com/x"], ["bad"], None]),
    ownerReferences=st.sampled_from([[], [{**_owner, "uid": "u"}], [_owner]]),
    generation=st.just(7),
    resourceVersion=st.sampled_from(["0", CURRENT]),
)
_queries = st.sampled_from(
    ["", "", "", "fieldValidation=Strict", "fieldValidation=Ignore", "dryRun=All", "fieldManager=three"]
)
_agents = st.sampled_from(["one/1", "two"])
_operations = st.lists(
    st.one_of(
        st.builds(lambda op, key, value: {"op": op, "path": f"/spec/{key}", "value": value},
                  st.sampled_from(["add", "replace", "test"]), _fields, _values),
        st.builds(lambda key: {"op": "remove", "path": f"/spec/{key}"}, _fields),
        st.builds(lambda op, a, b: {"op": op, "from": f"/spec/{a}", "path": f"/spec/{b}"},
                  st.sampled_from(["copy", "move"]), _fields, _fields),
        st.just({"op": "add", "path": "/spec/tags/-", "value": "v"}),
        st.just({"op": "replace", "path": "/spec/inner/a", "value": 3}),
        st.just({"op": "add", "path": "/metadata/labels", "value": {"z": "1"}}),
    ),
    max_size=3,
)  # fmt: skip


# An apply of nothing, which takes all away, is not drawn: a real server may refuse what it makes of it itself.


def _applied(spec: Json, metadata: Json, force: bool, who: str) -> Write:
    kept = {key: metadata[key] for key in ("labels", "annotations", "finalizers") if metadata.get(key)}
    query = f"fieldManager={who}{'&force=true' if force else ''}"
    return Write("PATCH", {**KIND, "metadata": kept, "spec": spec or {"size": 5}}, APPLY, "", query)


def _applied_status(status: Json, force: bool) -> Write:
    query = f"fieldManager=m{'&force=true' if force else ''}"
    return Write("PATCH", {**KIND, "metadata": {}, "status": status or {"count": 1}}, APPLY, "status", query)


def _created(spec: Json, more: Json, metadata: Json, query: str) -> Write:
    given = {key: value for key, value in metadata.items() if key != "resourceVersion"}
    return Write("POST", {**KIND, "metadata": given, "spec": spec, **more}, query=query)


creates = st.builds(_created, _specs, st.sampled_from([{}, {"status": {"count": 1}}]), _metadata, _queries)
writes: st.SearchStrategy[Write] = st.one_of(
    st.builds(lambda s, q, a: Write("PATCH", {"spec": s}, MERGE, "", q, a), _specs, _queries, _agents),
    st.builds(lambda s, m, q, a: Write("PATCH", {"metadata": m, "spec": s}, MERGE, "", q, a),
              _specs, _metadata, _queries, _agents),
    st.builds(lambda s, q, a: Write("PATCH", {"status": s}, MERGE, "status", q, a), _statuses, _queries, _agents),
    st.builds(lambda o, q, a: Write("PATCH", o, OPERATIONS, "", q, a), _operations, _queries, _agents),
    st.builds(_applied, _specs, _metadata, st.booleans(), st.sampled_from("mk")),
    st.builds(_applied_status, _statuses, st.booleans()),
    st.builds(lambda s, m, q, a: Write("PUT", {**KIND, "metadata": {"resourceVersion": CURRENT, **m}, "spec": s},
                                       JSON, "", q, a), _specs, _metadata, _queries, _agents),
    st.builds(lambda s, q, a: Write("PUT", {**KIND, "status": s}, JSON, "status", q, a), _statuses, _queries, _agents),
    st.just(Write("DELETE", None)),
)  # fmt: skip
