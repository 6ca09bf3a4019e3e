"""Discovery and OpenAPI documents."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.apicore import WIDGETS, InProcess, widget, widget_crd

from localmodel.sandbox.apiserver.messages import Response

AGGREGATED = (
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,"
    "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json"
)


@pytest.fixture
def api() -> InProcess:
    return InProcess()


def test_the_aggregated_form_is_marked_in_the_content_type(api: InProcess) -> None:
    response = api.request("GET", "/apis", accept=AGGREGATED)
    assert isinstance(response, Response)
    assert response.content_type == "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    groups = [item["metadata"]["name"] for item in json.loads(response.body)["items"]]
    assert "apps" in groups
    assert "" not in groups


def test_the_legacy_form_is_the_default(api: InProcess) -> None:
    assert api.call("GET", "/api")[1]["kind"] == "APIVersions"
    assert api.call("GET", "/apis")[1]["kind"] == "APIGroupList"
    assert api.call("GET", "/apis/apps")[1]["preferredVersion"]["groupVersion"] == "apps/v1"
    pods = {r["name"]: r for r in api.call("GET", "/api/v1")[1]["resources"]}
    assert pods["pods"]["shortNames"] == ["po"]
    assert pods["serviceaccounts/token"]["kind"] == "TokenRequest"
    assert api.call("GET", "/apis/nope.io/v1")[0] == 404


def test_custom_resources_come_and_go(api: InProcess) -> None:
    assert api.call("GET", "/apis/example.com/v1")[0] == 404
    api.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", widget_crd())
    resources = {r["name"]: r for r in api.call("GET", "/apis/example.com/v1")[1]["resources"]}
    assert resources["widgets"]["shortNames"] == ["wd"]
    assert "widgets/status" in resources
    api.create(WIDGETS, widget("w"))
    api.call("DELETE", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.example.com")
    assert api.call("GET", WIDGETS)[0] == 404
    assert api.call("GET", "/apis/example.com/v1")[0] == 404


def index(api: InProcess) -> dict[str, str]:
    paths: dict[str, Any] = api.call("GET", "/openapi/v3")[1]["paths"]
    return {path: entry["serverRelativeURL"] for path, entry in paths.items()}


def test_openapi_hashes_move_with_schemas_only(api: InProcess) -> None:
    crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    api.create(crds, widget_crd(a={"type": "string"}))
    before = index(api)
    api.create(WIDGETS, widget("w", a="b"))
    assert index(api) == before
    patch = [
        {
            "op": "add",
            "path": "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/b",
            "value": {"type": "string"},
        }
    ]
    api.call("PATCH", f"{crds}/widgets.example.com", patch, content_type="application/json-patch+json")
    after = index(api)
    assert after["apis/example.com/v1"] != before["apis/example.com/v1"]
    assert after["api/v1"] == before["api/v1"]


def test_openapi_documents_have_what_kubectl_reads(api: InProcess) -> None:
    api.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", widget_crd(a={"type": "string"}))
    document = api.call("GET", "/openapi/v3/apis/example.com/v1")[1]
    schema = document["components"]["schemas"]["com.example.v1.Widget"]
    assert schema["x-kubernetes-group-version-kind"] == [{"group": "example.com", "version": "v1", "kind": "Widget"}]
    assert schema["properties"]["metadata"]["allOf"][0]["$ref"].endswith("ObjectMeta")
    patch = document["paths"]["/apis/example.com/v1/namespaces/{namespace}/widgets/{name}"]["patch"]
    assert "fieldValidation" in [parameter["name"] for parameter in patch["parameters"]]
    assert "application/merge-patch+json" in patch["requestBody"]["content"]
    assert "application/strategic-merge-patch+json" not in patch["requestBody"]["content"]
    assert "get" in document["paths"]["/apis/example.com/v1/widgets"]
    core = api.call("GET", "/openapi/v3/api/v1")[1]
    containers = core["components"]["schemas"]["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"]
    assert containers["x-kubernetes-list-map-keys"] == ["name"]
    assert containers["x-kubernetes-patch-merge-key"] == "name"
    patch = core["paths"]["/api/v1/nodes/{name}"]["patch"]
    assert "application/strategic-merge-patch+json" in patch["requestBody"]["content"]


def test_an_openapi_document_is_not_sent_twice(api: InProcess) -> None:
    for path in ("/openapi/v2", "/openapi/v3", "/openapi/v3/api/v1"):
        first = api.request("GET", path)
        assert isinstance(first, Response)
        again = api.request("GET", path, if_none_match=dict(first.headers)["ETag"])
        assert isinstance(again, Response)
        assert (first.status, again.status, again.body) == (200, 304, b""), path


def test_every_reference_of_a_document_is_in_it(api: InProcess) -> None:
    for path in index(api):
        text = json.dumps(api.call("GET", f"/openapi/v3/{path}")[1])
        names = set(json.loads(text)["components"]["schemas"])
        wanted = {part.split('"')[0] for part in text.split('"$ref": "#/components/schemas/')[1:]}
        assert wanted <= names, path
