"""Whatever is asked of a `FakeClient`, its answers are those of a `LiveClient` on the API server: results and errors.

Else a unit test of a reconciler passes and production fails. The same random requests go to both.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field

from localmodel.runtime.client import (
    JSON_PATCH,
    MERGE_PATCH,
    STRATEGIC_MERGE_PATCH,
    Client,
    Preconditions,
    WriteOptions,
)
from localmodel.runtime.crdgen import crd_for
from localmodel.runtime.delegating_client import with_field_owner
from localmodel.runtime.errors import ApiError
from localmodel.runtime.objects import ConfigMap, Object, ObjectMeta, RESTMapping
from localmodel.runtime.testing import FakeClient
from localmodel.sandbox.envtest import Environment

Json = dict[str, Any]


class Widget(Object):
    mapping = RESTMapping.of("example.com", "v1", "Widget")
    spec: Json = Field(default_factory=dict)
    status: Json = Field(default_factory=dict)


@pytest.fixture(scope="module")
def api_server() -> Iterator[Environment]:
    with Environment(crds=[crd_for(Widget)]) as environment:
        yield environment


NAMES = st.sampled_from(["a", "b", "Bad_Name", "", "a/b", ".."])
USUAL = st.one_of(st.sampled_from(["a", "b"]), NAMES)
LABELS = st.sampled_from([{}, {"app": "x"}, {"app": "y", "tier": "z"}, {"bad key!": "x"}, {"app": "-"}])
VALUES = st.sampled_from(["1", "2", ""])
OPTIONS = st.sampled_from([WriteOptions(), WriteOptions(), WriteOptions(), WriteOptions(dry_run=True)])
KINDS = st.sampled_from([ConfigMap, Widget])
SELECTORS = st.sampled_from(
    ["", "app", "app=x", "app in (x,y),tier", "!app", "app=x=y", {"app": "x"}, {"app": "x,tier=z"}]
)
FIELDS = st.sampled_from(["", "metadata.name=a", "metadata.name!=a", "spec.colour=red", {"metadata.name": "a,b"}])
PATCHES = st.sampled_from(
    [
        (MERGE_PATCH, {}),
        (MERGE_PATCH, {"metadata": {"labels": {"app": "y"}}}),
        (MERGE_PATCH, {"metadata": {"labels": None}}),
        (MERGE_PATCH, {"metadata": {"finalizers": ["example.com/held"]}}),
        (MERGE_PATCH, {"metadata": {"finalizers": None}}),
        (MERGE_PATCH, {"metadata": {"resourceVersion": "1"}}),
        (MERGE_PATCH, {"metadata": {"name": "c"}}),
        (MERGE_PATCH, {"metadata": {"uid": "another"}}),
        (MERGE_PATCH, {"data": {"k": "patched"}, "spec": {"k": "patched"}}),
        (MERGE_PATCH, {"data": {"k": None}, "spec": {"k": None}}),
        (MERGE_PATCH, {"status": {"k": "patched"}}),
        (MERGE_PATCH, {"kind": "Other"}),
        (MERGE_PATCH, ["no object"]),
        (JSON_PATCH, [{"op": "add", "path": "/metadata/annotations", "value": {"a": "b"}}]),
        (JSON_PATCH, [{"op": "test", "path": "/metadata/name", "value": "b"}]),
        (JSON_PATCH, [{"op": "remove", "path": "/nowhere"}]),
        (JSON_PATCH, {"op": "remove"}),
        (STRATEGIC_MERGE_PATCH, {"data": {"k": "strategic"}}),
        (STRATEGIC_MERGE_PATCH, {"$patch": "delete"}),
    ]
)
OWNERS = st.sampled_from(["one", "two"])
REQUESTS = st.one_of(
    st.tuples(st.just("create"), KINDS, USUAL, LABELS, VALUES, OPTIONS),
    st.tuples(st.just("generate"), KINDS, OPTIONS),
    # Of names that no object can have, the fake knows nothing, as a cache; a live client refuses them.
    st.tuples(st.just("get"), KINDS, st.sampled_from(["a", "b", "Bad_Name"])),
    st.tuples(st.just("list"), KINDS, SELECTORS, FIELDS, st.sampled_from([0, 1])),
    st.tuples(st.just("update"), KINDS, USUAL, VALUES, st.sampled_from(["read", "first", "none"]), OPTIONS),
    st.tuples(st.just("status"), KINDS, USUAL, VALUES, OPTIONS),
    st.tuples(st.just("patch"), KINDS, USUAL, PATCHES, st.booleans(), OPTIONS),
    st.tuples(st.just("apply"), KINDS, USUAL, VALUES, OWNERS, st.booleans(), OPTIONS),
    st.tuples(st.just("delete"), KINDS, USUAL, st.sampled_from(["", "uid", "rv", "wrong"]), OPTIONS),
    st.tuples(st.just("delete all"), KINDS, SELECTORS, st.booleans(), OPTIONS),
    st.tuples(st.just("scale"), KINDS, USUAL),
)


class Side:
    """One of the two clients, in a namespace that both call the same."""

    def __init__(self, client: Client, namespace: str) -> None:
        self.client = with_field_owner(client, "writer")
        self.namespace = namespace
        self.first: dict[tuple[type[Object], str], Object] = {}
        """Each object as it was first seen, which may be stale by now."""

    def made(self, kind: type[Object], name: str, value: str = "", labels: dict[str, str] | None = None) -> Any:
        content = {"data": {"k": value}} if kind is ConfigMap else {"spec": {"k": value}, "status": {"k": value}}
        metadata = ObjectMeta(name=name, namespace=self.namespace, labels=labels or {})
        return kind(metadata=metadata, **content)  # type: ignore[arg-type]

    def does(self, what: str, *arguments: Any) -> Any:
        """The answer without what differs between two servers, or the error."""
        try:
            answer = getattr(self, what.replace(" ", "_"))(*arguments)
        except ApiError as error:
            return type(error), error.code, error.reason, _plain(str(error))
        except ValueError as error:
            return ValueError, str(error)
        return [self._seen(obj) for obj in answer] if isinstance(answer, list) else self._seen(answer)

    def _seen(self, obj: Object | None) -> Any:
        if obj is None:
            return None
        data = obj.to_dict()
        for name in ("uid", "resourceVersion", "creationTimestamp", "deletionTimestamp"):
            data["metadata"][name] = bool(data["metadata"].get(name))
        if "generateName" in data["metadata"]:
            data["metadata"]["name"] = ""
        return data

    def create(self, kind: type[Object], name: str, labels: Any, value: str, options: WriteOptions) -> Object:
        created = self.client.create(self.made(kind, name, value, labels), options=options)
        if not options.dry_run:
            self.first.setdefault((kind, name), created)
        return created

    def generate(self, kind: type[Object], options: WriteOptions) -> Object:
        obj = self.made(kind, "")
        obj.metadata.generate_name = "made-"
        return self.client.create(obj, options=options)

    def get(self, kind: type[Object], name: str) -> Object:
        return self.client.get(kind, name, namespace=self.namespace)

    def list(self, kind: type[Object], labels: str, fields: str, limit: int) -> Any:
        found = self.client.list(kind, namespace=self.namespace, labels=labels, fields=fields)
        assert self.client.list(kind, namespace=self.namespace, labels=labels, fields=fields, limit=1) == found[:1]
        return found[:limit] if limit else [obj for obj in found if not obj.metadata.generate_name]

    def update(self, kind: type[Object], name: str, value: str, version: str, options: WriteOptions) -> Object:
        obj = self.made(kind, name, value)
        if version == "read":
            known = self.client.find(kind, name, namespace=self.namespace) if name in ("a", "b") else None
        else:
            known = self.first.get((kind, name)) if version == "first" else None
        if known is not None:
            obj.metadata.resource_version = known.metadata.resource_version
        return self.client.update(obj, options=options)

    def status(self, kind: type[Object], name: str, value: str, options: WriteOptions) -> Object:
        return self.client.status.patch(self.made(kind, name), {"status": {"k": value}}, options=options)

    def patch(
        self, kind: type[Object], name: str, patch: tuple[Any, Any], is_status: bool, options: WriteOptions
    ) -> Object:
        patch_type, body = patch
        if isinstance(body, dict):  # the fake has no schemas, so it drops no unknown fields
            unknown = {"spec", "status"} if kind is ConfigMap else {"data"}
            body = {key: value for key, value in body.items() if key not in unknown}
        writer = self.client.status if is_status else self.client
        return writer.patch(self.made(kind, name), body, patch_type=patch_type, options=options)

    def apply(
        self, kind: type[Object], name: str, value: str, owner: str, force: bool, options: WriteOptions
    ) -> Object:
        return self.client.apply(self.made(kind, name, value), field_owner=owner, force=force, options=options)

    def delete(self, kind: type[Object], name: str, condition: str, options: WriteOptions) -> None:
        known = self.first.get((kind, name))
        preconditions = None
        if condition == "wrong":
            preconditions = Preconditions(uid="wrong")
        elif condition and known is not None:
            uid, version = known.metadata.uid, known.metadata.resource_version
            preconditions = Preconditions(uid=uid) if condition == "uid" else Preconditions(resource_version=version)
        self.client.delete(self.made(kind, name), preconditions=preconditions, options=options)

    def delete_all(self, kind: type[Object], labels: str, is_everywhere: bool, options: WriteOptions) -> None:
        namespace = "" if is_everywhere else self.namespace
        self.client.delete_all_of(kind, namespace=namespace, labels=labels, options=options)

    def scale(self, kind: type[Object], name: str) -> Object:
        return self.client.subresource("scale").get(self.made(kind, name))


def _plain(message: str) -> str:
    """Without uids, times and numbers."""
    return re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}|\d+(-\d+-\d+T[\d:.]+Z)?", "#", message)


@settings(max_examples=60, deadline=None)
@given(st.lists(REQUESTS, min_size=1, max_size=12))
def test_the_fake_answers_as_the_server_does(api_server: Environment, requests: list[tuple[Any, ...]]) -> None:
    server, namespace = api_server.client(), api_server.namespace()
    server.delete_all_of(ConfigMap, namespace=namespace)  # the one with the cluster's authority
    fake, live = Side(FakeClient(), namespace), Side(server, namespace)
    for request in requests:
        assert fake.does(*request) == live.does(*request), request
    for kind in (ConfigMap, Widget):
        assert fake.does("list", kind, "", "", 0) == live.does("list", kind, "", "", 0)
