"""The manifest: what a downloaded model consists of, as names, sizes and digests.

A download writes it as its last act, so its presence says that every file it lists was whole and on disk. The agent
reads it, checks the folder against it and publishes; hence this module must stay light to import.
Invariants: files are sorted by path, paths are relative with forward slashes, and `digest` is a function of the files
alone, the same for the same content wherever it came from.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import msgspec

from localmodel.download.atomic import write_atomically
from localmodel.download.errors import InvalidURIError

NOTES_DIR = ".localmodel"
"""The directory inside DEST that holds a download's own notes and unfinished parts. It is no part of the model."""

MANIFEST_FILE = "manifest.json"


class FileEntry(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One file of a model: path relative to the model's directory, size in bytes, sha256 in lower-case hex."""

    path: str
    size: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """All files of one downloaded model.

    `revision` is what the source calls this version of the content (the hub's commit, a server's ETag), or None where
    it has no such notion. `total_size` is bytes; `digest` is `sha256:<hex>` as `compute_digest` defines it.
    """

    uri: str
    revision: str | None
    files: tuple[FileEntry, ...]
    total_size: int
    digest: str

    @classmethod
    def of(cls, *, uri: str, revision: str | None, files: Iterable[FileEntry]) -> Manifest:
        """The manifest of these files, with order, total and digest worked out."""
        ordered = tuple(sorted(files, key=lambda entry: entry.path))
        total = sum(entry.size for entry in ordered)
        return cls(uri=uri, revision=revision, files=ordered, total_size=total, digest=compute_digest(ordered))

    @classmethod
    def from_json(cls, data: bytes) -> Manifest:
        """Parses what `to_json` wrote. Raises ValueError when it is not a manifest or contradicts itself."""
        manifest = msgspec.json.decode(data, type=cls)
        try:
            for entry in manifest.files:
                check_path(entry.path)
        except InvalidURIError as error:
            raise ValueError(str(error)) from error
        if manifest != cls.of(uri=manifest.uri, revision=manifest.revision, files=manifest.files):
            raise ValueError("the manifest contradicts itself: order, total or digest do not follow from its files")
        return manifest

    def to_json(self) -> bytes:
        """The manifest as indented JSON with a final newline."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"

    @classmethod
    def read(cls, path: Path | str) -> Manifest:
        """Reads the manifest file at `path`. Raises OSError, or ValueError when the content is not a manifest."""
        return cls.from_json(Path(path).read_bytes())

    def write(self, path: Path | str) -> None:
        """Replaces the file at `path` atomically and durably."""
        write_atomically(Path(path), self.to_json(), durable=True)


def manifest_path(dest: Path | str) -> Path:
    """Where a download into `dest` leaves its manifest."""
    return Path(dest) / NOTES_DIR / MANIFEST_FILE


def compute_digest(files: Iterable[FileEntry]) -> str:
    """The digest of a set of files: sha256 over the sorted lines `sha256:<hex> <size> <path>`, each ended by a newline.

    Returns `sha256:<hex>`. It does not depend on the order in which the files are given.
    """
    lines = sorted(f"sha256:{entry.sha256} {entry.size} {entry.path}" for entry in files)
    return "sha256:" + hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()


def check_path(path: str) -> str:
    """Returns `path` if it may be written below a destination directory, else raises InvalidURIError.

    Refused: absolute paths, `.` and `..` segments, empty segments, control characters (a newline would make the
    digest's lines ambiguous), names that are not valid text, and the directory of our own notes.
    """
    parts = path.split("/")
    if not path or any(part in ("", ".", "..") for part in parts):
        raise InvalidURIError(f"the source names the file {path!r}, which does not lie inside the model's directory")
    if parts[0] == NOTES_DIR:
        raise InvalidURIError(f"the source names the file {path!r}, but {NOTES_DIR}/ is kept for notes on the download")
    if any(ord(character) < 32 or 0xD800 <= ord(character) < 0xE000 for character in path):
        raise InvalidURIError(
            f"the source names the file {path!r}, which has characters that a file name must not have"
        )
    return path
