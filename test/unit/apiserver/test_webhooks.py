"""Admission webhooks: which are called, what they are told, what becomes of their answers."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.apicore import WIDGETS, InProcess, widget, widget_crd
from support.webhooks import (
    ALLOW,
    MUTATING,
    VALIDATING,
    FakeWebhooks,
    add,
    configuration,
    fake_webhooks,
    patch,
    rule,
    webhook,
)

from localmodel.sandbox.apiserver.messages import Response

Json = dict[str, Any]
CMS = "/api/v1/namespaces/default/configmaps"
MERGE = "application/merge-patch+json"
SERVICE = "webhook.default.svc"


@pytest.fixture
def api() -> InProcess:
    return InProcess()


@pytest.fixture
def hooks(tmp_path: Path) -> Iterator[FakeWebhooks]:
    with fake_webhooks(tmp_path, SERVICE) as served:
        yield served


def config_map(name: str, **data: str) -> Json:
    return {"metadata": {"name": name}, "data": data}


def validating(api: InProcess, hooks: FakeWebhooks, answer: Any = ALLOW, *rules: Json, **more: Any) -> None:
    hooks.serve("/v", answer)
    hook = webhook("v.example.com", hooks.config("/v"), *rules, **more)
    api.create(VALIDATING, configuration("Validating", "v", hook))


def mutating(api: InProcess, hooks: FakeWebhooks, answer: Any, *rules: Json, name: str = "m", **more: Any) -> None:
    hooks.serve(f"/{name}", answer)
    hook = webhook(f"{name}.example.com", hooks.config(f"/{name}"), *rules, **more)
    api.create(MUTATING, configuration("Mutating", name, hook))


def warnings(response: Any) -> list[str]:
    assert isinstance(response, Response)
    return [value for name, value in response.headers if name == "Warning"]


class TestReviews:
    def test_a_create_is_told_whole(self, api: InProcess, hooks: FakeWebhooks) -> None:
        validating(api, hooks)
        created = api.create(f"{CMS}?fieldManager=me&fieldValidation=Strict", config_map("a", x="1"))
        (request,) = hooks.requests
        assert request["object"]["metadata"]["uid"] == created["metadata"]["uid"]
        assert request["object"]["data"] == {"x": "1"}
        assert {key: request[key] for key in request.keys() - {"uid", "object"}} == {
            "kind": {"group": "", "version": "v1", "kind": "ConfigMap"},
            "resource": {"group": "", "version": "v1", "resource": "configmaps"},
            "requestKind": {"group": "", "version": "v1", "kind": "ConfigMap"},
            "requestResource": {"group": "", "version": "v1", "resource": "configmaps"},
            "name": "a",
            "namespace": "default",
            "operation": "CREATE",
            "userInfo": {"username": "admin", "groups": ["system:masters", "system:authenticated"]},
            "oldObject": None,
            "dryRun": False,
            "options": {
                "kind": "CreateOptions",
                "apiVersion": "meta.k8s.io/v1",
                "fieldManager": "me",
                "fieldValidation": "Strict",
            },
        }
        assert hooks.targets == ["/v?timeout=10s"]

    @pytest.mark.parametrize(
        ("versions", "asked"),
        [(["v1beta1"], "v1beta1"), (["v1beta1", "v1"], "v1beta1"), (["v1", "v1beta1"], "v1"), (["v9", "v1"], "v1")],
    )
    def test_the_first_version_that_both_know_is_asked(
        self, api: InProcess, hooks: FakeWebhooks, versions: list[str], asked: str
    ) -> None:
        mutating(api, hooks, patch({"op": "add", "path": "/data/y", "value": "2"}), admissionReviewVersions=versions)
        assert api.create(CMS, config_map("a", x="1"))["data"] == {"x": "1", "y": "2"}
        (review,) = hooks.reviews
        assert review["apiVersion"] == f"admission.k8s.io/{asked}"

    def test_an_answer_of_v1beta1_needs_no_uid(self, api: InProcess, hooks: FakeWebhooks) -> None:
        answer = b'{"apiVersion":"admission.k8s.io/v1beta1","kind":"AdmissionReview","response":{"allowed":false}}'
        validating(api, hooks, answer, admissionReviewVersions=["v1beta1"])
        assert api.call("POST", CMS, config_map("a"))[0] == 400

    def test_updates_and_deletes_come_with_the_old_object(self, api: InProcess, hooks: FakeWebhooks) -> None:
        api.create(CMS, config_map("a", x="1"))
        validating(api, hooks)
        api.call("PATCH", f"{CMS}/a", {"data": {"x": "2"}}, content_type=MERGE)
        api.call("DELETE", f"{CMS}/a", {"gracePeriodSeconds": 5, "propagationPolicy": "Orphan"})
        update, delete = hooks.requests
        assert (update["operation"], update["object"]["data"], update["oldObject"]["data"]) == (
            "UPDATE",
            {"x": "2"},
            {"x": "1"},
        )
        assert (delete["operation"], delete["object"], delete["oldObject"]["data"]) == ("DELETE", None, {"x": "2"})
        assert delete["options"] == {
            "kind": "DeleteOptions",
            "apiVersion": "meta.k8s.io/v1",
            "gracePeriodSeconds": 5,
            "propagationPolicy": "Orphan",
        }

    def test_each_object_of_a_deleted_collection_is_asked_about(self, api: InProcess, hooks: FakeWebhooks) -> None:
        for name in ("a", "b"):
            api.create(CMS, {**config_map(name), "metadata": {"name": name, "labels": {"x": "y"}}})
        validating(api, hooks)
        api.call("DELETE", f"{CMS}?labelSelector=x=y")
        assert [request["oldObject"]["metadata"]["name"] for request in hooks.requests] == ["a", "b"]

    def test_a_generated_name_is_not_known_to_mutating_webhooks(self, api: InProcess, hooks: FakeWebhooks) -> None:
        mutating(api, hooks, ALLOW)
        created = api.create(CMS, {"metadata": {"generateName": "a-"}})
        (request,) = hooks.requests
        assert "name" not in request
        assert "name" not in request["object"]["metadata"]
        assert created["metadata"]["name"].startswith("a-")

    def test_subresources_have_their_own_kinds(self, api: InProcess, hooks: FakeWebhooks) -> None:
        api.create("/api/v1/namespaces/default/pods", {"metadata": {"name": "p"}, "spec": {"containers": [CONTAINER]}})
        validating(api, hooks, ALLOW, rule("pods/*"), matchPolicy="Exact")
        api.call(
            "PATCH", "/api/v1/namespaces/default/pods/p/status", {"status": {"phase": "Running"}}, content_type=MERGE
        )
        api.call(
            "POST", "/api/v1/namespaces/default/pods/p/binding", {"metadata": {"name": "p"}, "target": {"name": "n"}}
        )
        api.call("POST", "/api/v1/namespaces/default/pods/p/eviction", {"metadata": {"name": "p"}})
        assert [(r["operation"], r["subResource"], r["kind"]["kind"]) for r in hooks.requests] == [
            ("UPDATE", "status", "Pod"),
            ("CREATE", "binding", "Binding"),
            ("CREATE", "eviction", "Eviction"),
        ]

    def test_scale_is_a_write_of_a_scale(self, api: InProcess, hooks: FakeWebhooks) -> None:
        path = "/apis/apps/v1/namespaces/default/deployments"
        template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [CONTAINER]}}
        spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
        api.create(path, {"metadata": {"name": "d"}, "spec": spec})
        increment = patch({"op": "replace", "path": "/spec/replicas", "value": 7})
        mutating(api, hooks, increment, rule("deployments/scale", group="apps"))
        status, scale = api.call("PATCH", f"{path}/d/scale", {"spec": {"replicas": 3}}, content_type=MERGE)
        (request,) = hooks.requests
        assert (request["object"]["spec"], request["oldObject"]["spec"]) == ({"replicas": 3}, {"replicas": 1})
        assert (request["kind"]["kind"], status, scale["spec"]["replicas"]) == ("Scale", 200, 7)

    def test_an_equivalent_version_is_converted_for_the_webhook(self, api: InProcess, hooks: FakeWebhooks) -> None:
        validating(api, hooks, ALLOW, rule("events", group="events.k8s.io"))
        event = {"metadata": {"name": "e"}, "involvedObject": {"namespace": "default"}, "reason": "r", "message": "m"}
        status, answer = api.call("POST", "/api/v1/namespaces/default/events", event)
        assert status == 201, answer
        (request,) = hooks.requests
        assert request["resource"]["group"] == "events.k8s.io"
        assert request["requestResource"]["group"] == ""
        assert (request["object"]["apiVersion"], request["object"]["note"]) == ("events.k8s.io/v1", "m")


CONTAINER = {"name": "c", "image": "i"}


class TestMatching:
    @pytest.mark.parametrize(
        ("rules", "called"),
        [
            (rule("*"), True),
            (rule("*/*"), True),
            (rule("configmaps", operations=("UPDATE", "DELETE")), False),
            (rule("secrets"), False),
            (rule("configmaps/status"), False),
            (rule("configmaps", group="apps"), False),
            (rule("configmaps", scope="Cluster"), False),
            (rule("configmaps", scope="Namespaced"), True),
            ({**rule("configmaps"), "apiVersions": ["v2"]}, False),
        ],
    )
    def test_rules(self, api: InProcess, hooks: FakeWebhooks, rules: Json, called: bool) -> None:
        validating(api, hooks, ALLOW, rules)
        api.create(CMS, config_map("a"))
        assert len(hooks.reviews) == called

    def test_selectors_look_at_the_namespace_and_at_both_objects(self, api: InProcess, hooks: FakeWebhooks) -> None:
        api.create("/api/v1/namespaces", {"metadata": {"name": "on", "labels": {"hooks": "on"}}})
        validating(
            api,
            hooks,
            namespaceSelector={"matchLabels": {"hooks": "on"}},
            objectSelector={"matchLabels": {"a": "b"}},
        )
        labelled = {"metadata": {"name": "l", "labels": {"a": "b"}}}
        api.create(CMS, labelled)
        api.create("/api/v1/namespaces/on/configmaps", config_map("plain"))
        assert hooks.reviews == []
        api.create("/api/v1/namespaces/on/configmaps", labelled)
        api.call("PATCH", "/api/v1/namespaces/on/configmaps/l", {"metadata": {"labels": None}}, content_type=MERGE)
        assert [request["operation"] for request in hooks.requests] == ["CREATE", "UPDATE"]

    def test_a_namespace_is_selected_by_its_own_labels(self, api: InProcess, hooks: FakeWebhooks) -> None:
        validating(api, hooks, ALLOW, rule("namespaces"), namespaceSelector={"matchLabels": {"a": "b"}})
        api.create("/api/v1/namespaces", {"metadata": {"name": "no"}})
        api.create("/api/v1/namespaces", {"metadata": {"name": "yes", "labels": {"a": "b"}}})
        assert [(request["name"], request["namespace"]) for request in hooks.requests] == [("yes", "yes")]

    def test_conditions_spare_the_call(self, api: InProcess, hooks: FakeWebhooks) -> None:
        conditions = [
            {"name": "mine", "expression": "request.userInfo.username == 'admin' && object.data.x == 'yes'"},
            {"name": "may", "expression": "authorizer.group('').resource('pods').check('list').allowed()"},
        ]
        validating(api, hooks, matchConditions=conditions)
        api.create(CMS, config_map("a", x="no"))
        assert hooks.reviews == []
        api.create(CMS, config_map("b", x="yes"))
        assert len(hooks.reviews) == 1

    @pytest.mark.parametrize(("policy", "code"), [("Fail", 403), ("Ignore", 201)])
    def test_a_condition_without_a_value_is_for_the_failure_policy(
        self, api: InProcess, hooks: FakeWebhooks, policy: str, code: int
    ) -> None:
        conditions = [{"name": "c", "expression": "object.foo == 1"}]
        validating(api, hooks, {"allowed": False}, matchConditions=conditions, failurePolicy=policy)
        status, answer = api.call("POST", CMS, config_map("a"))
        assert status == code
        if code == 403:
            assert answer["message"] == (
                "configmaps \"a\" is forbidden: expression 'object.foo == 1' resulted in error: no such key: foo"
            )

    def test_configurations_and_the_server_itself_are_never_asked_about(
        self, api: InProcess, hooks: FakeWebhooks
    ) -> None:
        validating(api, hooks, {"allowed": False}, {**rule("*"), "apiGroups": ["*"]})
        assert api.call("DELETE", f"{VALIDATING}/v")[0] == 200
        assert hooks.reviews == []


class TestMutation:
    def test_patches_are_applied_then_defaulted_and_validated(self, api: InProcess, hooks: FakeWebhooks) -> None:
        api.create(
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
            widget_crd(size={"type": "integer", "minimum": 1}, color={"type": "string", "default": "red"}),
        )
        remove = {"op": "remove", "path": "/spec/color"}
        mutating(
            api, hooks, patch(add("/spec/size", 5), add("/spec/nope", 1), remove), rule("widgets", group="example.com")
        )
        created = api.create(WIDGETS, widget("w"))
        assert created["spec"] == {"size": 5, "color": "red"}
        hooks.serve("/m", patch(add("/spec/size", 0)))
        status, answer = api.call("POST", WIDGETS, widget("x"))
        assert (status, answer["details"]["causes"][0]["field"]) == (422, "spec.size")

    def test_what_the_server_owns_stays_its_own(self, api: InProcess, hooks: FakeWebhooks) -> None:
        api.create(CMS, config_map("a"))
        uid = api.call("GET", f"{CMS}/a")[1]["metadata"]["uid"]
        mutating(
            api, hooks, patch(add("/metadata/uid", "mine"), add("/metadata/generation", 9), add("/data", {"x": "1"}))
        )
        changed = api.call("PATCH", f"{CMS}/a", {"data": {"y": "2"}}, content_type=MERGE)[1]
        assert (changed["metadata"]["uid"], changed["data"]) == (uid, {"x": "1"})
        assert api.create(CMS, config_map("b"))["metadata"]["uid"] != "mine"

    def test_a_status_write_reaches_no_further_than_the_status(self, api: InProcess, hooks: FakeWebhooks) -> None:
        api.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", widget_crd(size={"type": "integer"}))
        api.create(WIDGETS, widget("w", size=1))
        mutating(api, hooks, patch(add("/spec/size", 2), add("/status/seen", True)), rule("widgets/status", group="*"))
        status = {"status": {"phase": "ok"}}
        changed = api.call("PATCH", f"{WIDGETS}/w/status", status, content_type=MERGE)[1]
        assert (changed["spec"], changed["status"]) == ({"size": 1}, {"phase": "ok", "seen": True})

    def test_each_webhook_sees_what_those_before_it_did(self, api: InProcess, hooks: FakeWebhooks) -> None:
        mutating(api, hooks, patch(add("/data/b", "2")), name="b")
        mutating(api, hooks, patch(add("/data/a", "1")), name="a")
        assert api.create(CMS, config_map("x", z="0"))["data"] == {"z": "0", "a": "1", "b": "2"}
        assert [request["object"]["data"] for request in hooks.requests] == [{"z": "0"}, {"z": "0", "a": "1"}]

    def test_one_that_wants_it_is_asked_again_after_later_changes(self, api: InProcess, hooks: FakeWebhooks) -> None:
        mutating(api, hooks, ALLOW, name="a", reinvocationPolicy="IfNeeded")
        mutating(api, hooks, patch(add("/data/b", "2")), name="b", reinvocationPolicy="IfNeeded")
        mutating(api, hooks, ALLOW, name="c")
        api.create(CMS, config_map("x", z="0"))
        assert [target.partition("?")[0] for target in hooks.targets] == ["/a", "/b", "/c", "/a"]

    def test_a_delete_cannot_be_patched(self, api: InProcess, hooks: FakeWebhooks) -> None:
        api.create(CMS, config_map("a"))
        mutating(api, hooks, patch(add("/data", {})))
        status, answer = api.call("DELETE", f"{CMS}/a")
        assert (status, answer["message"]) == (
            500,
            'Internal error occurred: admission webhook "m.example.com" attempted to modify the object, which is not '
            "supported for this operation",
        )

    def test_a_write_that_came_in_between_is_taken_into_account(self, api: InProcess, hooks: FakeWebhooks) -> None:
        api.create(CMS, config_map("a", x="1"))
        calls: list[Json] = []

        def meanwhile(request: Json) -> Json:
            calls.append(request)
            if len(calls) == 1:
                definition = api.core.definition("", "configmaps")
                current = api.registry.get(definition, "default", "a")
                api.registry.update(definition, "default", "a", {**current, "data": {"x": "1", "other": "2"}})
            return ALLOW

        mutating(api, hooks, meanwhile)
        status, changed = api.call("PATCH", f"{CMS}/a", {"data": {"x": "3"}}, content_type=MERGE)
        assert (status, changed["data"]) == (200, {"x": "3", "other": "2"})
        assert [call["oldObject"]["data"] for call in calls] == [{"x": "1"}, {"x": "1", "other": "2"}]


class TestAnswers:
    @pytest.mark.parametrize(
        ("status", "code", "message"),
        [
            ({"message": "no way", "code": 403, "reason": "Forbidden"}, 403, "denied the request: no way"),
            ({"reason": "Because"}, 400, "denied the request: Because"),
            ({"code": 200, "message": "x"}, 400, "denied the request: x"),
            (None, 400, "denied the request without explanation"),
        ],
    )
    def test_a_refusal_has_the_webhooks_status(
        self, api: InProcess, hooks: FakeWebhooks, status: Json | None, code: int, message: str
    ) -> None:
        validating(api, hooks, {"allowed": False, **({"status": status} if status else {})})
        found, answer = api.call("POST", CMS, config_map("a"))
        assert (found, answer["message"]) == (code, f'admission webhook "v.example.com" {message}')

    @pytest.mark.parametrize(
        ("answer", "why"),
        [
            ({"allowed": True, "uid": "x"}, "received invalid webhook response: expected response.uid="),
            (b'{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}',
             "received invalid webhook response: webhook response was absent"),
            (b'{"apiVersion":"v1","kind":"Pod"}', "received invalid webhook response: expected webhook response of"),
            (b"hello", "failed to call webhook: couldn't get version/kind; json parse error: "),
            (b"[]", "failed to call webhook: couldn't get version/kind; json parse error: "),
            (b"", "failed to call webhook: 0-length response with status code: 200 and content type: application/json"),
            (500, 'failed to call webhook: an error on the server ("body text") has prevented the request from'),
            (404, "failed to call webhook: the server could not find the requested resource"),
            (302, "failed to call webhook: the server responded with the status code 302"),
            (b" " * (4 * 1024 * 1024), "the webhook response was over 3145728 bytes"),
            ({"allowed": True, "patch": "W10=", "patchType": "JSONPatch"},
             "received invalid webhook response: validating webhook may not return response.patch"),
        ],
    )  # fmt: skip
    def test_no_answer_is_a_failed_call(self, api: InProcess, hooks: FakeWebhooks, answer: Any, why: str) -> None:
        validating(api, hooks, answer)
        status, found = api.call("POST", CMS, config_map("a"))
        assert (status, found["reason"]) == (500, "InternalError")
        assert found["message"].startswith('Internal error occurred: failed calling webhook "v.example.com": ')
        assert why in found["message"]

    def test_a_failed_call_may_be_ignored(self, api: InProcess, hooks: FakeWebhooks) -> None:
        validating(api, hooks, 500, failurePolicy="Ignore")
        mutating(api, hooks, b"nonsense", failurePolicy="Ignore")
        api.create(CMS, config_map("a"))
        assert len(hooks.reviews) == 2

    def test_a_webhook_that_takes_too_long_has_failed(self, api: InProcess, hooks: FakeWebhooks) -> None:
        done = threading.Event()
        validating(api, hooks, lambda _: done.wait(20) and ALLOW, timeoutSeconds=1)
        status, answer = api.call("POST", CMS, config_map("a"))
        done.set()
        assert status == 500
        assert answer["message"].endswith('/v?timeout=1s": context deadline exceeded')

    def test_warnings_reach_the_client(self, api: InProcess, hooks: FakeWebhooks) -> None:
        validating(api, hooks, {"allowed": True, "warnings": ["careful"]})
        assert warnings(api.request("POST", CMS, config_map("a"))) == ['299 - "careful"']

    def test_a_dry_run_calls_only_webhooks_that_can_do_it(self, api: InProcess, hooks: FakeWebhooks) -> None:
        validating(api, hooks, sideEffects="NoneOnDryRun")
        assert api.call("POST", f"{CMS}?dryRun=All", config_map("a"))[0] == 201
        assert hooks.requests[0]["dryRun"] is True
        assert hooks.requests[0]["options"]["dryRun"] == ["All"]
        assert api.call("GET", f"{CMS}/a")[0] == 404


class TestConnections:
    def test_connections_are_kept(self, api: InProcess, hooks: FakeWebhooks) -> None:
        validating(api, hooks)
        for name in "abc":
            api.create(CMS, config_map(name))
        assert (len(hooks.reviews), hooks.connections) == (3, 1)

    def test_another_authority_is_not_trusted(self, api: InProcess, hooks: FakeWebhooks, tmp_path: Path) -> None:
        other = tmp_path / "other"
        other.mkdir()
        with fake_webhooks(other) as strangers:
            config = {**hooks.config("/v"), "caBundle": strangers.bundle}
        hook = webhook("v.example.com", config)
        api.create(VALIDATING, configuration("Validating", "v", hook))
        status, answer = api.call("POST", CMS, config_map("a"))
        assert status == 500
        assert "tls: failed to verify certificate: x509: certificate signed by unknown authority" in answer["message"]

    @pytest.mark.parametrize("source", ["endpointslice", "endpoints", "annotation"])
    def test_a_service_is_found_in_the_cluster(self, api: InProcess, hooks: FakeWebhooks, source: str) -> None:
        address = f"127.0.0.1:{hooks.port}"
        annotations = {"localmodel.kserve.io/sandbox-address": address} if source == "annotation" else {}
        service = {"metadata": {"name": "webhook", "annotations": annotations}, "spec": {"ports": [{"port": 443}]}}
        api.create("/api/v1/namespaces/default/services", service)
        ports = [{"port": hooks.port}]
        if source == "endpoints":
            subsets = [{"addresses": [{"ip": "127.0.0.1"}], "ports": ports}]
            api.create("/api/v1/namespaces/default/endpoints", {"metadata": {"name": "webhook"}, "subsets": subsets})
        if source == "endpointslice":
            slice_ = {
                "metadata": {"name": "webhook-1", "labels": {"kubernetes.io/service-name": "webhook"}},
                "addressType": "IPv4",
                "endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": True}}],
                "ports": ports,
            }
            api.create("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", slice_)
        hooks.serve("/v", ALLOW)
        config = {"service": {"namespace": "default", "name": "webhook", "path": "/v"}, "caBundle": hooks.bundle}
        api.create(VALIDATING, configuration("Validating", "v", webhook("v.example.com", config)))
        api.create(CMS, config_map("a"))
        assert len(hooks.reviews) == 1

    def test_a_service_that_is_not_there_is_named(self, api: InProcess) -> None:
        config = {"service": {"namespace": "default", "name": "webhook"}}
        api.create(VALIDATING, configuration("Validating", "v", webhook("v.example.com", config)))
        status, answer = api.call("POST", CMS, config_map("a"))
        assert status == 500
        assert answer["message"].endswith(
            'Post "https://webhook.default.svc:443/?timeout=10s": service "webhook" not found'
        )


def test_requests_wait_only_while_there_are_webhooks(api: InProcess, hooks: FakeWebhooks) -> None:
    from localmodel.sandbox.apiserver.messages import Request

    write = Request(method="POST", path=CMS, raw_query="", headers={}, body=json.dumps(config_map("a")).encode())
    read = Request(method="GET", path=CMS, raw_query="", headers={}, body=b"")
    assert not api.core.may_block(write)
    validating(api, hooks)
    assert api.core.may_block(write)
    assert not api.core.may_block(read)
    api.call("DELETE", f"{VALIDATING}/v")
    assert not api.core.may_block(write)
