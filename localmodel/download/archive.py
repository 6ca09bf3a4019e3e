"""Unpacking an archive into a directory that it must not leave.

Only plain files come out. A link inside the archive becomes a copy of the member it names, so that the result stands by
itself; a link to anything else, an absolute path, a `..`, a device, an encrypted member are refused, before anything of
the archive shows in the destination. Sizes are checked against the free space first, and no member may be longer than
the archive says.
"""

from __future__ import annotations

import os
import posixpath
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from localmodel.download.digests import RunningDigest
from localmodel.download.errors import DownloadError, IntegrityError, InvalidURIError
from localmodel.download.manifest import FileEntry, check_path
from localmodel.download.sources.base import ArchiveKind

_BLOCK = 1 << 20


@dataclass(frozen=True, kw_only=True)
class _Member:
    path: str
    size: int
    open: Callable[[], IO[bytes]]


def unpack(
    archive: Path,
    kind: ArchiveKind,
    *,
    name: str,
    into: Path,
    wants: Callable[[str], bool],
    reserve: Callable[[int], None],
) -> list[FileEntry]:
    """Unpacks the members that `wants` accepts into the empty directory `into`, synced to disk.

    `archive` is where it lies, `name` what to call it in messages.

    `reserve` is called with the total size in bytes before anything is written, and raises if there is no room. Raises
    DownloadError if the archive is damaged or names what it must not.
    """
    try:
        if kind == "zip":
            with zipfile.ZipFile(archive) as bundle:
                return _write_all(_zip_members(bundle), into=into, wants=wants, reserve=reserve)
        with tarfile.open(archive) as tarball:
            return _write_all(_tar_members(tarball), into=into, wants=wants, reserve=reserve)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        raise IntegrityError(f"{name} is no {kind} archive that can be read: {error}") from error
    except InvalidURIError as error:
        raise InvalidURIError(f"the archive {name} was refused: {error}") from error


def _write_all(
    members: Iterator[_Member], *, into: Path, wants: Callable[[str], bool], reserve: Callable[[int], None]
) -> list[FileEntry]:
    chosen = {member.path: member for member in members if wants(member.path)}  # a later member replaces an earlier
    reserve(sum(member.size for member in chosen.values()))
    return [_write(member, into=into) for member in chosen.values()]


def _write(member: _Member, *, into: Path) -> FileEntry:
    target = into / member.path
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = RunningDigest()
    with member.open() as source, target.open("xb") as file:
        while block := source.read(_BLOCK):
            digest.update(block)
            if digest.size > member.size:
                break
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
    if digest.size != member.size:
        raise IntegrityError(f"the archive announces {member.size} bytes for {member.path} but holds another number")
    return FileEntry(path=member.path, size=digest.size, sha256=digest.sha256)


def _inside(name: str) -> str:
    """The member's path without `./`. Raises InvalidURIError when it could point outside."""
    if name.startswith("/") or ".." in name.split("/"):
        raise InvalidURIError(f"{name!r} points outside the directory it is unpacked into")
    return check_path(posixpath.normpath(name))


def _tar_members(tarball: tarfile.TarFile) -> Iterator[_Member]:
    for info in tarball.getmembers():
        if info.isdir():
            continue
        path = _inside(info.name)
        target = _tar_target(tarball, info)
        yield _Member(path=path, size=target.size, open=lambda target=target: _tar_open(tarball, target))  # type: ignore[misc]


def _tar_target(tarball: tarfile.TarFile, info: tarfile.TarInfo) -> tarfile.TarInfo:
    """The plain member that holds the content: itself, or what a chain of links inside the archive leads to."""
    seen: set[str] = set()
    while not info.isreg():
        if not (info.issym() or info.islnk()):
            raise InvalidURIError(f"{info.name!r} is a device or pipe")
        base = posixpath.dirname(info.name) if info.issym() else ""
        name = posixpath.normpath(posixpath.join(base, info.linkname))
        if info.linkname.startswith("/") or name.startswith("../") or name in seen:
            raise InvalidURIError(f"{info.name!r} is a link that leads out of the archive")
        seen.add(name)
        found = next((other for other in tarball.getmembers() if posixpath.normpath(other.name) == name), None)
        if found is None or found.isdir():
            raise InvalidURIError(f"{info.name!r} is a link to {info.linkname!r}, which is no file of the archive")
        info = found
    return info


def _tar_open(tarball: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    content = tarball.extractfile(info)
    if content is None:
        raise DownloadError(f"the archive's member {info.name} cannot be read")
    return content


def _zip_members(bundle: zipfile.ZipFile) -> Iterator[_Member]:
    for info in bundle.infolist():
        if info.is_dir():
            continue
        path = _inside(info.filename)
        mode = info.external_attr >> 16
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
            raise InvalidURIError(f"{info.filename!r} is a link or device")
        if info.flag_bits & 1:
            raise DownloadError(f"the archive's member {path} is encrypted")
        yield _Member(path=path, size=info.file_size, open=lambda info=info: bundle.open(info))  # type: ignore[misc]
