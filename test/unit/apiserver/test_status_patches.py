"""Patches of a status, of which the rest of the object is not looked at: they end as those for which all of it is."""

from __future__ import annotations

import copy
import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.apicore import WIDGETS, InProcess, widget_crd
from support.randomwrites import APPLY, KIND, MERGE, STATUS_SCHEMA

from localmodel.runtime.testing import writing
from localmodel.runtime.testing.fake_clock import FakeClock

Json = dict[str, Any]
Call = tuple[str, str, Json, str, str]

ONE = f"{WIDGETS}/w"
RULES = [{"rule": "self.size >= oldSelf.size", "message": "size may not shrink"}]
STATUS_RULES = [{"rule": "!has(self.count) || self.count < 100", "message": "too many"}]


def api(*, is_quick: bool, ruled: str) -> InProcess:
    made = InProcess(clock=FakeClock())
    crd = widget_crd(size={"type": "integer"}, tags={"type": "array", "items": {"type": "string"}})
    root = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    root["properties"]["status"] = copy.deepcopy(STATUS_SCHEMA)
    if ruled:
        root["properties"][ruled]["x-kubernetes-validations"] = RULES if ruled == "spec" else STATUS_RULES
    made.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd)
    definition = made.registry.lookup("example.com", "v1", "widgets")
    assert definition is not None
    assert definition.accepts_status is not None
    if not is_quick:
        made.registry.register(dataclasses.replace(definition, accepts_status=None))
    made.create(WIDGETS, {**KIND, "metadata": {"name": "w", "labels": {"l": "1"}}, "spec": {"size": 1, "tags": ["t"]}})
    # Patches are only quick once the defaults are there.
    assert made.call("PATCH", f"{ONE}/status", {"status": {"count": 9}}, content_type=MERGE)[0] == 200
    return made


parts = st.lists(st.sampled_from([{"name": "a"}, {"name": "b", "n": 1}, {"name": "a", "n": 2}, {"n": 3}]), max_size=3)
right = st.fixed_dictionaries(
    {},
    optional={
        "phase": st.sampled_from(["A", "B"]),
        "count": st.integers(0, 5),
        "models": st.dictionaries(st.sampled_from("xyz"), st.sampled_from(["1", "2", None])),
        "parts": st.lists(st.sampled_from([{"name": "a"}, {"name": "b", "n": 1}, {"name": "c"}]), unique_by=str),
    },
)
odd = st.fixed_dictionaries(
    {},
    optional={
        "phase": st.sampled_from(["A", "B", "C", None]),
        "count": st.sampled_from([0, 1, 200, -1, 1.5, None]),
        "colour": st.sampled_from(["blue", None, 3]),
        "models": st.one_of(st.none(), st.dictionaries(st.sampled_from("xyz"), st.sampled_from(["1", "long", None]))),
        "parts": st.one_of(st.none(), parts),
        "unknown": st.just({"a": 1}),
    },
)
status = st.one_of(right, right, odd)
metadata = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["w", "other"]),
        "uid": st.just("wrong"),
        "resourceVersion": st.sampled_from(["0", "1", "current"]),
        "labels": st.just({"l": "2"}),
        "finalizers": st.just(["example.com/x"]),
    },
)
patches = st.one_of(
    st.fixed_dictionaries({"status": status}),
    st.fixed_dictionaries({"status": st.one_of(st.none(), st.just({}), status)}, optional={"metadata": metadata}),
    st.fixed_dictionaries({"status": status, "kind": st.sampled_from(["Widget", "Gadget"]), "spec": st.just({})}),
)
agents = st.sampled_from(["one/1", "two"])
queries = st.sampled_from(["", "?fieldValidation=Strict", "?dryRun=All", "?fieldManager=three"])
calls: st.SearchStrategy[Call] = st.one_of(
    st.builds(
        lambda body, query, agent: ("PATCH", f"{ONE}/status{query}", body, MERGE, agent), patches, queries, agents
    ),
    st.builds(lambda body, agent: ("PATCH", f"{ONE}/status", {"status": body}, MERGE, agent), status, agents),
    st.builds(
        lambda body: ("PATCH", f"{ONE}/status?fieldManager=m&force=true", {**KIND, "status": body}, APPLY, "x"), status
    ),
    st.just(("PATCH", ONE, {"metadata": {"labels": {"l": "3"}}, "spec": {"size": 2}}, MERGE, "one/1")),
    st.just(("PATCH", ONE, {"metadata": {"finalizers": ["example.com/x"]}}, MERGE, "two")),
    st.just(("DELETE", ONE, {}, "application/json", "two")),
)


def answer(api: InProcess, call: Call) -> Any:
    method, target, body, content_type, agent = call
    stored = api.call("GET", ONE)[1]["metadata"]
    body = copy.deepcopy(body)
    if (body.get("metadata") or {}).get("resourceVersion") == "current":
        body["metadata"]["resourceVersion"] = stored.get("resourceVersion", "1")
    status, told, warnings = api.told(method, target, body, {"content-type": content_type, "user-agent": agent})
    return status, json.loads(json.dumps(told).replace(stored.get("uid", "gone"), "UID")), warnings


@settings(max_examples=150, deadline=None)
@given(st.lists(calls, min_size=1, max_size=10), st.sampled_from(["", "spec", "status"]))
def test_no_answer_shows_how_much_was_looked_at(made: list[Call], ruled: str) -> None:
    quick, thorough = api(is_quick=True, ruled=ruled), api(is_quick=False, ruled=ruled)
    for call in made:
        told = answer(quick, call)
        assert told == answer(thorough, call)
        assert told[0] != 500 or "failed to create typed patch" in told[1]["message"]


@pytest.mark.parametrize("ruled", ["", "spec"])
def test_a_patch_of_a_status_alone_is_quick(monkeypatch: pytest.MonkeyPatch, ruled: str) -> None:
    """Also one that names the object; once defaults are set, and the rules of the rest have been asked."""
    made = api(is_quick=True, ruled=ruled)
    uid = made.call("GET", ONE)[1]["metadata"]["uid"]
    ways = []
    patch_status = writing.patch_status

    def noted(*args: Any) -> Any:
        ways.append(patch_status(*args))
        return ways[-1]

    monkeypatch.setattr(writing, "patch_status", noted)
    for number in range(3):
        body = {"metadata": {"uid": uid}, "status": {"count": number, "models": {"x": "1"}}}
        assert made.call("PATCH", f"{ONE}/status", body, content_type=MERGE)[0] == 200
    assert [way is not None for way in ways] == [True, True, True]
    stored = made.call("GET", ONE)[1]
    assert stored["status"] == {"count": 2, "models": {"x": "1"}, "colour": "red"}
    assert stored["spec"] == {"size": 1, "tags": ["t"]}


@pytest.mark.parametrize(
    "body",
    [
        {"status": {"count": True}},
        {"status": {"count": 1.0}},
        {"metadata": None, "status": {"count": 2}},
        {"status": {"count": None, "colour": None}},
        {"status": {}},
    ],
)
def test_what_python_takes_for_equal_or_absent_is_told_apart(body: Json) -> None:
    quick, thorough = api(is_quick=True, ruled=""), api(is_quick=False, ruled="")
    for call in (
        ("PATCH", f"{ONE}/status", {"status": {"count": 1}}, MERGE, "one/1"),
        ("PATCH", f"{ONE}/status", body, MERGE, "two"),
    ):
        assert answer(quick, call) == answer(thorough, call)
