"""The sandbox's controllers do what kube-controller-manager does, as far as the objects show.

Each script of `support.controller_scripts` runs on the embedded API server with the sandbox's controllers; the end must
be the one that is recorded in controller_scripts.json of kube-controller-manager 1.32 on kube-apiserver. Where
KUBEBUILDER_ASSETS names a directory with etcd, kube-apiserver and kube-controller-manager, the record is checked
against those, too; LOCALMODEL_RECORD=1 writes it anew. The scripts mostly wait, so they run side by side.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from support.controller_scripts import SCRIPTS
from support.realcluster import RealCluster, missing_binaries
from support.stage import Stage

from localmodel.runtime.kubeconfig import load_config
from localmodel.runtime.rest import LiveClient
from localmodel.sandbox.apiserver.server import ApiServer, ApiServerOptions
from localmodel.sandbox.controllers.jobs import JobOptions
from localmodel.sandbox.controllers.main import build_controllers
from localmodel.sandbox.controllers.nodelifecycle import NodeLifecycleOptions

RECORD = Path(__file__).with_name("controller_scripts.json")
AT_ONCE = 8
TIMEOUT = 240.0
MISSING = missing_binaries("etcd", "kube-apiserver", "kube-controller-manager")


@pytest.fixture(scope="module")
def recorded() -> dict[str, Any]:
    return json.loads(RECORD.read_text()) if RECORD.exists() else {}


Played = dict[str, Future[Any]]


@contextlib.contextmanager
def playing(client: LiveClient, names: Iterable[str]) -> Iterator[Played]:
    """What becomes of the scripts, each in a namespace of its own."""

    def play(name: str) -> Any:
        stage = Stage(client, name)
        try:
            return json.loads(json.dumps(SCRIPTS[name](stage)))
        finally:
            stage.close()

    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {name: pool.submit(play, name) for name in names}


def chosen(request: pytest.FixtureRequest) -> list[str]:
    """The scripts that the tests of this run ask for."""
    items = (getattr(item, "callspec", None) for item in request.session.items)
    names = {spec.params["name"] for spec in items if spec is not None and spec.params.get("name") in SCRIPTS}
    return [name for name in SCRIPTS if name in names]


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Played]:
    server = ApiServer(ApiServerOptions())
    server.start()
    kubeconfig = tmp_path_factory.mktemp("sandbox") / "kubeconfig"
    server.write_kubeconfig(kubeconfig)
    clients = [LiveClient(load_config(kubeconfig, user_agent=f"test-{number}/1")) for number in range(2)]
    manager = build_controllers(
        clients[0],
        jobs=JobOptions(first_delay=0.1),
        lifecycle=NodeLifecycleOptions(grace_period=3600, startup_grace_period=3600),
    )
    stop = threading.Event()
    thread = threading.Thread(target=manager.start, args=(stop,))
    thread.start()
    with playing(clients[1], chosen(request)) as played:
        yield played
    stop.set()
    thread.join(20)
    for client in clients:
        client.close()
    server.stop()


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_sandbox_ends_where_kube_controller_manager_does(
    sandbox: Played, recorded: dict[str, Any], name: str
) -> None:
    assert sandbox[name].result(TIMEOUT) == recorded[name]


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Played]:
    with RealCluster(tmp_path_factory.mktemp("real")) as cluster:
        cluster.start_controller_manager(
            "garbage-collector-controller,namespace-controller,job-controller,daemonset-controller,"
            "persistentvolume-binder-controller,persistentvolume-protection-controller,"
            "persistentvolumeclaim-protection-controller,ttl-after-finished-controller,node-lifecycle-controller,"
            "taint-eviction-controller,pod-garbage-collector-controller"
        )
        with playing(cluster.client(), chosen(request)) as played:
            yield played


@pytest.mark.skipif(bool(MISSING), reason=MISSING)
@pytest.mark.parametrize("name", SCRIPTS)
def test_the_record_is_what_kube_controller_manager_does(real: LiveClient, recorded: dict[str, Any], name: str) -> None:
    found = real[name].result(TIMEOUT)
    if os.environ.get("LOCALMODEL_RECORD"):
        recorded[name] = found
        RECORD.write_text(json.dumps(recorded, indent=1, sort_keys=True) + "\n")
    assert found == recorded[name]
