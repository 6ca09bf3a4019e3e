"""Client certificates over TLS, and kubeconfigs for other identities."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support.apiserver import Kubectl
from support.kubectl import needs_kubectl

from localmodel.cli.main import main
from localmodel.runtime.errors import ForbiddenError, TransportError
from localmodel.runtime.kubeconfig import load_config
from localmodel.runtime.objects import ConfigMap, Node, ObjectMeta
from localmodel.runtime.rest import LiveClient
from localmodel.sandbox.apiserver.server import ApiServer, ApiServerOptions
from localmodel.sandbox.apiserver.tls import Authority
from localmodel.sandbox.envtest import Environment

Json = dict[str, Any]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("identities")


@pytest.fixture(scope="module")
def server(directory: Path) -> Iterator[ApiServer]:
    """Its data lies beside the administrator's kubeconfig, as `sandbox up` has it."""
    options = ApiServerOptions(data_dir=directory / "apiserver", audit_log=directory / "audit.jsonl")
    with ApiServer(options) as server:
        server.write_kubeconfig(directory / "kubeconfig")
        yield server


def client(kubeconfig: Path) -> LiveClient:
    return LiveClient(load_config(kubeconfig, user_agent="identities/1"))


def users(directory: Path) -> set[tuple[str, str]]:
    """User and impersonated user of every request that was made."""
    lines = [json.loads(line) for line in (directory / "audit.jsonl").read_text().splitlines()]
    return {(line["user"], line.get("impersonatedUser", "")) for line in lines}


def test_a_certificate_of_the_server_s_authority_is_its_common_name(server: ApiServer, directory: Path) -> None:
    path = directory / "jane"
    server.write_kubeconfig(path, user="anything", certificate=server.client_certificate("jane", ("dev",)))
    jane = client(path)
    with pytest.raises(ForbiddenError, match='User "jane" cannot list resource "nodes"'):
        jane.list(Node)
    jane.close()
    assert ("jane", "") in users(directory)


def test_organizations_are_groups(server: ApiServer, directory: Path) -> None:
    path = directory / "root"
    server.write_kubeconfig(path, certificate=server.client_certificate("root", ("system:masters",)))
    root = client(path)
    root.create(ConfigMap(metadata=ObjectMeta(name="by-certificate", namespace="default")))
    root.close()


@pytest.mark.parametrize("fault", ["another authority", "ended", "of a server"])
def test_a_certificate_that_is_not_good_ends_the_handshake(
    server: ApiServer, directory: Path, tmp_path: Path, fault: str
) -> None:
    pair = server.client_certificate("jane", ("system:masters",))
    if fault == "another authority":
        pair = Authority.ensure(tmp_path, now=server.core.registry.clock.now()).issue_client(
            "jane", ("system:masters",), now=server.core.registry.clock.now()
        )
    elif fault == "ended":
        pair = server.client_certificate("jane", ("system:masters",), lifetime=timedelta(seconds=-1))
    else:
        pair = server.serving_certificate("jane")
    path = tmp_path / "kubeconfig"
    server.write_kubeconfig(path, certificate=pair)
    jane = client(path)
    with pytest.raises(TransportError):
        jane.list(Node)
    jane.close()


def test_a_serving_certificate_is_trusted_by_who_trusts_the_server(server: ApiServer, tmp_path: Path) -> None:
    server.serving_certificate("webhook.default.svc", "127.0.0.1").write(tmp_path / "crt", tmp_path / "key")
    ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ours.load_cert_chain(tmp_path / "crt", tmp_path / "key")
    theirs = ssl.create_default_context(cadata=server.authority_pem.decode())
    for name in ("webhook.default.svc", "127.0.0.1"):
        to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        answering = ours.wrap_bio(to_server, to_client, server_side=True)
        asking = theirs.wrap_bio(to_client, to_server, server_hostname=name)
        for _ in range(3):
            for side in (asking, answering):
                try:
                    side.do_handshake()
                except ssl.SSLWantReadError:
                    continue
        assert asking.getpeercert()
    assert (tmp_path / "key").stat().st_mode & 0o077 == 0


def test_an_environment_makes_clients_of_users_with_groups() -> None:
    with Environment() as environment:
        masters = environment.client("root", groups=["system:masters"])
        masters.create(ConfigMap(metadata=ObjectMeta(name="a", namespace=environment.namespace())))
        with pytest.raises(ForbiddenError, match='User "jane"'):
            environment.client("jane", groups=[]).list(ConfigMap)


class TestCommand:
    """`localmodel sandbox kubeconfig`."""

    @pytest.fixture
    def made(self, server: ApiServer, directory: Path, tmp_path: Path) -> Any:
        def make(*arguments: str) -> Path:
            path = tmp_path / "made"
            command = ["sandbox", "kubeconfig", "--kubeconfig", str(directory / "kubeconfig"), "--output", str(path)]
            assert main([*command, *arguments]) == 0
            assert path.stat().st_mode & 0o077 == 0
            return path

        return make

    def test_a_user_has_a_certificate_with_its_groups(self, made: Any) -> None:
        root = client(made("--user=root", "--group=dev", "--group=system:masters"))
        assert root.list(Node) == []
        root.close()

    def test_a_service_account_has_a_token(self, made: Any) -> None:
        account = client(made("--service-account=default/default"))
        with pytest.raises(ForbiddenError, match='User "system:serviceaccount:default:default"'):
            account.list(Node)
        account.close()

    def test_it_goes_to_standard_output_by_itself(self, server: ApiServer, directory: Path) -> None:
        command = [sys.executable, "-m", "localmodel.cli.main", "sandbox", "kubeconfig", "--user=jane"]
        env = {**os.environ, "KUBECONFIG": str(directory / "kubeconfig")}
        done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=30, check=True)
        assert "client-certificate-data" in done.stdout

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--service-account=default/nope"], 'serviceaccounts "nope" not found'),
            (["--service-account=default/default", "--group=x"], "--group goes with --user"),
            (["--service-account=default/default", "--duration=1m"], "less than 10 minutes"),
            (["--user=" + "x" * 65], "1 to 64 characters"),
            (["--user=x", "--data-dir=/nonexistent"], "give the API server's --data-dir"),
            (["--user=x", "--kubeconfig=/nonexistent"], "there is no kubeconfig /nonexistent"),
        ],
    )
    def test_what_cannot_be_made_is_said(
        self,
        server: ApiServer,
        directory: Path,
        capsys: pytest.CaptureFixture[str],
        arguments: list[str],
        message: str,
    ) -> None:
        assert main(["sandbox", "kubeconfig", f"--kubeconfig={directory / 'kubeconfig'}", *arguments]) == 1
        assert message in capsys.readouterr().err

    def test_the_keys_of_another_server_are_refused(
        self, server: ApiServer, directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        Authority.ensure(tmp_path, now=server.core.registry.clock.now())
        command = ["sandbox", "kubeconfig", f"--kubeconfig={directory / 'kubeconfig'}", f"--data-dir={tmp_path}"]
        assert main([*command, "--user=x"]) == 1
        assert "holds the keys of another API server" in capsys.readouterr().err

    @pytest.mark.parametrize("argument", ["--service-account=default", "--user=x --duration=1w", ""])
    def test_wrong_usage_is_2(self, argument: str) -> None:
        with pytest.raises(SystemExit, match="2"):
            main(["sandbox", "kubeconfig", *argument.split()])


class TestKubectl:
    @pytest.fixture
    def kubectl(self, server: ApiServer, directory: Path, tmp_path: Path) -> Kubectl:
        needs_kubectl(1, 28, "auth whoami of extra fields")
        return Kubectl(directory / "kubeconfig", tmp_path)

    def test_who_somebody_with_a_certificate_is(self, server: ApiServer, kubectl: Kubectl, tmp_path: Path) -> None:
        path = tmp_path / "kubeconfig"
        server.write_kubeconfig(path, certificate=server.client_certificate("jane", ("dev",)))
        user = Kubectl(path, tmp_path).json("auth", "whoami")["status"]["userInfo"]
        assert (user["username"], user["groups"]) == ("jane", ["dev", "system:authenticated"])
        assert user["extra"]["authentication.kubernetes.io/credential-id"][0].startswith("X509SHA256=")

    def test_acting_as_somebody_with_groups_and_uid(self, kubectl: Kubectl, directory: Path) -> None:
        flags = ("--as=bob", "--as-group=dev", "--as-group=ops", "--as-uid=7")
        user = kubectl.json("auth", "whoami", *flags)["status"]["userInfo"]
        assert user == {"username": "bob", "groups": ["dev", "ops", "system:authenticated"], "uid": "7"}
        assert ("admin", "bob") in users(directory)

    def test_a_token_on_the_command_line_counts(self, kubectl: Kubectl) -> None:
        token = kubectl("create", "token", "default").strip()
        user = kubectl.json("auth", "whoami", f"--token={token}")["status"]["userInfo"]
        assert user["username"] == "system:serviceaccount:default:default"

    def test_what_one_may_do_is_listed(self, kubectl: Kubectl) -> None:
        listed = kubectl("auth", "can-i", "--list", "--as=bob").splitlines()
        assert any(line.startswith("selfsubjectreviews.authentication.k8s.io") for line in listed)
        assert any("[/healthz]" in line and "[get]" in line for line in listed)

    def test_roles_are_reconciled(self, kubectl: Kubectl, tmp_path: Path) -> None:
        def manifest(role: str, verb: str) -> str:
            path = tmp_path / "rbac.yaml"
            reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role}
            subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "bob"}
            head: Json = {"apiVersion": "rbac.authorization.k8s.io/v1"}
            place: Json = {"namespace": "default"}
            rules = [{"verbs": [verb], "apiGroups": [""], "resources": ["pods"]}]
            items: list[Json] = [
                {**head, "kind": "Role", "metadata": {**place, "name": role}, "rules": rules},
                {
                    **head,
                    "kind": "RoleBinding",
                    "metadata": {**place, "name": "reconciled"},
                    "roleRef": reference,
                    "subjects": [subject],
                },
            ]
            path.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
            return str(path)

        kubectl("auth", "reconcile", "-f", manifest("one", "get"))
        assert kubectl("auth", "can-i", "get", "pods", "--as=bob") == "yes\n"
        kubectl("auth", "reconcile", "-f", manifest("one", "list"))
        assert kubectl.json("get", "role", "one")["rules"][0]["verbs"] == ["get"]
        assert kubectl("auth", "can-i", "list", "pods", "--as=bob") == "yes\n"
        kubectl("auth", "reconcile", "-f", manifest("two", "watch"))
        assert kubectl.json("get", "rolebinding", "reconciled")["roleRef"]["name"] == "two"

    def test_a_role_beyond_one_s_own_rights_is_refused(self, kubectl: Kubectl) -> None:
        kubectl("create", "rolebinding", "carol", "--clusterrole=admin", "--user=carol")
        kubectl("create", "role", "reads", "--verb=get", "--resource=pods", "--as=carol")
        refusal = kubectl.fails("create", "rolebinding", "up", "--clusterrole=cluster-admin", "--user=x", "--as=carol")
        assert 'user "carol" (groups=["system:authenticated"]) is attempting to grant RBAC permissions' in refusal
