"""The agent in any order of events: Jobs and pods come and go, people change their minds, everything dies at any step.

The test plays what surrounds one agent: the Job controller and kubelet (a download's pod holds its directory open, as
a mount does, and writes into it until it ends), users, the clock, and the death of the agent before any change of the
disk or with any answer of the API server lost.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from support.agent import JOBS, DeathError, Mortal, World

from localmodel.api import LocalModelCache, LocalModelNode
from localmodel.api.names import storage_key
from localmodel.api.node import NodeModel
from localmodel.runtime.errors import RuntimeLibraryError, ServiceUnavailableError
from localmodel.runtime.objects import Job, Pod, ServiceAccount
from localmodel.runtime.testing.fake import Action, FakeClient

URIS = ("s3://bucket/a", "s3://bucket/b")
KEYS = {storage_key(uri): uri for uri in URIS}


def content(uri: str) -> dict[str, bytes]:
    return {"config.json": uri.encode(), "weights.bin": uri.encode() * 50}


@dataclass
class Download:
    """A download's pod: `directory` is what it has mounted."""

    job: Job
    pod: Pod
    uri: str
    directory: int

    def write(self, files: dict[str, bytes]) -> None:
        for name, data in files.items():
            file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, dir_fd=self.directory)
            os.write(file, data)
            os.close(file)


class AnyOrder(RuleBasedStateMachine):
    """One node. See the module."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp())
        self.disk = Mortal()
        self.world = World(self.root, filesystem=self.disk)
        self.client = self.world.client
        self.client.create(ServiceAccount.from_dict({"metadata": {"name": "sa", "namespace": JOBS}}))
        self.entries: dict[str, dict[str, str]] = {}
        self.downloads: list[Download] = []
        self.servers: dict[str, int] = {}
        self.reported = False
        self.pods = 0
        self.is_behind = False
        self.seen_before: Any = None
        self.rewire()

    def rewire(self) -> None:
        """The agent's cache may show Jobs as they were; a new process begins with a new list."""
        self.is_behind, self.seen_before = False, None
        self.world.agent.client = FakeClient(registry=self.client.registry, interceptors=[self.show, self.pass_on])

    def show(self, action: Action, proceed: Callable[[], Any]) -> Any:
        if action.verb != "list" or action.kind is not Job or not self.is_behind:
            return proceed()
        self.seen_before = self.seen_before or proceed()
        return self.seen_before

    def pass_on(self, action: Action, proceed: Callable[[], Any]) -> Any:
        return self.client.faults.intercept(action, proceed)

    @initialize()
    def first(self) -> None:
        self.cache_is_made("iris", URIS[0], "")
        self.reconcile()

    def teardown(self) -> None:
        try:
            self.ends_well()
        finally:
            for descriptor in [*(d.directory for d in self.downloads), *self.servers.values()]:
                os.close(descriptor)
            self.world.store.close()
            shutil.rmtree(self.root)

    # the agent -------------------------------------------------------------------------------------------------------

    @rule()
    def reconcile(self) -> None:
        self.reported = False
        try:
            self.world.run()
        except DeathError:
            self.world.restart()
            self.rewire()
        except RuntimeLibraryError:
            pass  # the controller tries again
        else:
            self.reported = self.disk.left < 0 or not self.client.faults.rules
        self.disk.left = -1

    @rule(steps=st.integers(0, 12))
    def dies_soon(self, steps: int) -> None:
        self.disk.left = steps
        self.reconcile()

    @rule()
    def is_restarted(self) -> None:
        self.world.restart()
        self.rewire()

    @rule()
    def another_says_the_same(self) -> None:
        """What an agent remembers from pass to pass makes no difference to a model that is here."""
        self.catches_up()
        before = self.downloaded()
        self.is_restarted()
        self.reconcile()
        assert not self.reported or self.downloaded() == before

    def downloaded(self) -> dict[str, NodeModel]:
        node = self.client.find(LocalModelNode, "node-1")
        models = node.status.models if node is not None and self.reported else {}
        return {name: model for name, model in models.items() if self.world.status(name) == "ModelDownloaded"}

    @rule()
    def falls_behind(self) -> None:
        self.is_behind = True
        self.reconcile()

    @rule()
    def catches_up(self) -> None:
        self.is_behind, self.seen_before = False, None
        self.reconcile()

    @rule(verb=st.sampled_from(["create", "update", "delete", "list", "get"]), lost=st.booleans())
    def answers_fail(self, verb: str, lost: bool) -> None:
        self.client.faults.clear()
        if lost:
            self.client.faults.drop_answer(verb=verb)
        else:
            self.client.faults.fail(ServiceUnavailableError.of("not now"), verb=verb)
        self.reconcile()
        self.client.faults.clear()

    # people ----------------------------------------------------------------------------------------------------------

    def want(self) -> None:
        self.world.want(*(dict(entry) for entry in self.entries.values()))
        self.reported = False

    @rule(name=st.sampled_from(["iris", "a-twin"]), uri=st.sampled_from(URIS), account=st.sampled_from(["", "sa"]))
    def cache_is_made(self, name: str, uri: str, account: str) -> None:
        cache = self.client.find(LocalModelCache, name)
        if cache is not None and cache.spec.source_model_uri != uri:
            self.client.delete(cache)
        entry = {"modelName": name, "sourceModelUri": uri}
        self.entries[name] = {**entry, "serviceAccountName": account} if account else entry
        self.want()
        self.reconcile()

    @precondition(lambda self: self.entries)
    @rule(data=st.data(), blip=st.booleans())
    def entry_goes(self, data: st.DataObject, blip: bool) -> None:
        name = data.draw(st.sampled_from(sorted(self.entries)))
        del self.entries[name]
        if not blip:
            self.client.delete(self.client.get(LocalModelCache, name))
        self.want()
        self.reconcile()

    @precondition(lambda self: self.client.find(LocalModelNode, "node-1"))
    @rule()
    def local_model_node_is_made_anew(self) -> None:
        self.client.delete(self.world.node)
        self.reported = False
        self.want()
        self.reconcile()

    @rule(hours=st.sampled_from([0.01, 0.5, 2]))
    def time_goes_by(self, hours: float) -> None:
        self.world.clock.advance(hours * 3600)
        self.reconcile()

    @rule(days=st.sampled_from([-1, 1]))
    def clock_jumps(self, days: int) -> None:
        self.world.clock.jump(timedelta(days=days))

    # Jobs and pods ---------------------------------------------------------------------------------------------------

    def unfinished(self) -> list[Job]:
        return [job for job in self.world.jobs if not (job.is_complete or job.is_failed or job.is_deleting)]

    @precondition(lambda self: self.unfinished())
    @rule(data=st.data())
    def pod_starts(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from(self.unfinished()))
        if any(download.job.metadata.uid == job.metadata.uid for download in self.downloads):
            return
        container = job.spec.template["spec"]["containers"][0]
        mounted = self.root / container["volumeMounts"][0]["subPath"]
        mounted.mkdir(parents=True, exist_ok=True)
        self.pods += 1
        pod = self.client.create(
            Pod.from_dict(
                {
                    "metadata": {
                        "name": f"download-{self.pods}",
                        "namespace": JOBS,
                        "labels": job.metadata.labels,
                        "ownerReferences": [
                            {"apiVersion": "batch/v1", "kind": "Job", "name": job.name, "uid": job.metadata.uid}
                        ],
                    },
                    "spec": {"nodeName": "node-1", "containers": [{"name": "c", "image": "i"}]},
                }
            )
        )
        directory = os.open(mounted, os.O_RDONLY | os.O_DIRECTORY)
        self.downloads.append(Download(job, pod, container["args"][0], directory))

    @precondition(lambda self: self.downloads)
    @rule(data=st.data())
    def pod_writes(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(self.downloads)).write({"weights.bin": b"part"})

    @precondition(lambda self: self.downloads)
    @rule(data=st.data(), succeeds=st.booleans())
    def pod_ends(self, data: st.DataObject, succeeds: bool) -> None:
        self.end(data.draw(st.sampled_from(self.downloads)), succeeds)
        self.reconcile()

    def end(self, download: Download, succeeds: bool) -> None:
        self.downloads.remove(download)
        job = self.client.find(Job, download.job.name, namespace=JOBS)
        alive = job is not None and job.metadata.uid == download.job.metadata.uid
        if succeeds and alive:
            download.write(content(download.uri))
        os.close(download.directory)
        self.client.delete(download.pod, grace_period_seconds=0)
        if alive and job is not None:
            self.world.finish(job, "Complete" if succeeds else "Failed", **{"succeeded" if succeeds else "failed": 1})

    @precondition(lambda self: self.world.jobs)
    @rule(data=st.data())
    def job_is_deleted(self, data: st.DataObject) -> None:
        """By hand or after its time; its pod goes on for a while."""
        self.client.delete(data.draw(st.sampled_from(self.world.jobs)), propagation="Background")

    # serving ---------------------------------------------------------------------------------------------------------

    def unserved(self) -> list[str]:
        return [key for key in KEYS if key not in self.servers and (self.root / "models" / key).is_dir()]

    @precondition(lambda self: self.unserved())
    @rule(data=st.data())
    def server_starts(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(self.unserved()))
        folder = self.root / "models" / key
        self.servers[key] = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        mount = {"name": "m", "mountPath": "/m", "subPath": f"models/{key}"}
        volume = {"name": "m", "persistentVolumeClaim": {"claimName": "some-claim"}}
        self.client.create(
            Pod.from_dict(
                {
                    "metadata": {"name": f"server-{key}", "namespace": "default"},
                    "spec": {
                        "nodeName": "node-1",
                        "volumes": [volume],
                        "containers": [{"name": "c", "image": "i", "volumeMounts": [mount]}],
                    },
                }
            )
        )

    @precondition(lambda self: self.servers)
    @rule(data=st.data())
    def server_stops(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.servers)))
        os.close(self.servers.pop(key))
        pod = self.client.get(Pod, f"server-{key}", namespace="default")
        self.client.delete(pod, grace_period_seconds=0)

    # what always holds -----------------------------------------------------------------------------------------------

    @invariant()
    def a_visible_model_is_whole(self) -> None:
        for key, uri in KEYS.items():
            folder = self.root / "models" / key
            if folder.exists():
                assert {path.name: path.read_bytes() for path in folder.iterdir()} == content(uri)

    @invariant()
    def a_key_has_one_unfinished_job(self) -> None:
        keys = [job.metadata.labels["localmodel.kserve.io/storage-key"] for job in self.unfinished()]
        assert len(keys) == len(set(keys))

    @invariant()
    def a_directory_has_one_writer(self) -> None:
        writers = [download.pod.metadata.labels["localmodel.kserve.io/storage-key"] for download in self.downloads]
        assert len(writers) == len(set(writers))

    @invariant()
    def what_is_reported_is_there(self) -> None:
        if not self.reported or self.client.find(LocalModelNode, "node-1") is None:
            return
        for name, entry in self.entries.items():
            if self.world.status(name) == "ModelDownloaded":
                assert (self.root / "models" / storage_key(entry["sourceModelUri"])).is_dir()

    @invariant()
    def what_a_server_has_mounted_stays(self) -> None:
        for key, directory in self.servers.items():
            found = sorted(os.listdir(directory))  # noqa: PTH208 - of an open directory
            assert found == sorted(content(KEYS[key]))

    # how it ends -----------------------------------------------------------------------------------------------------

    def ends_well(self) -> None:
        """Left alone, with downloads that succeed, every entry gets its model, or the reason why it shall not."""
        self.client.faults.clear()
        self.rewire()
        self.disk.left = -1
        for _ in range(8):
            self.world.run()
            for job in self.unfinished():
                if not any(download.job.metadata.uid == job.metadata.uid for download in self.downloads):
                    self.pod_for(job)
            for download in list(self.downloads):
                self.end(download, succeeds=True)
            self.world.clock.advance(1801)
        self.world.run()
        for name in self.entries:
            model = self.world.model(name)
            assert self.world.status(name) == "ModelDownloaded" or model.reason == "CredentialsDiffer", model

    def pod_for(self, job: Job) -> None:
        mounted = self.root / job.spec.template["spec"]["containers"][0]["volumeMounts"][0]["subPath"]
        mounted.mkdir(parents=True, exist_ok=True)
        for name, data in content(job.spec.template["spec"]["containers"][0]["args"][0]).items():
            (mounted / name).write_bytes(data)
        self.world.finish(job, "Complete", succeeded=1)


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(
    max_examples=40,
    derandomize=True,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
