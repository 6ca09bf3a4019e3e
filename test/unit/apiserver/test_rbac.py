"""Who may do what, and the words of a refusal."""

from __future__ import annotations

from typing import Any

import pytest
from support.apicore import InProcess

from localmodel.sandbox.apiserver.rbac import Attributes, allows
from localmodel.sandbox.apiserver.users import User

RBAC = "/apis/rbac.authorization.k8s.io/v1"
JANE = User("jane", ("dev",))
Json = dict[str, Any]


def wanted(**fields: str) -> Attributes:
    return Attributes(user=JANE, **{"verb": "get", "resource": "pods", **fields})


@pytest.mark.parametrize(
    ("rule", "attributes", "allowed"),
    [
        ({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}, wanted(), True),
        ({"verbs": ["get"], "apiGroups": ["apps"], "resources": ["pods"]}, wanted(), False),
        ({"verbs": ["list"], "apiGroups": [""], "resources": ["pods"]}, wanted(), False),
        ({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}, wanted(subresource="log"), True),
        ({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}, wanted(subresource="log"), False),
        ({"verbs": ["get"], "apiGroups": [""], "resources": ["pods/log"]}, wanted(subresource="log"), True),
        ({"verbs": ["get"], "apiGroups": [""], "resources": ["*/log"]}, wanted(subresource="log"), True),
        ({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "resourceNames": ["a"]}, wanted(name="a"), True),
        ({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "resourceNames": ["a"]}, wanted(name="b"), False),
        ({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "resourceNames": ["a"]}, wanted(), False),
        ({"verbs": ["get"], "nonResourceURLs": ["/logs/*"]}, wanted(resource="", path="/logs/x"), True),
        ({"verbs": ["get"], "nonResourceURLs": ["/logs"]}, wanted(resource="", path="/logs/x"), False),
    ],
)
def test_rules_match_as_in_kubernetes(rule: Json, attributes: Attributes, allowed: bool) -> None:
    assert allows(rule, attributes) is allowed


@pytest.fixture
def api() -> InProcess:
    return InProcess()


def grant(api: InProcess, name: str, subject: Json, rules: list[Json], *, namespace: str = "") -> None:
    """A role with a binding: in the namespace, or in the whole cluster."""
    prefix, scope = ("Cluster", RBAC) if not namespace else ("", f"{RBAC}/namespaces/{namespace}")
    plural = prefix.lower()
    api.create(f"{scope}/{plural}roles", {"metadata": {"name": name}, "rules": rules})
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": f"{prefix}Role", "name": name}
    api.create(
        f"{scope}/{plural}rolebindings", {"metadata": {"name": name}, "roleRef": reference, "subjects": [subject]}
    )


PODS = {"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods"]}
AS_JANE = {"impersonate_user": "jane"}


def test_without_a_token_there_is_nothing(api: InProcess) -> None:
    api.token = "nonsense"
    assert api.call("GET", "/api/v1/pods")[0] == 401


def test_the_words_of_a_refusal(api: InProcess) -> None:
    def refusal(path: str, method: str = "GET") -> str:
        status, answer = api.call(method, path, **AS_JANE)
        assert (status, answer["reason"]) == (403, "Forbidden")
        return str(answer["message"])

    assert refusal("/api/v1/nodes") == (
        'nodes is forbidden: User "jane" cannot list resource "nodes" in API group "" at the cluster scope'
    )
    assert refusal("/apis/apps/v1/namespaces/a/deployments/b/scale") == (
        'deployments.apps "b" is forbidden: User "jane" cannot get resource "deployments/scale" in API group "apps" '
        'in the namespace "a"'
    )
    assert refusal("/metrics") == 'forbidden: User "jane" cannot get path "/metrics"'


def test_a_role_holds_in_its_namespace_only(api: InProcess) -> None:
    grant(api, "r", {"kind": "User", "name": "jane"}, [PODS], namespace="default")
    assert api.call("GET", "/api/v1/namespaces/default/pods", **AS_JANE)[0] == 200
    assert api.call("GET", "/api/v1/namespaces/kube-system/pods", **AS_JANE)[0] == 403
    assert api.call("GET", "/api/v1/pods", **AS_JANE)[0] == 403


def test_a_cluster_role_binding_holds_everywhere_until_it_is_deleted(api: InProcess) -> None:
    grant(api, "r", {"kind": "User", "name": "jane"}, [PODS])
    assert api.call("GET", "/api/v1/pods", **AS_JANE)[0] == 200
    api.call("DELETE", f"{RBAC}/clusterrolebindings/r")
    assert api.call("GET", "/api/v1/pods", **AS_JANE)[0] == 403


def test_service_accounts_and_groups_are_subjects(api: InProcess) -> None:
    grant(api, "one", {"kind": "ServiceAccount", "name": "default", "namespace": "default"}, [PODS])
    grant(api, "all", {"kind": "Group", "name": "system:serviceaccounts:kube-system"}, [PODS])
    for user, status in (
        ("system:serviceaccount:default:default", 200),
        ("system:serviceaccount:default:other", 403),
        ("system:serviceaccount:kube-system:any", 200),
    ):
        assert api.call("GET", "/api/v1/pods", impersonate_user=user)[0] == status


def test_aggregated_roles_have_the_rules_of_those_they_select(api: InProcess) -> None:
    api.create(f"{RBAC}/clusterroles", {"metadata": {"name": "part", "labels": {"to": "sum"}}, "rules": [PODS]})
    aggregation = {"clusterRoleSelectors": [{"matchLabels": {"to": "sum"}}]}
    api.create(f"{RBAC}/clusterroles", {"metadata": {"name": "sum"}, "rules": [], "aggregationRule": aggregation})
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "sum"}
    subject = {"kind": "User", "name": "jane"}
    binding = {"metadata": {"name": "sum"}, "roleRef": reference, "subjects": [subject]}
    api.create(f"{RBAC}/clusterrolebindings", binding)
    assert api.call("GET", "/api/v1/pods", **AS_JANE)[0] == 200


def test_a_named_right_allows_the_watch_of_that_name(api: InProcess) -> None:
    rule = {"verbs": ["list"], "apiGroups": [""], "resources": ["pods"], "resourceNames": ["a"]}
    grant(api, "r", {"kind": "User", "name": "jane"}, [rule], namespace="default")
    path = "/api/v1/namespaces/default/pods?fieldSelector=metadata.name%3D"
    assert api.call("GET", f"{path}a", **AS_JANE)[0] == 200
    assert api.call("GET", f"{path}b", **AS_JANE)[0] == 403


def test_impersonation_is_a_right_of_its_own(api: InProcess) -> None:
    grant(api, "r", {"kind": "User", "name": "jane"}, [PODS])
    api.token = api.tokens.issue_user("jane")
    status, answer = api.call("GET", "/api/v1/pods", impersonate_user="admin")
    assert status == 403
    assert 'User "jane" cannot impersonate resource "users"' in answer["message"]


def test_reviews_answer_for_oneself_and_for_others(api: InProcess) -> None:
    grant(api, "r", {"kind": "User", "name": "jane"}, [PODS], namespace="default")
    attributes = {"namespace": "default", "verb": "get", "resource": "pods"}
    base = "/apis/authorization.k8s.io/v1"
    mine = {"spec": {"resourceAttributes": attributes}}
    assert api.call("POST", f"{base}/selfsubjectaccessreviews", mine, **AS_JANE)[1]["status"]["allowed"] is True
    other = {"spec": {"user": "joe", "resourceAttributes": attributes}}
    assert api.call("POST", f"{base}/subjectaccessreviews", other)[1]["status"]["allowed"] is False
    rules = api.call("POST", f"{base}/selfsubjectrulesreviews", {"spec": {"namespace": "default"}}, **AS_JANE)[1]
    assert PODS in rules["status"]["resourceRules"]
    who = api.call("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", {}, **AS_JANE)[1]
    assert who["status"]["userInfo"]["username"] == "jane"


def test_a_token_review_knows_the_tokens_of_this_server(api: InProcess) -> None:
    path = "/apis/authentication.k8s.io/v1/tokenreviews"
    good = api.call("POST", path, {"spec": {"token": api.token}})[1]["status"]
    assert (good["authenticated"], good["user"]["username"]) == (True, "admin")
    assert "authenticated" not in api.call("POST", path, {"spec": {"token": "x.y.z"}})[1]["status"]
