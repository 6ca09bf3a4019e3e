import pytest

from localmodel.download import DownloadError
from localmodel.download.filters import PathFilter

FILES = ["config.json", "model.safetensors", "onnx/model.onnx", "onnx/q/model.onnx"]


@pytest.mark.parametrize(
    ("env", "wanted"),
    [
        ({}, FILES),
        ({"STORAGE_ALLOW_PATTERNS": "*.safetensors,config.json"}, ["config.json", "model.safetensors"]),
        ({"STORAGE_ALLOW_PATTERNS": '["*.safetensors", "config.json"]'}, ["config.json", "model.safetensors"]),
        ({"STORAGE_IGNORE_PATTERNS": "onnx/*"}, ["config.json", "model.safetensors"]),
        ({"STORAGE_IGNORE_PATTERNS": " onnx/ , "}, ["config.json", "model.safetensors"]),
        ({"STORAGE_ALLOW_PATTERNS": "onnx/*", "STORAGE_IGNORE_PATTERNS": '["*/q/*"]'}, ["onnx/model.onnx"]),
    ],
)
def test_patterns_choose_files_by_their_relative_path(env: dict[str, str], wanted: list[str]) -> None:
    chosen = PathFilter.from_env(env)
    assert [path for path in FILES if chosen.wants(path)] == wanted


@pytest.mark.parametrize("text", ["[1]", "[unclosed"])
def test_a_broken_list_is_an_error_that_names_the_variable(text: str) -> None:
    with pytest.raises(DownloadError, match="STORAGE_ALLOW_PATTERNS"):
        PathFilter.from_env({"STORAGE_ALLOW_PATTERNS": text})
