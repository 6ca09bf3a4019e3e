"""Built-in kinds through kubectl."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from support.apiserver import Kubectl
from support.kubectl import needs_kubectl

from localmodel.sandbox.envtest import unique

Json = dict[str, Any]

CREATES = [
    "namespace made",
    "configmap made --from-literal=a=b",
    "secret generic made --from-literal=a=b",
    "secret docker-registry made --docker-username=u --docker-password=p --docker-server=example.com",
    "serviceaccount made",
    "deployment made --image=nginx --replicas=0 --port=80",
    "job made --image=busybox -- sh -c true",
    "cronjob made --image=busybox --schedule=@hourly -- true",
    "role made --verb=get,list --resource=pods,deployments.apps/scale",
    "clusterrole made --verb=get --non-resource-url=/metrics",
    "rolebinding made --role=r --user=jane --group=dev --serviceaccount=default:default",
    "clusterrolebinding made --clusterrole=view --user=jane",
    "service clusterip made --tcp=80:8080",
    "quota made --hard=cpu=1,pods=2",
    "poddisruptionbudget made --selector=a=b --min-available=50%",
    "priorityclass made --value=-5 --description=low",
    "ingress made --rule=example.com/path*=svc:80 --class=nginx",
]


SINCE = {"cronjob": 21, "poddisruptionbudget": 22}
"""The minor version of kubectl from which it creates v1 of a kind; before it was v1beta1, which is served no more."""


@pytest.mark.parametrize("command", CREATES, ids=[" ".join(command.split()[:2]) for command in CREATES])
def test_create_sends_what_it_would_print(kubectl: Kubectl, command: str) -> None:
    """kubectl create speaks protobuf; its client-side dry run prints the same object as JSON."""
    arguments = command.split()
    needs_kubectl(1, SINCE.get(arguments[0], 0), f"create {arguments[0]} of a version that is served")
    if arguments[0] == "namespace":
        arguments[1] = unique("made")
    create, _, container = " ".join(arguments).partition(" -- ")
    tail = ["--", *container.split()] if container else []
    printed = json.loads(kubectl("create", *create.split(), "--dry-run=client", "-o", "json", *tail))
    made = json.loads(kubectl("create", *create.split(), "-o", "json", *tail))
    _assert_contains(made, printed, "")
    kubectl("delete", made["kind"].lower(), made["metadata"]["name"], "--wait=false")


def _assert_contains(whole: Any, part: Any, path: str) -> None:
    """Everything in `part` is in `whole`; empty values may be missing."""
    if isinstance(part, dict):
        for key, value in part.items():
            if value not in (None, {}, "", [], 0) or (key == "replicas" and path == ".spec"):
                assert key in whole, f"{path}.{key}"
                _assert_contains(whole[key], value, f"{path}.{key}")
    elif isinstance(part, list):
        assert len(whole) == len(part), path
        for index, value in enumerate(part):
            _assert_contains(whole[index], value, f"{path}[{index}]")
    else:
        assert whole == part, path


def test_api_resources_and_versions(kubectl: Kubectl) -> None:
    names = kubectl("api-resources", "-o", "name").split()
    assert {"pods", "deployments.apps", "jobs.batch", "localmodelcaches.serving.kserve.io"} <= set(names)
    assert "batch/v1" in kubectl("api-versions").split()
    assert kubectl("get", "--raw", "/readyz") == "ok"


def test_explain_knows_the_fields(kubectl: Kubectl) -> None:
    assert "containerPort\t<integer> -required-" in kubectl("explain", "pod.spec.containers.ports")
    assert "podReplacementPolicy" in kubectl("explain", "job.spec")


def test_pods_run_and_are_described(kubectl: Kubectl) -> None:
    kubectl("run", "p1", "--image=busybox", "--labels=a=b")
    assert kubectl("get", "pods", "-l", "a=b", "--no-headers").split()[:3] == ["p1", "0/1", "Pending"]
    assert re.search("QoS Class: +BestEffort", kubectl("describe", "pod", "p1"))
    patch = '{"metadata":{"labels":{"c":"d"}},"spec":{"containers":[{"name":"p1","image":"busybox:2"}]}}'
    kubectl("patch", "pod", "p1", "-p", patch)
    pod = kubectl.json("get", "pod", "p1")
    assert (pod["spec"]["containers"][0]["image"], pod["metadata"]["labels"]) == ("busybox:2", {"a": "b", "c": "d"})
    assert 'pods "nope" not found' in kubectl.fails("logs", "nope")
    kubectl("delete", "pod", "p1")
    assert "not found" in kubectl.fails("get", "pod", "p1")


def test_deployments_scale_and_take_images(kubectl: Kubectl) -> None:
    kubectl("create", "deployment", "d1", "--image=nginx")
    kubectl("scale", "deployment", "d1", "--replicas=5")
    kubectl("set", "image", "deployment/d1", "nginx=nginx:2")
    spec = kubectl.json("get", "deployment", "d1")["spec"]
    assert (spec["replicas"], spec["template"]["spec"]["containers"][0]["image"]) == (5, "nginx:2")
    assert kubectl("get", "deploy", "d1", "--no-headers").split()[:2] == ["d1", "0/5"]
    kubectl("delete", "deployment", "d1", "--cascade=foreground", "--wait=false")


def test_apply_of_built_in_kinds_merges_by_key(kubectl: Kubectl) -> None:
    def service(*ports: int) -> Json:
        listed = [{"name": f"p{port}", "port": port} for port in ports]
        return {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "s1"},
            "spec": {"ports": listed, "selector": {"a": "b"}},
        }

    kubectl("apply", "-f", "-", stdin=service(80, 81))
    assert "configured" in kubectl("apply", "-f", "-", stdin=service(81, 82))
    assert [port["port"] for port in kubectl.json("get", "svc", "s1")["spec"]["ports"]] == [81, 82]
    assert "unchanged" in kubectl("apply", "-f", "-", stdin=service(81, 82))


def test_apply_removes_from_lists_what_is_no_longer_in_the_manifest(kubectl: Kubectl) -> None:
    """kubectl says what to delete in the terms of the published merge keys."""

    def pod_template(containers: Json, volumes: list[str]) -> Json:
        labels = {"app": "d2"}
        spec = {
            "containers": [{"name": name, "image": "i", **more} for name, more in containers.items()],
            "volumes": [{"name": name, "emptyDir": {}} for name in volumes],
        }
        return {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "d2"},
            "spec": {
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": spec},
            },
        }

    env = [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]
    kubectl("apply", "-f", "-", stdin=pod_template({"a": {"env": env}, "b": {}}, ["x", "y"]))
    changed = pod_template({"b": {}, "a": {"env": env[1:], "args": ["-v"]}}, ["y"])
    assert "configured" in kubectl("apply", "-f", "-", stdin=changed)
    spec = kubectl.json("get", "deployment", "d2")["spec"]["template"]["spec"]
    assert [(c["name"], c.get("env"), c.get("args")) for c in spec["containers"]] == [
        ("b", None, None),
        ("a", env[1:], ["-v"]),
    ]
    assert [volume["name"] for volume in spec["volumes"]] == ["y"]
    assert "unchanged" in kubectl("apply", "-f", "-", stdin=changed)


def test_nodes_are_tainted_and_untainted(kubectl: Kubectl) -> None:
    node = unique("node")
    kubectl("create", "-f", "-", stdin={"apiVersion": "v1", "kind": "Node", "metadata": {"name": node}})
    kubectl("taint", "node", node, "a=b:NoSchedule", "c=d:NoExecute")
    kubectl("taint", "node", node, "a-")
    keys = [taint["key"] for taint in kubectl.json("get", "node", node)["spec"]["taints"]]
    kubectl("delete", "node", node)
    assert "c" in keys
    assert "a" not in keys


def test_unknown_fields_of_built_in_kinds_are_refused(kubectl: Kubectl) -> None:
    """By the server, or by an older kubectl that has read the schemas."""
    bad = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "daat": {"a": "b"}}
    assert 'unknown field "daat"' in kubectl.fails("apply", "-f", "-", stdin=bad)
    bad["data"] = bad.pop("daat")
    assert "created" in kubectl("apply", "-f", "-", "--dry-run=server", stdin=bad)


def test_events_are_shown_with_their_object(kubectl: Kubectl, namespace: str) -> None:
    kubectl("create", "configmap", "watched")
    uid = kubectl("get", "configmap", "watched", "-o", "jsonpath={.metadata.uid}")
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "watched.1", "namespace": namespace},
        "involvedObject": {"kind": "ConfigMap", "namespace": namespace, "name": "watched", "uid": uid},
        "reason": "Tested",
        "message": "it was seen",
        "type": "Normal",
        "count": 1,
        "firstTimestamp": "2026-01-01T00:00:00Z",
        "lastTimestamp": "2026-01-01T00:00:00Z",
        "source": {"component": "test"},
    }
    kubectl("create", "-f", "-", stdin=event)
    assert "it was seen" in kubectl("describe", "configmap", "watched")
    assert "configmap/watched" in kubectl("get", "events", "--field-selector", "reason=Tested")


@pytest.mark.own_server("a cluster with controllers drains it")
def test_namespaces_are_drained_by_others(kubectl: Kubectl) -> None:
    name = unique("drained")
    kubectl("create", "namespace", name)
    kubectl("delete", "namespace", name, "--wait=false")
    assert kubectl("get", "namespace", name, "--no-headers").split()[:2] == [name, "Terminating"]
    assert "is being terminated" in kubectl.fails("create", "configmap", "a", "-n", name)
    assert 'namespaces "nope" not found' in kubectl.fails("create", "configmap", "a", "-n", "nope")


class TestRights:
    """Service accounts, as themselves and impersonated."""

    @pytest.fixture
    def robot(self, kubectl: Kubectl, namespace: str) -> str:
        """Its name as a user."""
        if kubectl.run("get", "serviceaccount", "robot").returncode:
            kubectl("create", "serviceaccount", "robot")
            kubectl("create", "role", "reader", "--verb=get,list", "--resource=pods")
            kubectl("create", "rolebinding", "reader", "--role=reader", f"--serviceaccount={namespace}:robot")
        return f"system:serviceaccount:{namespace}:robot"

    def test_can_i(self, kubectl: Kubectl, robot: str) -> None:
        assert kubectl("auth", "can-i", "list", "pods", f"--as={robot}") == "yes\n"
        assert kubectl.run("auth", "can-i", "list", "nodes", f"--as={robot}").stdout == "no\n"
        assert "pods" in kubectl("auth", "can-i", "--list", f"--as={robot}")

    def test_who_am_i(self, kubectl: Kubectl, robot: str) -> None:
        needs_kubectl(1, 27, "auth whoami")
        assert robot in kubectl("auth", "whoami", f"--as={robot}")

    def test_what_is_not_granted_is_forbidden(self, kubectl: Kubectl, robot: str, namespace: str) -> None:
        assert kubectl.fails("get", "nodes", f"--as={robot}") == (
            f'Error from server (Forbidden): nodes is forbidden: User "{robot}" cannot list '
            'resource "nodes" in API group "" at the cluster scope\n'
        )
        assert f'cannot delete resource "pods" in API group "" in the namespace "{namespace}"' in kubectl.fails(
            "delete", "pod", "x", f"--as={robot}"
        )

    @pytest.mark.usefixtures("robot")
    def test_its_token_is_the_account(self, kubectl: Kubectl) -> None:
        needs_kubectl(1, 24, "create token")
        token = kubectl("create", "token", "robot").strip()
        kubectl("config", "set-credentials", "robot", f"--token={token}")
        try:
            assert "No resources found" in kubectl.run("get", "pods", "--user=robot").stderr
            assert "cannot list resource" in kubectl.fails("get", "secrets", "--user=robot")
        finally:
            kubectl("config", "delete-user", "robot")
