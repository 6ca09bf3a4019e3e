"""`localmodel-download` as a process against the loopback hub."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from localmodel.download import Manifest, Progress, manifest_path, read_progress
from localmodel.sandbox.hub import HubServer, make_synthetic_model

TOKEN = "hf_aVerySecretToken"
URI = "hf://owner/model"
TOTAL = 8 << 20


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("model")
    make_synthetic_model(directory, TOTAL, max_shard_bytes=3 << 20)
    (directory / "sub").mkdir()
    (directory / "sub" / "notes ü.txt").write_text("small")
    return directory


@pytest.fixture
def hub(model: Path) -> Iterator[HubServer]:
    with HubServer({"owner/model": model}, token=TOKEN) as server:
        yield server


def environment(hub: HubServer, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    fast = {"LOCALMODEL_DOWNLOAD_MAX_ATTEMPTS": "2", "LOCALMODEL_DOWNLOAD_RETRY_SECONDS": "0.01"}
    return {**inherited, **fast, "HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN, **(extra or {})}


def start(dest: Path, env: Mapping[str, str], uri: str = URI) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "localmodel.download", uri, str(dest)]
    return subprocess.Popen(command, env=dict(env), stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> tuple[int, list[str]]:
    _, stderr = process.communicate(timeout=30)
    return process.returncode, stderr.splitlines()


def wait_for_bytes(dest: Path, count: int) -> Progress:
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        progress = read_progress(dest)
        if progress is not None and progress.bytes_done >= count:
            return progress
        time.sleep(0.02)
    raise AssertionError(f"no progress beyond {count} bytes: {read_progress(dest)}")


def digests(directory: Path) -> dict[str, str]:
    paths = (path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file())
    return {
        path: hashlib.sha256((directory / path).read_bytes()).hexdigest()
        for path in paths
        if not path.startswith(".localmodel/")
    }


def test_what_arrives_is_what_the_hub_serves(hub: HubServer, model: Path, tmp_path: Path) -> None:
    status, lines = finish(start(tmp_path, environment(hub)))
    assert status == 0, lines
    assert digests(tmp_path) == digests(model)
    manifest = Manifest.read(manifest_path(tmp_path))
    assert {entry.path: entry.sha256 for entry in manifest.files} == digests(model)
    assert manifest.revision == hub.repositories["owner/model"].snapshot().commit
    assert json.loads(lines[-1])["event"] == "downloaded"


def test_a_killed_download_goes_on_where_it_was(hub: HubServer, model: Path, tmp_path: Path) -> None:
    capped = environment(hub, {"LOCALMODEL_DOWNLOAD_MAX_BYTES_PER_SECOND": str(3 << 20)})
    process = start(tmp_path, capped)
    assert wait_for_bytes(tmp_path, 2 << 20).state == "downloading"
    process.kill()
    finish(process)
    assert not manifest_path(tmp_path).exists()
    before = hub.bytes_sent
    requests = len(hub.requests)
    status, lines = finish(start(tmp_path, environment(hub)))
    assert status == 0, lines
    assert digests(tmp_path) == digests(model)
    assert hub.bytes_sent - before < TOTAL - (1 << 20)
    assert any(record.range for record in hub.requests[requests:])


def test_sigterm_ends_it_at_once_and_says_so(hub: HubServer, tmp_path: Path) -> None:
    env = environment(hub, {"LOCALMODEL_DOWNLOAD_MAX_BYTES_PER_SECOND": "100000"})
    process = start(tmp_path, env)
    wait_for_bytes(tmp_path, 1)
    process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    status, lines = finish(process)
    assert status == 143
    assert time.monotonic() - began < 2
    assert "SIGTERM" in lines[-1]
    progress = read_progress(tmp_path)
    assert progress is not None
    assert (progress.state, "SIGTERM" in progress.message) == ("failed", True)


@pytest.mark.parametrize(
    ("uri", "extra", "words"),
    [
        (URI, {"HF_TOKEN": "hf_wrongSecret"}, ["authentication failed", URI, "check HF_TOKEN"]),
        (URI, {"HF_TOKEN": ""}, ["authentication failed", URI, "no token"]),
        ("hf://owner/missing", {}, ["model or revision not found", "hf://owner/missing"]),
        (f"{URI}:v9", {}, ["model or revision not found", "v9"]),
        ("hf://owner", {}, ["hf://owner/model:revision"]),
        (URI, {"HF_ENDPOINT": "http://127.0.0.1:9"}, ["cannot reach http://127.0.0.1:9", "HF_ENDPOINT"]),
    ],
    ids=["wrong-token", "no-token", "no-model", "no-revision", "bad-uri", "no-hub"],
)
def test_a_failure_says_what_where_and_what_to_do(
    hub: HubServer, tmp_path: Path, uri: str, extra: dict[str, str], words: list[str]
) -> None:
    log = tmp_path / "termination-log"
    status, lines = finish(start(tmp_path / "dest", environment(hub, {**extra, "TERMINATION_LOG": str(log)}), uri))
    assert status == 1
    message = log.read_text()
    for word in words:
        assert word in message
    assert json.loads(lines[-1])["event"] == message
    output = "\n".join([*lines, message])
    assert TOKEN not in output
    assert "hf_wrongSecret" not in output
    progress = read_progress(tmp_path / "dest")
    assert progress is not None
    assert (progress.state, progress.message) == ("failed", message)


def test_a_gated_model_says_so(model: Path, tmp_path: Path) -> None:
    with HubServer({"owner/model": model}, gated=["owner/model"]) as server:
        status, lines = finish(start(tmp_path, environment(server)))
    assert status == 1
    assert "gated" in lines[-1]


def test_only_the_endpoint_is_asked_and_each_file_once(hub: HubServer, model: Path, tmp_path: Path) -> None:
    finish(start(tmp_path, environment(hub)))
    assert {record.status for record in hub.requests} == {200}
    fetched = [record.path for record in hub.requests if "/resolve/" in record.path]
    assert len(fetched) == len(digests(model))
    assert len(hub.requests) == len(fetched) + 2
