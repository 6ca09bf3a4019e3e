"""One node with a disk that fills up, for tests of room: `World` with models by name, services and limits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from support.agent import RoomyDisk, World

from localmodel.api import LocalModelCache, LocalModelNodeGroup
from localmodel.api.names import WANTED_ANNOTATION, storage_key
from localmodel.runtime.conditions import find_status_condition
from localmodel.runtime.objects import Condition, Job, Pod


class QuickDisk(RoomyDisk):
    """Syncs nothing: for tests of many passes in which no machine dies."""

    def sync_file(self, path: Path) -> None:
        self.step("sync_file", path)

    def sync_directory(self, path: Path) -> None:
        self.step("sync_directory", path)

    def write_file(self, path: Path, data: bytes) -> None:
        self.step("write", path)
        path.write_bytes(data)


class Disks(World):
    """Its models weigh so many units (MiB), under a limit of 10, with watermarks at 8 and 7."""

    def __init__(self, root: Path, *, unit: str = "Mi", disk: QuickDisk | None = None) -> None:
        self.disk = disk or QuickDisk()
        super().__init__(root, filesystem=self.disk)
        self.unit, self.bytes = unit, {"Ki": 1 << 10, "Mi": 1 << 20}[unit]
        self.entries: dict[str, dict[str, Any]] = {}
        self.real: dict[str, int] = {}

    def uri(self, name: str) -> str:
        return f"s3://bucket/{name}"

    def key(self, name: str) -> str:
        return storage_key(self.uri(name))

    def folder(self, name: str) -> Path:
        return self.root / "models" / self.key(name)

    def add(self, name: str, size: int, **fields: Any) -> None:
        """A cache of so many units; `real` is the size if it says something else."""
        self.real[name] = fields.pop("real", size)
        self.entries[name] = {
            "modelName": name,
            "sourceModelUri": self.uri(name),
            "modelSize": f"{size}{self.unit}",
            **fields,
        }
        self.tell()
        spec = {"modelSize": f"{size}{self.unit}"}
        spec |= {k: v for k, v in fields.items() if k in ("priority", "evictionPolicy", "ttlSecondsAfterLastUse")}
        self.client.patch(self.client.get(LocalModelCache, name), {"spec": spec})

    def tell(self) -> None:
        self.want(*(dict(entry) for entry in self.entries.values()))

    def settle(self, passes: int = 4) -> None:
        """Passes, with downloads that succeed."""
        for _ in range(passes):
            self.run()
            for job in self.unfinished():
                name = job.metadata.annotations["localmodel.kserve.io/model"]
                self.download(job, {"weights": b"\0" * (self.real[name] * self.bytes)})
            self.clock.advance(1)

    def unfinished(self) -> list[Job]:
        return [job for job in self.jobs if not (job.is_complete or job.is_failed or job.is_deleting)]

    def have(self, name: str, size: int, **fields: Any) -> None:
        self.add(name, size, **fields)
        self.settle(2)
        assert self.status(name) == "ModelDownloaded", self.model(name)

    def there(self) -> set[str]:
        return {name for name in self.entries if self.folder(name).exists()}

    def pod(self, name: str) -> Pod:
        mount = {"name": "m", "mountPath": "/m", "subPath": f"models/{self.key(name)}"}
        return self.client.create(Pod.from_dict({
            "metadata": {"name": f"server-{name}", "namespace": "default"},
            "spec": {
                "nodeName": "node-1",
                "volumes": [{"name": "m", "persistentVolumeClaim": {"claimName": f"{name}-gpu1"}}],
                "containers": [{"name": "c", "image": "i", "volumeMounts": [mount]}],
            },
        }))  # fmt: skip

    def service_wants(self, *names: str) -> None:
        value = ",".join(sorted(map(self.key, names)))
        self.client.patch(self.node, {"metadata": {"annotations": {WANTED_ANNOTATION: value}}})

    def limit(self, limit: str, **eviction: int) -> None:
        group = self.client.get(LocalModelNodeGroup, "gpu1")
        self.client.patch(group, {"spec": {"storageLimit": limit, "eviction": eviction or None}})
        self.clock.advance(600)

    def pressure(self) -> Condition:
        condition = find_status_condition(self.node.status.conditions, "DiskPressure")
        assert condition is not None
        return condition
