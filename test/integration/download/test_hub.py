"""The loopback hub, judged by the real `huggingface_hub` client."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import huggingface_hub
import pytest
from huggingface_hub import HfApi, constants
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from safetensors.numpy import load_file

from localmodel.sandbox.hub import HubServer, make_synthetic_model

TOKEN = "hf_token"


@pytest.fixture(autouse=True)
def _plain_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client as a user has it: other tests in this process may have configured it for the downloader."""
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", False)
    huggingface_hub.set_client_factory(huggingface_hub.utils._http.default_client_factory)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("model")
    make_synthetic_model(directory, 200_000)
    (directory / "onnx" / "q").mkdir(parents=True)
    (directory / "onnx" / "model.onnx").write_bytes(b"o" * 20_000)
    (directory / "onnx" / "q" / "readme.txt").write_text("small")
    return directory


@pytest.fixture(scope="module")
def hub(model: Path) -> Iterator[HubServer]:
    with HubServer({"owner/model": model}, token=TOKEN, page_size=2) as server:
        yield server


@pytest.fixture
def api(hub: HubServer) -> HfApi:
    return HfApi(endpoint=hub.url, token=TOKEN)


def paths(directory: Path) -> set[str]:
    found = (path.relative_to(directory) for path in directory.rglob("*") if path.is_file())
    return {path.as_posix() for path in found if path.parts[0] != ".cache"}


def test_the_client_downloads_a_snapshot(api: HfApi, model: Path, tmp_path: Path) -> None:
    api.snapshot_download("owner/model", local_dir=tmp_path / "copy", cache_dir=tmp_path / "cache")
    assert paths(tmp_path / "copy") == paths(model)
    for path in paths(model):
        assert (tmp_path / "copy" / path).read_bytes() == (model / path).read_bytes()


def test_the_client_downloads_a_file_of_a_commit(api: HfApi, model: Path, tmp_path: Path) -> None:
    commit = api.model_info("owner/model").sha
    path = api.hf_hub_download("owner/model", "config.json", revision=commit, cache_dir=tmp_path)
    assert Path(path).read_bytes() == (model / "config.json").read_bytes()


def test_the_client_lists_all_pages_of_the_tree_with_digests(api: HfApi, model: Path) -> None:
    files = {entry.path: entry for entry in api.list_repo_tree("owner/model", recursive=True) if hasattr(entry, "lfs")}
    assert set(files) == paths(model) == set(api.list_repo_files("owner/model"))
    weights = (model / "model.safetensors").read_bytes()
    assert files["model.safetensors"].lfs.sha256 == hashlib.sha256(weights).hexdigest()
    config = (model / "config.json").read_bytes()
    assert files["config.json"].blob_id == hashlib.sha1(b"blob %d\0" % len(config) + config).hexdigest()


def test_the_client_lists_a_directory_with_details(api: HfApi) -> None:
    entries = list(api.list_repo_tree("owner/model", "onnx", expand=True))
    assert [entry.path for entry in entries] == ["onnx/model.onnx", "onnx/q"]
    assert all(entry.last_commit is not None for entry in entries)


def test_the_client_gets_sizes_with_the_model_info(api: HfApi, model: Path) -> None:
    info = api.repo_info("owner/model", revision="main", files_metadata=True)
    assert {sibling.rfilename: sibling.size for sibling in info.siblings} == {
        path: (model / path).stat().st_size for path in paths(model)
    }


def test_the_client_understands_what_is_missing(api: HfApi, tmp_path: Path) -> None:
    with pytest.raises(RepositoryNotFoundError):
        api.model_info("owner/other")
    with pytest.raises(RevisionNotFoundError):
        api.model_info("owner/model", revision="v9")
    with pytest.raises(RemoteEntryNotFoundError):
        api.hf_hub_download("owner/model", "nothing", cache_dir=tmp_path)


def test_the_client_understands_that_it_may_not(hub: HubServer, model: Path) -> None:
    with pytest.raises(RepositoryNotFoundError):  # what the real hub says to strangers of a private model
        HfApi(endpoint=hub.url, token=False).model_info("owner/model")
    with pytest.raises(HfHubHTTPError) as caught:
        HfApi(endpoint=hub.url, token="wrong").model_info("owner/model")
    assert caught.value.response.status_code == 401
    with HubServer({"owner/model": model}, gated=["owner/model"]) as gated, pytest.raises(GatedRepoError):
        HfApi(endpoint=gated.url, token="any").model_info("owner/model")


@pytest.mark.parametrize(
    ("asked", "window"),
    [("bytes=0-9", slice(0, 10)), ("bytes=19990-", slice(19990, None)), ("bytes=-5", slice(-5, None))],
)
def test_a_range_is_served(hub: HubServer, model: Path, asked: str, window: slice) -> None:
    url = f"{hub.url}/owner/model/resolve/main/onnx/model.onnx"
    request = Request(url, headers={"Range": asked, "Authorization": f"Bearer {TOKEN}"})
    with urlopen(request, timeout=5) as response:
        assert response.status == 206
        assert response.read() == (model / "onnx" / "model.onnx").read_bytes()[window]


def test_a_changed_directory_is_another_commit(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    with HubServer({"m": tmp_path}) as server:
        api = HfApi(endpoint=server.url, token=False)
        first = api.model_info("m").sha
        assert api.model_info("m").sha == first
        (tmp_path / "a").write_text("22")
        assert api.model_info("m").sha != first


def test_a_stopped_hub_ends_its_connections(model: Path) -> None:
    server = HubServer({"owner/model": model}, max_bytes_per_second=10).start()
    response = urlopen(f"{server.url}/owner/model/resolve/main/model.safetensors", timeout=5)
    response.read(1)
    server.stop()
    assert len(response.read1(1 << 20)) < 200_000
    with pytest.raises(OSError, match="refused"):
        urlopen(server.url, timeout=5)


def test_the_hub_runs_as_a_program(model: Path) -> None:
    command = [sys.executable, "-m", "localmodel.sandbox.hub", "--model", f"owner/model={model}", "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        url = json.loads(process.stdout.readline())["url"]
        assert HfApi(endpoint=url, token=False).model_info("owner/model").id == "owner/model"
    finally:
        process.terminate()
    assert process.wait(timeout=5) == 0
    process.stdout.close()


def test_a_synthetic_model_is_valid_sharded_and_the_same_for_the_same_seed(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        make_synthetic_model(tmp_path / name, 1_000_001, seed=seed, max_shard_bytes=400_000)
    index = json.loads((tmp_path / "a" / "model.safetensors.index.json").read_text())
    tensors = {}
    for shard in sorted(set(index["weight_map"].values())):
        tensors.update(load_file(tmp_path / "a" / shard))
        assert (tmp_path / "a" / shard).read_bytes() == (tmp_path / "b" / shard).read_bytes()
        assert (tmp_path / "a" / shard).read_bytes() != (tmp_path / "c" / shard).read_bytes()
    assert set(tensors) == set(index["weight_map"])
    assert sum(tensor.nbytes for tensor in tensors.values()) == index["metadata"]["total_size"] == 1_000_000
