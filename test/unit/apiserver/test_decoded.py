"""Objects that are kept decoded: writes to them end as if each had been decoded anew."""

from __future__ import annotations

import copy
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from support.apicore import WIDGETS, InProcess, widget_crd

from localmodel.runtime.testing import decoded
from localmodel.runtime.testing.decoded import DecodedObjects
from localmodel.runtime.testing.definitions import AdmissionAttributes
from localmodel.runtime.testing.fake_clock import FakeClock
from localmodel.runtime.testing.store import Entry

Json = dict[str, Any]
Call = tuple[str, str, Json | list[Json], str]

MERGE, OPERATIONS = "application/merge-patch+json", "application/json-patch+json"
APPLY = "application/apply-patch+yaml"
ONE = f"{WIDGETS}/w"


class Forgetful(DecodedObjects):
    """Keeps nothing."""

    def put(self, resource: str, entry: Entry, obj: Json) -> None:
        pass


def api(*, keeps: bool, mutates: bool) -> InProcess:
    made = InProcess(clock=FakeClock())
    if not keeps:
        made.registry._writer._decoded = Forgetful()

    def mark(attributes: AdmissionAttributes) -> None:
        tags = (attributes.object or {}).get("spec", {}).get("tags")
        if isinstance(tags, list):
            tags.append("marked")

    if mutates:
        made.registry.admission.append(mark)
    crd = widget_crd(
        size={"type": "integer", "minimum": 0},
        colour={"type": "string", "default": "red"},
        tags={"type": "array", "items": {"type": "string"}},
        inner={"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "string", "default": "b"}}},
    )
    made.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd)
    kind = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}}
    made.create(WIDGETS, {**kind, "spec": {"size": 1, "tags": ["t"], "inner": {"a": 1}}, "status": {}})
    return made


values = st.sampled_from([0, 1, -1, "x", None, [], ["t", "u"], {"a": 2}, {"a": "no"}, {"b": None}, {"c": 1}])
fields = st.sampled_from(["size", "colour", "tags", "inner", "unknown"])
specs = st.dictionaries(fields, values, max_size=3)
statuses = st.fixed_dictionaries({"status": st.dictionaries(st.sampled_from("ab"), values, max_size=2)})
labels = st.dictionaries(st.sampled_from("lm"), st.sampled_from(["1", "2", None]), max_size=2)
merges = st.one_of(
    st.fixed_dictionaries({"spec": specs}),
    st.fixed_dictionaries({"metadata": st.fixed_dictionaries({"labels": labels})}),
    statuses,
)
operations = st.lists(
    st.one_of(
        st.builds(lambda key, value: {"op": "add", "path": f"/spec/{key}", "value": value}, fields, values),
        st.builds(lambda key: {"op": "remove", "path": f"/spec/{key}"}, fields),
        st.builds(lambda a, b: {"op": "copy", "from": f"/spec/{a}", "path": f"/spec/{b}"}, fields, fields),
        st.just({"op": "add", "path": "/spec/tags/-", "value": "v"}),
        st.just({"op": "replace", "path": "/spec/inner/a", "value": 3}),
    ),
    max_size=3,
)
kind = {"apiVersion": "example.com/v1", "kind": "Widget"}
calls: st.SearchStrategy[Call] = st.one_of(
    st.builds(lambda body: ("PATCH", ONE, body, MERGE), merges),
    st.builds(lambda body: ("PATCH", f"{ONE}/status", body, MERGE), statuses),
    st.builds(lambda body: ("PATCH", ONE, body, OPERATIONS), operations),
    st.builds(lambda spec: ("PATCH", f"{ONE}?fieldManager=m&force=true", {**kind, "spec": spec}, APPLY), specs),
    st.builds(
        lambda spec: ("PUT", ONE, {**kind, "metadata": {"name": "w", "resourceVersion": "0"}, "spec": spec}, ""), specs
    ),
)


def answer(api: InProcess, call: Call) -> tuple[int, Json]:
    method, target, body, content_type = call
    headers = {"content_type": content_type} if content_type else {}
    status, told = api.call(method, target, copy.deepcopy(body), **headers)
    if isinstance(told.get("metadata"), dict):
        told["metadata"].pop("uid", None)
    return status, told


@settings(max_examples=60, deadline=None)
@given(st.lists(calls, min_size=2, max_size=12), st.booleans())
def test_no_write_shows_that_objects_are_kept(made: list[Call], mutates: bool) -> None:
    keeping, forgetful = api(keeps=True, mutates=mutates), api(keeps=False, mutates=mutates)
    kept = keeping.registry._writer._decoded
    for call in made:
        told = answer(keeping, call)
        assert told == answer(forgetful, call)
        assert told[0] != 500
        entry = keeping.registry.store.get("widgets.example.com", "default", "w")
        assert entry is not None
        found = kept.get("widgets.example.com", entry)
        assert found is None or found == msgspec.json.decode(entry.value)


def test_an_object_of_another_revision_is_not_given() -> None:
    kept = DecodedObjects()
    first, second = Entry.of("", "a", 1, b'{"metadata":{}}'), Entry.of("", "a", 2, b'{"metadata":{}}')
    kept.put("things", first, {"n": 1})
    assert kept.get("things", first) == {"n": 1}
    assert kept.get("things", second) is None
    assert kept.get("others", first) is None


def test_of_many_objects_the_last_written_are_kept(monkeypatch: Any) -> None:
    monkeypatch.setattr(decoded, "_LIMIT", 100)
    kept = DecodedObjects()
    entries = [Entry.of("", str(number), number, b'{"metadata":{},"x":"%s"}' % (b"x" * 15)) for number in range(1, 5)]
    for entry in [*entries, entries[1]]:
        kept.put("things", entry, {})
    assert [kept.get("things", entry) is not None for entry in entries] == [False, True, False, True]
