"""ValidatingAdmissionPolicies: what they see, what they refuse, in kube-apiserver's words."""

from __future__ import annotations

from typing import Any

import pytest
from support.apicore import WIDGETS, InProcess, widget, widget_crd

from localmodel.sandbox.apiserver.messages import Response

Json = dict[str, Any]
API = "/apis/admissionregistration.k8s.io/v1"
POLICIES, BINDINGS = f"{API}/validatingadmissionpolicies", f"{API}/validatingadmissionpolicybindings"
CMS = "/api/v1/namespaces/default/configmaps"
MERGE = "application/merge-patch+json"
ON_CONFIG_MAPS = {
    "resourceRules": [{"operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}]
}


@pytest.fixture
def api() -> InProcess:
    return InProcess()


def install(api: InProcess, *validations: Json, binding: Json | None = None, name: str = "p", **spec: Any) -> None:
    policy = {"matchConstraints": ON_CONFIG_MAPS, "validations": list(validations), **spec}
    api.create(POLICIES, {"metadata": {"name": name}, "spec": policy})
    bound = {"policyName": name, "validationActions": ["Deny"], **(binding or {})}
    api.create(BINDINGS, {"metadata": {"name": f"{name}-binding"}, "spec": bound})


def create(api: InProcess, name: str = "a", **data: str) -> tuple[int, Json]:
    return api.call("POST", CMS, {"metadata": {"name": name}, "data": data})


def denied(text: str, name: str = "a") -> str:
    return (
        f"configmaps \"{name}\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'p-binding' denied request: "
        f"{text}"
    )


class TestDecisions:
    @pytest.mark.parametrize(
        ("validation", "text"),
        [
            ({"expression": "1 == 2"}, "failed expression: 1 == 2"),
            ({"expression": "false", "message": " no "}, "no"),
            (
                {"expression": "false", "message": "m", "messageExpression": "'not ' + string(object.metadata.name)"},
                "not a",
            ),
            ({"expression": "false", "message": "m", "messageExpression": "string(object.nope)"}, "m"),
            ({"expression": "object.nope == 1"}, "expression 'object.nope == 1' resulted in error: no such key: nope"),
        ],
    )
    def test_a_refusal_says_why(self, api: InProcess, validation: Json, text: str) -> None:
        install(api, validation)
        status, answer = create(api)
        assert (status, answer["reason"], answer["message"]) == (422, "Invalid", denied(text))

    @pytest.mark.parametrize(("reason", "code"), [("Forbidden", 403), ("Invalid", 422), ("RequestEntityTooLarge", 413)])
    def test_the_reason_decides_the_code(self, api: InProcess, reason: str, code: int) -> None:
        install(api, {"expression": "false", "reason": reason})
        status, answer = create(api)
        assert (status, answer["reason"]) == (code, reason)

    def test_a_warning_lets_the_write_pass(self, api: InProcess) -> None:
        install(api, {"expression": "false", "message": "careful"}, binding={"validationActions": ["Warn"]})
        response = api.request("POST", CMS, {"metadata": {"name": "a"}})
        assert isinstance(response, Response)
        assert response.status == 201
        text = "Validation failed for ValidatingAdmissionPolicy 'p' with binding 'p-binding': careful"
        assert ("Warning", f'299 - "{text}"') in response.headers

    def test_failures_may_be_ignored_but_not_refusals(self, api: InProcess) -> None:
        install(
            api, {"expression": "object.nope == 1"}, {"expression": "object.data.x == 'ok'"}, failurePolicy="Ignore"
        )
        assert create(api, x="ok")[0] == 201
        assert create(api, "b", x="bad")[0] == 422

    def test_the_first_validation_that_fails_or_has_no_value_is_the_answer(self, api: InProcess) -> None:
        install(api, {"expression": "object.nope == 1"}, {"expression": "false", "message": "second"})
        text = "expression 'object.nope == 1' resulted in error: no such key: nope"
        assert create(api)[1]["message"] == denied(text)

    def test_without_a_binding_nothing_is_asked(self, api: InProcess) -> None:
        spec = {"matchConstraints": ON_CONFIG_MAPS, "validations": [{"expression": "false"}]}
        api.create(POLICIES, {"metadata": {"name": "p"}, "spec": spec})
        assert create(api)[0] == 201

    def test_a_deleted_policy_is_asked_no_more(self, api: InProcess) -> None:
        install(api, {"expression": "false"})
        api.call("DELETE", f"{POLICIES}/p")
        assert create(api)[0] == 201

    def test_the_status_says_which_generation_was_looked_at(self, api: InProcess) -> None:
        install(api, {"expression": "true"})
        status = api.call("GET", f"{POLICIES}/p")[1]["status"]
        assert status == {"observedGeneration": 1, "typeChecking": {}}


class TestVariables:
    def test_variables_build_on_each_other(self, api: InProcess) -> None:
        variables = [{"name": "a", "expression": "size(object.data)"}, {"name": "b", "expression": "variables.a + 1"}]
        install(api, {"expression": "variables.b == 3"}, variables=variables)
        assert create(api, x="1", y="2")[0] == 201
        assert create(api, "b", x="1")[0] == 422

    def test_a_variable_counts_only_where_it_is_used(self, api: InProcess) -> None:
        variables = [{"name": "a", "expression": "object.nope"}]
        install(api, {"expression": "!('use' in object.data) || variables.a == 1"}, variables=variables)
        assert create(api, x="1")[0] == 201
        message = create(api, "b", use="1")[1]["message"]
        assert message.endswith('composited variable "a" fails to evaluate: no such key: nope')

    def test_conditions_come_first(self, api: InProcess) -> None:
        install(api, {"expression": "false"}, matchConditions=[{"name": "c", "expression": "'ask' in object.data"}])
        assert create(api, x="1")[0] == 201
        assert create(api, "b", ask="1")[0] == 422


class TestMatching:
    def test_excluded_resources_are_not_asked_about(self, api: InProcess) -> None:
        exempt = {**ON_CONFIG_MAPS["resourceRules"][0], "resourceNames": ["exempt"]}
        install(api, {"expression": "false"}, matchConstraints={**ON_CONFIG_MAPS, "excludeResourceRules": [exempt]})
        assert create(api, "exempt")[0] == 201
        assert create(api, "other")[0] == 422

    def test_a_binding_may_narrow_its_policy(self, api: InProcess) -> None:
        selector = {"namespaceSelector": {"matchLabels": {"strict": "yes"}}}
        install(api, {"expression": "false"}, binding={"matchResources": selector})
        assert create(api)[0] == 201
        api.create("/api/v1/namespaces", {"metadata": {"name": "strict", "labels": {"strict": "yes"}}})
        assert api.call("POST", "/api/v1/namespaces/strict/configmaps", {"metadata": {"name": "a"}})[0] == 422

    def test_policies_and_the_server_itself_are_never_asked_about(self, api: InProcess) -> None:
        everything = {"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"]}
        install(api, {"expression": "false"}, matchConstraints={"resourceRules": [everything]})
        assert api.call("DELETE", f"{POLICIES}/p")[0] == 200


class TestParameters:
    KIND: Json = {"apiVersion": "v1", "kind": "ConfigMap"}
    ON_SECRETS: Json = {"resourceRules": [{**ON_CONFIG_MAPS["resourceRules"][0], "resources": ["secrets"]}]}

    def write(self, api: InProcess, namespace: str = "default") -> tuple[int, Json]:
        return api.call("POST", f"/api/v1/namespaces/{namespace}/secrets?dryRun=All", {"metadata": {"name": "s"}})

    def install(self, api: InProcess, reference: Json) -> None:
        validation = {"expression": "params.data.allow == 'yes'", "messageExpression": "string(params.metadata.name)"}
        install(
            api,
            validation,
            matchConstraints=self.ON_SECRETS,
            paramKind=self.KIND,
            binding={"paramRef": {"parameterNotFoundAction": "Deny", **reference}},
        )

    def test_by_name_in_the_namespace_of_the_request(self, api: InProcess) -> None:
        self.install(api, {"name": "limits"})
        create(api, "limits", allow="no")
        assert self.write(api)[1]["message"].endswith("denied request: limits")
        api.call("PATCH", f"{CMS}/limits", {"data": {"allow": "yes"}}, content_type=MERGE)
        assert self.write(api)[0] == 201

    def test_by_selector_every_one_must_agree(self, api: InProcess) -> None:
        self.install(api, {"selector": {"matchLabels": {"limits": "on"}}, "namespace": "default"})
        for name, allow in (("a", "yes"), ("b", "no")):
            labels = {"limits": "on"}
            api.create(CMS, {"metadata": {"name": name, "labels": labels}, "data": {"allow": allow}})
        assert self.write(api, "kube-system")[1]["message"].endswith("denied request: b")

    @pytest.mark.parametrize(("action", "code"), [("Deny", 422), ("Allow", 201)])
    def test_missing_ones_are_for_the_binding(self, api: InProcess, action: str, code: int) -> None:
        self.install(api, {"name": "nope", "parameterNotFoundAction": action})
        status, answer = self.write(api)
        assert status == code
        if code == 422:
            assert answer["message"].endswith(
                "failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction"
            )

    def test_a_kind_that_is_not_served_is_the_policys_fault(self, api: InProcess) -> None:
        install(
            api,
            {"expression": "true"},
            paramKind={"apiVersion": "foo/v1", "kind": "Bar"},
            binding={"paramRef": {"name": "x", "parameterNotFoundAction": "Allow"}, "validationActions": ["Warn"]},
        )
        status, answer = create(api)
        assert (status, answer["message"]) == (
            422,
            "configmaps \"a\" is forbidden: ValidatingAdmissionPolicy 'p' denied request: failed to configure policy: "
            "failed to find resource referenced by paramKind: 'foo/v1, Kind=Bar'",
        )


class TestAgents:
    """The policy that keeps an agent to the LocalModelNode and the Jobs of its own node."""

    NODE = "request.userInfo.extra[?'authentication.kubernetes.io/node-name'][?0].orValue('')"

    @pytest.fixture
    def agent(self, api: InProcess) -> InProcess:
        api.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", widget_crd(size={"type": "integer"}))
        rules = [
            {"operations": ["CREATE", "UPDATE", "DELETE"], "apiGroups": ["example.com"], "apiVersions": ["*"],
             "resources": ["widgets", "widgets/status"]},
            {"operations": ["CREATE", "DELETE"], "apiGroups": ["batch"], "apiVersions": ["v1"], "resources": ["jobs"]},
        ]  # fmt: skip
        account = "system:serviceaccount:default:agent"
        install(
            api,
            {
                "expression": "request.resource.resource != 'widgets' || "
                "variables.target.metadata.name == variables.node",
                "messageExpression": "'the agent of ' + variables.node + ' may not write ' + request.name",
                "reason": "Forbidden",
            },
            {
                "expression": "request.resource.resource != 'jobs' || (has(variables.target.metadata.labels) && "
                "variables.target.metadata.labels[?'node'].orValue('') == variables.node && "
                "variables.target.metadata.name.matches('^[a-z0-9-]+-' + variables.node + '$'))",
                "message": "a job of another node",
                "reason": "Forbidden",
            },
            {
                "expression": "namespaceObject == null || namespaceObject.metadata.name == params.data.namespace",
                "message": "an agent works in one namespace",
            },
            matchConstraints={"resourceRules": rules},
            matchConditions=[{"name": "agents", "expression": f"request.userInfo.username == '{account}'"}],
            variables=[
                {"name": "node", "expression": self.NODE},
                {"name": "target", "expression": "oldObject != null ? oldObject : object"},
            ],
            paramKind={"apiVersion": "v1", "kind": "ConfigMap"},
            binding={
                "paramRef": {"name": "agents", "namespace": "default", "parameterNotFoundAction": "Deny"},
            },
        )
        create(api, "agents", namespace="default")
        api.create("/api/v1/nodes", {"metadata": {"name": "node-1"}})
        api.create("/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "agent"}})
        api.create(
            "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
            {
                "metadata": {"name": "agent"},
                "roleRef": {"kind": "ClusterRole", "name": "cluster-admin"},
                "subjects": [{"kind": "ServiceAccount", "name": "agent", "namespace": "default"}],
            },
        )
        for name in ("node-1", "node-2"):
            api.create(WIDGETS, widget(name, size=1))
        spec = {"boundObjectRef": {"kind": "Node", "name": "node-1", "apiVersion": "v1"}}
        token = api.create("/api/v1/namespaces/default/serviceaccounts/agent/token", {"spec": spec})
        api.token = token["status"]["token"]
        return api

    def test_its_own_node_it_may_write(self, agent: InProcess) -> None:
        status = {"status": {"phase": "ok"}}
        assert agent.call("PATCH", f"{WIDGETS}/node-1/status", status, content_type=MERGE)[0] == 200

    @pytest.mark.parametrize("subresource", ["", "/status"])
    def test_another_node_it_may_not(self, agent: InProcess, subresource: str) -> None:
        change = {"spec": {"size": 2}, "status": {"phase": "ok"}}
        status, answer = agent.call("PATCH", f"{WIDGETS}/node-2{subresource}", change, content_type=MERGE)
        assert status == 403
        assert answer["message"].endswith("denied request: the agent of node-1 may not write node-2")
        assert agent.call("DELETE", f"{WIDGETS}/node-2")[0] == 403

    @pytest.mark.parametrize(("name", "node", "code"), [("m-node-1", "node-1", 201), ("m-node-2", "node-2", 403)])
    def test_jobs_of_its_own_node_only(self, agent: InProcess, name: str, node: str, code: int) -> None:
        pod = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}
        job = {"metadata": {"name": name, "labels": {"node": node}}, "spec": {"template": {"spec": pod}}}
        assert agent.call("POST", "/apis/batch/v1/namespaces/default/jobs", job)[0] == code

    def test_others_are_not_concerned(self, agent: InProcess) -> None:
        agent.token = agent.tokens.issue_user("admin", ("system:masters",))
        assert agent.call("DELETE", f"{WIDGETS}/node-2")[0] == 200
