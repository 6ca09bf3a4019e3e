"""The kubelet's promises, with real processes and a fake API server, reconciled by a real manager."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.eventually import eventually

from localmodel.runtime.manager import Manager
from localmodel.runtime.manager_options import ManagerOptions
from localmodel.runtime.objects import Pod
from localmodel.runtime.testing import FakeClient, FakeClock, wire
from localmodel.sandbox.controllers.kubelet import KubeletOptions, KubeletReconciler
from localmodel.sandbox.controllers.kubelet.container import Command, Container
from localmodel.sandbox.spawn import Spawner

NODE = "node-1"
POLITE = "trap 'echo stopped; exit 0' TERM; echo started; while :; do sleep 0.05; done"
STUBBORN = "trap '' TERM; echo started; while :; do sleep 0.05; done"


def pod(script: str, *, name: str = "p", policy: str = "Never", **spec: Any) -> Pod:
    container = {"name": "c", "image": "busybox", "command": ["sh", "-c", script], **spec.pop("container", {})}
    body = {"nodeName": NODE, "restartPolicy": policy, "containers": [container], **spec}
    return Pod.from_dict({"metadata": {"name": name, "namespace": "team"}, "spec": body})


class World:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.client = FakeClient()
        self.stop = threading.Event()
        manager = Manager(self.client, ManagerOptions(metrics_addr="0", health_probe_addr="0"))
        kubelet = KubeletReconciler(KubeletOptions(nodes=[NODE], directory=directory))
        manager.add_reconciler(kubelet)
        manager.add(kubelet)
        self.thread = threading.Thread(target=manager.start, args=(self.stop,))
        self.thread.start()

    def close(self) -> None:
        self.stop.set()
        self.thread.join(10)

    def create(self, pod: Pod) -> Pod:
        return self.client.create(pod)

    def get(self, name: str = "p") -> Pod | None:
        return self.client.find(Pod, name, namespace="team")

    def until(self, condition: Callable[[Pod], bool], name: str = "p") -> Pod:
        eventually(lambda: (pod := self.get(name)) is not None and condition(pod))
        found = self.get(name)
        assert found is not None
        return found

    def started(self, pod: Pod) -> Pod:
        """The pod, once its script has said so: it handles signals by then."""
        self.create(pod)
        it = self.until(lambda pod: pod.is_ready)
        eventually(lambda: "started" in self.log(it))
        return it

    def ended(self, name: str = "p") -> Pod:
        return self.until(lambda pod: pod.is_finished, name)

    def log(self, pod: Pod, container: str = "c", run: int = 0) -> str:
        folder = self.directory / NODE / "logs" / f"team_{pod.name}_{pod.metadata.uid}"
        return (folder / container / f"{run}.log").read_text()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.close()


def state(pod: Pod) -> Any:
    return pod.status.container_statuses[0].state


def running(pod: Pod) -> bool:
    return bool(pod.status.container_statuses and state(pod).running)


def test_a_container_that_exits_0_makes_the_pod_succeed(world: World) -> None:
    world.create(pod("echo said"))
    done = world.ended()
    assert (done.status.phase, state(done).terminated.reason) == ("Succeeded", "Completed")
    assert world.log(done) == "said\n"


def test_a_kubelet_that_ends_takes_the_processes_with_it_and_leaves_the_verdict_to_the_next(world: World) -> None:
    """While it ended them it wrote them down as failed, and could start the next attempt of a Job, which was lost."""
    world.started(pod(POLITE, policy="Always"))
    world.close()
    left = world.get()
    assert left is not None
    assert running(left)
    assert world.log(left) == "started\nstopped\n"


def test_a_container_that_fails_makes_the_pod_fail_with_its_code(world: World) -> None:
    world.create(pod("exit 3"))
    done = world.ended()
    assert (done.status.phase, state(done).terminated.exit_code) == ("Failed", 3)


def test_a_killed_process_counts_as_failed_with_its_signal(world: World) -> None:
    world.create(pod("kill -9 $$$$"))  # Kubernetes makes $$ out of it
    assert state(world.ended()).terminated.exit_code == 137


def test_the_termination_message_comes_from_its_file(world: World) -> None:
    world.create(pod('printf "why it failed" > "$TERMINATION_LOG"; exit 1'))
    assert state(world.ended()).terminated.message == "why it failed"


def test_the_termination_message_falls_back_to_the_log(world: World) -> None:
    container = {"terminationMessagePolicy": "FallbackToLogsOnError"}
    world.create(pod("echo last words; exit 1", container=container))
    assert state(world.ended()).terminated.message == "last words\n"


def test_a_running_pod_is_ready_and_can_be_deleted_gracefully(world: World) -> None:
    it = world.started(pod(POLITE))
    world.client.delete(it)
    eventually(lambda: world.get() is None)
    assert world.log(it) == "started\nstopped\n"


def test_a_container_that_ignores_sigterm_is_killed_after_the_grace_period(world: World) -> None:
    it = world.started(pod(STUBBORN))
    world.client.delete(it, grace_period_seconds=1)
    eventually(lambda: world.get() is None)


def test_restart_policy_on_failure_starts_it_again(world: World) -> None:
    script = "test -e again && exit 0; touch again; echo first; exit 1"
    world.create(pod(script, policy="OnFailure"))
    done = world.ended()
    assert (done.status.phase, done.status.container_statuses[0].restart_count) == ("Succeeded", 1)
    assert world.log(done, run=0) == "first\n"


def test_a_container_without_a_command_waits_with_a_reason(world: World) -> None:
    world.create(pod("", container={"command": []}))
    it = world.until(lambda pod: bool(pod.status.container_statuses))
    assert state(it).waiting["reason"] == "CreateContainerConfigError"


def test_a_container_that_keeps_failing_is_started_ever_later(tmp_path: Path) -> None:
    clock = FakeClock()
    container = Container({"name": "c"}, spawner=Spawner(), clock=clock, wake=lambda: None)
    log = tmp_path / "log"
    command = Command(arguments=["false"], env={}, directory=tmp_path, log=log, termination_log=tmp_path / "message")
    delays = []
    for _ in range(3):
        container.start(command)
        assert container.wait(10)
        container.observe()
        delays.append(container.back_off())
        assert container.status()["state"]["waiting"]["reason"] == "CrashLoopBackOff"
        clock.advance(delays[-1])
        assert container.back_off() == 0
    assert delays == [1, 2, 4]


def test_init_containers_run_first_and_in_order(world: World) -> None:
    mounts = {"volumeMounts": [{"name": "v", "mountPath": "/shared"}]}

    def init(name: str) -> dict[str, Any]:
        command = ["sh", "-c", f'echo {name} >> "$FILE"']
        env = [{"name": "FILE", "value": "/shared/file"}]
        return {"name": name, "image": "busybox", "command": command, "env": env, **mounts}

    container = {"env": [{"name": "FILE", "value": "/shared/file"}], **mounts}
    volumes = [{"name": "v", "emptyDir": {}}]
    world.create(pod('cat "$FILE"', initContainers=[init("one"), init("two")], volumes=volumes, container=container))
    done = world.ended()
    assert world.log(done) == "one\ntwo\n"


def test_a_failed_init_container_fails_the_pod(world: World) -> None:
    init = {"name": "i", "image": "busybox", "command": ["false"]}
    world.create(pod("echo never", initContainers=[init]))
    assert world.ended().status.phase == "Failed"


def test_an_unknown_image_waits_with_a_reason(world: World) -> None:
    world.create(pod("true", container={"image": "nginx"}))
    it = world.until(lambda pod: bool(pod.status.container_statuses))
    assert state(it).waiting["reason"] == "ErrImagePull"


def test_a_missing_secret_waits_with_a_reason(world: World) -> None:
    env = [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "none", "key": "k"}}}]
    world.create(pod("true", container={"env": env}))
    it = world.until(lambda pod: bool(pod.status.container_statuses))
    assert state(it).waiting == {"reason": "CreateContainerConfigError", "message": 'Error: secret "none" not found'}


def test_an_exec_probe_decides_when_the_pod_is_ready(world: World) -> None:
    probe = {"exec": {"command": ["test", "-e", "go"]}, "periodSeconds": 1}
    world.create(pod("while test ! -e go; do sleep 0.05; done; sleep 60", container={"readinessProbe": probe}))
    it = world.until(running)
    assert not it.is_ready
    folder = world.directory / NODE / "var/lib/kubelet/pods" / it.metadata.uid / "containers" / "c"
    (folder / "go").touch()
    world.until(lambda pod: pod.is_ready)


def test_stopping_the_kubelet_ends_the_containers(world: World) -> None:
    it = world.started(pod(POLITE))
    world.close()
    assert world.log(it) == "started\nstopped\n"


def test_after_a_kubelet_restart_a_running_pod_has_failed_with_a_reason(tmp_path: Path) -> None:
    container = {"name": "c", "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}
    status = {"phase": "Running", "containerStatuses": [container]}
    left = Pod.from_dict({**pod("sleep 60").to_dict(), "status": status})
    client = FakeClient(left)
    kubelet = wire(KubeletReconciler(KubeletOptions(nodes=[NODE], directory=tmp_path)), client)
    kubelet.reconcile(left.key)
    found = client.get(Pod, "p", namespace="team")
    assert (found.status.phase, found.status.reason) == ("Failed", "ContainerStatusUnknown")
    assert state(found).terminated.exit_code == 137


def test_a_pod_of_another_node_is_left_alone(tmp_path: Path) -> None:
    client = FakeClient(pod("true", nodeName="elsewhere"))
    kubelet = wire(KubeletReconciler(KubeletOptions(nodes=[NODE], directory=tmp_path)), client)
    kubelet.reconcile(client.list(Pod)[0].key)
    assert client.writes == []


def test_a_mirror_pod_is_not_run(tmp_path: Path) -> None:
    mirror = pod("true")
    mirror.metadata.annotations["kubernetes.io/config.mirror"] = "x"
    client = FakeClient(mirror)
    kubelet = wire(KubeletReconciler(KubeletOptions(nodes=[NODE], directory=tmp_path)), client)
    kubelet.reconcile(mirror.key)
    assert client.writes == []
