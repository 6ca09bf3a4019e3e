"""What the engine needs to know about a source, and nothing else.

A source resolves a URI, once, into a plan: the files with what is known of each, and for each a way to open it at an
offset. Resuming, verifying, retrying, capping and reporting live in the engine, written once for all sources.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

ArchiveKind = Literal["tar", "zip"]


class ByteStream(Protocol):
    """An open file of a source, read from the front to the back."""

    offset: int
    """Where the next byte belongs. Less than was asked for if the source cannot or must not continue there."""

    def read(self, limit: int) -> bytes:
        """The next bytes, at most `limit`; nothing at the end. Raises TransientError when the source goes away."""

    def close(self) -> None:
        """Lets go of the connection or file."""


@dataclass(frozen=True, kw_only=True)
class PlannedFile:
    """One file to fetch.

    path: where it goes, relative to the destination.
    size: bytes, or None if the source does not say.
    sha256, git_sha1: the digests that the source announces, lower-case hex, or None.
    identity: a text that changes when the content does; bytes of an earlier run count only under the same identity.
        None: the content cannot be told apart from a later one, so nothing of an earlier run may be used.
    open: opens it at an offset. Raises TransientError or another DownloadError.
    """

    path: str
    size: int | None
    identity: str | None
    open: Callable[[int], ByteStream]
    sha256: str | None = None
    git_sha1: str | None = None

    @property
    def has_digest(self) -> bool:
        """Whether the source announces what the content must be."""
        return self.sha256 is not None or self.git_sha1 is not None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a URI stands for at this moment.

    revision: the source's name for this version, or None.
    archive: the kind of archive that the only file is, if it is to be unpacked.
    """

    revision: str | None
    files: tuple[PlannedFile, ...]
    archive: ArchiveKind | None = None


class Source(Protocol):
    """A place that models come from."""

    def resolve(self) -> Plan:
        """Asks the source what the URI stands for. Raises TransientError or another DownloadError."""
