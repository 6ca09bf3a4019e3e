"""Caches that name one URI with credentials of their own, for tests of whose turn it is and who may share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from localmodel.agent.checks import CHECK_LABEL
from localmodel.runtime.objects import Job, ServiceAccount

from .agent import JOBS, URI, World

ONE = {"modelName": "one", "sourceModelUri": URI, "serviceAccountName": "one"}
TWO = {"modelName": "two", "sourceModelUri": URI, "serviceAccountName": "two", "namespace": "team-b"}
THREE = {"modelName": "three", "sourceModelUri": URI, "serviceAccountName": "three", "namespace": "team-c"}


def rivals(root: Path) -> World:
    """A node on which the accounts of all of them exist, and credentials can be checked."""
    world = World(root)
    for name in ("one", "two", "three"):
        world.client.create(ServiceAccount.from_dict({"metadata": {"name": name, "namespace": JOBS}}))
    world.configure(downloadImage="localmodel-agent:1")
    return world


def downloads(world: World) -> list[Job]:
    return [job for job in world.jobs if CHECK_LABEL not in job.metadata.labels]


def checks(world: World) -> list[Job]:
    return [job for job in world.jobs if CHECK_LABEL in job.metadata.labels]


def under_way(world: World) -> list[Job]:
    return [job for job in downloads(world) if not (job.is_complete or job.is_failed or job.is_deleting)]


def account_of(job: Job) -> str:
    return str(job.spec.template["spec"]["serviceAccountName"])


def shared(world: World, *others: dict[str, Any]) -> None:
    """One has the model here, the others come along."""
    world.want(dict(ONE))
    world.run()
    world.download(downloads(world)[0])
    world.want(dict(ONE), *map(dict, others))
    world.run()
