"""How the registry creates and updates objects; what the server sets, keeps and refuses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from support.widgets import CONFIG_MAPS, NS, PODS, WIDGETS, Json, widget

from localmodel.runtime.client import JSON_PATCH, MERGE_PATCH, WriteOptions
from localmodel.runtime.errors import (
    AlreadyExistsError,
    BadRequestError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
)
from localmodel.runtime.testing import AdmissionAttributes, FakeClock, Registry, UserInfo
from localmodel.runtime.testing import metadata as meta
from localmodel.runtime.testing.answers import required
from localmodel.runtime.testing.definitions import ResourceDefinition


@pytest.fixture
def registry() -> Registry:
    return Registry(clock=FakeClock())


def merge(registry: Registry, patch: Json, definition: ResourceDefinition = WIDGETS, **more: Any) -> Json:
    return registry.patch(definition, NS, "a", patch, MERGE_PATCH, **more).object


def test_203_a_create_sets_what_the_server_sets(registry: Registry) -> None:
    sent = widget() | {"status": {"ready": True}}
    sent["metadata"] |= {"uid": "mine", "generation": 7, "creationTimestamp": "2000-01-01T00:00:00Z"}
    stored = registry.create(WIDGETS, NS, sent).object
    assert stored["apiVersion"] == "example.com/v1"
    assert stored["kind"] == "Widget"
    assert "status" not in stored
    metadata = stored["metadata"]
    assert (metadata["generation"], metadata["creationTimestamp"]) == (1, "2026-01-01T00:00:00Z")
    assert metadata["uid"] != "mine"
    assert metadata["resourceVersion"] == "1"


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        ({"kind": "Gadget"}, r"the kind in the data \(Gadget\) does not match the expected kind \(Widget\)"),
        ({"apiVersion": "v2"}, r"the API version in the data \(v2\) does not match"),
        ({"metadata": {"name": "a", "namespace": "other"}}, "does not match the namespace sent on the request"),
        ({"metadata": []}, None),
        ({"metadata": "x"}, r"cannot unmarshal string into Go struct field Widget\.metadata of type v1\.ObjectMeta"),
    ],
)
def test_an_object_that_belongs_elsewhere_is_refused(registry: Registry, sent: Json, message: str | None) -> None:
    with pytest.raises((BadRequestError, InvalidError), match=message):
        registry.create(WIDGETS, NS, sent)


@pytest.mark.parametrize(
    ("name", "definition", "message"),
    [
        ("Upper", WIDGETS, "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters"),
        ("x" * 254, WIDGETS, "must be no more than 253 characters"),
        ("a.b", replace(WIDGETS, validate_name=meta.dns1123_label), "must not contain dots"),
        ("A", replace(WIDGETS, validate_name=meta.dns1123_label), "a lowercase RFC 1123 label must consist of"),
        ("a/b", replace(WIDGETS, validate_name=meta.path_segment), "may not contain '/'"),
    ],
)
def test_a_bad_name_is_refused(registry: Registry, name: str, definition: ResourceDefinition, message: str) -> None:
    with pytest.raises(InvalidError, match=rf'Widget\.example\.com "{name}" is invalid: .*metadata\.name') as caught:
        registry.create(definition, NS, widget(name))
    assert message in str(caught.value)
    assert {cause["field"] for cause in caught.value.causes} == {"metadata.name"}


@pytest.mark.parametrize(
    ("metadata", "field"),
    [
        ({"labels": {"-bad": "x"}}, "metadata.labels"),
        ({"labels": {"a": "not valid"}}, "metadata.labels"),
        ({"labels": {"a": "x" * 64}}, "metadata.labels"),
        ({"annotations": {"a b": "x"}}, "metadata.annotations"),
        ({"annotations": {"a": "x" * 300_000}}, "metadata.annotations"),
        ({"finalizers": ["not valid"]}, "metadata.finalizers"),
        ({"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p"}]}, "metadata.ownerReferences.uid"),
        (
            {
                "ownerReferences": [
                    {"apiVersion": "v1", "kind": "Pod", "name": n, "uid": n, "controller": True} for n in "pq"
                ]
            },
            "metadata.ownerReferences",
        ),
    ],
)
def test_bad_metadata_is_refused(registry: Registry, metadata: Json, field: str) -> None:
    sent = widget()
    sent["metadata"] |= metadata
    with pytest.raises(InvalidError) as caught:
        registry.create(WIDGETS, NS, sent)
    assert field in {cause["field"] for cause in caught.value.causes}
    registry.create(WIDGETS, NS, widget())
    with pytest.raises(InvalidError):
        merge(registry, {"metadata": metadata})


def test_190_generate_name_is_tried_again_when_it_clashes(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = iter(["a", "a", "b"])
    monkeypatch.setattr("localmodel.runtime.testing.registry.generated_name", lambda base: base + next(drawn))
    made = [registry.create(WIDGETS, NS, {"metadata": {"generateName": "g-"}}).object for _ in range(2)]
    assert [obj["metadata"]["name"] for obj in made] == ["g-a", "g-b"]


def test_generate_name_gives_up_after_eight_clashes(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("localmodel.runtime.testing.registry.generated_name", lambda base: base + "a")
    registry.create(WIDGETS, NS, {"metadata": {"generateName": "g-"}})
    with pytest.raises(AlreadyExistsError, match="the server was not able to generate a unique name for the object"):
        registry.create(WIDGETS, NS, {"metadata": {"generateName": "g-"}})


def test_203_generation_counts_changes_of_the_spec_only(registry: Registry) -> None:
    registry.create(WIDGETS, NS, widget(size=1))
    generations = [
        merge(registry, {"metadata": {"labels": {"a": "b"}}})["metadata"]["generation"],
        merge(registry, {"status": {"n": 1}}, subresource="status")["metadata"]["generation"],
        merge(registry, {"spec": {"size": 2}})["metadata"]["generation"],
        merge(registry, {"metadata": {"generation": 9}})["metadata"]["generation"],
    ]
    assert generations == [1, 1, 2, 2]


def test_without_a_status_subresource_status_is_an_ordinary_field(registry: Registry) -> None:
    plain = replace(WIDGETS, status_subresource=False)
    registry.create(plain, NS, widget() | {"status": {"n": 1}})
    changed = merge(registry, {"status": {"n": 2}}, plain)
    assert (changed["status"], changed["metadata"]["generation"]) == ({"n": 2}, 2)
    with pytest.raises(NotFoundError):
        merge(registry, {"status": {"n": 3}}, plain, subresource="status")


def test_a_kind_without_generation_has_none(registry: Registry) -> None:
    registry.create(CONFIG_MAPS, NS, {"metadata": {"name": "a"}})
    assert "generation" not in merge(registry, {"data": {"a": "1"}}, CONFIG_MAPS)["metadata"]


@pytest.mark.parametrize(
    "patch",
    [
        {},
        {"spec": {"size": 1}},
        {"metadata": {"uid": None, "creationTimestamp": None, "generation": None, "managedFields": None}},
        {"metadata": {"creationTimestamp": "2001-01-01T00:00:00Z"}},
    ],
)
def test_a_write_that_changes_nothing_is_none(registry: Registry, patch: Json) -> None:
    created = registry.create(WIDGETS, NS, widget(size=1)).object
    seen: list[Any] = []
    registry.watch(WIDGETS, None, seen.append)
    seen.clear()
    assert merge(registry, patch) == created
    assert seen == []
    assert registry.store.revision == 1


@pytest.mark.parametrize(
    ("patch", "error", "message"),
    [
        ({"metadata": {"uid": "other"}}, InvalidError, 'metadata.uid: Invalid value: "other": field is immutable'),
        ({"metadata": {"name": "b"}}, BadRequestError, r"the name of the object \(b\) does not match the name on the"),
        ({"kind": "Gadget"}, InvalidError, 'kind: Invalid value: "Gadget": must be Widget'),
    ],
)
def test_an_object_keeps_its_identity(registry: Registry, patch: Json, error: type[Exception], message: str) -> None:
    registry.create(WIDGETS, NS, widget())
    with pytest.raises(error, match=message):
        merge(registry, patch)


def test_a_put_to_another_name_is_refused(registry: Registry) -> None:
    with pytest.raises(BadRequestError, match=r"the name of the object \(a\) does not match the name on the URL \(b\)"):
        registry.update(WIDGETS, NS, "b", widget("a"))


def test_hooks_shape_and_check_what_is_stored(registry: Registry) -> None:
    def prune(obj: Json) -> list[str]:
        return [f"spec.{key}" for key in list(obj["spec"]) if key.startswith("x") and (obj["spec"].pop(key) or True)]

    def default(obj: Json) -> None:
        obj["spec"].setdefault("colour", "red")

    def validate(new: Json, old: Json | None, subresource: str) -> list[dict[str, str]]:
        return [] if "size" in new["spec"] else [required("spec.size")]

    checked = replace(WIDGETS, prune=prune, default=default, validate=validate)
    with pytest.raises(InvalidError, match=r'Widget\.example\.com "a" is invalid: spec\.size: Required value'):
        registry.create(checked, NS, widget())
    written = registry.create(checked, NS, widget(size=1, xtra=2))
    assert written.object["spec"] == {"size": 1, "colour": "red"}
    assert written.warnings == ('unknown field "spec.xtra"',)
    with pytest.raises(InvalidError, match=r'strict decoding error: unknown field "spec\.xtra"'):
        merge(registry, {"spec": {"xtra": 1}}, checked, options=WriteOptions(field_validation="Strict"))
    assert (
        registry.patch(
            checked, NS, "a", {"spec": {"xtra": 1}}, MERGE_PATCH, WriteOptions(field_validation="Ignore")
        ).warnings
        == ()
    )


def test_admission_sees_each_write_and_may_change_or_refuse_it(registry: Registry) -> None:
    seen: list[tuple[str, str, str, str, bool]] = []

    def label(attributes: AdmissionAttributes) -> None:
        seen.append(
            (
                attributes.operation,
                attributes.name,
                attributes.subresource,
                attributes.user.name,
                attributes.old_object is None,
            )
        )
        if attributes.object is not None:
            attributes.object["metadata"].setdefault("labels", {})["admitted"] = "yes"

    def refuse(attributes: AdmissionAttributes) -> None:
        if attributes.object is not None and attributes.object["spec"].get("size") == 13:
            raise ForbiddenError.of("13 is not admitted")

    registry.admission.append(label)
    registry.validating_admission.append(refuse)
    created = registry.create(WIDGETS, NS, widget(), user=UserInfo("ann")).object
    assert created["metadata"]["labels"] == {"admitted": "yes"}
    with pytest.raises(ForbiddenError, match="13 is not admitted"):
        merge(registry, {"spec": {"size": 13}})
    merge(registry, {"status": {"n": 1}}, subresource="status")
    registry.delete(WIDGETS, NS, "a")
    assert seen == [
        ("CREATE", "a", "", "ann", True),
        ("UPDATE", "a", "", "", False),
        ("UPDATE", "a", "status", "", False),
        ("DELETE", "a", "", "", False),
    ]


def test_a_further_subresource_merges_as_it_is_declared(registry: Registry) -> None:
    def bind(old: Json, new: Json) -> Json:
        return {**old, "spec": {**old["spec"], "nodeName": new["spec"]["nodeName"]}}

    pods = replace(PODS, subresources={"binding": bind})
    registry.create(pods, NS, widget("a", image="x"))
    bound = merge(registry, {"spec": {"nodeName": "n1", "image": "ignored"}}, pods, subresource="binding")
    assert bound["spec"] == {"image": "x", "nodeName": "n1"}


def test_another_version_is_a_view_of_the_same_objects(registry: Registry) -> None:
    newer = replace(
        WIDGETS,
        mapping=replace(WIDGETS.mapping, gvk=replace(WIDGETS.mapping.gvk, version="v2")),
        storage=WIDGETS.mapping,
    )
    assert registry.create(newer, NS, widget(size=1)).object["apiVersion"] == "example.com/v2"
    assert registry.get(WIDGETS, NS, "a")["apiVersion"] == "example.com/v1"
    assert merge(registry, {"spec": {"size": 2}}, newer)["apiVersion"] == "example.com/v2"
    assert registry.get(newer, NS, "a") == registry.get(WIDGETS, NS, "a") | {"apiVersion": "example.com/v2"}


def test_a_json_patch_that_is_no_patch_is_a_bad_request(registry: Registry) -> None:
    registry.create(WIDGETS, NS, widget())
    with pytest.raises(BadRequestError):
        registry.patch(WIDGETS, NS, "a", {"op": "add"}, JSON_PATCH)


def test_definitions_are_found_until_they_are_unregistered(registry: Registry) -> None:
    registry.register(WIDGETS)
    registry.create(WIDGETS, NS, widget())
    watch = registry.watch(WIDGETS)
    assert registry.lookup("example.com", "v1", "widgets") is WIDGETS
    assert registry.definitions() == [WIDGETS]
    registry.unregister("widgets.example.com")
    assert registry.lookup("example.com", "v1", "widgets") is None
    assert watch.ended
