"""Server-side apply and managedFields: who owns what, conflicts, removal (promise 198 of runtimes.md)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.widgets import CONFIG_MAPS, DEPLOYMENTS, NS, WIDGETS, Json

from localmodel.runtime.client import APPLY_PATCH, MERGE_PATCH, WriteOptions
from localmodel.runtime.errors import BadRequestError, ConflictError, InternalError, InvalidError, NotFoundError
from localmodel.runtime.testing import FakeClock, Registry
from localmodel.runtime.testing.definitions import ResourceDefinition
from localmodel.runtime.testing.fieldset import difference_of, fields_of, intersect, paths, subtract, union
from localmodel.runtime.testing.schema import UNTYPED, MergeSchema


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def registry(clock: FakeClock) -> Registry:
    return Registry(clock=clock)


def apply(
    registry: Registry,
    manager: str,
    *,
    definition: ResourceDefinition = WIDGETS,
    force: bool = False,
    subresource: str = "",
    dry_run: bool = False,
    **fields: Any,
) -> Json:
    patch = {"metadata": {"name": "a", **fields.pop("metadata", {})}, **fields}
    options = WriteOptions(field_manager=manager, dry_run=dry_run)
    written = registry.patch(definition, NS, "a", patch, APPLY_PATCH, options, force=force, subresource=subresource)
    return written.object


def merge(registry: Registry, manager: str, patch: Json, definition: ResourceDefinition = WIDGETS, **more: Any) -> Json:
    return registry.patch(definition, NS, "a", patch, MERGE_PATCH, WriteOptions(field_manager=manager), **more).object


def owned(obj: Json) -> dict[str, list[str]]:
    """Manager, operation and subresource -> owned paths."""
    return {
        "/".join(filter(None, (entry["manager"], entry["operation"], entry.get("subresource")))): sorted(
            paths(entry["fieldsV1"])
        )
        for entry in obj["metadata"].get("managedFields", [])
    }


def test_an_apply_creates_what_is_missing_and_owns_its_fields(registry: Registry) -> None:
    options = WriteOptions(field_manager="ann")
    metadata = {"name": "a", "labels": {"x": "1"}}
    patch = {"metadata": metadata, "spec": {"size": 1, "parts": [{"name": "p", "n": 1}], "tags": ["t"]}}
    written = registry.patch(WIDGETS, NS, "a", patch, APPLY_PATCH, options)
    assert written.created
    assert written.object["metadata"]["managedFields"] == [
        {
            "manager": "ann",
            "operation": "Apply",
            "apiVersion": "example.com/v1",
            "time": "2026-01-01T00:00:00Z",
            "fieldsType": "FieldsV1",
            "fieldsV1": {
                "f:metadata": {"f:labels": {"f:x": {}}},
                "f:spec": {
                    "f:size": {},
                    "f:parts": {'k:{"name":"p"}': {".": {}, "f:name": {}, "f:n": {}}},
                    "f:tags": {'v:"t"': {}},
                },
            },
        }
    ]


def test_an_apply_needs_a_field_manager(registry: Registry) -> None:
    with pytest.raises(InvalidError, match="fieldManager: Required value: is required for apply patch"):
        apply(registry, "")


def test_force_is_for_apply_only(registry: Registry) -> None:
    with pytest.raises(InvalidError, match="force: Forbidden: may not be specified for non-apply patch"):
        registry.patch(WIDGETS, NS, "a", {}, MERGE_PATCH, force=True)


def test_an_apply_that_brings_managed_fields_is_refused(registry: Registry) -> None:
    with pytest.raises(BadRequestError, match=r"metadata\.managedFields must be nil"):
        apply(registry, "ann", metadata={"managedFields": [{"manager": "x"}]})


def test_an_apply_for_a_known_object_does_not_create_another(registry: Registry) -> None:
    with pytest.raises(ConflictError, match="uid mismatch: the provided object specified uid u"):
        apply(registry, "ann", metadata={"uid": "u"})


def test_a_change_of_anothers_field_conflicts(registry: Registry, clock: FakeClock) -> None:
    apply(registry, "ann", spec={"size": 1})
    with pytest.raises(ConflictError) as caught:
        apply(registry, "bob", spec={"size": 2})
    assert str(caught.value) == 'Apply failed with 1 conflict: conflict with "ann": .spec.size'
    assert caught.value.causes == [
        {"reason": "FieldManagerConflict", "message": 'conflict with "ann"', "field": ".spec.size"}
    ]


def test_conflicts_name_every_manager_with_its_fields(registry: Registry) -> None:
    merge_options = WriteOptions(field_manager="ann")
    sent = {"metadata": {"name": "a"}, "spec": {"size": 1, "parts": [{"name": "p", "n": 1}]}}
    registry.create(WIDGETS, NS, sent, merge_options)
    apply(registry, "eve", spec={"colour": "red"})
    with pytest.raises(ConflictError) as caught:
        apply(registry, "bob", spec={"size": 2, "colour": "blue", "parts": [{"name": "p", "n": 2}]})
    assert str(caught.value) == (
        "Apply failed with 3 conflicts: "
        'conflicts with "ann" using example.com/v1:\n'
        '- .spec.size\n- .spec.parts[name="p"].n\n'
        'conflicts with "eve":\n'
        "- .spec.colour"
    )


def test_force_takes_fields_over(registry: Registry) -> None:
    apply(registry, "ann", spec={"size": 1, "colour": "red"})
    taken = apply(registry, "bob", spec={"size": 2}, force=True)
    assert taken["spec"] == {"size": 2, "colour": "red"}
    assert owned(taken) == {"ann/Apply": [".spec.colour"], "bob/Apply": [".spec.size"]}


def test_managers_may_share_a_field_they_agree_on(registry: Registry) -> None:
    apply(registry, "ann", spec={"size": 1})
    shared = apply(registry, "bob", spec={"size": 1})
    assert owned(shared) == {"ann/Apply": [".spec.size"], "bob/Apply": [".spec.size"]}
    assert apply(registry, "bob", spec={"colour": "red"})["spec"] == {"size": 1, "colour": "red"}


def test_a_field_that_is_applied_no_longer_is_removed(registry: Registry) -> None:
    first = {"size": 1, "deep": {"a": 1, "b": 2}, "parts": [{"name": "p"}, {"name": "q"}], "tags": ["t", "u"]}
    apply(registry, "ann", spec=first, metadata={"labels": {"x": "1"}})
    left = apply(registry, "ann", spec={"size": 1, "deep": {"b": 2}, "parts": [{"name": "q"}], "tags": ["u"]})
    assert left["spec"] == {"size": 1, "deep": {"b": 2}, "parts": [{"name": "q"}], "tags": ["u"]}
    assert "labels" not in left["metadata"]


def test_a_removed_list_item_stays_if_another_has_a_part_in_it(registry: Registry) -> None:
    apply(registry, "ann", spec={"parts": [{"name": "p", "n": 1}]})
    apply(registry, "bob", spec={"parts": [{"name": "p", "colour": "red"}]})
    left = apply(registry, "ann", spec={"size": 1})
    assert left["spec"] == {"parts": [{"name": "p", "colour": "red"}], "size": 1}


def test_what_nobody_applied_is_not_removed(registry: Registry) -> None:
    registry.create(WIDGETS, NS, {"metadata": {"name": "a"}, "spec": {"size": 1, "other": 1}})
    apply(registry, "ann", spec={"size": 1, "colour": "red"})
    assert apply(registry, "ann", spec={"colour": "red"})["spec"] == {"size": 1, "other": 1, "colour": "red"}


def test_an_apply_again_changes_nothing(registry: Registry, clock: FakeClock) -> None:
    first = apply(registry, "ann", spec={"size": 1})
    clock.advance(60)
    assert apply(registry, "ann", spec={"size": 1}) == first
    assert registry.store.revision == 1


def test_an_update_takes_what_it_changes_from_the_appliers(registry: Registry, clock: FakeClock) -> None:
    apply(registry, "ann", spec={"size": 1, "colour": "red"})
    clock.advance(60)
    changed = merge(registry, "cmd", {"spec": {"size": 2}})
    assert owned(changed) == {"ann/Apply": [".spec.colour"], "cmd/Update": [".spec.size"]}
    with pytest.raises(ConflictError, match=r'conflict with "cmd" using example\.com/v1: \.spec\.size'):
        apply(registry, "ann", spec={"size": 1, "colour": "red"})


def test_an_update_that_removes_a_field_leaves_it_to_nobody(registry: Registry) -> None:
    apply(registry, "ann", spec={"size": 1, "deep": {"a": 1}})
    assert owned(merge(registry, "cmd", {"spec": {"deep": None}})) == {"ann/Apply": [".spec.size"]}


def test_status_is_owned_apart(registry: Registry) -> None:
    apply(registry, "ann", spec={"size": 1}, status={"ignored": True})
    reported = merge(registry, "controller", {"status": {"ready": True}}, subresource="status")
    assert reported["status"] == {"ready": True}
    assert owned(reported) == {"ann/Apply": [".spec.size"], "controller/Update/status": [".status", ".status.ready"]}
    both = apply(registry, "bob", spec={"size": 7}, status={"phase": "Up"}, subresource="status")
    assert (both["spec"], both["status"]) == ({"size": 1}, {"ready": True, "phase": "Up"})
    assert owned(both)["bob/Apply/status"] == [".status.phase"]


def test_status_of_a_missing_object_is_not_applied(registry: Registry) -> None:
    with pytest.raises(NotFoundError):
        apply(registry, "ann", status={}, subresource="status")


def test_a_dry_run_of_an_apply_answers_as_if(registry: Registry) -> None:
    apply(registry, "ann", spec={"size": 1})
    assert apply(registry, "ann", spec={"size": 2}, dry_run=True)["spec"] == {"size": 2}
    assert registry.get(WIDGETS, NS, "a")["spec"] == {"size": 1}


def test_an_apply_that_removes_the_last_finalizer_deletes(registry: Registry) -> None:
    """193."""
    apply(registry, "ann", metadata={"finalizers": ["example.com/a"]})
    registry.delete(WIDGETS, NS, "a")
    apply(registry, "ann")
    with pytest.raises(NotFoundError):
        registry.get(WIDGETS, NS, "a")


def test_a_list_item_without_its_key_is_refused(registry: Registry) -> None:
    with pytest.raises(InternalError, match='omits key field "name"'):
        apply(registry, "ann", spec={"parts": [{"n": 1}]})


def test_a_put_keeps_managed_fields_it_leaves_out_and_clears_them_on_request(registry: Registry) -> None:
    obj = apply(registry, "ann", spec={"size": 1})
    entries = obj["metadata"].pop("managedFields")
    kept = registry.update(WIDGETS, NS, "a", obj).object
    assert kept["metadata"]["managedFields"] == entries
    kept["metadata"]["managedFields"] = [{}]
    assert "managedFields" not in registry.update(WIDGETS, NS, "a", kept).object["metadata"]


def test_built_in_lists_have_their_keys(registry: Registry) -> None:
    def template(*containers: Json) -> Json:
        return {"template": {"spec": {"containers": list(containers), "nodeSelector": {"a": "b"}}}}

    port = {"containerPort": 80}
    main = {"name": "main", "image": "1", "ports": [port], "args": ["x"]}
    applied = apply(registry, "ann", definition=DEPLOYMENTS, spec=template(main))
    prefix = ".spec.template.spec"
    item = f'{prefix}.containers[name="main"]'
    assert owned(applied)["ann/Apply"] == sorted(
        [
            f"{prefix}.nodeSelector",
            item,
            f"{item}.args",
            f"{item}.image",
            f"{item}.name",
            f'{item}.ports[containerPort=80,protocol="TCP"]',
            f'{item}.ports[containerPort=80,protocol="TCP"].containerPort',
        ]
    )
    both = apply(
        registry, "bob", definition=DEPLOYMENTS, spec={"template": {"spec": {"containers": [{"name": "side"}]}}}
    )
    assert [c["name"] for c in both["spec"]["template"]["spec"]["containers"]] == ["main", "side"]


def test_a_create_is_owned_by_its_creator(registry: Registry) -> None:
    options = WriteOptions(field_manager="kubectl")
    created = registry.create(CONFIG_MAPS, NS, {"metadata": {"name": "a"}, "data": {"k": "v"}}, options).object
    assert owned(created) == {"kubectl/Update": [".data", ".data.k"]}


values = st.recursive(
    st.integers(0, 2),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
documents = st.dictionaries(st.sampled_from("abc"), values, max_size=3)


def members(fields: Json) -> set[str]:
    return set(paths(fields))


@given(one=documents, other=documents)
def test_field_sets_are_sets(one: Json, other: Json) -> None:
    first, second = fields_of(one, UNTYPED), fields_of(other, UNTYPED)
    assert members(union(first, second)) == members(first) | members(second)
    assert members(subtract(first, second)) == members(first) - members(second)
    assert members(intersect(first, second)) == members(first) & members(second)


@given(old=documents, new=documents)
def test_a_difference_holds_what_came_and_what_went(old: Json, new: Json) -> None:
    changed, removed = difference_of(old, new, UNTYPED)
    before, after = everything(old), everything(new)
    assert after - before <= members(changed or {}) <= after
    assert members(removed or {}) == before - after
    assert (changed is None and removed is None) == (old == new)


def everything(value: Any, prefix: str = "") -> set[str]:
    """The paths of all that is in a document: of maps, too."""
    found = set()
    for key, item in value.items() if isinstance(value, dict) else ():
        found |= {f"{prefix}.{key}", *everything(item, f"{prefix}.{key}")}
    return found


def test_an_apply_that_defaulting_brings_back_to_what_was_there_is_no_write(
    registry: Registry, clock: FakeClock
) -> None:
    def default(obj: Json) -> None:
        """Fills in a key of the atomic map that the applier leaves out."""
        obj["spec"]["ref"].setdefault("apiVersion", "v1")

    atomic = MergeSchema(atomic_maps=frozenset({("spec", "ref")}))
    definition = replace(WIDGETS, default=default, schema=atomic)
    first = apply(registry, "one", definition=definition, spec={"ref": {"path": "x"}})
    clock.advance(5)
    assert apply(registry, "one", definition=definition, spec={"ref": {"path": "x"}}) == first
