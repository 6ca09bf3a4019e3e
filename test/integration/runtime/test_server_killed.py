"""The API server is killed and comes back: informers recover by themselves, miss nothing and ask for little."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import pytest
from support.apiserver import Program
from support.eventually import eventually
from support.live import AGENT, NS, Recording, audit_lines, config_map, quick_cache

from localmodel.runtime.cache import Cache
from localmodel.runtime.errors import AlreadyExistsError, TransportError
from localmodel.runtime.kubeconfig import load_config
from localmodel.runtime.objects import ConfigMap, Namespace, Object, Secret
from localmodel.runtime.rest import LiveClient

pytestmark = pytest.mark.embedded_only("kills the server and starts it again")

KINDS: tuple[type[Object], ...] = (ConfigMap, Namespace, Secret)


def write_all(client: LiveClient, names: list[str], half: threading.Event) -> None:
    """Creates each, whatever happens to the server meanwhile."""
    for number, name in enumerate(names):
        if number == len(names) // 2:
            half.set()
        while True:
            try:
                client.create(config_map(name))
            except TransportError:
                continue
            except AlreadyExistsError:
                break  # the server was killed between writing and answering
            break


def test_informers_recover_from_a_killed_server_without_loss_or_a_storm(tmp_path: Path) -> None:
    audit = tmp_path / "audit.jsonl"
    arguments = ("--data-dir", str(tmp_path / "data"), "--audit-log", str(audit))
    server = Program(tmp_path, arguments)
    port = server.url.rpartition(":")[2]
    client = LiveClient(load_config(server.kubeconfig, user_agent=AGENT))
    writer_client = LiveClient(load_config(server.kubeconfig, user_agent="writer/1"))
    cache = Cache(client, quick_cache())
    recording = Recording()
    cache.get_informer(ConfigMap).add_event_handler(recording)
    for kind in KINDS:
        cache.get_informer(kind)
    names = [f"m{number}" for number in range(120)]
    half = threading.Event()
    writer = threading.Thread(target=write_all, args=(writer_client, names, half))
    try:
        cache.start()
        cache.wait_for_sync(20)
        writer.start()
        assert half.wait(20)
        server.stop(signal.SIGKILL)
        before = len(audit_lines(audit))
        server = Program(tmp_path, (*arguments, "--port", port))
        writer.join(20)
        assert not writer.is_alive()

        eventually(lambda: {m.name for m in cache.list(ConfigMap, namespace=NS)} >= set(names))
        for kind in KINDS:
            expected = {obj.key: obj.metadata.resource_version for obj in writer_client.list(kind)}
            eventually(
                lambda kind=kind, expected=expected: (
                    {obj.key: obj.metadata.resource_version for obj in cache.list(kind)} == expected
                )
            )
        assert sorted(line for line in recording.heard if line[1:] in names) == sorted(f"+{name}" for name in names)
        after = audit_lines(audit)[before:]
        lists = [line["path"] for line in after if line["verb"] == "list"]
        assert len(lists) <= len(KINDS), "each kind is listed at most once anew"
        assert len(after) <= 4 * len(KINDS)
    finally:
        cache.stop()
        client.close()
        if server.process.poll() is None:
            server.stop()
        writer.join(20)
        writer_client.close()
