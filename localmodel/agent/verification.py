"""Is a finished download whole? Job status alone is no answer: it says that a program ended well, not what it left."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from localmodel.download.manifest import FileEntry, Manifest, compute_digest, manifest_path

from . import tree
from .beneath import Beneath
from .errors import NothingDownloadedError, VerificationError
from .manifest import ModelManifest, Reference


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """What the store needs to know of a download beside its files."""

    uri: str
    attempts: int = 0
    references: tuple[Reference, ...] = ()
    expected_digest: str = ""
    """The digest that the files must have; any when empty."""
    is_by_ours: bool = True
    """Our own downloader brought it, so what lies in its notes is from it and not from the source."""


@dataclass(frozen=True, slots=True)
class Content:
    """The files of a verified download. `digest` is empty where no one has read them all yet."""

    files: tuple[FileEntry, ...]
    revision: str = ""
    digest: str = ""


def verify(folder: Path, publication: Publication) -> Content:
    """What was downloaded into the folder, if it is whole; raises VerificationError or OSError. Changes nothing.

    Our downloader's manifest must fit the files' names and sizes; files that it does not list do not count. For a
    foreign image the files themselves are the list, and digests are read off them only if one is expected.
    """
    if folder.is_symlink() or not folder.is_dir():
        raise NothingDownloadedError(f"{folder} does not exist although the download succeeded")
    files = tree.scan(folder)
    # A digest that is expected guards against the source, which can bring notes of its own past a foreign image.
    believed = publication.is_by_ours or not publication.expected_digest
    notes = _downloader_manifest(folder, publication.uri) if believed else None
    if notes is not None:
        if difference := tree.first_difference(folder, notes.files):
            raise VerificationError(f"the download of {publication.uri} is not whole: {difference}")
        content = Content(notes.files, notes.revision or "", notes.digest)
    else:
        content = _from_files(folder, files, with_digests=bool(publication.expected_digest))
    if not content.files:
        raise NothingDownloadedError(
            f"the download of {publication.uri} succeeded but left no file in {folder}; check that the volume path of "
            "the node group is the directory of this node that its agent has mounted"
        )
    if publication.expected_digest and content.digest != publication.expected_digest:
        raise VerificationError(
            f"the download of {publication.uri} has the digest {content.digest}, expected {publication.expected_digest}"
        )
    return content


def manifest_of(key: str, publication: Publication, content: Content, now: datetime) -> ModelManifest:
    """What is written down of a model of that content."""
    return ModelManifest(
        storage_key=key,
        uri=publication.uri,
        revision=content.revision,
        files=content.files,
        total_size=sum(entry.size for entry in content.files),
        digest=content.digest,
        published_time=now,
        attempts=publication.attempts,
        references=publication.references,
    )


def _from_files(folder: Path, files: dict[str, int], *, with_digests: bool) -> Content:
    entries = tuple(
        FileEntry(path=path, size=size, sha256=tree.file_digest(folder, path) if with_digests else "")
        for path, size in sorted(files.items())
    )
    return Content(entries, digest=compute_digest(entries) if with_digests else "")


def _downloader_manifest(folder: Path, uri: str) -> Manifest | None:
    try:
        manifest = Manifest.from_json(Beneath(folder).read(manifest_path(folder)))
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno != errno.EFBIG:
            raise
        raise VerificationError(f"the download's own manifest of {uri} cannot be used: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise VerificationError(f"the download's own manifest of {uri} cannot be used: {error}") from error
    if manifest.uri != uri:
        raise VerificationError(f"the download's own manifest is for {manifest.uri}, not for {uri}")
    return manifest
