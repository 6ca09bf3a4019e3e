"""What a recorder says is what `kubectl describe` shows."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from support.apiserver import Kubectl
from support.live import Live, config_map

from localmodel.runtime.events import EventBroadcaster
from localmodel.runtime.rest import LiveClient


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
def test_recorded_events_appear_in_kubectl_describe(live: Live, client: LiveClient, tmp_path: Path) -> None:
    obj = client.create(config_map("model"))
    broadcaster = EventBroadcaster(client)
    recorder = broadcaster.recorder("greeter")
    broadcaster.start()
    for _ in range(3):
        recorder.event(obj, "Normal", "Downloaded", "all files are here")
    recorder.event(obj, "Warning", "Full", "no space left")
    broadcaster.stop()

    described = Kubectl(live.kubeconfig(), tmp_path)("describe", "configmap", "model", "-n", "default")
    rows = [line.split() for line in described[described.index("Events:") :].splitlines()[3:]]
    assert [(row[0], row[1], row[-5:] if row[0] == "Normal" else row[-4:]) for row in rows] == [
        ("Normal", "Downloaded", ["greeter", "all", "files", "are", "here"]),
        ("Warning", "Full", ["greeter", "no", "space", "left"]),
    ]
    assert "(x3 over" in described
