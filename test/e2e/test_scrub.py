"""A disk that forgets, under a real agent: found by reading again, told, and repaired by another real download.

Scrubs are due each second here, so that a test need not wait; how fast they read is set by each test.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.gate import Gate
from support.sandbox import Sandbox, sandbox

from localmodel.agent.scrubbook import NOTE
from localmodel.api.names import storage_key

NODE = "node-1"
AGENT = f"agent-{NODE}"
SHARD = 256 << 10
SHARDS = 16


@dataclass
class Model:
    """One that is whole on the node."""

    cluster: Sandbox
    name: str
    repository: str

    @property
    def key(self) -> str:
        return storage_key(f"hf://{self.repository}")

    @property
    def sizes(self) -> list[int]:
        """Of its files, in the manifest's order, which is that of their names."""
        return [file.size for _, file in sorted(self.cluster.model.files.items())]

    @property
    def shard(self) -> Path:
        return self.cluster.folder(NODE, self.repository) / f"model-00003-of-{SHARDS:05d}.safetensors"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with sandbox(
        tmp_path_factory.mktemp("scrub"), nodes=1, size=SHARDS * SHARD, shard=SHARD, config={"scrubIntervalSeconds": 0}
    ) as it:
        yield it


@pytest.fixture
def model(cluster: Sandbox) -> Iterator[Model]:
    """The only one there is; nothing is read before the test says how fast."""
    name, repository = cluster.another()
    cluster.cache(name, repository)
    cluster.eventually(lambda: cluster.is_available(name))
    yield Model(cluster, name, repository)
    cluster.configure(scrubIntervalSeconds=0)
    cluster.forget(name)
    cluster.eventually(lambda: not cluster.folder(NODE, repository).exists())


def metric(cluster: Sandbox, name: str, label: str = "") -> float:
    return cluster.metric(NODE, f"localmodel_agent_scrub_{name}", label)


def passes(cluster: Sandbox) -> float:
    return cluster.metric(NODE, "controller_runtime_reconcile_total")


def test_a_byte_that_changed_without_a_trace_is_found_told_and_downloaded_again(
    cluster: Sandbox, model: Model, gate: Gate
) -> None:
    cluster.configure(scrubIntervalSeconds=1, scrubBytesPerSecond="0")
    cluster.eventually(lambda: metric(cluster, "models_total", "whole") >= 1)
    gate.close_at(0)
    found = model.shard.stat()
    with model.shard.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        was = file.read(1)
        file.seek(-1, os.SEEK_END)
        file.write(bytes([was[0] ^ 1]))
    os.utime(model.shard, ns=(found.st_atime_ns, found.st_mtime_ns))
    with model.shard.open("rb") as altered:
        cluster.eventually(lambda: metric(cluster, "models_total", "damaged") == 1)
        said = f"hf://{model.repository} ({model.key}): {model.shard.name} has changed on the disk"
        cluster.eventually(lambda: any(said in message for message in damage_told(cluster)))
        cluster.eventually(lambda: gate.held > 0)
        cluster.eventually(lambda: not cluster.is_available(model.name))
        assert model.shard.stat().st_ino == found.st_ino, "pods keep what they have until another is there"
        gate.open()
        cluster.eventually(lambda: cluster.is_available(model.name))
        assert cluster.problems(model.repository) == []
        assert cluster.jobs(model.name) == {NODE: 2}
        # Moved away as a whole, and deleted: not written over.
        cluster.eventually(lambda: os.fstat(altered.fileno()).st_nlink == 0)
    whole = metric(cluster, "models_total", "whole")
    cluster.eventually(lambda: metric(cluster, "models_total", "whole") > whole)
    assert metric(cluster, "models_total", "damaged") == len(damage_told(cluster)) == 1


def damage_told(cluster: Sandbox) -> list[str]:
    return [message for _, reason, message in cluster.events(NODE) if reason == "ModelDamaged"]


def test_no_more_bytes_a_second_are_read_than_configured(cluster: Sandbox, model: Model) -> None:
    """At a byte a second the first file is not paid for while this test lives."""
    bytes_read, whole = (metric(cluster, name) for name in ("bytes_total", "models_total"))
    cluster.configure(scrubIntervalSeconds=1, scrubBytesPerSecond="1")
    cluster.eventually(lambda: metric(cluster, "due_models") == 1)
    cluster.eventually(lambda: metric(cluster, "bytes_total") > bytes_read)
    before = passes(cluster)
    for number in range(1, 4):
        cluster.configure(unreferencedGraceSeconds=3600 + number)
        cluster.eventually(lambda number=number: passes(cluster) >= before + number)
    assert metric(cluster, "bytes_total") == bytes_read + model.sizes[0]
    assert metric(cluster, "models_total") == whole

    cluster.configure(scrubBytesPerSecond="0")
    cluster.eventually(lambda: metric(cluster, "models_total") > whole)


def test_an_agent_that_is_killed_in_the_middle_goes_on_where_it_was(cluster: Sandbox, model: Model) -> None:
    book = cluster.node_models(NODE) / ".localmodel" / NOTE
    cluster.configure(scrubIntervalSeconds=1, scrubBytesPerSecond=str(SHARD))
    cluster.eventually(lambda: unfinished(book, model) > 2)
    cluster.kill(AGENT)
    done = unfinished(book, model)
    assert done < len(model.sizes)
    cluster.configure(scrubBytesPerSecond="0")
    cluster.eventually(lambda: [line["files_done"] for line in begun(cluster, model)][1:2] == [done])
    # The new agent's counters: what was left of the first time, and the whole model each time since.
    left, each = sum(model.sizes[done:]), sum(model.sizes)
    cluster.eventually(
        lambda: metric(cluster, "bytes_total") == left + each * (metric(cluster, "models_total", "whole") - 1)
    )


def unfinished(book: Path, model: Model) -> int:
    """How many files of the model the book says are done."""
    found = json.loads(book.read_bytes()).get("unfinished") if book.exists() else None
    return int(found["files"]) if found and found["key"] == model.key else 0


def begun(cluster: Sandbox, model: Model) -> list[dict[str, Any]]:
    return [line for line in cluster.agent_log(NODE, "scrub begins") if line["storage_key"] == model.key]
