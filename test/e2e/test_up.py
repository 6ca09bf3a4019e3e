"""`localmodel sandbox up` as a person runs it: what is there still when it is run again in the same directory."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.program import Run
from support.sandbox import storage_container

from localmodel.api import LocalModelCache
from localmodel.runtime.kubeconfig import load_config
from localmodel.runtime.rest import LiveClient
from localmodel.sandbox import demo_objects, install
from localmodel.sandbox.demo_model import synthetic_model
from localmodel.sandbox.hub import HubServer

TOKEN = "hf_secret"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubServer]:
    directory = synthetic_model(tmp_path / "source", 1 << 20)
    with HubServer({f"org/model-{number}": directory for number in (1, 2)}, token=TOKEN) as hub:
        yield hub


@contextlib.contextmanager
def up(directory: Path) -> Iterator[tuple[Run, LiveClient]]:
    """A cluster of one node in the directory, and an administrator's client."""
    with Run(directory, "sandbox", "up", "--nodes=1", f"--workdir={directory / 'work'}") as run:
        run.reaches("Ctrl-C stops everything")
        client = LiveClient(load_config(directory / "work" / "kubeconfig", user_agent="test/1"))
        yield run, client
        client.close()
        run.process.send_signal(signal.SIGINT)
        assert run.ends() == 0, run.output


def is_available(client: LiveClient, name: str) -> bool:
    copies = client.get(LocalModelCache, name).status.copies
    return copies is not None and copies.available == copies.total == 1


def test_a_cluster_goes_on_where_it_was_stopped(tmp_path: Path, hub: HubServer) -> None:
    with up(tmp_path) as (run, client):
        assert "starting 1 node in" in run.output
        install.apply_all(
            client,
            [
                demo_objects.hf_secret(TOKEN, install.JOB_NAMESPACE),
                storage_container("hf-hub", "hf://org/", hub.url),
                demo_objects.node_group(),
                demo_objects.cache("hf://org/model-1", 2 << 20, name="first"),
            ],
        )
        run.eventually(lambda: is_available(client, "first"))
    sent = hub.bytes_sent
    with up(tmp_path) as (run, client):
        assert "going on with 1 node in" in run.output
        assert is_available(client, "first")
        install.apply_all(client, [demo_objects.cache("hf://org/model-2", 2 << 20, name="second")])
        run.eventually(lambda: is_available(client, "second"))
        assert is_available(client, "first")
        assert hub.bytes_sent == 2 * sent


def test_a_directory_in_use_is_refused(tmp_path: Path) -> None:
    with Run(tmp_path, "sandbox", "up", "--nodes=1", f"--workdir={tmp_path / 'work'}") as first:
        first.reaches("starting 1 node")
        other = tmp_path / "other"
        other.mkdir()
        with Run(other, "sandbox", "up", f"--workdir={tmp_path / 'work'}") as second:
            assert second.ends() == 1
            assert "in use by another localmodel program" in second.output
        first.process.send_signal(signal.SIGINT)
        assert first.ends() == 0, first.output
