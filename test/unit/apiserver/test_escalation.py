"""Nobody grants rights that they do not have, and roles that make no sense are refused."""

from __future__ import annotations

from typing import Any

import pytest
from support.apicore import InProcess
from support.rbac import GROUP, PODS, RBAC, bind, grant, rule

Json = dict[str, Any]

AS_JANE = {"impersonate_user": "jane"}
JANE = {"kind": "User", "name": "jane"}
ROLES = f"{RBAC}/namespaces/default/roles"
BINDINGS = f"{RBAC}/namespaces/default/rolebindings"
HEAD = 'user "jane" (groups=["system:authenticated"]) is attempting to grant RBAC permissions not currently held:\n'
MERGE = "application/merge-patch+json"


@pytest.fixture
def api() -> InProcess:
    """jane may write roles and bindings, and has a few rights herself."""
    api = InProcess()
    maps = rule("get", "configmaps", resourceNames=["a", "b"])
    grant(api, "jane", JANE, [rule("create update patch", "roles rolebindings clusterroles", GROUP), PODS, maps])
    return api


def role(*rules: Json, name: str = "r") -> Json:
    return {"metadata": {"name": name}, "rules": list(rules)}


def binding(kind: str, target: str, name: str = "b") -> Json:
    reference = {"apiGroup": GROUP, "kind": kind, "name": target}
    return {"metadata": {"name": name}, "roleRef": reference, "subjects": [{"kind": "User", "name": "bob"}]}


def refusal(answer: tuple[int, Json]) -> str:
    assert answer[0] == 403
    return str(answer[1]["message"]).partition(" is forbidden: ")[2]


def test_one_may_grant_what_one_has(api: InProcess) -> None:
    held = (rule("get"), rule("list get"), rule("get", "configmaps", resourceNames=["a"]))
    assert api.call("POST", ROLES, role(*held), **AS_JANE)[0] == 201


def test_what_is_lacking_is_listed_by_resource(api: InProcess) -> None:
    wanted = role(rule("get delete create", "pods secrets"), rule("get", "deployments", "apps"), rule("*", "x"))
    assert refusal(api.call("POST", ROLES, wanted, **AS_JANE)) == HEAD + "\n".join(
        [
            '{APIGroups:[""], Resources:["pods"], Verbs:["delete" "create"]}',
            '{APIGroups:[""], Resources:["secrets"], Verbs:["get" "delete" "create"]}',
            '{APIGroups:[""], Resources:["x"], Verbs:["*"]}',
            '{APIGroups:["apps"], Resources:["deployments"], Verbs:["get"]}',
        ]
    )


def test_names_and_paths_are_rights_of_their_own(api: InProcess) -> None:
    names = role(rule("get", "configmaps", resourceNames=["a", "c"]))
    assert refusal(api.call("POST", ROLES, names, **AS_JANE)) == (
        HEAD + '{APIGroups:[""], Resources:["configmaps"], ResourceNames:["c"], Verbs:["get"]}'
    )
    urls = role({"verbs": ["get"], "nonResourceURLs": ["/metrics"]})
    answer = api.call("POST", f"{RBAC}/clusterroles", urls, **AS_JANE)
    assert refusal(answer) == HEAD + '{NonResourceURLs:["/metrics"], Verbs:["get"]}'


@pytest.mark.parametrize(
    ("method", "target", "type_"),
    [
        ("PUT", f"{ROLES}/r", "application/json"),
        ("PATCH", f"{ROLES}/r", MERGE),
        ("POST", f"{ROLES}?dryRun=All", "application/json"),
    ],
)
def test_updates_patches_and_dry_runs_are_checked_too(api: InProcess, method: str, target: str, type_: str) -> None:
    api.create(ROLES, role(rule("get")))
    body = role(rule("delete"), name="s" if method == "POST" else "r")
    answer = api.call(method, target, body, content_type=type_, **AS_JANE)
    assert refusal(answer) == HEAD + '{APIGroups:[""], Resources:["pods"], Verbs:["delete"]}'


def test_who_may_escalate_may(api: InProcess) -> None:
    grant(api, "e", JANE, [rule("escalate", "roles", GROUP)])
    assert api.call("POST", ROLES, role(rule("delete")), **AS_JANE)[0] == 201


def test_aggregation_is_for_cluster_administrators(api: InProcess) -> None:
    wanted = {**role(), "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]}}
    answer = api.call("POST", f"{RBAC}/clusterroles", wanted, **AS_JANE)
    assert refusal(answer) == "must have cluster-admin privileges to use the aggregationRule"


def test_a_binding_gives_no_more_than_one_has(api: InProcess) -> None:
    api.create(ROLES, role(rule("get")))
    assert api.call("POST", BINDINGS, binding("Role", "r"), **AS_JANE)[0] == 201
    answer = api.call("POST", BINDINGS, binding("ClusterRole", "cluster-admin", "c"), **AS_JANE)
    assert refusal(answer) == (
        HEAD + '{APIGroups:["*"], Resources:["*"], Verbs:["*"]}\n{NonResourceURLs:["*"], Verbs:["*"]}'
    )


def test_who_may_bind_a_role_may_without_its_rights(api: InProcess) -> None:
    grant(api, "e", JANE, [rule("bind", "clusterroles", GROUP, resourceNames=["view"])])
    assert api.call("POST", BINDINGS, binding("ClusterRole", "view"), **AS_JANE)[0] == 201
    assert api.call("POST", BINDINGS, binding("ClusterRole", "edit", "c"), **AS_JANE)[0] == 403


def test_a_role_that_is_not_there_cannot_be_bound_but_by_administrators(api: InProcess) -> None:
    status, answer = api.call("POST", BINDINGS, binding("Role", "nope"), **AS_JANE)
    assert (status, answer["message"]) == (404, 'rolebindings.rbac.authorization.k8s.io "nope" not found')
    assert api.call("POST", BINDINGS, binding("Role", "nope"))[0] == 201


def test_missing_roles_are_told_beside_the_missing_rights(api: InProcess) -> None:
    bind(api, "gone", "jane", namespace="default", kind="Role")
    text = refusal(api.call("POST", ROLES, role(rule("delete")), **AS_JANE))
    assert text.endswith('; resolution errors: [roles.rbac.authorization.k8s.io "gone" not found]')


def test_who_only_changes_finalizers_and_owners_grants_nothing(api: InProcess) -> None:
    api.create(ROLES, role(rule("delete")))
    patch = {"metadata": {"finalizers": ["example.com/x"]}}
    assert api.call("PATCH", f"{ROLES}/r", patch, content_type=MERGE, **AS_JANE)[0] == 200


@pytest.mark.parametrize(
    ("plural", "change", "message"),
    [
        ("roles", {"rules": [{"verbs": ["get"], "nonResourceURLs": ["/x"]}]}, "namespaced rules cannot apply to non"),
        ("roles", {"rules": [rule("", "x")]}, "rules[0].verbs: Required value: verbs must contain at least one value"),
        ("clusterroles", {"rules": [rule("get", nonResourceURLs=["/x"])]}, "cannot apply to both regular resources"),
        ("rolebindings", {"roleRef": {"apiGroup": "x", "kind": "Role", "name": "r"}}, 'Unsupported value: "x"'),
        ("rolebindings", {"roleRef": {"kind": "Foo", "name": "r"}}, 'supported values: "Role", "ClusterRole"'),
        ("rolebindings", {"subjects": [{"kind": "User"}]}, "subjects[0].name: Required value"),
        ("rolebindings", {"subjects": [{"kind": "Foo", "name": "x"}]}, '"ServiceAccount", "User", "Group"'),
        ("rolebindings", {"subjects": [{"kind": "User", "name": "x", "apiGroup": "y"}]}, "subjects[0].apiGroup"),
        ("rolebindings", {"subjects": [{"kind": "ServiceAccount", "name": "X_"}]}, "a lowercase RFC 1123 subdomain"),
        ("clusterrolebindings", {"subjects": [{"kind": "ServiceAccount", "name": "x"}]}, "[0].namespace: Required"),
        ("clusterrolebindings", {"roleRef": {"kind": "Role", "name": "r"}}, 'supported values: "ClusterRole"'),
    ],
)
def test_bad_roles_and_bindings_are_422(api: InProcess, plural: str, change: Json, message: str) -> None:
    body: Json = {"metadata": {"name": "x"}}
    if plural.endswith("bindings"):
        body["roleRef"] = {"kind": "ClusterRole", "name": "view"}
    scope = RBAC if plural.startswith("cluster") else f"{RBAC}/namespaces/default"
    status, answer = api.call("POST", f"{scope}/{plural}", {**body, **change})
    assert (status, message in answer["message"]) == (422, True), answer


def test_what_a_binding_refers_to_is_fixed(api: InProcess) -> None:
    bind(api, "view", "jane")
    path = f"{RBAC}/clusterrolebindings/jane-view"
    stored = api.call("GET", path)[1]
    stored["roleRef"]["name"] = "edit"
    status, answer = api.call("PUT", path, stored)
    assert status == 422
    assert answer["message"].endswith(
        'roleRef: Invalid value: rbac.RoleRef{APIGroup:"rbac.authorization.k8s.io", Kind:"ClusterRole", Name:"edit"}: '
        "cannot change roleRef"
    )
