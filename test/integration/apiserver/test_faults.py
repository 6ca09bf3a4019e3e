"""Injected faults over HTTPS, as clients meet them."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
from support.apiserver import Kubectl, Program
from support.eventually import eventually
from support.live import NS, Live, config_map

from localmodel.runtime.errors import ServiceUnavailableError, TransportError
from localmodel.runtime.listwatch import WatchOptions
from localmodel.runtime.objects import ConfigMap
from localmodel.runtime.rest import LiveClient
from localmodel.runtime.testing.faults import Target
from localmodel.sandbox.apiserver.faults import ServerFault

pytestmark = pytest.mark.embedded_only("injects faults into the server")


def test_an_answer_is_lost_after_the_write_and_the_server_goes_on(live: Live, client: LiveClient) -> None:
    live.server.faults.add(ServerFault(target=Target(verb="create"), drop_answer=True, remaining=1))
    with pytest.raises(TransportError):
        client.create(config_map("lost"))
    assert client.get(ConfigMap, "lost", namespace=NS).name == "lost"


def test_a_connection_is_reset_before_the_write(live: Live, client: LiveClient) -> None:
    live.server.faults.add(ServerFault(target=Target(verb="create"), reset=True, remaining=1))
    with pytest.raises(TransportError):
        client.create(config_map("never"))
    assert client.find(ConfigMap, "never", namespace=NS) is None


def test_a_slow_request_holds_up_no_other(live: Live, client: LiveClient) -> None:
    slow = live.server.faults.add(ServerFault(target=Target(verb="create", name=""), latency=20.0, remaining=1))
    writing = threading.Thread(target=_create_and_be_cut, args=(live.client("other"),), daemon=True)
    writing.start()
    eventually(lambda: slow.hits)
    assert client.list(ConfigMap, namespace=NS)
    assert writing.is_alive()


def _create_and_be_cut(client: LiveClient) -> None:
    try:
        client.create(config_map("slow"))
    except TransportError:
        return


@pytest.mark.parametrize("how", ["end", "reset", "expired"])
def test_watches_are_cut(live: Live, client: LiveClient, how: str) -> None:
    stream = client.watch(ConfigMap, WatchOptions(namespace=NS, timeout_seconds=60, allow_bookmarks=False))
    events = iter(stream)
    assert next(events).type == "ADDED"
    assert live.server.faults.cut_watches(Target(resource="configmaps"), how=how) == 1
    if how == "reset":
        with pytest.raises(TransportError):
            list(events)
    else:
        assert [event.type for event in events] == (["ERROR"] if how == "expired" else [])


def test_a_held_watch_is_silence_that_the_client_must_notice(live: Live, client: LiveClient) -> None:
    stream = client.watch(ConfigMap, WatchOptions(namespace=NS, timeout_seconds=60, allow_bookmarks=False))
    events = iter(stream)
    next(events)
    assert live.server.faults.hold_watches() == 1
    client.create(config_map("unseen"))
    stream.limit_silence(0.2)
    with pytest.raises(TransportError, match="half open"):
        next(events)


def test_kubectl_injects_a_fault_and_a_flag_has_one_from_the_start(tmp_path: Path) -> None:
    program = Program(tmp_path, ("--fault", "verb=delete,code=503,message=not now"))
    try:
        kubectl = Kubectl(program.kubeconfig, tmp_path)
        rule = json.dumps({"verb": "get", "resource": "secrets", "code": 429, "retryAfterSeconds": 1, "times": 1})
        kubectl("create", "--raw", "/sandbox/faults", "-f", "-", stdin=rule)
        kubectl.fails("get", "secret", "nothing")
        faults = json.loads(kubectl("get", "--raw", "/sandbox/faults"))["faults"]
        assert [(fault["verb"], fault["hits"]) for fault in faults] == [("delete", 0), ("get", 1)]
        assert "not now" in kubectl.fails("delete", "configmap", "kube-root-ca.crt")
    finally:
        assert program.stop() == 0


def test_a_server_that_fails_on_purpose_still_stops(live: Live, client: LiveClient) -> None:
    live.server.faults.add(ServerFault(target=Target(verb="list"), error=ServiceUnavailableError.of("away")))
    with pytest.raises(ServiceUnavailableError):
        client.list(ConfigMap)
    client.watch(ConfigMap, WatchOptions(timeout_seconds=60))
    live.server.faults.hold_watches()
