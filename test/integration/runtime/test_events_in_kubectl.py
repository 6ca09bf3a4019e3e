"""What a recorder says is what kubectl shows, whichever of the two groups it was written to."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.apiserver import Kubectl
from support.kubectl import kubectl_version, needs_kubectl
from support.live import ClusterRole, ClusterRoleBinding, Live, config_map

from localmodel.runtime.events import EventBroadcaster
from localmodel.runtime.objects import Event, ObjectMeta, eventsv1
from localmodel.runtime.rest import LiveClient

_RBAC = "rbac.authorization.k8s.io"
USER = "recorder"


@pytest.fixture
def kubectl(live: Live, client: LiveClient, tmp_path: Path) -> Kubectl:
    needs_kubectl()
    return Kubectl(live.kubeconfig(), tmp_path)


def grant(client: LiveClient, *groups: str) -> None:
    """Lets the user write events of these API groups, as a program's ClusterRole does."""
    rules = [{"apiGroups": list(groups), "resources": ["events"], "verbs": ["create", "patch"]}]
    subject = {"kind": "User", "name": USER, "apiGroup": _RBAC}
    role = {"kind": "ClusterRole", "name": "recorder", "apiGroup": _RBAC}
    client.create(ClusterRole(metadata=ObjectMeta(name="recorder"), rules=rules))  # type: ignore[call-arg]
    client.create(
        ClusterRoleBinding(metadata=ObjectMeta(name="recorder"), roleRef=role, subjects=[subject])  # type: ignore[call-arg]
    )


def record(writer: LiveClient, reader: LiveClient) -> None:
    """Three equal events and one more about ConfigMap default/model."""
    obj = reader.create(config_map("model"))
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
    grant(client, *groups)
    record(live.client(USER, token=live.server.token_for(USER)), client)

    described = kubectl("describe", "configmap", "model", "-n", "default")
    rows = [line.split() for line in described[described.index("Events:") :].splitlines()[3:]]
    assert [(row[0], row[1], row[-5:] if row[0] == "Normal" else row[-4:]) for row in rows] == [
        ("Normal", "Downloaded", ["greeter", "all", "files", "are", "here"]),
        ("Warning", "Full", ["greeter", "no", "space", "left"]),
    ]
    if kubectl_version() >= (1, 27) or groups == ("",):
        # An older kubectl looks at the count of core events only, which a series does not have.
        assert "(x3 over" in described

    found = kubectl("get", "events", "-n", "default", "--field-selector", "involvedObject.name=model,reason=Downloaded")
    header, row = found.splitlines()
    assert header.split() == ["LAST", "SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"]
    assert row.split()[1:] == ["Normal", "Downloaded", "configmap/model", "all", "files", "are", "here"]

    wide = kubectl(
        "get", "events.events.k8s.io", "-n", "default", "--field-selector", "regarding.name=model", "-o", "wide"
    )
    assert "configmap/model" in wide
    stored = {event.reason: event for event in client.list(eventsv1.Event, namespace="default")}
    series = stored["Downloaded"].series
    if "events.k8s.io" in groups:
        assert (series.count if series else 1, stored["Downloaded"].action) == (3, "Download")
    else:
        assert series is None
        assert {event.count for event in client.list(Event, namespace="default")} == {3, 1}


def test_kubectl_events_shows_a_series(client: LiveClient, kubectl: Kubectl) -> None:
    needs_kubectl(1, 26, "events")
    record(client, client)

    shown = kubectl("events", "--for", "configmap/model", "-n", "default")
    row = next(line for line in shown.splitlines() if "Downloaded" in line)
    assert "(x3 over" in row
    assert "ConfigMap/model" in row
