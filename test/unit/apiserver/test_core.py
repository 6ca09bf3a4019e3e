"""The core without HTTP: routing, bodies, errors, watches, subresources, tokens."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from support.apicore import WIDGETS, InProcess, lines, widget, widget_crd

from localmodel.runtime.testing.fake_clock import FakeClock
from localmodel.sandbox.apiserver.messages import PENDING_LIMIT, Response, WatchResponse
from localmodel.sandbox.apiserver.negotiation import duplicate_fields

CMS = "/api/v1/namespaces/default/configmaps"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
Json = dict[str, Any]


@pytest.fixture
def api() -> InProcess:
    return InProcess()


def config_map(name: str, **data: str) -> Json:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


class TestPathsAndBodies:
    @pytest.mark.parametrize(
        "path",
        ["/api/v1/nopes", "/apis/apps/v2/deployments", "/api/v1/namespaces/default/pods/a/b/c",
         "/api/v1/namespaces/a%2Fb/pods", "/api/v1//pods"],
    )  # fmt: skip
    def test_paths_that_lead_nowhere_are_404(self, api: InProcess, path: str) -> None:
        status, answer = api.call("GET", path)
        assert (status, answer["reason"]) == (404, "NotFound")

    @pytest.mark.parametrize("path", ["/nope", "/apis/nope.io", "//api/v1/pods", "/healthz/nope"])
    def test_paths_outside_of_the_api_are_404_in_plain_text(self, api: InProcess, path: str) -> None:
        assert api.call("GET", path) == (404, {"text": "404 page not found\n"})

    @pytest.mark.parametrize("path", [f"{CMS}/%zz", f"{CMS}/a b", f"{CMS}/%"])
    def test_paths_that_are_none_are_400_in_plain_text(self, api: InProcess, path: str) -> None:
        assert api.call("GET", path) == (400, {"text": "400 Bad Request"})

    @pytest.mark.parametrize("name", ["%2e%2e", ".", "a%25b"])
    def test_names_that_can_be_in_no_path_are_400(self, api: InProcess, name: str) -> None:
        status, answer = api.call("GET", f"{CMS}/{name}")
        assert (status, answer["message"].partition(":")[0]) == (400, "Name parameter invalid")

    @pytest.mark.parametrize(
        ("method", "path"),
        [("POST", f"{CMS}/a"), ("PUT", CMS), ("PATCH", CMS), ("POST", "/api/v1/configmaps"), ("OPTIONS", CMS),
         ("DELETE", "/version"), ("GET", "/apis/authorization.k8s.io/v1/subjectaccessreviews")],
    )  # fmt: skip
    def test_methods_that_are_not_served_are_405(self, api: InProcess, method: str, path: str) -> None:
        assert api.call(method, path, {})[0] == 405

    @pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"x"', b"\xff", b'{"metadata":5}', b"[" * 100_000])
    def test_malformed_bodies_are_400(self, api: InProcess, body: bytes) -> None:
        status, answer = api.call("POST", CMS, body)
        assert (status, answer["reason"]) == (400, "BadRequest")

    def test_unknown_media_types_are_415_and_406(self, api: InProcess) -> None:
        assert api.call("POST", CMS, b"x", content_type="text/plain")[0] == 415
        assert api.call("GET", CMS, accept="text/html")[0] == 406

    def test_yaml_bodies_are_read(self, api: InProcess) -> None:
        status, answer = api.call("POST", CMS, b"metadata:\n  name: y\n", content_type="application/yaml")
        assert (status, answer["metadata"]["name"]) == (201, "y")

    def test_the_kind_must_fit_the_path(self, api: InProcess) -> None:
        assert api.call("POST", CMS, {**config_map("a"), "kind": "Secret"})[0] == 400

    def test_wrong_types_are_refused_as_by_a_go_decoder(self, api: InProcess) -> None:
        status, answer = api.call("POST", CMS, {**config_map("a"), "data": {"a": 5}})
        assert status == 400
        assert "json: cannot unmarshal number into Go struct field ConfigMap.data of type string" in answer["message"]

    def test_nulls_are_zero_values(self, api: InProcess) -> None:
        body = {"metadata": {"name": "p"}, "spec": {"nodeName": None, "containers": [None]}}
        status, answer = api.call("POST", "/api/v1/namespaces/default/pods", body)
        assert (status, [cause["field"] for cause in answer["details"]["causes"]]) == (
            422,
            ["spec.containers[0].name", "spec.containers[0].image"],
        )

    @pytest.mark.parametrize(
        ("target", "body"),
        [
            ("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", {"spec": {"resourceAttributes": [1]}}),
            ("/api/v1/namespaces/default/serviceaccounts/default/token", {"spec": "x"}),
            (CMS, {"metadata": [1]}),
        ],
    )
    def test_bodies_of_the_wrong_shape_are_400(self, api: InProcess, target: str, body: Json) -> None:
        assert api.call("POST", target, body)[0] == 400

    def test_an_object_without_a_name_is_422(self, api: InProcess) -> None:
        crd = widget_crd()
        del crd["metadata"]["name"]
        status, answer = api.call("POST", CRDS, crd)
        assert (status, answer["details"]["causes"][0]["field"]) == (422, "metadata.name")


@pytest.mark.parametrize("metadata", [{}, {"metadata": {}}, {"metadata": None}])
def test_an_apply_without_a_name_changes_and_does_not_create(api: InProcess, metadata: Json) -> None:
    """As a real server does."""
    api.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", widget_crd(size={"type": "integer"}))
    api.create(WIDGETS, widget("w"))
    patch = {"apiVersion": "example.com/v1", "kind": "Widget", **metadata, "spec": {"size": 7}}
    apply = {"content_type": "application/apply-patch+yaml"}
    status, answer = api.call("PATCH", f"{WIDGETS}/w?fieldManager=m&force=true", patch, **apply)
    assert (status, answer["spec"]) == (200, {"size": 7}), answer
    status, answer = api.call("PATCH", f"{WIDGETS}/new?fieldManager=m", patch, **apply)
    text = "the name of the object (new based on URL) was undeterminable: name must be provided"
    assert (status, answer["message"]) == (400, text)


class TestFieldValidation:
    def test_duplicate_fields_are_found_with_their_paths(self) -> None:
        body = b'{"a":1,"b":{"c":1,"c":2},"l":[{"d":1,"d":1}],"a":2}'
        assert duplicate_fields(body, json.loads(body)) == ["b.c", "l[0].d", "a"]

    def test_strict_refuses_and_warn_warns(self, api: InProcess) -> None:
        body = b'{"metadata":{"name":"a"},"data":{"k":"1","k":"2"},"daat":{}}'
        status, answer = api.call("POST", f"{CMS}?fieldValidation=Strict", body)
        assert status == 400
        assert 'strict decoding error: duplicate field "data.k"' in answer["message"]
        response = api.request("POST", CMS, body)
        assert [value for name, value in response.headers if name == "Warning"] == [
            '299 - "duplicate field \\"data.k\\""',
            '299 - "unknown field \\"daat\\""',
        ]

    def test_ignore_is_silent(self, api: InProcess) -> None:
        body = b'{"metadata":{"name":"a"},"data":{"k":"1","k":"2"},"daat":{}}'
        assert api.request("POST", f"{CMS}?fieldValidation=Ignore", body).headers == ()

    @pytest.mark.parametrize("method", ["PUT", "PATCH"])
    def test_a_stale_write_is_read_first(self, api: InProcess, method: str) -> None:
        api.create(CMS, config_map("a"))
        body = {"metadata": {"name": "a", "resourceVersion": "1"}, "daat": {}}
        headers = {"content-type": "application/merge-patch+json" if method == "PATCH" else "application/json"}
        code, _, warnings = api.told(method, f"{CMS}/a", body, headers)
        assert (code, warnings) == (409, ['unknown field "daat"'])
        refused = api.told(method, f"{CMS}/a?fieldValidation=Strict", body, headers)
        assert refused[0] == (422 if method == "PATCH" else 400)

    def test_an_unknown_directive_is_refused(self, api: InProcess) -> None:
        assert api.call("POST", f"{CMS}?fieldValidation=Loud", config_map("a"))[0] == 422


class TestForms:
    def test_metadata_only(self, api: InProcess) -> None:
        api.create(CMS, config_map("a", k="v"))
        accept = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
        answer = api.call("GET", CMS, accept=accept)[1]
        assert answer["kind"] == "PartialObjectMetadataList"
        assert {item["kind"] for item in answer["items"]} == {"PartialObjectMetadata"}
        assert all("data" not in item for item in answer["items"])

    def test_tables(self, api: InProcess) -> None:
        api.create(CMS, config_map("a", k="v"))
        answer = api.call("GET", f"{CMS}/a?includeObject=None", accept=TABLE)[1]
        assert [column["name"] for column in answer["columnDefinitions"]] == ["Name", "Data", "Age"]
        assert answer["rows"] == [{"cells": ["a", 1, "0s"]}]

    def test_a_dry_run_has_a_table_too(self, api: InProcess) -> None:
        status, answer = api.call("POST", f"{CMS}?dryRun=All", config_map("a"), accept=TABLE)
        assert (status, answer["rows"][0]["cells"][0]) == (201, "a")
        assert api.call("GET", f"{CMS}/a")[0] == 404

    def test_the_query_of_a_deletion_that_has_a_body_is_not_looked_at(self, api: InProcess) -> None:
        """As kube-apiserver does: a client that means a dry run has to say so in the body."""
        api.create(CMS, config_map("a"))
        assert api.call("DELETE", f"{CMS}/a?dryRun=All")[0] == 200
        assert api.call("DELETE", f"{CMS}/a", {"dryRun": ["All"]})[0] == 200
        assert api.call("GET", f"{CMS}/a")[0] == 200
        assert api.call("DELETE", f"{CMS}/a?dryRun=All", {"kind": "DeleteOptions", "apiVersion": "v1"})[0] == 200
        assert api.call("GET", f"{CMS}/a")[0] == 404


class TestWatch:
    def test_events_follow_the_list(self, api: InProcess) -> None:
        version = api.call("GET", CMS)[1]["metadata"]["resourceVersion"]
        watch = api.events(f"{CMS}?watch=true&resourceVersion={version}")
        api.create(CMS, config_map("a"))
        api.call("DELETE", f"{CMS}/a")
        assert [(event["type"], event["object"]["metadata"]["name"]) for event in lines(watch)] == [
            ("ADDED", "a"),
            ("DELETED", "a"),
        ]

    def test_initial_events_end_with_a_marked_bookmark(self, api: InProcess) -> None:
        query = "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
        events = lines(api.events(f"{CMS}?{query}"))
        assert [event["type"] for event in events] == ["ADDED", "BOOKMARK"]
        assert events[-1]["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"] == "true"

    def test_initial_events_want_their_companions(self, api: InProcess) -> None:
        assert api.call("GET", f"{CMS}?watch=true&sendInitialEvents=true")[0] == 422

    def test_a_watch_of_metadata_gets_the_blueprint_of_a_list_of_metadata(self, api: InProcess) -> None:
        accept = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
        bookmark = lines(api.events(f"{CMS}?watch=true&allowWatchBookmarks=true", accept=accept))[-1]
        blueprint = bookmark["object"]["metadata"]["annotations"]["kubernetes.io/initial-events-list-blueprint"]
        assert json.loads(base64.b64decode(blueprint))["kind"] == "PartialObjectMetadataList"

    @pytest.mark.parametrize(
        ("query", "code"),
        [
            ("allowWatchBookmarks=true", 406),
            ("allowWatchBookmarks=true&resourceVersion=0", 406),
            ("allowWatchBookmarks=true&resourceVersion=1", 200),
            ("resourceVersion=0", 200),
        ],
    )
    def test_initial_events_with_bookmarks_are_not_told_as_tables(self, api: InProcess, query: str, code: int) -> None:
        accept = "application/json;as=Table;v=v1;g=meta.k8s.io"
        answer = api.request("GET", f"{CMS}?watch=true&{query}", accept=accept)
        assert (200 if isinstance(answer, WatchResponse) else answer.status) == code

    def test_an_old_version_is_an_error_event(self, api: InProcess) -> None:
        api.registry.store.compact()
        watch = api.events(f"{CMS}?watch=true&resourceVersion=1")
        (event,) = lines(watch)
        assert (event["type"], event["object"]["code"], event["object"]["reason"]) == ("ERROR", 410, "Expired")
        assert watch.ended

    def test_columns_are_defined_once(self, api: InProcess) -> None:
        response = api.request("GET", f"{CMS}?watch=true", accept=TABLE)
        assert isinstance(response, WatchResponse)
        api.create(CMS, config_map("a"))
        first, second = (event["object"] for event in lines(response))
        assert len(first["columnDefinitions"]) == 3
        assert second["columnDefinitions"] is None

    def test_it_ends_at_its_timeout(self) -> None:
        clock = FakeClock()
        api = InProcess(clock=clock)
        watch = api.events(f"{CMS}?watch=true&timeoutSeconds=5")
        assert watch.tick() > 0
        clock.advance(6)
        watch.tick()
        assert watch.ended

    def test_a_reader_that_falls_behind_is_cut_off(self) -> None:
        watch = WatchResponse()
        closed: list[bool] = []
        watch.on_close = lambda: closed.append(True)
        watch.take()
        watch.push(b"x" * PENDING_LIMIT)
        assert not watch.ended
        watch.push(b"x")
        assert watch.ended
        assert closed == [True]

    def test_a_waiter_is_woken_once(self) -> None:
        watch = WatchResponse()
        woken: list[int] = []
        assert watch.take(lambda: woken.append(1)) == b""
        watch.push(b"a")
        watch.push(b"b")
        assert woken == [1]
        assert watch.take() == b"ab"

    def test_it_ends_with_its_definition(self, api: InProcess) -> None:
        api.create(CRDS, widget_crd())
        watch = api.events(f"{WIDGETS}?watch=true")
        api.call("DELETE", f"{CRDS}/widgets.example.com")
        assert watch.ended


class TestCustomResources:
    def test_a_definition_is_established_at_once(self, api: InProcess) -> None:
        api.create(CRDS, widget_crd())
        status = api.call("GET", f"{CRDS}/widgets.example.com")[1]["status"]
        assert [(c["type"], c["status"]) for c in status["conditions"]] == [
            ("NamesAccepted", "True"),
            ("Established", "True"),
        ]
        assert status["storedVersions"] == ["v1"]
        assert status["acceptedNames"]["listKind"] == "WidgetList"

    def test_a_taken_name_is_not_accepted(self, api: InProcess) -> None:
        api.create(CRDS, widget_crd())
        other = widget_crd()
        other["metadata"]["name"] = "gadgets.example.com"
        other["spec"]["names"] = {"plural": "gadgets", "kind": "Gadget", "shortNames": ["wd"]}
        api.create(CRDS, other)
        conditions = api.call("GET", f"{CRDS}/gadgets.example.com")[1]["status"]["conditions"]
        assert {c["type"]: c["status"] for c in conditions} == {"NamesAccepted": "False", "Established": "False"}

    @pytest.mark.parametrize(
        ("change", "field"),
        [
            (lambda crd: crd["spec"].update(conversion={"strategy": "Webhook"}), "spec.conversion.strategy"),
            (lambda crd: crd["spec"].update(scope="Galaxy"), "spec.scope"),
            (lambda crd: crd["metadata"].update(name="x.example.com"), "metadata.name"),
        ],
    )  # fmt: skip
    def test_what_cannot_be_served_is_refused_with_its_field(self, api: InProcess, change: Any, field: str) -> None:
        crd = widget_crd()
        change(crd)
        status, answer = api.call("POST", CRDS, crd)
        assert (status, answer["details"]["causes"][0]["field"]) == (422, field)

    def test_the_refusal_of_an_object_names_kind_name_and_field(self, api: InProcess) -> None:
        crd = widget_crd(size={"type": "string"})
        crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["required"] = ["size"]
        api.create(CRDS, crd)
        status, answer = api.call("POST", WIDGETS, widget("bad"))
        assert (status, answer["reason"]) == (422, "Invalid")
        assert answer["message"] == 'Widget.example.com "bad" is invalid: spec.size: Required value'
        assert answer["details"]["causes"] == [
            {"reason": "FieldValueRequired", "message": "Required value", "field": "spec.size"}
        ]

    def test_deleting_a_definition_waits_for_finalizers_of_its_objects(self, api: InProcess) -> None:
        api.create(CRDS, widget_crd())
        held = widget("w")
        held["metadata"]["finalizers"] = ["example.com/x"]
        api.create(WIDGETS, held)
        api.call("DELETE", f"{CRDS}/widgets.example.com")
        crd = api.call("GET", f"{CRDS}/widgets.example.com")[1]
        assert [c["status"] for c in crd["status"]["conditions"] if c["type"] == "Terminating"] == ["True"]
        patch = {"metadata": {"finalizers": None}}
        api.call("PATCH", f"{WIDGETS}/w", patch, content_type="application/merge-patch+json")
        assert api.call("GET", f"{CRDS}/widgets.example.com")[0] == 404


class TestNamespacesAndAdmission:
    def test_every_namespace_has_its_account_and_authority(self, api: InProcess) -> None:
        api.create("/api/v1/namespaces", {"metadata": {"name": "a"}})
        assert api.call("GET", "/api/v1/namespaces/a/serviceaccounts/default")[0] == 200
        assert api.call("GET", "/api/v1/namespaces/a/configmaps/kube-root-ca.crt")[1]["data"] == {"ca.crt": "PEM"}

    def test_nothing_is_created_where_no_namespace_is(self, api: InProcess) -> None:
        status, answer = api.call("POST", "/api/v1/namespaces/nope/configmaps", config_map("a"))
        assert (status, answer["message"]) == (404, 'namespaces "nope" not found')

    def test_a_terminating_namespace_takes_nothing_and_goes_when_finalized(self, api: InProcess) -> None:
        api.create("/api/v1/namespaces", {"metadata": {"name": "a"}})
        namespace = api.call("DELETE", "/api/v1/namespaces/a")[1]
        assert namespace["status"]["phase"] == "Terminating"
        status, answer = api.call("POST", "/api/v1/namespaces/a/configmaps", config_map("x"))
        assert (status, answer["details"]["causes"][0]["reason"]) == (403, "NamespaceTerminating")
        api.call("PUT", "/api/v1/namespaces/a/finalize", {**namespace, "spec": {"finalizers": []}})
        assert api.call("GET", "/api/v1/namespaces/a")[0] == 404

    def test_the_default_namespace_stays(self, api: InProcess) -> None:
        assert api.call("DELETE", "/api/v1/namespaces/default")[0] == 403

    def test_a_pod_runs_as_default_and_needs_its_account(self, api: InProcess) -> None:
        pods = "/api/v1/namespaces/default/pods"
        spec: Json = {"containers": [{"name": "c", "image": "i"}]}
        pod = api.create(pods, {"metadata": {"name": "p"}, "spec": spec})
        assert pod["spec"]["serviceAccountName"] == "default"
        assert pod["status"]["phase"] == "Pending"
        other = {"metadata": {"name": "q"}, "spec": {**spec, "serviceAccountName": "nope"}}
        assert api.call("POST", pods, other)[0] == 403


class TestSubresources:
    def test_a_service_account_token_is_good_while_the_account_is_there(self, api: InProcess) -> None:
        path = "/api/v1/namespaces/default/serviceaccounts/default"
        answer = api.create(f"{path}/token", {"spec": {"expirationSeconds": 600}})
        admin, api.token = api.token, answer["status"]["token"]
        review = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
        user = api.call("POST", review, {})[1]["status"]["userInfo"]
        assert user["username"] == "system:serviceaccount:default:default"
        assert "system:serviceaccounts:default" in user["groups"]
        assert isinstance(api.clock, FakeClock)
        api.clock.advance(661)
        assert api.call("POST", review, {})[0] == 401
        api.token = admin
        fresh = api.create(f"{path}/token", {})["status"]["token"]
        api.call("DELETE", path)
        api.token = fresh
        assert api.call("POST", review, {})[0] == 401

    def test_a_token_of_another_key_is_401(self, api: InProcess) -> None:
        api.token = InProcess().tokens.issue_user("admin") + "x"
        assert api.call("GET", "/version")[0] == 401

    def test_scale_reads_and_writes_replicas(self, api: InProcess) -> None:
        template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
        spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
        base = "/apis/apps/v1/namespaces/default/deployments"
        api.create(base, {"metadata": {"name": "d"}, "spec": spec})
        assert api.call("GET", f"{base}/d/scale")[1]["spec"] == {"replicas": 1}
        patch = {"spec": {"replicas": 3}}
        answer = api.call("PATCH", f"{base}/d/scale", patch, content_type="application/merge-patch+json")[1]
        assert (answer["kind"], answer["spec"], answer["status"]["selector"]) == ("Scale", {"replicas": 3}, "a=b")
        assert api.call("GET", f"{base}/d")[1]["spec"]["replicas"] == 3
        merge = "application/strategic-merge-patch+json"
        assert api.call("PATCH", f"{base}/d/scale", {"spec": {"replicas": 4}}, content_type=merge)[0] == 200
        operations = [{"op": "replace", "path": "/spec/replicas", "value": 5}]
        answer = api.call("PATCH", f"{base}/d/scale", operations, content_type="application/json-patch+json")[1]
        assert answer["spec"] == {"replicas": 5}

    def test_binding_gives_a_pod_its_node_once(self, api: InProcess) -> None:
        pods = "/api/v1/namespaces/default/pods"
        api.create(pods, {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}})
        binding = {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n1"}}
        assert api.call("POST", f"{pods}/p/binding", binding)[0] == 201
        assert api.call("GET", f"{pods}/p")[1]["spec"]["nodeName"] == "n1"
        assert api.call("POST", f"{pods}/p/binding", binding)[0] == 409

    def test_one_that_the_kind_does_not_have_is_404(self, api: InProcess) -> None:
        api.create(CMS, config_map("a"))
        assert api.call("GET", f"{CMS}/a/status")[0] == 404
        assert api.call("GET", f"{CMS}/a/nope")[0] == 404


class TestBuiltinKinds:
    @pytest.mark.parametrize(
        ("target", "body", "text"),
        [
            ("/api/v1/namespaces/default/pods", {"spec": {}}, "spec.containers: Required value"),
            (
                "/api/v1/persistentvolumes",
                {"spec": {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}}},
                "spec: Required value: must specify a volume type",
            ),
            (
                "/api/v1/namespaces/default/persistentvolumeclaims",
                {"spec": {"accessModes": ["RWX"], "resources": {"requests": {"storage": "1Gi"}}}},
                'spec.accessModes: Unsupported value: "RWX"',
            ),
            ("/api/v1/namespaces/default/configmaps", {"data": {"a b": ""}}, 'data[a b]: Invalid value: "a b"'),
            (
                "/apis/batch/v1/namespaces/default/jobs",
                {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "i"}]}}}},
                'spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"',
            ),
        ],
    )
    def test_what_they_refuse(self, api: InProcess, target: str, body: Json, text: str) -> None:
        status, answer = api.call("POST", target, {"metadata": {"name": "x"}, **body})
        assert status == 422
        assert text in answer["message"]

    def test_a_job_gets_its_selector_and_labels(self, api: InProcess) -> None:
        template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}
        job = api.create(
            "/apis/batch/v1/namespaces/default/jobs", {"metadata": {"name": "j"}, "spec": {"template": template}}
        )
        uid = job["metadata"]["uid"]
        assert job["spec"]["selector"] == {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}
        assert job["spec"]["template"]["metadata"]["labels"]["job-name"] == "j"
        assert job["spec"]["backoffLimit"] == 6

    def test_string_data_becomes_data(self, api: InProcess) -> None:
        secret = api.create("/api/v1/namespaces/default/secrets", {"metadata": {"name": "s"}, "stringData": {"a": "b"}})
        assert (secret["data"], secret["type"], "stringData" in secret) == ({"a": "Yg=="}, "Opaque", False)

    def test_the_spec_of_a_claim_stays(self, api: InProcess) -> None:
        claims = "/api/v1/namespaces/default/persistentvolumeclaims"
        spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
        api.create(claims, {"metadata": {"name": "c"}, "spec": spec})
        patch = {"spec": {"accessModes": ["ReadWriteMany"]}}
        status, answer = api.call("PATCH", f"{claims}/c", patch, content_type="application/merge-patch+json")
        assert status == 422
        assert "spec is immutable after creation" in answer["message"]


def test_an_unforeseen_failure_is_a_500_status(api: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api.registry, "list", lambda *_: 1 / 0)
    response = api.request("GET", CMS)
    assert isinstance(response, Response)
    assert (response.status, json.loads(response.body)["reason"]) == (500, "InternalError")
