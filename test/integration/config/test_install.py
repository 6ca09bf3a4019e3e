"""The manifests of config/ on an API server: what README's install commands do, and what the roles allow."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.kubectl import kubectl_version, needs_kubectl, strict_validation

from localmodel.agent.program import build_parser as agent_parser
from localmodel.manager.main import build_parser as manager_parser
from localmodel.sandbox.envtest import Environment

pytestmark = pytest.mark.own_server("installs namespaces, roles and definitions of fixed names")

ROOT = Path(__file__).parents[3]
CONFIG = ROOT / "config"
MANAGER = "system:serviceaccount:kserve:kserve-localmodel-controller-manager"
AGENT = "system:serviceaccount:kserve:kserve-localmodelnode-agent"
JOBS = "kserve-localmodel-jobs"


class Kubectl:
    def __init__(self, home: Path) -> None:
        self.kubeconfig = home / "kubeconfig"
        self._env = {**os.environ, "HOME": str(home), "KUBECONFIG": str(self.kubeconfig)}

    def __call__(self, *args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["kubectl", *args], capture_output=True, text=True, env=self._env, timeout=60, check=False
        )

    def ok(self, *args: str) -> str:
        done = self(*args)
        assert done.returncode == 0, f"kubectl {' '.join(args)}: {done.stderr}"
        return done.stdout

    def can(self, user: str, verb: str, resource: str, *args: str) -> bool:
        return self("auth", "can-i", verb, resource, f"--as={user}", *args).stdout.strip() == "yes"


def install(kubectl: Kubectl) -> None:
    """Applies config/default; part by part with a kubectl whose kustomize does not take directories as resources."""
    whole = CONFIG / "default"
    parts = [whole]
    if kubectl_version() < (1, 21):
        parts = [whole / part for part in manifest(whole / "kustomization.yaml")["resources"]]
    for part in parts:
        kubectl.ok("apply", "--server-side", strict_validation(), "-k", str(part))


def remove_definitions(kubectl: Kubectl) -> None:
    """For the next test on the same server. Without our controllers nobody takes the finalizers off."""
    names = [name for name in kubectl.ok("get", "crd", "-o", "name").split() if ".kserve.io" in name]
    if names:
        kubectl.ok("delete", *names, "--timeout=30s")


def needs_kustomize() -> None:
    needs_kubectl(1, 21, "kustomize with directories as resources")


@pytest.fixture(scope="module")
def kubectl(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubectl]:
    """kubectl on a server where config/default and the samples were applied as README says."""
    needs_kubectl()
    home = tmp_path_factory.mktemp("install")
    with Environment() as environment:
        run = Kubectl(home)
        environment.kubeconfig().replace(run.kubeconfig)
        install(run)
        run.ok("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
        run.ok("apply", "--server-side", strict_validation(), "-k", str(CONFIG / "samples"))
        yield run
        remove_definitions(run)


def test_everything_is_there(kubectl: Kubectl) -> None:
    kubectl.ok("get", "deployment", "kserve-localmodel-controller-manager", "-n", "kserve")
    kubectl.ok("get", "daemonset", "kserve-localmodelnode-agent", "-n", "kserve")
    kubectl.ok("get", "namespace", JOBS)
    assert "meta-llama3-8b-instruct" in kubectl.ok("get", "localmodelcaches")


def test_applying_again_changes_nothing(kubectl: Kubectl) -> None:
    before = kubectl.ok("get", "deployment,daemonset,crd,clusterrole,role", "-A", "-o", "yaml")
    install(kubectl)
    assert kubectl.ok("get", "deployment,daemonset,crd,clusterrole,role", "-A", "-o", "yaml") == before


def test_a_client_side_apply_is_accepted_too(kubectl: Kubectl) -> None:
    kubectl.ok("apply", strict_validation(), "-f", str(CONFIG / "samples" / "localmodelcache.yaml"))


def manifest(path: Path) -> dict[str, Any]:
    document = yaml.safe_load(path.read_text())
    assert isinstance(document, dict)
    return document


def container(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = manifest(path)["spec"]["template"]["spec"]["containers"][0]
    return found


def test_the_programs_accept_the_arguments_of_their_manifests() -> None:
    manager = manager_parser().parse_args(container(CONFIG / "manager" / "manager.yaml")["args"])
    assert manager.leader_elect
    assert manager.webhook_port == 0
    agent_parser().parse_args(container(CONFIG / "agent" / "manager.yaml").get("args", []))


def test_the_overlay_with_webhooks_serves_them_with_their_certificate() -> None:
    needs_kustomize()
    done = subprocess.run(
        ["kubectl", "kustomize", str(CONFIG / "overlays" / "webhooks")],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    built = {(d["kind"], d["metadata"]["name"]): d for d in yaml.safe_load_all(done.stdout)}
    pod = built["Deployment", "kserve-localmodel-controller-manager"]["spec"]["template"]["spec"]
    assert manager_parser().parse_args(pod["containers"][0]["args"]).webhook_port == 9443
    certificate = built["Certificate", "localmodel-serving-cert"]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    mounted = {mount["mountPath"]: volumes[mount["name"]] for mount in pod["containers"][0]["volumeMounts"]}
    assert mounted["/tmp/k8s-webhook-server/serving-certs"]["secret"]["secretName"] == certificate["spec"]["secretName"]
    for kind in ("localmodelcache", "localmodelnamespacecache"):
        (hook,) = built["ValidatingWebhookConfiguration", f"{kind}.serving.kserve.io"]["webhooks"]
        service = hook["clientConfig"]["service"]
        assert f"{service['name']}.{service['namespace']}.svc" in certificate["spec"]["dnsNames"]
        (port,) = built["Service", service["name"]]["spec"]["ports"]
        assert port["targetPort"] in {found["name"] for found in pod["containers"][0]["ports"]}


def test_the_overlay_with_the_policy_adds_it_to_the_default() -> None:
    needs_kustomize()
    built = {
        name: subprocess.run(
            ["kubectl", "kustomize", str(CONFIG / name)], capture_output=True, text=True, timeout=60, check=True
        ).stdout
        for name in ("default", "policy", "overlays/policy")
    }
    objects = {name: list(yaml.safe_load_all(text)) for name, text in built.items()}
    assert len(objects["overlays/policy"]) == len(objects["default"]) + len(objects["policy"])
    assert {d["kind"] for d in objects["policy"]} == {
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
    }
    assert all(
        AGENT in condition["expression"]
        for d in objects["policy"]
        for condition in d["spec"].get("matchConditions", ())
    )


def test_the_daemon_set_is_the_source_documents() -> None:
    daemon_set = manifest(CONFIG / "agent" / "manager.yaml")
    pod = daemon_set["spec"]["template"]["spec"]
    assert daemon_set["metadata"]["name"] == "kserve-localmodelnode-agent"
    assert pod["nodeSelector"] == {"kserve/localmodel": "worker"}
    assert {e["name"] for e in pod["containers"][0]["env"]} == {"POD_NAMESPACE", "POD_NAME", "NODE_NAME"}
    assert {"name": "models", "mountPath": "/mnt/models", "mountPropagation": "HostToContainer"} in pod["containers"][
        0
    ]["volumeMounts"]
    assert next(v for v in pod["volumes"] if v["name"] == "models")["hostPath"]["path"] == "/models"


@pytest.mark.parametrize(
    ("user", "verb", "resource", "arguments"),
    [
        (MANAGER, "list", "nodes", []),
        (MANAGER, "update", "localmodelcaches.serving.kserve.io", ["--subresource=status"]),
        (MANAGER, "create", "persistentvolumeclaims", ["-n", "team-a"]),
        (MANAGER, "update", "leases.coordination.k8s.io", ["-n", "kserve"]),
        (AGENT, "update", "localmodelnodes.serving.kserve.io", ["--subresource=status"]),
        (AGENT, "create", "jobs.batch", ["-n", JOBS]),
        (AGENT, "get", "secrets", ["-n", JOBS]),
    ],
)
def test_a_role_gives_what_its_program_needs(
    kubectl: Kubectl, user: str, verb: str, resource: str, arguments: list[str]
) -> None:
    assert kubectl.can(user, verb, resource, *arguments)


@pytest.mark.parametrize(
    ("user", "verb", "resource", "arguments"),
    [
        (MANAGER, "get", "secrets", ["-n", "kserve"]),
        (MANAGER, "list", "secrets", ["-A"]),
        (MANAGER, "create", "pods", ["-n", "kserve"]),
        (MANAGER, "create", "jobs.batch", ["-n", JOBS]),
        (MANAGER, "update", "localmodelnodes.serving.kserve.io", ["--subresource=status"]),
        (AGENT, "get", "secrets", ["-n", "kserve"]),
        (AGENT, "list", "secrets", ["-n", JOBS]),
        (AGENT, "create", "jobs.batch", ["-n", "default"]),
        (AGENT, "update", "localmodelnodes.serving.kserve.io", []),
        (AGENT, "delete", "localmodelnodes.serving.kserve.io", []),
        (AGENT, "update", "localmodelcaches.serving.kserve.io", []),
        (AGENT, "patch", "nodes", []),
        (AGENT, "delete", "persistentvolumes", []),
    ],
)
def test_a_role_gives_nothing_that_is_another_s_d20(
    kubectl: Kubectl, user: str, verb: str, resource: str, arguments: list[str]
) -> None:
    assert not kubectl.can(user, verb, resource, *arguments)


def test_the_minimal_crds_are_accepted(tmp_path: Path) -> None:
    needs_kubectl()
    with Environment() as environment:
        run = Kubectl(tmp_path)
        environment.kubeconfig().replace(run.kubeconfig)
        run.ok("apply", "--server-side", strict_validation(), "-k", str(CONFIG / "crd" / "minimal"))
        run.ok("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
        run.ok("apply", "-f", str(CONFIG / "samples" / "localmodelcache.yaml"))
        remove_definitions(run)
