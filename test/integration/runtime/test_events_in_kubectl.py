"""What a recorder says is what kubectl shows, whichever of the two groups it was written to."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.apiserver import Kubectl
from support.kubectl import kubectl_version, needs_kubectl
from support.live import Live

from localmodel.runtime.events import EventBroadcaster
from localmodel.runtime.objects import Event, eventsv1
from localmodel.runtime.rest import LiveClient

USER = "recorder"


@pytest.fixture
def kubectl(live: Live, client: LiveClient, tmp_path: Path) -> Kubectl:
    needs_kubectl()
    return Kubectl(live.kubeconfig(), tmp_path)


def grant(live: Live, *groups: str) -> None:
    """Lets the user write events of these API groups, as a program's ClusterRole does."""
    live.grant(USER, {"apiGroups": list(groups), "resources": ["events"], "verbs": ["create", "patch"]})


def record(writer: LiveClient, reader: LiveClient, live: Live) -> None:
    """Three equal events and one more about the ConfigMap `model`."""
    obj = reader.create(live.config_map("model"))
    broadcaster = EventBroadcaster(writer)
    recorder = broadcaster.recorder("greeter")
    broadcaster.start()
    for _ in range(3):
        recorder.event(obj, "Normal", "Downloaded", "all files are here", action="Download")
    recorder.event(obj, "Warning", "Full", "no space left")
    broadcaster.stop(10)


@pytest.mark.parametrize("groups", [("", "events.k8s.io"), ("events.k8s.io",), ("",)], ids=["both", "new", "core"])
def test_recorded_events_appear_in_kubectl(
    live: Live, client: LiveClient, kubectl: Kubectl, groups: tuple[str, ...]
) -> None:
    """With only core events granted, as KServe's own manifests do, they are written there."""
    grant(live, *groups)
    record(live.client(USER, groups=()), client, live)

    described = kubectl("describe", "configmap", "model")
    rows = [line.split() for line in described[described.index("Events:") :].splitlines()[3:]]
    assert [(row[0], row[1], row[-5:] if row[0] == "Normal" else row[-4:]) for row in rows] == [
        ("Normal", "Downloaded", ["greeter", "all", "files", "are", "here"]),
        ("Warning", "Full", ["greeter", "no", "space", "left"]),
    ]
    if kubectl_version() >= (1, 27) or groups == ("",):
        # An older kubectl looks at the count of core events only, which a series does not have.
        assert "(x3 over" in described

    found = kubectl("get", "events", "--field-selector", "involvedObject.name=model,reason=Downloaded")
    header, row = found.splitlines()
    assert header.split() == ["LAST", "SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"]
    assert row.split()[1:] == ["Normal", "Downloaded", "configmap/model", "all", "files", "are", "here"]

    wide = kubectl("get", "events.events.k8s.io", "--field-selector", "regarding.name=model", "-o", "wide")
    assert "configmap/model" in wide
    stored = {event.reason: event for event in client.list(eventsv1.Event, namespace=live.namespace)}
    series = stored["Downloaded"].series
    if "events.k8s.io" in groups:
        assert (series.count if series else 1, stored["Downloaded"].action) == (3, "Download")
    else:
        assert series is None
        assert {event.count for event in client.list(Event, namespace=live.namespace)} == {3, 1}


def test_kubectl_events_shows_a_series(live: Live, client: LiveClient, kubectl: Kubectl) -> None:
    needs_kubectl(1, 26, "events")
    record(client, client, live)

    shown = kubectl("events", "--for", "configmap/model")
    row = next(line for line in shown.splitlines() if "Downloaded" in line)
    assert "(x3 over" in row
    assert "ConfigMap/model" in row
