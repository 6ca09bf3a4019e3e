"""Custom resources through kubectl: from the definition to server-side apply."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from support.apicore import widget, widget_crd
from support.apiserver import Kubectl
from support.eventually import eventually
from support.kubectl import needs_kubectl

from localmodel.runtime.errors import NotFoundError
from localmodel.runtime.objects import CustomResourceDefinition, ObjectMeta, RESTMapping, Unstructured
from localmodel.sandbox.envtest import Environment

Json = dict[str, Any]
Widget = Unstructured.of(RESTMapping.of("example.com", "v1", "Widget"))

CRD = widget_crd(
    size={"type": "string", "enum": ["S", "M", "L"]},
    replicas={"type": "integer", "default": 1, "minimum": 0, "maximum": 10},
    uri={"type": "string", "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "uri is immutable"}]},
    ports={
        "type": "array",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["name"],
        "items": {
            "type": "object",
            "required": ["name"],
            "properties": {"name": {"type": "string"}, "port": {"type": "integer"}},
        },
    },
)
CRD["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["required"] = ["size"]
CRD["spec"]["versions"][0]["additionalPrinterColumns"] = [
    {"name": "Size", "type": "string", "jsonPath": ".spec.size"},
    {"name": "Replicas", "type": "integer", "jsonPath": ".spec.replicas"},
    {"name": "Ready", "type": "string", "jsonPath": '.status.conditions[?(@.type=="Ready")].status'},
    {"name": "URI", "type": "string", "jsonPath": ".spec.uri", "priority": 1},
    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
]


@pytest.fixture(scope="module", autouse=True)
def definition(environment: Environment) -> Iterator[None]:
    """Removed at the end, for other modules on the same server."""
    yield
    with suppress(NotFoundError):
        environment.client().delete(CustomResourceDefinition(metadata=ObjectMeta(name="widgets.example.com")))


@pytest.fixture
def widgets(environment: Environment, kubectl: Kubectl) -> Kubectl:
    """kubectl, with the definition served and no widgets."""
    kubectl("apply", "-f", "-", stdin=CRD)
    kubectl("wait", "--for=condition=Established", "crd/widgets.example.com", "--timeout=10s")
    eventually(lambda: is_served(environment))
    kubectl("delete", "widgets", "--all")
    return kubectl


def is_served(environment: Environment) -> bool:
    """By schema, too, which comes last: kubectl asks for it before it sends."""
    document = environment.client()._requester.request("GET", "/openapi/v3", accept="application/json")
    if b"apis/example.com/v1" not in document:
        return False
    environment.client().list(Widget)
    return True


def apply(kubectl: Kubectl, obj: Json, *arguments: str) -> str:
    return kubectl("apply", "-f", "-", *arguments, stdin=obj).strip()


def rows(table: str) -> list[list[str]]:
    return [line.split() for line in table.splitlines()]


def test_a_definition_is_waited_for_and_can_be_deleted(environment: Environment, kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=CRD)
    assert "condition met" in kubectl("wait", "--for=condition=Established", "crd/widgets.example.com", "--timeout=5s")
    eventually(lambda: is_served(environment))
    apply(kubectl, widget("w", size="S"))
    kubectl("delete", "crd", "widgets.example.com", "--timeout=10s")
    assert re.search(
        "the server could not find the requested resource|the server doesn't have a resource type",
        kubectl.fails("get", "widgets"),
    )


def test_apply_creates_then_leaves_alone_then_configures(widgets: Kubectl) -> None:
    assert apply(widgets, widget("w", size="S")) == "widget.example.com/w created"
    assert apply(widgets, widget("w", size="S")) == "widget.example.com/w unchanged"
    assert apply(widgets, widget("w", size="M")) == "widget.example.com/w configured"
    assert widgets.json("get", "wd", "w")["metadata"]["generation"] == 2


def test_get_prints_the_columns(widgets: Kubectl) -> None:
    apply(widgets, widget("w", size="S", uri="s3://a"))
    narrow, wide = rows(widgets("get", "wd")), rows(widgets("get", "wd", "-o", "wide"))
    assert narrow[0] == ["NAME", "SIZE", "REPLICAS", "READY", "AGE"]
    assert narrow[1][:3] == ["w", "S", "1"]
    assert wide[0] == ["NAME", "SIZE", "REPLICAS", "READY", "URI", "AGE"]
    assert "s3://a" in wide[1]


def test_get_selects_sorts_and_pages(widgets: Kubectl, namespace: str) -> None:
    for name, size in (("a", "L"), ("b", "M"), ("c", "S")):
        obj = widget(name, size=size)
        obj["metadata"]["labels"] = {"odd": str(name != "b").lower()}
        apply(widgets, obj)

    def names(*arguments: str) -> list[str]:
        return [row[0] for row in rows(widgets("get", "wd", "--no-headers", *arguments))]

    assert names("-l", "odd=true") == ["a", "c"]
    assert names("--field-selector", "metadata.name=b") == ["b"]
    assert names("--chunk-size=1") == ["a", "b", "c"]
    assert names("--sort-by=.spec.size") == ["a", "b", "c"]
    assert names("-A") == [namespace] * 3
    assert "field label not supported: spec.size" in widgets.fails("get", "wd", "--field-selector", "spec.size=S")


def test_get_in_other_forms(widgets: Kubectl) -> None:
    apply(widgets, widget("w", size="S"))
    assert widgets("get", "wd", "w", "-o", "jsonpath={.spec.size}") == "S"
    assert widgets("get", "wd", "w", "-o", "name") == "widget.example.com/w\n"
    assert "  size: S" in widgets("get", "wd", "w", "-o", "yaml")
    assert 'widgets.example.com "x" not found' in widgets.fails("get", "wd", "x")


def test_get_shows_managed_fields_when_asked_to(widgets: Kubectl) -> None:
    needs_kubectl(1, 21, "--show-managed-fields")
    apply(widgets, widget("w", size="S"))
    assert "f:size" in widgets("get", "wd", "w", "-o", "yaml", "--show-managed-fields")
    assert "f:size" not in widgets("get", "wd", "w", "-o", "yaml")


def test_get_watches_rows(widgets: Kubectl) -> None:
    apply(widgets, widget("w", size="S"))
    watch = widgets.start("get", "wd", "-w")
    assert watch.stdout is not None
    try:
        assert watch.stdout.readline().split()[0] == "NAME"
        assert watch.stdout.readline().split()[:2] == ["w", "S"]
        widgets("patch", "wd", "w", "--type=merge", "-p", '{"spec":{"size":"L"}}')
        assert watch.stdout.readline().split()[:2] == ["w", "L"]
        widgets("delete", "wd", "w")
        assert watch.stdout.readline().split()[:2] == ["w", "L"]
    finally:
        watch.terminate()
        watch.wait(5)
        watch.stdout.close()


def test_invalid_objects_are_refused_in_the_servers_words(widgets: Kubectl) -> None:
    def refusal(obj: Json) -> str:
        return widgets.fails("apply", "-f", "-", "--validate=false", stdin=obj)

    said = refusal(widget("w", size="XL"))
    assert 'The Widget "w" is invalid:' in said
    assert '* spec.size: Unsupported value: "XL": supported values: "S", "M", "L"' in said
    assert "some validation rules were not checked because the object was invalid" in said
    assert "spec.size: Required value" in refusal(widget("w"))


def test_unknown_fields_are_refused(widgets: Kubectl) -> None:
    """By the server, or by an older kubectl that has read the schema."""
    refusal = widgets.fails("apply", "-f", "-", stdin=widget("w", size="S", sise="M"))
    assert re.search(r'unknown field "(spec\.)?sise"', refusal)


def test_unknown_fields_are_refused_in_the_servers_words(widgets: Kubectl) -> None:
    needs_kubectl(1, 25, "validation by the server")
    assert (
        'Widget in version "v1" cannot be handled as a Widget: strict decoding error: unknown field "spec.sise"'
    ) in widgets.fails("apply", "-f", "-", stdin=widget("w", size="S", sise="M"))


def test_unknown_fields_are_pruned_with_a_warning_when_asked_for(widgets: Kubectl) -> None:
    needs_kubectl(1, 24, "--validate=warn")
    done = widgets.run("apply", "-f", "-", "--validate=warn", stdin=widget("w", size="S", sise="M"))
    assert done.returncode == 0
    assert 'Warning: unknown field "spec.sise"' in done.stderr
    assert "sise" not in widgets("get", "wd", "w", "-o", "jsonpath={.spec}")


def test_patches_of_all_types(widgets: Kubectl) -> None:
    apply(widgets, widget("w", size="S", uri="s3://a"))
    widgets("patch", "wd", "w", "--type=merge", "-p", '{"spec":{"replicas":2}}')
    widgets("patch", "wd", "w", "--type=json", "-p", '[{"op":"replace","path":"/spec/replicas","value":3}]')
    assert widgets("get", "wd", "w", "-o", "jsonpath={.spec.replicas}") == "3"
    refusal = widgets.fails("patch", "wd", "w", "-p", '{"spec":{}}')
    assert "is not supported by example.com/v1, Kind=Widget" in refusal or "UnsupportedMediaType" in refusal
    assert "should be less than or equal to 10" in widgets.fails(
        "patch", "wd", "w", "--type=merge", "-p", '{"spec":{"replicas":44}}'
    )
    assert 'spec.uri: Invalid value: "string": uri is immutable' in widgets.fails(
        "patch", "wd", "w", "--type=merge", "-p", '{"spec":{"uri":"s3://b"}}'
    )


def test_status_is_written_apart_and_waited_for(widgets: Kubectl) -> None:
    needs_kubectl(1, 24, "patch --subresource")
    apply(widgets, widget("w", size="S"))
    patch = '{"spec":{"size":"L"},"status":{"conditions":[{"type":"Ready","status":"True"}]}}'
    widgets("patch", "wd", "w", "--type=merge", "--subresource=status", "-p", patch)
    assert widgets("get", "wd", "w", "-o", "jsonpath={.spec.size}") == "S"
    assert "condition met" in widgets("wait", "--for=condition=Ready", "wd/w", "--timeout=5s")
    assert "condition met" in widgets("wait", "--for=jsonpath={.spec.size}=S", "wd/w", "--timeout=5s")


def test_label_annotate_replace_and_diff(widgets: Kubectl) -> None:
    apply(widgets, widget("w", size="S"))
    widgets("label", "wd", "w", "a=b")
    widgets("annotate", "wd", "w", "c=d")
    obj = widgets.json("get", "wd", "w")
    assert (obj["metadata"]["labels"], obj["metadata"]["annotations"]["c"]) == ({"a": "b"}, "d")
    obj["spec"]["size"] = "M"
    widgets("replace", "-f", "-", stdin=obj)
    assert "the object has been modified" in widgets.fails("replace", "-f", "-", stdin=obj)
    done = widgets.run("diff", "-f", "-", stdin=widget("w", size="L"))
    assert done.returncode == 1
    assert "-  size: M" in done.stdout
    assert "+  size: L" in done.stdout


def test_dry_run_changes_nothing(widgets: Kubectl) -> None:
    assert apply(widgets, widget("w", size="S"), "--dry-run=server") == "widget.example.com/w created (server dry run)"
    assert "not found" in widgets.fails("get", "wd", "w")


def test_server_side_apply_knows_its_managers(widgets: Kubectl) -> None:
    ports = [{"name": "a", "port": 1}]
    apply(widgets, widget("w", size="S", ports=ports), "--server-side", "--field-manager=one")
    other = widget("w", size="M", ports=[{"name": "b", "port": 2}])
    conflict = widgets.fails("apply", "-f", "-", "--server-side", "--field-manager=two", stdin=other)
    assert 'Apply failed with 1 conflict: conflict with "one": .spec.size' in conflict
    apply(widgets, other, "--server-side", "--field-manager=two", "--force-conflicts")
    spec = widgets.json("get", "wd", "w")["spec"]
    assert spec["size"] == "M"
    assert sorted(port["name"] for port in spec["ports"]) == ["a", "b"]


def test_explain_and_describe(widgets: Kubectl) -> None:
    apply(widgets, widget("w", size="S"))
    assert "replicas\t<integer>" in widgets("explain", "widget.spec")
    assert "port\t<integer>" in widgets("explain", "widget", "--recursive")
    described = widgets("describe", "wd", "w")
    assert "Size:" in described
    assert "Events:" in described


def test_finalizers_hold_a_deleted_object(widgets: Kubectl) -> None:
    obj = widget("w", size="S")
    obj["metadata"]["finalizers"] = ["example.com/hold"]
    apply(widgets, obj)
    widgets("delete", "wd", "w", "--wait=false")
    assert widgets.json("get", "wd", "w")["metadata"]["deletionTimestamp"]
    widgets("patch", "wd", "w", "--type=merge", "-p", '{"metadata":{"finalizers":null}}')
    assert "not found" in widgets.fails("get", "wd", "w")


def test_the_projects_own_kinds_are_there(kubectl: Kubectl) -> None:
    kinds = ("localmodelcaches", "localmodelnamespacecaches", "localmodelnodegroups", "localmodelnodes")
    for kind in (*kinds, "clusterstoragecontainers"):
        kubectl("get", kind, "-A")
    cache = {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "LocalModelCache",
        "metadata": {"name": "bad"},
        "spec": {"modelSize": "1Gi", "nodeGroups": ["gpu"]},
    }
    said = kubectl.fails("create", "-f", "-", "--validate=false", stdin=cache)
    assert 'The LocalModelCache "bad" is invalid' in said
    assert "spec.sourceModelUri: Required value" in said
