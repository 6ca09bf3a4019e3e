"""Watches of custom resources end when their definition changes: a real server serves it from a new storage."""

from __future__ import annotations

import pytest
from support.apicore import WIDGETS, InProcess, lines, widget, widget_crd
from support.recordings.crds import CRDS

MERGE = "application/merge-patch+json"
CRD = f"{CRDS}/widgets.example.com"


@pytest.fixture
def api() -> InProcess:
    server = InProcess()
    server.create(CRDS, widget_crd(size={"type": "integer"}))
    server.create(WIDGETS, widget("a", size=1))
    return server


def test_a_changed_schema_ends_the_watches(api: InProcess) -> None:
    watch = api.events(f"{WIDGETS}?watch=true")
    versions = widget_crd(size={"type": "integer"}, colour={"type": "string"})["spec"]["versions"]
    assert api.call("PATCH", CRD, {"spec": {"versions": versions}}, content_type=MERGE)[0] == 200
    assert watch.ended


def test_a_version_that_is_no_longer_served_ends_the_watches_of_it(api: InProcess) -> None:
    watch = api.events(f"{WIDGETS}?watch=true")
    (first,) = widget_crd(size={"type": "integer"})["spec"]["versions"]
    versions = [{**first, "served": False}, {**first, "name": "v2", "storage": False}]
    assert api.call("PATCH", CRD, {"spec": {"versions": versions}}, content_type=MERGE)[0] == 200
    assert watch.ended
    assert api.call("GET", f"{WIDGETS}?watch=true")[0] == 404


def test_a_label_of_the_definition_ends_no_watch(api: InProcess) -> None:
    watch = api.events(f"{WIDGETS}?watch=true")
    assert api.call("PATCH", CRD, {"metadata": {"labels": {"a": "b"}}}, content_type=MERGE)[0] == 200
    assert not watch.ended


def test_a_watch_that_began_while_the_definition_went_tells_of_the_last_object(api: InProcess) -> None:
    assert api.call("PATCH", f"{WIDGETS}/a", {"metadata": {"finalizers": ["x.y/z"]}}, content_type=MERGE)[0] == 200
    api.call("DELETE", CRD)
    watch = api.events(f"{WIDGETS}?watch=true")
    api.call("PATCH", f"{WIDGETS}/a", {"metadata": {"finalizers": None}}, content_type=MERGE)
    assert [line["type"] for line in lines(watch)] == ["ADDED", "DELETED"]
    assert watch.ended


def test_nothing_is_created_while_the_definition_goes(api: InProcess) -> None:
    assert api.call("PATCH", f"{WIDGETS}/a", {"metadata": {"finalizers": ["x.y/z"]}}, content_type=MERGE)[0] == 200
    api.call("DELETE", CRD)
    code, status = api.call("POST", WIDGETS, widget("b"))
    assert (code, status["details"]) == (405, {"group": "example.com", "kind": "widgets"})


def test_the_end_of_a_definition_tells_of_it_as_it_was_stored(api: InProcess) -> None:
    watch = api.events(f"{CRDS}?watch=true&fieldSelector=metadata.name%3Dwidgets.example.com")
    api.call("DELETE", CRD)
    gone = lines(watch)[-1]
    assert gone["type"] == "DELETED"
    assert gone["object"]["metadata"]["finalizers"] == ["customresourcecleanup.apiextensions.k8s.io"]
