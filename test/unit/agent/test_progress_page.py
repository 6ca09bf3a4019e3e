"""`/progress`, and the agent's metrics."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from support.agent import World
from support.documentedmetrics import documented, registered

from localmodel.agent.metrics import AgentMetrics
from localmodel.agent.progresspage import ProgressPage
from localmodel.agent.scrub import ScrubMetrics
from localmodel.api import LocalModelNode
from localmodel.api.names import storage_key
from localmodel.runtime.httpserver import HttpRequest

URI = "https://user:canary@host/model.bin?sig=canary"
FILES = {"model.bin": b"\0" * 1000}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, children=True)


def page(world: World, **request: Any) -> Any:
    made = ProgressPage("node-1", world.store, world.agent.observed, clock=world.clock)
    response = made.serve(HttpRequest(**request))
    assert (response.code, response.content_type) == (200, "application/json")
    return json.loads(response.body)


def model(world: World) -> dict[str, Any]:
    (found,) = page(world)["models"]
    return dict(found)


def download(world: World) -> None:
    world.want({"modelName": "iris", "sourceModelUri": URI})
    world.run()
    world.run()


def test_before_there_is_a_node_there_is_nothing_to_tell(world: World) -> None:
    assert page(world) == {"node": "node-1", "time": "2026-01-01T00:00:00Z", "disk": None, "models": []}


def test_it_is_as_live_as_the_download_itself(world: World) -> None:
    download(world)
    written = world.node.status.to_dict()
    world.children.started[0].reports(250, 1000)
    assert model(world) == {
        "key": "iris",
        "storageKey": storage_key(URI),
        "uri": "https://host/model.bin?...",
        "status": "ModelDownloading",
        "state": "downloading",
        "reason": "Downloading",
        "message": "",
        "attempts": 1,
        "startedAt": "2026-01-01T00:00:00Z",
        "nextRetryTime": None,
        "bytesDone": 250,
        "bytesTotal": 1000,
        "filesDone": 1,
        "filesTotal": 3,
        "bytesPerSecond": 100.0,
        "etaSeconds": 8,
        "updatedAt": "2026-01-01T00:00:00.000Z",
    }
    assert world.node.status.to_dict() == written


def test_a_download_that_says_nothing_any_more_has_no_rate(world: World) -> None:
    download(world)
    world.children.started[0].reports(250, 1000)
    world.clock.advance(11)
    assert (model(world)["bytesPerSecond"], model(world)["etaSeconds"]) == (0.0, None)


def test_of_a_foreign_image_it_tells_the_bytes_on_the_disk(world: World) -> None:
    world.set_config()
    world.want({"modelName": "iris", "sourceModelUri": URI})
    world.run()
    world.client.status.patch(world.jobs[0], {"status": {"active": 1, "ready": 1}})
    world.run()
    (world.root / "models" / ".staging" / storage_key(URI) / "part").write_bytes(b"\0" * 77)
    assert (model(world)["bytesDone"], model(world)["bytesTotal"]) == (77, 1 << 20)


def test_when_an_attempt_began_outlives_the_agent(world: World) -> None:
    download(world)
    world.clock.advance(60)
    world.restart()
    download(world)
    assert model(world)["startedAt"] == "2026-01-01T00:00:00Z"
    world.children.started[0].fails()
    world.run()
    world.clock.advance(30)
    world.run()
    world.run()
    assert model(world)["startedAt"] == "2026-01-01T00:01:30Z"


def test_a_whole_model_is_told_with_its_size(world: World) -> None:
    download(world)
    world.children.started[0].succeeds(FILES)
    world.run()
    found = model(world)
    assert (found["status"], found["bytesDone"], found["bytesTotal"]) == ("ModelDownloaded", 1000, 1000)
    assert page(world)["disk"]["limit"] == 10 << 20


def test_no_credential_of_a_uri_is_shown(world: World) -> None:
    download(world)
    world.children.started[0].fails(f"cannot read {URI}")
    world.run()
    text = json.dumps(page(world))
    assert "cannot read https://host" in text
    assert "canary" not in text


def test_one_model_can_be_asked_for(world: World) -> None:
    world.want(*({"modelName": name, "sourceModelUri": f"hf://org/{name}"} for name in ("a", "b")))
    world.run()
    assert [model["key"] for model in page(world, query={"key": ["b"]})["models"]] == ["b"]


def test_a_status_that_somebody_has_written_leads_to_no_other_folder(world: World) -> None:
    download(world)
    (world.root / "elsewhere").mkdir()
    (world.root / "elsewhere" / "x").write_bytes(b"\0" * 9)
    node = world.client.get(LocalModelNode, "node-1")
    node.status.models["iris"].storage_key = "../../elsewhere"
    observed = (node, node.status)
    shown = ProgressPage("node-1", world.store, lambda: observed, clock=world.clock).page()["models"][0]
    assert shown["bytesDone"] is None


def test_there_is_nothing_below_it(world: World) -> None:
    assert ProgressPage("node-1", world.store, world.agent.observed).serve(HttpRequest(path="/x")).code == 404


def test_metrics_count_downloads_models_and_bytes(tmp_path: Path) -> None:
    registry = CollectorRegistry()
    world = World(tmp_path, children=True, metrics=AgentMetrics(registry))
    value = registry.get_sample_value
    world.want(*({"modelName": name, "sourceModelUri": f"hf://org/{name}"} for name in ("a", "b")))
    world.run()
    assert value("localmodel_agent_downloads_running") == 2
    first, second = world.children.started
    first.succeeds(FILES)
    second.fails("no")
    world.run()
    world.run()
    assert value("localmodel_agent_downloads_running") == 0
    assert value("localmodel_agent_downloads_total", {"result": "Succeeded"}) == 1
    assert value("localmodel_agent_downloads_total", {"result": "DownloadFailed"}) == 1
    assert value("localmodel_agent_downloaded_bytes_total") == 1000
    assert value("localmodel_agent_models", {"status": "ModelDownloaded"}) == 1
    assert value("localmodel_agent_models", {"status": "ModelDownloadError"}) == 1
    assert value("localmodel_agent_disk_bytes", {"kind": "used"}) == 1000
    assert value("localmodel_agent_disk_bytes", {"kind": "limit"}) == 10 << 20


def test_metrics_tell_of_evictions_and_of_a_disk_that_cannot_be_used(tmp_path: Path) -> None:
    registry = CollectorRegistry()
    world = World(tmp_path, children=True, metrics=AgentMetrics(registry))
    value = registry.get_sample_value
    world.want({"modelName": "a", "sourceModelUri": "hf://org/a", "ttlSecondsAfterLastUse": 600})
    world.run()
    world.children.started[0].succeeds(FILES)
    world.run()
    assert value("localmodel_agent_evicted_models_total", {"cause": "room"}) == 0
    assert value("localmodel_agent_storage_ready") == 1
    world.clock.advance(601)
    world.run()
    assert value("localmodel_agent_evicted_models_total", {"cause": "ttl"}) == 1
    (world.root / "models" / ".staging").rmdir()
    (world.root / "models" / ".staging").symlink_to(world.root)
    world.run()
    assert value("localmodel_agent_storage_ready") == 0


def test_the_documentation_has_every_metric_in_one_table() -> None:
    registry = CollectorRegistry()
    AgentMetrics(registry)
    ScrubMetrics(registry)
    assert documented("Of the agent") == registered(registry)
