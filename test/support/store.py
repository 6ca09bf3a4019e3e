"""A model store on a real directory, models to put into it, and file systems that die."""

from __future__ import annotations

import hashlib
from pathlib import Path

from localmodel.agent.filesystem import FileSystem
from localmodel.agent.manifest import Reference
from localmodel.agent.store import ModelStore
from localmodel.agent.verification import Publication
from localmodel.download.manifest import FileEntry, Manifest, manifest_path

URI = "s3://mybucket/mymodel"
KEY = "89da10faf446bbf1"
FILES = {"config.json": b"{}", "weights/model.safetensors": b"\x01" * 4096}
PUBLICATION = Publication(uri=URI, attempts=1, references=(Reference(model="iris", node_group="gpu1"),))


class Death(BaseException):
    """The process is gone: no `except Exception` of the product may stop it."""


class DyingFileSystem(FileSystem):
    """Dies before the n-th step that changes the disk."""

    def __init__(self, die_before: int | None = None, *, can_exchange: bool = True) -> None:
        self.steps: list[str] = []
        self._die_before = die_before
        self._can_exchange = can_exchange

    def step(self, name: str, path: Path) -> None:
        if len(self.steps) == self._die_before:
            raise Death
        self.steps.append(f"{name} {path.name}")

    def exchange(self, first: Path, second: Path) -> bool:
        return self._can_exchange and super().exchange(first, second)


def fill(folder: Path, files: dict[str, bytes] = FILES) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def write_notes(folder: Path, files: dict[str, bytes] = FILES, uri: str = URI) -> Manifest:
    manifest = Manifest.of(
        uri=uri,
        revision="abc",
        files=[FileEntry(path=n, size=len(c), sha256=hashlib.sha256(c).hexdigest()) for n, c in files.items()],
    )
    manifest_path(folder).parent.mkdir(exist_ok=True)
    manifest.write(manifest_path(folder))
    return manifest


def published(root: Path) -> ModelStore:
    store = ModelStore(root)
    store.open()
    fill(store.prepare_staging(KEY, URI))
    store.publish(KEY, PUBLICATION)
    return store


def content_of(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
