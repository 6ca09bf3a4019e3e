"""Who may do what, and the words of a refusal."""

from __future__ import annotations

from typing import Any

import pytest
from support.apicore import InProcess
from support.rbac import PODS, RBAC, bind, grant, rule

from localmodel.sandbox.apiserver.aggregation import aggregated
from localmodel.sandbox.apiserver.bootstrap import default_roles
from localmodel.sandbox.apiserver.rbac import Attributes, allows
from localmodel.sandbox.apiserver.users import User

JANE = User("jane", ("dev",))
Json = dict[str, Any]


def wanted(**fields: str) -> Attributes:
    return Attributes(user=JANE, **{"verb": "get", "resource": "pods", **fields})


@pytest.mark.parametrize(
    ("policy", "attributes", "allowed"),
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
def test_rules_match_as_in_kubernetes(policy: Json, attributes: Attributes, allowed: bool) -> None:
    assert allows(policy, attributes) is allowed


@pytest.fixture
def api() -> InProcess:
    return InProcess()


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


AGGREGATES = {"clusterRoleSelectors": [{"matchLabels": {"to": "sum"}}]}


def labelled(name: str, *rules: Json) -> Json:
    return {"metadata": {"name": name, "labels": {"to": "sum"}}, "rules": list(rules)}


def test_aggregated_roles_have_the_rules_of_those_they_select(api: InProcess) -> None:
    roles = f"{RBAC}/clusterroles"
    api.create(roles, labelled("b", PODS))
    api.create(roles, {"metadata": {"name": "sum"}, "rules": [], "aggregationRule": AGGREGATES})
    bind(api, "sum", "jane")
    assert api.call("GET", "/api/v1/pods", **AS_JANE)[0] == 200
    nodes = rule("list", "nodes")
    api.create(roles, labelled("a", nodes, PODS))
    assert api.call("GET", f"{roles}/sum")[1]["rules"] == [nodes, PODS]
    assert api.call("GET", "/api/v1/nodes", **AS_JANE)[0] == 200
    api.call("DELETE", f"{roles}/a")
    assert api.call("GET", f"{roles}/sum")[1]["rules"] == [PODS]
    assert api.call("GET", "/api/v1/nodes", **AS_JANE)[0] == 403


def test_the_default_roles_are_aggregated_as_they_come() -> None:
    roles = [document for document in default_roles() if document["kind"] == "ClusterRole"]
    summed = [role for role in roles if "aggregationRule" in role]
    assert len(summed) == 3
    assert [role["rules"] for role in summed] == [aggregated(role, roles) for role in summed]


def test_admin_edit_and_view_take_in_roles_of_custom_resources(api: InProcess) -> None:
    services = rule("get", "inferenceservices", "serving.kserve.io")
    labels = {"rbac.authorization.k8s.io/aggregate-to-view": "true"}
    api.create(f"{RBAC}/clusterroles", {"metadata": {"name": "kserve-view", "labels": labels}, "rules": [services]})
    for name in ("view", "edit", "admin"):
        assert services in api.call("GET", f"{RBAC}/clusterroles/{name}")[1]["rules"]


def test_view_reads_no_secrets_and_edit_no_roles(api: InProcess) -> None:
    base = "/api/v1/namespaces/default"
    for name, secrets, roles in (("view", 403, 403), ("edit", 200, 403), ("admin", 200, 200)):
        bind(api, name, name, namespace="default")
        as_user = {"impersonate_user": name}
        assert api.call("GET", f"{base}/configmaps", **as_user)[0] == 200
        assert api.call("GET", f"{base}/secrets", **as_user)[0] == secrets
        assert api.call("GET", f"{RBAC}/namespaces/default/roles", **as_user)[0] == roles
        assert api.call("GET", "/api/v1/configmaps", **as_user)[0] == 403


def test_a_named_right_allows_the_watch_of_that_name(api: InProcess) -> None:
    named = rule("list", resourceNames=["a"])
    grant(api, "r", {"kind": "User", "name": "jane"}, [named], namespace="default")
    path = "/api/v1/namespaces/default/pods?fieldSelector=metadata.name%3D"
    assert api.call("GET", f"{path}a", **AS_JANE)[0] == 200
    assert api.call("GET", f"{path}b", **AS_JANE)[0] == 403


def test_a_named_right_allows_no_deletion_of_a_collection(api: InProcess) -> None:
    named = rule("deletecollection", resourceNames=["a"])
    grant(api, "r", {"kind": "User", "name": "jane"}, [named], namespace="default")
    path = "/api/v1/namespaces/default/pods?fieldSelector=metadata.name%3Da"
    assert api.call("DELETE", path, **AS_JANE)[0] == 403


def test_a_refusal_names_the_roles_that_are_missing(api: InProcess) -> None:
    bind(api, "nope", "jane")
    bind(api, "gone", "jane", namespace="default", kind="Role")
    nope = 'clusterrole.rbac.authorization.k8s.io "nope" not found'
    gone = 'role.rbac.authorization.k8s.io "gone" not found'
    message = api.call("GET", "/api/v1/pods", **AS_JANE)[1]["message"]
    assert message.endswith(f"at the cluster scope: RBAC: {nope}")
    message = api.call("GET", "/api/v1/namespaces/default/pods", **AS_JANE)[1]["message"]
    assert message.endswith(f": RBAC: [{nope}, {gone}]")


@pytest.mark.parametrize(
    ("method", "path", "message"),
    [
        ("POST", "/api/v1/namespaces/a/pods", 'pods is forbidden: User "jane" cannot create resource "pods" in API'),
        ("DELETE", "/api/v1/namespaces/a/pods", 'pods is forbidden: User "jane" cannot deletecollection resource'),
        ("GET", "/api/v1/pods?watch=1", 'pods is forbidden: User "jane" cannot watch resource "pods"'),
        ("GET", "/api/v1/pods?watch=1&fieldSelector=metadata.name%3Dx", 'pods "x" is forbidden: User "jane" cannot w'),
        ("PUT", "/api/v1/namespaces/a/finalize", 'namespaces "a" is forbidden: User "jane" cannot update resource "'),
        ("POST", "/api/v1/namespaces/a/serviceaccounts/b/token", 'serviceaccounts "b" is forbidden: User "jane" can'),
        ("GET", "/apis/nope.io/v1/foos", 'foos.nope.io is forbidden: User "jane" cannot list resource "foos" in API'),
        ("POST", "/nope", 'forbidden: User "jane" cannot post path "/nope"'),
    ],
)
def test_each_sort_of_request_has_its_words(api: InProcess, method: str, path: str, message: str) -> None:
    status, answer = api.call(method, path, **AS_JANE)
    assert status == 403
    assert answer["message"].startswith(message)


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
