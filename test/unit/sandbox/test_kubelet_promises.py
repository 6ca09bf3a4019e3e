"""What the kubelet promises of pods beyond starting them: probes, sidecars, addresses, tokens, volumes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.eventually import eventually

from localmodel.runtime.objects import Pod, ServiceAccount
from localmodel.runtime.objects.subresources import TokenRequest
from localmodel.runtime.testing import FakeClient, FakeClock
from localmodel.sandbox.controllers.kubelet.addresses import NoAddressLeftError, PodAddresses
from localmodel.sandbox.controllers.kubelet.commands import Launcher, Surroundings
from localmodel.sandbox.controllers.kubelet.container import Command, Container
from localmodel.sandbox.controllers.kubelet.images import ImageTable
from localmodel.sandbox.controllers.kubelet.mounts import Mount, MountError, PodVolumes, container_mounts, rewrite
from localmodel.sandbox.controllers.kubelet.pod import PodRunner
from localmodel.sandbox.controllers.kubelet.probes import ContainerProbes, Target
from localmodel.sandbox.spawn import Spawner

NODE = "node-1"
SLEEP = "exec sleep 600"


def pod(*scripts: str, policy: str = "Always", init: list[dict[str, Any]] | None = None, **spec: Any) -> Pod:
    containers = [container(f"c{number}", script) for number, script in enumerate(scripts)]
    body = {"nodeName": NODE, "restartPolicy": policy, "containers": containers, **spec}
    if init:
        body["initContainers"] = init
    return Pod.from_dict({"metadata": {"name": "p", "namespace": "team", "uid": "u1"}, "spec": body})


def container(name: str, script: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "image": "busybox", "command": ["sh", "-c", script], **more}


class World:
    """A pod that is synced by hand, on a clock that stands still until it is moved."""

    def __init__(self, directory: Path, pod: Pod, *, kubeconfig: Path | None = None) -> None:
        self.clock = FakeClock()
        self.client = FakeClient(clock=self.clock)
        self.events: list[tuple[str, str]] = []
        self.pod = pod
        node = Surroundings(
            root=directory,
            reader=self.client,
            client=self.client,
            images=ImageTable(),
            spawner=Spawner(),
            clock=self.clock,
            addresses=PodAddresses([NODE]),
            kubeconfig=kubeconfig,
        )
        self.runner = PodRunner(
            pod, node, wake=lambda: None, report=lambda _, reason, message: self.events.append((reason, message))
        )

    def sync(self) -> float | None:
        return self.runner.sync(self.pod)

    def status(self) -> dict[str, Any]:
        return self.runner.status(self.pod)

    def until(self, condition: Any) -> None:
        def holds() -> bool:
            self.sync()
            return bool(condition(self.status()))

        eventually(holds)

    def statuses(self) -> dict[str, dict[str, Any]]:
        status = self.status()
        found = [*status["containerStatuses"], *status.get("initContainerStatuses", [])]
        return {entry["name"]: entry for entry in found}


@pytest.fixture
def worlds(tmp_path: Path) -> Iterator[Any]:
    made: list[World] = []

    def make(pod: Pod, **more: Any) -> World:
        made.append(World(tmp_path, pod, **more))
        return made[-1]

    yield make
    for world in made:
        world.runner.kill()
        world.runner.wait(5)


# probes


def target(tmp_path: Path) -> Target:
    command = Command(
        arguments=[], env={"PATH": "/usr/bin:/bin"}, directory=tmp_path, log=tmp_path / "l", termination_log=tmp_path
    )
    return Target(command, (), "127.0.0.1", {"http": 1})


class Probed:
    """The probes of a container whose answer is whether a file is there."""

    def __init__(self, tmp_path: Path, **probes: dict[str, Any]) -> None:
        self.clock = FakeClock()
        self.file = tmp_path / "good"
        self.messages: list[str] = []
        action = {"exec": {"command": ["test", "-e", "good"]}, "timeoutSeconds": 10}
        spec = {f"{kind}Probe": {**action, **options} for kind, options in probes.items()}
        self.probes = ContainerProbes(
            spec, target(tmp_path), clock=self.clock, report=lambda _, message: self.messages.append(message)
        )

    def look(self, *, good: bool, after: float = 10) -> tuple[bool, bool, str]:
        self.clock.advance(after)
        if good:
            self.file.touch()
        else:
            self.file.unlink(missing_ok=True)
        verdict = self.probes.look()
        return verdict.started, verdict.ready, verdict.kill


def test_without_probes_a_container_is_started_and_ready(tmp_path: Path) -> None:
    assert Probed(tmp_path).look(good=False) == (True, True, "")


def test_readiness_follows_its_probe_by_the_thresholds(tmp_path: Path) -> None:
    probed = Probed(tmp_path, readiness={"successThreshold": 2, "failureThreshold": 2})
    assert [probed.look(good=good)[1] for good in (True, True, False, False, True)] == [
        False, True, True, False, False,
    ]  # fmt: skip


def test_liveness_kills_after_its_threshold_of_failures(tmp_path: Path) -> None:
    probed = Probed(tmp_path, liveness={"failureThreshold": 2})
    assert [probed.look(good=good)[2] for good in (True, False, True, False, False)] == ["", "", "", "", "liveness"]
    assert probed.messages[0] == "Liveness probe failed: failed"


def test_until_the_startup_probe_succeeded_the_others_wait(tmp_path: Path) -> None:
    probed = Probed(tmp_path, startup={"failureThreshold": 3}, liveness={"failureThreshold": 1}, readiness={})
    assert probed.look(good=False) == (False, False, "")
    assert probed.look(good=True) == (True, True, "")
    assert probed.look(good=False)[2] == "liveness"


def test_a_container_that_does_not_start_up_is_killed(tmp_path: Path) -> None:
    probed = Probed(tmp_path, startup={"failureThreshold": 2})
    assert [probed.look(good=False)[2] for _ in range(2)] == ["", "startup"]


def test_a_probe_waits_for_its_delay_and_its_period(tmp_path: Path) -> None:
    probed = Probed(tmp_path, readiness={"initialDelaySeconds": 30, "periodSeconds": 20})
    assert probed.look(good=True, after=29)[1] is False
    assert probed.look(good=True, after=1)[1] is True
    assert probed.probes.look().delay == pytest.approx(20)


def test_a_probe_that_cannot_be_run_here_says_so(tmp_path: Path) -> None:
    messages: list[str] = []
    probes = ContainerProbes(
        {"readinessProbe": {"grpc": {"port": 1}}},
        target(tmp_path),
        clock=FakeClock(),
        report=lambda _, message: messages.append(message),
    )
    assert probes.look().ready is False
    assert messages == ["Readiness probe: the sandbox probes by exec, httpGet and tcpSocket, not by grpc"]


def test_a_container_that_fails_its_liveness_probe_is_started_again(worlds: Any) -> None:
    probe = {"exec": {"command": ["test", "-e", "sick"]}, "failureThreshold": 1, "periodSeconds": 1}
    script = "touch well; exec sleep 600"
    world = worlds(pod(script))
    world.pod.spec.containers[0]["livenessProbe"] = probe
    world.until(lambda s: s["containerStatuses"][0]["lastState"])
    world.clock.advance(5)
    world.until(lambda s: s["containerStatuses"][0]["restartCount"] == 1)
    assert ("Killing", "Container c0 failed liveness probe, will be restarted") in world.events


# sidecars and ends


def test_a_sidecar_starts_before_the_others_and_ends_after_them(worlds: Any) -> None:
    world = worlds(
        pod("true", policy="Never", init=[container("side", SLEEP, restartPolicy="Always"), container("once", "true")])
    )
    world.until(lambda s: s["phase"] == "Succeeded")
    assert world.statuses()["side"]["state"]["terminated"]["exitCode"] == 143
    assert world.statuses()["once"]["state"]["terminated"]["exitCode"] == 0


def test_a_pod_with_a_running_sidecar_is_running_and_ready(worlds: Any) -> None:
    world = worlds(pod(SLEEP, init=[container("side", SLEEP, restartPolicy="Always")]))
    world.until(lambda s: all(entry["ready"] for entry in s["containerStatuses"]))
    assert world.status()["phase"] == "Running"


def test_a_pod_that_runs_longer_than_its_deadline_fails(worlds: Any) -> None:
    world = worlds(pod(SLEEP, activeDeadlineSeconds=60))
    world.until(lambda s: s["phase"] == "Running")
    world.pod.status.start_time = world.clock.now() - timedelta(seconds=61)
    world.until(lambda s: s["phase"] == "Failed")
    assert world.status()["reason"] == "DeadlineExceeded"


def test_a_pod_that_is_stopped_before_it_ran_has_failed(worlds: Any) -> None:
    world = worlds(pod(SLEEP))
    assert world.runner.stop(1) is None
    assert world.status()["phase"] == "Failed"


def test_a_container_that_waits_for_its_next_run_keeps_its_number_over_a_restart_of_the_kubelet() -> None:
    it = Container({"name": "c"}, spawner=Spawner(), clock=FakeClock(), wake=lambda: None)
    last = {"exitCode": 1, "reason": "Error", "startedAt": None, "finishedAt": None}
    waiting = {"waiting": {"reason": "CrashLoopBackOff"}}
    it.restore({"restartCount": 3, "state": waiting, "lastState": {"terminated": last}})
    assert it.termination is not None
    assert it.logged_run(previous=False) == 3


# addresses


def test_each_pod_has_an_address_of_its_own_which_is_free_when_it_is_gone() -> None:
    addresses = PodAddresses(["a", "b"])
    given = [addresses.assign("a", "u1"), addresses.assign("a", "u2"), addresses.assign("b", "u3")]
    assert given == ["127.64.0.1", "127.64.0.2", "127.64.1.1"]
    assert addresses.assign("a", "u4", known="127.64.0.1") == "127.64.0.3"
    addresses.release("127.64.0.1", "u1")
    assert addresses.assign("a", "u5", known="127.64.0.1") == "127.64.0.1"


def test_a_node_has_254_addresses() -> None:
    addresses = PodAddresses(["a"])
    for number in range(254):
        addresses.assign("a", f"u{number}")
    with pytest.raises(NoAddressLeftError, match="node a"):
        addresses.assign("a", "one more")


def test_the_projects_own_programs_listen_on_the_pods_address() -> None:
    image = ImageTable().find("kserve/kserve-localmodelnode-agent:v1")
    assert image is not None
    line = image.command_line(["/manager"], ["--metrics-addr=:9090", "--leader-elect"], "127.64.0.7")
    assert Path(line[0]).name == "localmodel-agent"
    assert line[1:] == [
        "--models-root=/mnt/models",
        "--metrics-addr=127.64.0.7:8080",
        "--health-probe-addr=127.64.0.7:8081",
        "--metrics-addr=127.64.0.7:9090",
        "--leader-elect",
    ]


@pytest.mark.parametrize("command", [["/manager"], []])
def test_a_volume_hides_no_program_of_an_image_from_the_kubelet(command: list[str]) -> None:
    image = ImageTable().find("kserve/kserve-localmodelnode-agent:v1")
    assert image is not None
    top = f"/{Path(sys.executable).parts[1]}"
    hides = partial(rewrite, mounts=[Mount(top, Path("/volume"))])
    line = image.command_line(command, ["hf://a/b", f"{top}/x"], "127.64.0.7", hides)
    assert Path(line[0]).parent == Path(sys.executable).parent
    assert line[-2:] == ["hf://a/b", "/volume/x"]


@pytest.mark.parametrize("image", ["localmodel/manager:1", "kserve/kserve-localmodel-controller:v1"])
def test_the_managers_image_runs_the_manager(image: str) -> None:
    found = ImageTable().find(image)
    assert found is not None
    assert Path(found.command_line([], [], "127.64.0.1")[0]).name == "localmodel-manager"


# tokens


KUBECONFIG = """
apiVersion: v1
kind: Config
clusters: [{name: a, cluster: {server: "https://127.0.0.1:9"}}]
users: [{name: a, user: {token: of-an-administrator}}]
contexts: [{name: a, context: {cluster: a, user: a}}]
current-context: a
"""


class TokenClient(FakeClient):
    """Gives out numbered tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[dict[str, Any]] = []
        self.create(ServiceAccount.from_dict({"metadata": {"name": "agent", "namespace": "team"}}))

    def write(self, write: Any) -> Any:
        if write.subresource != "token":
            return super().write(write)
        self.requests.append(write.body.to_dict()["spec"])
        return TokenRequest.from_dict({"status": {"token": f"token-{len(self.requests)}"}})


class Launched:
    def __init__(self, directory: Path, pod: Pod) -> None:
        self.clock, self.client, self.pod = FakeClock(), TokenClient(), pod
        kubeconfig = directory / "kubeconfig"
        kubeconfig.write_text(KUBECONFIG)
        node = Surroundings(
            root=directory / "node",
            reader=self.client,
            client=self.client,
            images=ImageTable(),
            spawner=Spawner(),
            clock=self.clock,
            addresses=PodAddresses([NODE]),
            kubeconfig=kubeconfig,
        )
        self.launcher = Launcher(node, directory / "scratch")
        it = Container(pod.spec.containers[0], spawner=node.spawner, clock=self.clock, wake=lambda: None)
        self.command, _ = self.launcher.prepare(it, pod, directory / "log", "127.64.0.1")

    def user(self) -> dict[str, Any]:
        document = yaml.safe_load(Path(self.command.env["KUBECONFIG"]).read_text())
        assert document["clusters"][0]["cluster"]["server"] == "https://127.0.0.1:9"
        return document["users"][0]["user"]  # type: ignore[no-any-return]


def test_a_pod_gets_a_kubeconfig_with_a_token_of_its_account_that_is_bound_to_it(tmp_path: Path) -> None:
    launched = Launched(tmp_path, pod("true", serviceAccountName="agent"))
    assert Path(launched.user()["tokenFile"]).read_text() == "token-1"
    assert launched.client.requests[0]["boundObjectRef"]["uid"] == "u1"


def test_the_token_is_renewed_at_four_fifths_of_its_life(tmp_path: Path) -> None:
    launched = Launched(tmp_path, pod("true", serviceAccountName="agent"))
    token = Path(launched.user()["tokenFile"])
    due = launched.launcher.tokens.renew(launched.pod)
    assert due == pytest.approx(0.8 * 3607)
    launched.clock.advance(due or 0)
    launched.launcher.tokens.renew(launched.pod)
    assert token.read_text() == "token-2"


def test_a_mounted_token_is_the_one_of_the_kubeconfig(tmp_path: Path) -> None:
    source = {"serviceAccountToken": {"path": "token", "expirationSeconds": 1200, "audience": "me"}}
    mount = {"name": "v", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}
    it = pod("true", serviceAccountName="agent", volumes=[{"name": "v", "projected": {"sources": [source]}}])
    it.spec.containers[0]["volumeMounts"] = [mount]
    launched = Launched(tmp_path, it)
    assert [(r["expirationSeconds"], r["audiences"]) for r in launched.client.requests] == [(1200, ["me"])]
    assert launched.user()["tokenFile"].endswith("/volumes/v/token")


@pytest.mark.parametrize("spec", [{}, {"serviceAccountName": "agent", "automountServiceAccountToken": False}], ids=str)
def test_a_pod_without_an_account_or_that_wants_no_token_gets_none(tmp_path: Path, spec: dict[str, Any]) -> None:
    launched = Launched(tmp_path, pod("true", **spec))
    assert "KUBECONFIG" not in launched.command.env
    assert launched.client.requests == []


# volumes


def directory_of(tmp_path: Path, volume: dict[str, Any], *objects: Any) -> Path:
    volumes = PodVolumes(root=tmp_path / "node", scratch=tmp_path / "scratch", reader=FakeClient(*objects))
    it = pod("true", volumes=[{"name": "v", **volume}])
    it.metadata.labels["app"] = "x"
    return volumes.prepare(it)["v"]


def test_a_downward_volume_has_the_pods_fields(tmp_path: Path) -> None:
    items = [
        {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
        {"path": "in/name", "fieldRef": {"fieldPath": "metadata.name"}},
    ]
    directory = directory_of(tmp_path, {"downwardAPI": {"items": items}})
    assert (directory / "labels").read_text() == 'app="x"'
    assert (directory / "in" / "name").read_text() == "p"


@pytest.mark.parametrize("type_", ["Directory", "File", "Socket", "CharDevice", "BlockDevice"])
def test_a_host_path_of_another_type_is_not_mounted(tmp_path: Path, type_: str) -> None:
    with pytest.raises(MountError, match="hostPath type check failed"):
        directory_of(tmp_path, {"hostPath": {"path": "/data", "type": type_}})


def test_a_host_path_that_may_be_made_is_made(tmp_path: Path) -> None:
    assert directory_of(tmp_path, {"hostPath": {"path": "/data", "type": "DirectoryOrCreate"}}).is_dir()
    assert directory_of(tmp_path, {"hostPath": {"path": "/data/file", "type": "FileOrCreate"}}).is_file()


@pytest.mark.parametrize("sub_path", ["../out", "a/../../out", "/absolute", "link/in"])
def test_a_sub_path_that_leads_out_of_its_volume_is_refused(tmp_path: Path, sub_path: str) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    (volume / "link").symlink_to(tmp_path)
    spec = {"name": "c", "volumeMounts": [{"name": "v", "mountPath": "/m", "subPath": sub_path}]}
    with pytest.raises(MountError):
        container_mounts(spec, {"v": volume})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["volume"]


def test_a_sub_path_may_be_made_of_variables(tmp_path: Path) -> None:
    spec = {"name": "c", "volumeMounts": [{"name": "v", "mountPath": "/m", "subPathExpr": "of/$(NAME)"}]}
    (mount,) = container_mounts(spec, {"v": tmp_path}, {"NAME": "me"})
    assert mount.directory == tmp_path / "of" / "me"
    assert mount.directory.is_dir()
    with pytest.raises(MountError, match="NAME"):
        container_mounts(spec, {"v": tmp_path}, {})
