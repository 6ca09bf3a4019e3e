"""Caches that share URIs with credentials of their own, on a disk that is too small, in any order of events.

The test plays the source (who may read what), Jobs and download processes, users who edit caches, switch the mode and
the isolation, services and pods, rot on the disk, and the death of the agent.
"""

from __future__ import annotations

import base64
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from support.agent import JOBS, World
from support.children import PlayedChild
from support.disks import QuickDisk
from support.rivals import checks, under_way

from localmodel.api import LocalModelCache, LocalModelNamespaceCache, LocalModelNodeGroup
from localmodel.api.names import WANTED_ANNOTATION, storage_key
from localmodel.manager.reports import report_of
from localmodel.runtime.objects import Job, Pod, Secret, ServiceAccount

URIS = ("hf://org/a", "hf://org/b", "hf://org/c")
SIZES = dict(zip(URIS, (2, 3, 4), strict=True))
"""In KiB, of a limit of 10, of which 8 may be taken."""
MAY_READ = {"good", "better"}
ACCOUNTS = ("good", "better", "bad", "missing")
Entry = dict[str, Any]


class RivalsInAnyOrder(RuleBasedStateMachine):
    """One node. See the module."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp())
        self.world = World(self.root, filesystem=QuickDisk(), children=True)
        self.client = self.world.client
        for name in ACCOUNTS[:-1]:
            metadata = {"name": name, "namespace": JOBS}
            token = base64.b64encode(name.encode()).decode()
            self.client.create(Secret.from_dict({"metadata": metadata, "data": {"HF_TOKEN": token}}))
            self.client.create(ServiceAccount.from_dict({"metadata": metadata, "secrets": [{"name": name}]}))
        self.world.configure(downloadImage="localmodel-agent:1", downloadMode="Job")
        self.limit(10)
        self.entries: dict[str, Entry] = {}
        self.mounted: dict[str, int] = {}
        """Storage key of a model that a pod has mounted since it was whole -> the inode of the folder."""
        self.earned: set[tuple[str, str]] = set()
        """Caches, with their URI, that could read it once: what they have stays theirs."""

    def limit(self, size: int) -> None:
        group = self.client.get(LocalModelNodeGroup, "gpu1")
        self.client.patch(group, {"spec": {"storageLimit": f"{size}Ki"}})
        self.world.clock.advance(600)

    @initialize()
    def there_are_caches(self) -> None:
        self.cache_is_made("a", URIS[0], "bad", 0, "")
        self.cache_is_made("b", URIS[0], "good", 0, "")

    def teardown(self) -> None:
        try:
            self.comes_to_rest()
        finally:
            self.world.store.close()
            shutil.rmtree(self.root)

    # the agent -------------------------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0, 1, 31, 700, 4000]))
    def reconcile(self, seconds: int = 0) -> None:
        self.world.clock.advance(seconds)
        self.world.run()

    @rule()
    def is_restarted(self) -> None:
        """Its processes end with it."""
        self.world.restart()
        self.world.run()

    @rule(mode=st.sampled_from(["Job", "Agent"]))
    def mode_changes(self, mode: str) -> None:
        self.world.configure(downloadMode=mode)
        self.world.run()

    # people ----------------------------------------------------------------------------------------------------------

    def tell(self) -> None:
        for name, entry in self.entries.items():
            if entry["serviceAccountName"] in MAY_READ:
                self.earned.add((name, entry["sourceModelUri"]))
            kind = LocalModelNamespaceCache if entry.get("namespace") else LocalModelCache
            found = self.client.find(kind, entry["modelName"], namespace=entry.get("namespace", ""))
            if found is not None and found.spec.source_model_uri != entry["sourceModelUri"]:
                self.client.delete(found)
                found = None
            if found is None:
                metadata = {"name": entry["modelName"], "namespace": entry.get("namespace", "")}
                spec = {"sourceModelUri": entry["sourceModelUri"], "modelSize": "1Ki", "nodeGroups": ["gpu1"]}
                self.client.create(kind.from_dict({"metadata": metadata, "spec": spec}))
        self.world.want(*map(dict, self.entries.values()))

    @rule(
        name=st.sampled_from(["a", "b", "c", "d"]),
        uri=st.sampled_from(URIS),
        account=st.sampled_from(ACCOUNTS),
        priority=st.integers(0, 1),
        namespace=st.sampled_from(["", "team"]),
        revision=st.sampled_from(["", "", "v2"]),
    )
    def cache_is_made(
        self, name: str, uri: str, account: str, priority: int, namespace: str, revision: str = ""
    ) -> None:
        entry = {"modelName": name, "sourceModelUri": uri, "serviceAccountName": account, "priority": priority}
        entry |= {"modelSize": f"{SIZES[uri]}Ki", "revision": revision}
        self.entries[f"{namespace}/{name}" if namespace else name] = entry | (
            {"namespace": namespace} if namespace else {}
        )
        self.tell()
        self.world.run()

    @precondition(lambda self: self.entries)
    @rule(data=st.data(), blip=st.booleans())
    def entry_goes(self, data: st.DataObject, blip: bool) -> None:
        entry = self.entries.pop(data.draw(st.sampled_from(sorted(self.entries))))
        if not blip:
            kind = LocalModelNamespaceCache if entry.get("namespace") else LocalModelCache
            self.client.delete(self.client.get(kind, entry["modelName"], namespace=entry.get("namespace", "")))
        self.tell()
        self.world.run()

    @rule(data=st.data())
    def services_want(self, data: st.DataObject) -> None:
        keys = data.draw(st.sets(st.sampled_from([storage_key(uri) for uri in URIS])))
        self.client.patch(self.world.node, {"metadata": {"annotations": {WANTED_ANNOTATION: ",".join(sorted(keys))}}})
        self.world.run()

    @rule(size=st.sampled_from([4, 10, 20]))
    def limit_changes(self, size: int) -> None:
        self.limit(size)
        self.world.run()

    # downloads and checks --------------------------------------------------------------------------------------------

    def running(self) -> list[PlayedChild]:
        """Of this agent: those of one that died ended with it."""
        return [child for child in self.world.children.started if child.exit is None]

    def downloads(self) -> Iterator[Job | PlayedChild]:
        yield from under_way(self.world)
        yield from self.running()

    @precondition(lambda self: any(self.downloads()))
    @rule(data=st.data())
    def download_ends(self, data: st.DataObject) -> None:
        self.end(data.draw(st.sampled_from(list(self.downloads()))))
        self.world.run()

    def end(self, download: Job | PlayedChild) -> None:
        """As the source decides."""
        if isinstance(download, PlayedChild):
            if download.is_told_to_end:
                download.ends()
            elif download.plan.env["HF_TOKEN"] in MAY_READ:
                download.succeeds({"w": b"\0" * (SIZES[download.plan.uri] << 10)})
            else:
                download.fails("401")
        elif download.spec.template["spec"]["serviceAccountName"] in MAY_READ:
            uri = download.metadata.annotations["localmodel.kserve.io/source-uri"]
            self.world.download(download, {"w": b"\0" * (SIZES[uri] << 10)})
        else:
            self.world.finish(download, "Failed", failed=1)

    @precondition(lambda self: self.open_checks())
    @rule(data=st.data())
    def check_ends(self, data: st.DataObject) -> None:
        self.end_check(data.draw(st.sampled_from(self.open_checks())))
        self.world.run()

    def open_checks(self) -> list[Job]:
        return [job for job in checks(self.world) if not (job.is_complete or job.is_failed)]

    def end_check(self, job: Job) -> None:
        good = job.spec.template["spec"]["serviceAccountName"] in MAY_READ
        self.world.finish(job, "Complete" if good else "Failed", **{"succeeded" if good else "failed": 1})

    @precondition(lambda self: self.world.jobs)
    @rule(data=st.data())
    def finished_job_goes(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from(self.world.jobs))
        if job.is_complete or job.is_failed:
            self.client.delete(job)
            self.world.run()

    # the disk and who uses it ----------------------------------------------------------------------------------------

    def whole(self) -> list[str]:
        return [key for key in map(storage_key, URIS) if self.world.store.is_open and self.is_whole(key)]

    def is_whole(self, key: str) -> bool:
        return self.world.store.check(key).is_complete

    @precondition(lambda self: self.whole())
    @rule(data=st.data())
    def a_scrub_finds_damage(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(self.whole()))
        manifest = self.world.store.manifest(key)
        assert manifest is not None
        self.world.store.condemn(key, manifest, "w has changed on the disk")
        self.mounted.pop(key, None)
        self.world.run()

    @precondition(lambda self: set(self.whole()) - self.served())
    @rule(data=st.data())
    def pod_starts(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(set(self.whole()) - self.served())))
        mount = {"name": "m", "mountPath": "/m", "subPath": f"models/{key}"}
        volumes = [{"name": "m", "persistentVolumeClaim": {"claimName": "some-claim"}}]
        spec = {"nodeName": "node-1", "volumes": volumes, "containers": [{"name": "c", "volumeMounts": [mount]}]}
        self.client.create(Pod.from_dict({"metadata": {"name": f"server-{key}", "namespace": "default"}, "spec": spec}))
        self.mounted[key] = (self.root / "models" / key).stat().st_ino
        self.world.run()

    def served(self) -> set[str]:
        return {pod.name.removeprefix("server-") for pod in self.client.list(Pod) if pod.name.startswith("server-")}

    @precondition(lambda self: self.served())
    @rule(data=st.data())
    def pod_ends(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.served())))
        pod = self.client.get(Pod, f"server-{key}", namespace="default")
        self.client.delete(pod, grace_period_seconds=0)
        self.mounted.pop(key, None)
        self.world.run()

    # what always holds -----------------------------------------------------------------------------------------------

    @invariant()
    def a_key_has_one_download(self) -> None:
        keys = [job.metadata.labels["localmodel.kserve.io/storage-key"] for job in under_way(self.world)]
        keys += [child.plan.key for child in self.running()]
        assert len(keys) == len(set(keys))

    @invariant()
    def what_is_mounted_stays(self) -> None:
        inodes = {
            path.stat().st_ino for place in ("models", "models/.trash") for path in (self.root / place).glob("[!.]*")
        }
        assert set(self.mounted.values()) <= inodes

    @invariant()
    def nobody_has_a_model_that_his_credentials_cannot_read_d16(self) -> None:
        status = self.world.node.status
        for name, entry in self.entries.items():
            detail = status.models.get(name)
            if (name, entry["sourceModelUri"]) not in self.earned and detail is not None:
                assert status.model_status[name] != "ModelDownloaded", name
                assert not detail.digest

    # how it ends -----------------------------------------------------------------------------------------------------

    def comes_to_rest(self) -> None:
        """Left alone, everybody gets his model or the reason why not, and then nothing is written any more."""
        self.limit(20)
        for _ in range(12):
            self.world.run()
            for download in list(self.downloads()):
                self.end(download)
            for job in self.open_checks():
                self.end_check(job)
            self.world.clock.advance(1801)
        for _ in range(4):  # turns may pass at once
            self.world.run()
        before = self.written()
        self.world.run()
        assert self.written() == before
        for name, entry in self.entries.items():
            model, status = self.world.model(name), self.world.status(name)
            asked = [e for e in self.entries.values() if e["sourceModelUri"] == entry["sourceModelUri"]]
            if {e["revision"] for e in asked} != {entry["revision"]}:
                continue  # Who of them has the model is told by `test_sharing`.
            if model.reason == "CredentialsDiffer":
                continue  # It is here for a cache that has left the node for a while.
            if entry["serviceAccountName"] in MAY_READ:
                assert status == "ModelDownloaded", model
            elif (name, entry["sourceModelUri"]) not in self.earned and any(
                e["serviceAccountName"] in MAY_READ for e in asked
            ):
                assert model.reason in ("CredentialsRejected", "CredentialsInvalid", "CheckingCredentials"), model
        assert not any(
            report_of(self.world.node, entry).is_unfinished
            for entry in self.world.node.spec.local_models
            if self.world.model(f"{entry.namespace}/{entry.model_name}".lstrip("/")).reason in ("", "Waiting")
            and not any(self.downloads())
        )

    def written(self) -> tuple[str, list[str]]:
        records = [path.read_text() for path in sorted((self.root / "models/.localmodel/records").glob("*.json"))]
        return self.world.node.metadata.resource_version, records


TestRivalsInAnyOrder = RivalsInAnyOrder.TestCase
TestRivalsInAnyOrder.settings = settings(
    max_examples=15,
    derandomize=True,
    stateful_step_count=30,
    deadline=None,
    phases=(Phase.generate,),
    suppress_health_check=list(HealthCheck),
)
