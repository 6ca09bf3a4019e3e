"""SubjectAccessReview and its like."""

from __future__ import annotations

from typing import Any

import pytest
from support.apicore import InProcess
from support.rbac import PODS, grant

Json = dict[str, Any]

BASE = "/apis/authorization.k8s.io/v1"
ACCESS = f"{BASE}/subjectaccessreviews"
LOCAL = f"{BASE}/namespaces/default/localsubjectaccessreviews"
GET_PODS: Json = {"namespace": "default", "verb": "get", "resource": "pods"}


@pytest.fixture
def api() -> InProcess:
    return InProcess()


@pytest.mark.parametrize(
    ("asked", "granted", "target"),
    [
        ({"user": "jane"}, {"kind": "User", "name": "jane"}, 'User "jane"'),
        ({"groups": ["dev"]}, {"kind": "Group", "name": "dev"}, 'Group "dev"'),
        (
            {"user": "system:serviceaccount:default:robot"},
            {"kind": "ServiceAccount", "name": "robot", "namespace": "default"},
            'ServiceAccount "robot/default"',
        ),
    ],
)
def test_the_reason_names_binding_role_and_subject(api: InProcess, asked: Json, granted: Json, target: str) -> None:
    grant(api, "r", granted, [PODS], namespace="default")
    answer = api.create(ACCESS, {"spec": {**asked, "resourceAttributes": GET_PODS}})
    reason = f'RBAC: allowed by RoleBinding "r/default" of Role "r" to {target}'
    assert answer["status"] == {"allowed": True, "reason": reason}


@pytest.mark.parametrize(
    ("spec", "messages"),
    [
        ({}, ["exactly one of nonResourceAttributes or resourceAttributes", "at least one of user or group"]),
        ({"resourceAttributes": {}}, ["at least one of user or group must be specified"]),
        (
            {"user": "a", "resourceAttributes": {}, "nonResourceAttributes": {"path": "/x", "verb": "get"}},
            ['NonResourceAttributes{Path:"/x", Verb:"get"}: cannot be specified in combination with resource'],
        ),
    ],
)
def test_a_question_that_is_not_clear_is_422(api: InProcess, spec: Json, messages: list[str]) -> None:
    status, answer = api.call("POST", ACCESS, {"spec": spec})
    assert status == 422
    assert answer["message"].startswith('.authorization.k8s.io "" is invalid: ')
    assert len(answer["details"]["causes"]) == len(messages)
    assert all(message in answer["message"] for message in messages)


def test_a_local_one_is_about_its_namespace(api: InProcess) -> None:
    good = {"spec": {"user": "a", "resourceAttributes": GET_PODS}}
    answer = api.create(LOCAL, good)
    assert (answer["status"], answer["metadata"]["namespace"]) == ({"allowed": False}, "default")
    other = {"spec": {"user": "a", "resourceAttributes": {**GET_PODS, "namespace": "b"}}}
    status, answer = api.call("POST", LOCAL, other)
    assert (status, "must match metadata.namespace" in answer["message"]) == (422, True)
    status, answer = api.call("POST", LOCAL, {**good, "metadata": {"namespace": "b"}})
    assert (status, "does not match the namespace sent on the request" in answer["message"]) == (400, True)


@pytest.mark.parametrize("body", [[], {"kind": "Foo"}, {"spec": "x"}, {"spec": {"groups": "x"}}])
def test_a_body_of_another_kind_or_shape_is_400(api: InProcess, body: Any) -> None:
    assert api.call("POST", ACCESS, body)[0] == 400


def test_a_review_is_only_ever_created(api: InProcess) -> None:
    assert api.call("GET", ACCESS)[0] == 405
    assert api.call("GET", f"{ACCESS}/x")[0] == 404


def test_a_selector_that_cannot_be_read_is_said_to_be_ignored(api: InProcess) -> None:
    selector = {"requirements": [{"key": "a", "operator": "Foo"}]}
    spec = {"user": "a", "resourceAttributes": {**GET_PODS, "labelSelector": selector}}
    status = api.create(ACCESS, {"spec": spec})["status"]
    assert status["evaluationError"] == "spec.resourceAttributes.labelSelector ignored due to parse error"


def test_the_rules_of_an_administrator_are_those_of_cluster_admin(api: InProcess) -> None:
    path = f"{BASE}/selfsubjectrulesreviews"
    status = api.create(path, {"spec": {"namespace": "default"}})["status"]
    everything = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}
    assert status["resourceRules"].count(everything) == 1
    assert api.call("POST", path, {"spec": {}})[1]["message"] == "no namespace on request"
