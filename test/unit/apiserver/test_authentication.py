"""Who asks: certificates, tokens, nobody; and acting as somebody else."""

from __future__ import annotations

import base64
import json
from datetime import timedelta
from typing import Any

import pytest
from support.apicore import InProcess

from localmodel.runtime.testing.fake_clock import FakeClock
from localmodel.sandbox.apiserver.messages import Response
from localmodel.sandbox.apiserver.peers import PeerCertificate
from localmodel.sandbox.apiserver.tokens import ISSUER

Json = dict[str, Any]

AUTHENTICATION = "/apis/authentication.k8s.io/v1"
ROBOT = "/api/v1/namespaces/default/serviceaccounts/robot"
ROBOT_NAME = "system:serviceaccount:default:robot"
EXTRA = "authentication.kubernetes.io"


@pytest.fixture
def api() -> InProcess:
    return InProcess()


@pytest.fixture
def robot(api: InProcess) -> InProcess:
    api.create("/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "robot"}})
    return api


def whoami(api: InProcess, **headers: Any) -> Json:
    status, answer = api.call("POST", f"{AUTHENTICATION}/selfsubjectreviews", {}, **headers)
    assert status == 201, answer
    user: Json = answer["status"]["userInfo"]
    return user


def token(api: InProcess, **spec: Any) -> str:
    return str(api.create(f"{ROBOT}/token", {"spec": spec})["status"]["token"])


def review(api: InProcess, value: str, **spec: Any) -> Json:
    status: Json = api.create(f"{AUTHENTICATION}/tokenreviews", {"spec": {"token": value, **spec}})["status"]
    return status


def refusal(api: InProcess, value: str, **spec: Any) -> str:
    """Why a TokenReview finds a token not good; it is 401, too."""
    status = review(api, value, **spec)
    assert "authenticated" not in status
    assert status["user"] == {}
    if not spec:
        assert api.call("GET", "/version", authorization=f"Bearer {value}")[0] == 401
    return str(status["error"])


class TestCertificates:
    def jane(self, api: InProcess, *, seconds: float = 60) -> PeerCertificate:
        return PeerCertificate("jane", ("dev", "ops"), api.clock.now().timestamp() + seconds, "ab12")

    def test_common_name_is_the_user_and_organizations_are_the_groups(self, api: InProcess) -> None:
        api.token = ""
        user = whoami(api, peer=self.jane(api))
        assert (user["username"], user["groups"]) == ("jane", ["dev", "ops", "system:authenticated"])
        assert user["extra"] == {f"{EXTRA}/credential-id": ["X509SHA256=ab12"]}

    def test_a_certificate_counts_before_a_token_even_a_bad_one(self, api: InProcess) -> None:
        assert whoami(api, peer=self.jane(api))["username"] == "jane"
        assert whoami(api, peer=self.jane(api), authorization="Bearer nonsense")["username"] == "jane"

    def test_one_that_ends_during_the_connection_is_refused_then(self, api: InProcess) -> None:
        api.token = ""
        jane = self.jane(api)
        assert whoami(api, peer=jane)["username"] == "jane"
        assert isinstance(api.clock, FakeClock)
        api.clock.advance(61)
        assert api.call("GET", "/version", peer=jane)[0] == 401

    def test_beside_one_that_has_ended_a_good_token_counts(self, api: InProcess) -> None:
        assert whoami(api, peer=self.jane(api, seconds=-1))["username"] == "admin"

    def test_one_without_a_name_is_nobody_s(self, api: InProcess) -> None:
        api.token = ""
        nameless = PeerCertificate("", ("dev",), api.clock.now().timestamp() + 60, "ab12")
        assert api.call("GET", "/version", peer=nameless)[0] == 200
        assert "system:anonymous" in api.call("GET", "/api", peer=nameless)[1]["message"]


class TestAnonymous:
    @pytest.mark.parametrize("path", ["/healthz", "/livez", "/readyz", "/version"])
    def test_health_and_version_are_for_everybody(self, api: InProcess, path: str) -> None:
        api.token = ""
        response = api.request("GET", path)
        assert isinstance(response, Response)
        assert response.status == 200

    @pytest.mark.parametrize("path", ["/api", "/apis", "/openapi/v3", "/metrics", "/healthz/ping"])
    def test_the_rest_is_forbidden(self, api: InProcess, path: str) -> None:
        api.token = ""
        status, answer = api.call("GET", path)
        assert (status, answer["details"]) == (403, {})
        assert answer["message"] == f'forbidden: User "system:anonymous" cannot get path "{path}"'

    @pytest.mark.parametrize("header", ["Basic YTpi", "Bearer", "Bearer ", "Token abc", "Bearer  abc"])
    def test_a_header_without_a_bearer_token_is_as_none(self, api: InProcess, header: str) -> None:
        status, answer = api.call("GET", "/api/v1/nodes", authorization=header)
        assert (status, 'User "system:anonymous"' in answer["message"]) == (403, True)

    @pytest.mark.parametrize(
        "header", ["Bearer abc", "bearer abc", "Bearer abc d", "Bearer a.b.c", "Bearer \u00ff.\u00ff.x"]
    )
    def test_a_token_that_is_not_good_is_401_everywhere(self, api: InProcess, header: str) -> None:
        assert api.call("GET", "/version", authorization=header)[0] == 401


class TestTokens:
    def test_a_service_account_has_its_groups_uid_and_the_token_s_id(self, robot: InProcess) -> None:
        user = whoami(robot, authorization=f"Bearer {token(robot)}")
        assert user["username"] == ROBOT_NAME
        assert user["groups"] == ["system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"]
        assert user["uid"] == robot.call("GET", ROBOT)[1]["metadata"]["uid"]
        ((name, (value,)),) = user["extra"].items()
        assert name == f"{EXTRA}/credential-id"
        assert value.startswith("JTI=")

    def test_the_request_is_answered_whole(self, robot: InProcess) -> None:
        answer = robot.create(f"{ROBOT}/token", {})
        assert answer["spec"] == {"audiences": [ISSUER], "expirationSeconds": 3600, "boundObjectRef": None}
        assert answer["metadata"]["name"] == "robot"
        assert answer["status"]["expirationTimestamp"] > answer["metadata"]["creationTimestamp"]

    def test_one_for_another_audience_is_not_for_this_server(self, robot: InProcess) -> None:
        foreign = token(robot, audiences=["vault", "x"])
        assert refusal(robot, foreign) == (
            f'[invalid bearer token, token audiences ["vault" "x"] is invalid for the target audiences ["{ISSUER}"]]'
        )
        assert review(robot, foreign, audiences=["x", "y", "vault"])["audiences"] == ["x", "vault"]

    def test_without_audiences_a_review_asks_for_this_server(self, robot: InProcess) -> None:
        assert review(robot, token(robot))["audiences"] == [ISSUER]

    def test_one_that_has_ended_says_so(self, robot: InProcess) -> None:
        value = token(robot, expirationSeconds=600)
        assert isinstance(robot.clock, FakeClock)
        robot.clock.advance(659)
        assert review(robot, value)["authenticated"] is True
        robot.clock.advance(2)
        assert refusal(robot, value) == "[invalid bearer token, service account token has expired]"

    def test_one_from_the_future_waits_for_its_time(self, robot: InProcess) -> None:
        robot.core.faults.clock_skew = timedelta(seconds=61)
        value = token(robot)
        robot.core.faults.clock_skew = timedelta()
        assert refusal(robot, value) == "[invalid bearer token, service account token is not valid yet]"

    def test_a_changed_one_is_told_apart_from_one_that_is_nobody_s(self, robot: InProcess) -> None:
        value = token(robot)
        changed = value[:-1] + ("A" if value[-1] != "A" else "B")
        text = "[invalid bearer token, square/go-jose: error in cryptographic primitive]"
        assert refusal(robot, changed) == text
        assert refusal(robot, "x.y.z") == refusal(robot, "nonsense") == "invalid bearer token"

    def test_it_ends_with_its_account_and_a_new_account_of_the_name_does_not_bring_it_back(
        self, robot: InProcess
    ) -> None:
        value, old = token(robot), robot.call("GET", ROBOT)[1]["metadata"]["uid"]
        robot.call("DELETE", ROBOT)
        assert refusal(robot, value) == '[invalid bearer token, serviceaccounts "robot" not found]'
        new = robot.create(ROBOT.rpartition("/")[0], {"metadata": {"name": "robot"}})["metadata"]["uid"]
        text = f"[invalid bearer token, service account UID ({new}) does not match claim ({old})]"
        assert refusal(robot, value) == text

    def test_a_review_without_a_token_is_400(self, api: InProcess) -> None:
        status, answer = api.call("POST", f"{AUTHENTICATION}/tokenreviews", {"spec": {}})
        assert (status, answer["message"]) == (400, "token is required for TokenReview in authentication")


class TestBoundTokens:
    @pytest.fixture
    def cluster(self, robot: InProcess) -> InProcess:
        robot.create("/api/v1/nodes", {"metadata": {"name": "n1"}})
        robot.create("/api/v1/namespaces/default/secrets", {"metadata": {"name": "s"}})
        for name, node in (("placed", {"nodeName": "n1"}), ("waiting", {})):
            spec = {"serviceAccountName": "robot", "containers": [{"name": "c", "image": "i"}], **node}
            robot.create("/api/v1/namespaces/default/pods", {"metadata": {"name": name}, "spec": spec})
        return robot

    def bound(self, api: InProcess, kind: str, name: str, **spec: Any) -> str:
        return token(api, boundObjectRef={"kind": kind, "apiVersion": "v1", "name": name}, **spec)

    def uid(self, api: InProcess, path: str) -> str:
        return str(api.call("GET", path)[1]["metadata"]["uid"])

    def test_that_of_a_pod_names_pod_and_node(self, cluster: InProcess) -> None:
        extra = whoami(cluster, authorization=f"Bearer {self.bound(cluster, 'Pod', 'placed')}")["extra"]
        assert {key.removeprefix(f"{EXTRA}/"): value for key, value in extra.items() if "credential" not in key} == {
            "pod-name": ["placed"],
            "pod-uid": [self.uid(cluster, "/api/v1/namespaces/default/pods/placed")],
            "node-name": ["n1"],
            "node-uid": [self.uid(cluster, "/api/v1/nodes/n1")],
        }

    def test_that_of_a_pod_without_a_node_names_none(self, cluster: InProcess) -> None:
        extra = whoami(cluster, authorization=f"Bearer {self.bound(cluster, 'Pod', 'waiting')}")["extra"]
        assert f"{EXTRA}/pod-name" in extra
        assert f"{EXTRA}/node-name" not in extra

    def test_that_of_a_node_names_it_and_that_of_a_secret_nothing(self, cluster: InProcess) -> None:
        extra = whoami(cluster, authorization=f"Bearer {self.bound(cluster, 'Node', 'n1')}")["extra"]
        assert extra[f"{EXTRA}/node-name"] == ["n1"]
        extra = whoami(cluster, authorization=f"Bearer {self.bound(cluster, 'Secret', 's')}")["extra"]
        assert list(extra) == [f"{EXTRA}/credential-id"]

    @pytest.mark.parametrize(
        ("kind", "name", "path"),
        [
            ("Pod", "waiting", "/api/v1/namespaces/default/pods/waiting"),
            ("Secret", "s", "/api/v1/namespaces/default/secrets/s"),
            ("Node", "n1", "/api/v1/nodes/n1"),
        ],
    )
    def test_it_ends_with_what_it_is_bound_to(self, cluster: InProcess, kind: str, name: str, path: str) -> None:
        value = self.bound(cluster, kind, name)
        cluster.call("DELETE", path, {"gracePeriodSeconds": 0})
        assert refusal(cluster, value) == "[invalid bearer token, service account token has been invalidated]"

    def test_that_of_a_pod_outlives_the_pod_s_node(self, cluster: InProcess) -> None:
        value = self.bound(cluster, "Pod", "placed")
        cluster.call("DELETE", "/api/v1/nodes/n1")
        assert review(cluster, value)["authenticated"] is True

    def test_that_of_a_kubelet_lives_a_year_and_says_when_to_renew(self, cluster: InProcess) -> None:
        value = self.bound(cluster, "Pod", "placed", expirationSeconds=3607)
        payload = value.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        assert claims["exp"] - claims["iat"] == timedelta(days=365).total_seconds()
        assert claims["kubernetes.io"]["warnafter"] - claims["iat"] == 3607


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        ({"spec": {"expirationSeconds": 599}}, 422, "599: may not specify a duration less than 10 minutes"),
        ({"spec": {"expirationSeconds": 0}}, 422, "0: may not specify a duration less than 10 minutes"),
        ({"spec": {"expirationSeconds": 2**32 + 1}}, 422, "may not specify a duration larger than 2^32 seconds"),
        ({"spec": {"expirationSeconds": "x"}}, 400, "cannot unmarshal string"),
        ({"metadata": {"name": "x"}}, 422, 'TokenRequest.authentication.k8s.io "robot" is invalid: metadata.name: '),
        ({"metadata": {"namespace": "x"}}, 400, "does not match the namespace sent on the request"),
        ({"kind": "Foo"}, 400, 'cannot be handled as a TokenRequest: no kind "Foo"'),
        ({"spec": {"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "x"}}}, 404, 'pods "x" not found'),
        ({"spec": {"boundObjectRef": {"kind": "Pod", "apiVersion": "v1"}}}, 400, "Name parameter required."),
        (
            {"spec": {"boundObjectRef": {"kind": "Deployment", "apiVersion": "apps/v1", "name": "x"}}},
            400,
            "cannot bind token to object of type apps/v1, Kind=Deployment",
        ),
        (
            {"spec": {"boundObjectRef": {"kind": "ConfigMap", "apiVersion": "v1", "name": "kube-root-ca.crt"}}},
            400,
            "cannot bind token to object of type /v1, Kind=ConfigMap",
        ),
    ],
)
def test_a_bad_token_request_is_refused_in_the_server_s_words(
    robot: InProcess, body: Json, code: int, message: str
) -> None:
    status, answer = robot.call("POST", f"{ROBOT}/token", body)
    assert (status, message in answer["message"]) == (code, True), answer


def test_a_token_is_bound_to_the_very_object_and_to_the_account_s_own_pods(robot: InProcess) -> None:
    pods = "/api/v1/namespaces/default/pods"
    robot.create(pods, {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}})
    robot.create("/api/v1/namespaces/default/secrets", {"metadata": {"name": "s"}})
    reference = {"kind": "Pod", "apiVersion": "v1", "name": "p"}
    status, answer = robot.call("POST", f"{ROBOT}/token", {"spec": {"boundObjectRef": reference}})
    assert (status, "different serviceaccount name" in answer["message"]) == (400, True)
    reference = {"kind": "Secret", "apiVersion": "v1", "name": "s", "uid": "wrong"}
    status, answer = robot.call("POST", f"{ROBOT}/token", {"spec": {"boundObjectRef": reference}})
    assert (status, "(wrong) does not match the UID in record" in answer["message"]) == (409, True)


class TestImpersonation:
    def grant(self, api: InProcess, *rules: Json) -> None:
        """Makes the requests those of jane, who has these rights and no others."""
        base = "/apis/rbac.authorization.k8s.io/v1"
        reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "r"}
        api.create(f"{base}/clusterroles", {"metadata": {"name": "r"}, "rules": list(rules)})
        subjects = [{"kind": "User", "name": "jane"}]
        binding = {"metadata": {"name": "r"}, "roleRef": reference, "subjects": subjects}
        api.create(f"{base}/clusterrolebindings", binding)
        api.token = api.tokens.issue_user("jane")

    def test_user_groups_uid_and_extra_are_taken_over(self, api: InProcess) -> None:
        user = whoami(
            api,
            impersonate_user="bob",
            impersonate_group=["dev", "ops"],
            impersonate_uid="7",
            **{"impersonate_extra_acme.com%2fproject": ["x", "y"]},
        )
        assert user == {
            "username": "bob",
            "groups": ["dev", "ops", "system:authenticated"],
            "uid": "7",
            "extra": {"acme.com/project": ["x", "y"]},
        }

    def test_a_service_account_has_its_groups_unless_others_are_named(self, api: InProcess) -> None:
        groups = ["system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"]
        assert whoami(api, impersonate_user=ROBOT_NAME)["groups"] == groups
        assert whoami(api, impersonate_user=ROBOT_NAME, impersonate_group="dev")["groups"] == [
            "dev", "system:authenticated",
        ]  # fmt: skip

    def test_names_are_utf_8(self, api: InProcess) -> None:
        sent = "jörg".encode().decode("latin-1")
        assert whoami(api, impersonate_user=sent)["username"] == "jörg"
        message = api.call("GET", "/x", impersonate_user='a"b')[1]["message"]
        assert message == 'forbidden: User "a\\"b" cannot get path "/x"'

    def test_what_is_not_quite_a_service_account_is_a_user(self, api: InProcess) -> None:
        name = "system:serviceaccount:Default:robot"
        assert whoami(api, impersonate_user=name)["groups"] == ["system:authenticated"]

    @pytest.mark.parametrize(
        "headers",
        [
            {"impersonate_user": "system:anonymous"},
            {"impersonate_user": "bob", "impersonate_group": "system:unauthenticated"},
        ],
    )
    def test_the_unauthenticated_stay_so(self, api: InProcess, headers: Json) -> None:
        assert api.call("POST", f"{AUTHENTICATION}/selfsubjectreviews", {}, **headers)[0] == 403

    @pytest.mark.parametrize(
        ("headers", "message"),
        [
            (
                {"impersonate_user": "carol"},
                'users "carol" is forbidden: User "jane" cannot impersonate resource "users"',
            ),
            (
                {"impersonate_user": ROBOT_NAME},
                'serviceaccounts "robot" is forbidden: User "jane" cannot impersonate resource "serviceaccounts" in '
                'API group "" in the namespace "default"',
            ),
            ({"impersonate_user": "bob", "impersonate_group": "dev"}, 'groups "dev" is forbidden: '),
            (
                {"impersonate_user": "bob", "impersonate_uid": "1"},
                'uids.authentication.k8s.io "1" is forbidden: User "jane" cannot impersonate resource "uids" in API '
                'group "authentication.k8s.io" at the cluster scope',
            ),
            (
                {"impersonate_user": "bob", "impersonate_extra_scopes": "a"},
                'userextras.authentication.k8s.io "a" is forbidden: User "jane" cannot impersonate resource '
                '"userextras/scopes" in API group "authentication.k8s.io" at the cluster scope',
            ),
        ],
    )
    def test_each_part_is_a_right_of_its_own(self, api: InProcess, headers: Json, message: str) -> None:
        self.grant(api, {"verbs": ["impersonate"], "apiGroups": [""], "resources": ["users"], "resourceNames": ["bob"]})
        assert whoami(api, impersonate_user="bob")["username"] == "bob"
        status, answer = api.call("GET", "/api", **headers)
        assert status == 403
        assert answer["message"].startswith(message)

    def test_all_rights_together_suffice(self, api: InProcess) -> None:
        everywhere = {"verbs": ["impersonate"], "apiGroups": [""], "resources": ["users", "groups", "serviceaccounts"]}
        group = "authentication.k8s.io"
        more = {"verbs": ["impersonate"], "apiGroups": [group], "resources": ["uids", "userextras/scopes"]}
        self.grant(api, everywhere, more)
        headers: Json = {"impersonate_group": "dev", "impersonate_uid": "1", "impersonate_extra_scopes": "a"}
        assert whoami(api, impersonate_user=ROBOT_NAME, **headers)["groups"] == ["dev", "system:authenticated"]

    def test_groups_without_a_user_are_a_500_in_plain_text(self, api: InProcess) -> None:
        response = api.request("GET", "/api?a=<b>", impersonate_group="dev")
        assert isinstance(response, Response)
        assert (response.status, response.content_type) == (500, "text/plain; charset=utf-8")
        assert response.body.decode() == (
            'Internal Server Error: "/api?a=&lt;b&gt;": requested [{Group  dev    }] without impersonating a user\n'
        )

    def test_an_empty_user_is_nobody_to_impersonate(self, api: InProcess) -> None:
        assert whoami(api, impersonate_user="")["username"] == "admin"
