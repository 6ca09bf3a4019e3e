"""`downloadMode: Agent` with processes that a test plays: what a test wants, and what the cluster has for it."""

from __future__ import annotations

import base64
from typing import Any

from support.agent import JOBS, World
from support.children import PlayedChild

from localmodel.api import ClusterStorageContainer
from localmodel.api.names import storage_key
from localmodel.runtime.objects import Secret, ServiceAccount

URI = "hf://org/model"
KEY = storage_key(URI)
FILES = {"config.json": b"{}", "weights/model.safetensors": b"\0" * 1000}


def want(world: World, **fields: Any) -> None:
    world.want({"modelName": "iris", "sourceModelUri": URI, **fields})


def started(world: World, number: int = -1) -> PlayedChild:
    world.run()
    return world.children.started[number]


def container(world: World, prefix: str = "hf://", **fields: Any) -> None:
    document = {
        "metadata": {"name": "hub"},
        "spec": {
            "container": {"name": "c", "image": "their/image:1", **fields},
            "supportedUriFormats": [{"prefix": prefix}],
            "workloadType": "localModelDownloadJob",
        },
    }
    world.client.create(ClusterStorageContainer.from_dict(document))


def secret(world: World, name: str, **data: str) -> None:
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
    world.client.create(Secret.from_dict({"metadata": {"name": name, "namespace": JOBS}, "data": encoded}))


def account(world: World, name: str, *secrets: str, **annotations: str) -> None:
    world.client.create(
        ServiceAccount.from_dict(
            {
                "metadata": {"name": name, "namespace": JOBS, "annotations": annotations},
                "secrets": [{"name": it} for it in secrets],
            }
        )
    )
