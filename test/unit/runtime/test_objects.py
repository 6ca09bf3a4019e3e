"""Typed objects: JSON in and out, paths, quantities."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, ValidationError

from localmodel.runtime.objects import (
    ConfigMap,
    Job,
    JobSpec,
    JobStatus,
    Lease,
    LeaseSpec,
    Model,
    Node,
    Object,
    ObjectKey,
    ObjectMeta,
    OwnerReference,
    PartialObjectMetadata,
    Pod,
    RESTMapping,
    Secret,
    Unstructured,
    parse_quantity,
)


class WidgetSpec(Model):
    size: int
    replicas: int = 0
    paused: bool = False
    limit: int | None = None
    tags: list[str] = Field(default_factory=list)


class Widget(Object):
    mapping: ClassVar[RESTMapping] = RESTMapping.of("example.com", "v1", "Widget")
    spec: WidgetSpec | None = None


def test_fields_at_an_empty_default_are_left_out_and_required_ones_written() -> None:
    widget = Widget(metadata=ObjectMeta(name="w"), spec=WidgetSpec(size=0))
    assert widget.to_dict() == {
        "apiVersion": "example.com/v1",
        "kind": "Widget",
        "metadata": {"name": "w"},
        "spec": {"size": 0},
    }


def test_a_zero_where_nothing_is_the_default_is_written() -> None:
    assert WidgetSpec(size=1, limit=0).to_dict() == {"size": 1, "limit": 0}
    assert JobSpec(ttl_seconds_after_finished=0).to_dict() == {"ttlSecondsAfterFinished": 0}
    assert JobStatus(succeeded=0).to_dict() == {}


def test_unknown_fields_survive_an_update_but_not_a_read_only_type() -> None:
    spec = {"size": 1, "addedLater": {"deep": [1]}}
    assert Widget.from_dict({"metadata": {"name": "w"}, "spec": spec}).to_dict()["spec"] == spec
    node = Node.from_dict({"metadata": {"name": "n"}, "spec": {"podCIDR": "x"}, "status": {"images": [{}]}})
    assert "spec" not in node.to_dict()
    assert "images" not in node.to_dict().get("status", {})


def test_managed_fields_are_not_sent_back() -> None:
    read = ConfigMap.from_dict({"metadata": {"name": "c", "managedFields": [{"manager": "m"}]}})
    assert read.to_dict()["metadata"] == {"name": "c"}


def test_an_object_read_is_private() -> None:
    data = {"metadata": {"name": "c", "labels": {"a": "1"}}}
    first, second = ConfigMap.from_dict(data), ConfigMap.from_dict(data)
    first.metadata.labels["a"] = "2"
    assert second.metadata.labels == {"a": "1"}


def test_times_have_the_api_s_precision() -> None:
    meta = ObjectMeta.from_dict({"name": "x", "creationTimestamp": "2026-11-21T01:02:03Z"})
    assert meta.to_dict()["creationTimestamp"] == "2026-11-21T01:02:03Z"
    lease = Lease(spec=LeaseSpec.from_dict({"renewTime": "2026-11-21T01:02:03.000004Z"}))
    assert lease.to_dict()["spec"]["renewTime"] == "2026-11-21T01:02:03.000004Z"


@pytest.mark.parametrize(
    ("kind", "arguments", "path"),
    [
        (Pod, ("ns", "p"), "/api/v1/namespaces/ns/pods/p"),
        (Pod, ("", ""), "/api/v1/pods"),
        (Node, ("ignored", "n"), "/api/v1/nodes/n"),
        (Job, ("ns", "j", "status"), "/apis/batch/v1/namespaces/ns/jobs/j/status"),
    ],
)
def test_paths(kind: type[Object], arguments: tuple[str, ...], path: str) -> None:
    assert kind.mapping.path(*arguments) == path


def test_keys_are_written_as_kubectl_writes_them() -> None:
    assert str(ObjectKey("ns", "n")) == "ns/n"
    assert str(ObjectKey("", "n")) == "n"
    assert ObjectKey.parse("ns/n") == ObjectKey("ns", "n")
    assert ObjectKey.parse("n") == ObjectKey("", "n")


def test_an_unstructured_kind_keeps_everything() -> None:
    kind = Unstructured.of(RESTMapping.of("serving.kserve.io", "v1beta1", "InferenceService"))
    data: dict[str, Any] = {"metadata": {"name": "i"}, "spec": {"predictor": {"minReplicas": 0}}}
    obj = kind.from_dict(data)
    obj.content["spec"]["predictor"]["minReplicas"] = 2
    assert obj.to_dict()["spec"] == {"predictor": {"minReplicas": 2}}
    assert obj.api_version == "serving.kserve.io/v1beta1"


def test_a_metadata_only_kind_keeps_metadata_only() -> None:
    kind = PartialObjectMetadata.of(Node.mapping)
    obj = kind.from_dict({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}, "spec": {"a": 1}})
    assert obj.to_dict() == {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}}


def test_the_group_of_an_owner_reference() -> None:
    def owner(api_version: str) -> OwnerReference:
        return OwnerReference(api_version=api_version, kind="K", name="n", uid="u")

    assert owner("batch/v1").group == "batch"
    assert owner("v1").group == ""


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("10Gi", 10 * 2**30),
        ("1.7T", 1_700_000_000_000),
        ("1700G", 1_700_000_000_000),
        ("500", 500),
        (500, 500),
        ("100m", 1),
        ("1e3", 1000),
        ("1E", 10**18),
        (".5Ki", 512),
        ("0", 0),
    ],
)
def test_quantities(text: str | int, units: int) -> None:
    assert parse_quantity(text) == units


@pytest.mark.parametrize("text", ["many", "", "1Zi", "1 Gi", "Gi", "1.2.3", "1e99999", "1E+99999", "9" * 5000])
def test_what_is_no_quantity_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match="is not a quantity"):
        parse_quantity(text)


@given(st.integers(min_value=0, max_value=10**15), st.sampled_from(["", "k", "Ki", "M", "Mi", "G", "Gi"]))
def test_more_of_the_same_unit_is_never_less(number: int, suffix: str) -> None:
    assert parse_quantity(f"{number + 1}{suffix}") > parse_quantity(f"{number}{suffix}")


def test_an_error_about_a_secret_does_not_say_what_is_in_it() -> None:
    with pytest.raises(ValidationError) as caught:
        Secret.from_dict({"metadata": {"name": "s"}, "data": {"token": {"s-e-c-r-e-t": 1}}})
    assert "data.token" in str(caught.value)
    assert "s-e-c-r-e-t" not in str(caught.value)
