"""What can go wrong while a model is fetched, as types.

Every message is written for the person who reads it on the cache's condition: what failed, with which URI, and what to
do about it. No message carries a token, a header's value or the query of a URL (`redact_uri`), because messages end in
logs, in the termination log of a pod and in the status of objects that more people may read than the credentials.
"""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit


class DownloadError(Exception):
    """A download that failed; the message is fit for a user. Base of every error this package raises on purpose."""

    def name_uri(self, uri: str) -> None:
        """Puts the URI (already fit to be shown) into the message unless it is there."""
        if uri not in str(self):
            self.args = (f"{self} (while downloading {uri})",)


class InvalidURIError(DownloadError):
    """The URI (or a path the source names) is not well-formed; trying again cannot help."""


class UnsupportedSchemeError(DownloadError):
    """The URI names a kind of storage that this program does not fetch from."""


class AuthenticationError(DownloadError):
    """The source refused the credentials, or the lack of them (401, 403, gated model)."""


class NotFoundError(DownloadError):
    """The source answered, and has no such model, revision or file."""


class UnreachableError(DownloadError):
    """The source did not answer, or not in a usable way, and went on so for all the attempts allowed."""


class TransientError(UnreachableError):
    """One attempt failed in a way that the next may not. Raised to the caller only when the attempts are used up."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        """`retry_after`: seconds that the server asked to be left alone for."""
        super().__init__(message)
        self.retry_after = retry_after


class NoSpaceError(DownloadError):
    """The file system of the destination has no room for what is still to be written."""

    def __init__(self, message: str, *, needed: int, free: int) -> None:
        """`needed` and `free` are bytes, as far as they were known when it failed."""
        super().__init__(message)
        self.needed = needed
        self.free = free


class IntegrityError(DownloadError):
    """The bytes received are not those that the source announced."""


class DestinationError(DownloadError):
    """The destination directory cannot be used: not writable, in use by another download, or in the way."""


class CancelledError(DownloadError):
    """The download was told to stop; what it has so far stays for the next run."""


def redact_uri(uri: str) -> str:
    """The URI as it may be shown: without user information, and without the query (signed URLs carry secrets there)."""
    try:
        parts = urlsplit(uri)
    except ValueError:
        return uri.partition("?")[0].rpartition("@")[2]
    netloc = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, netloc, parts.path, "..." if parts.query else "", ""))


def human_bytes(count: float) -> str:
    """Bytes in the largest binary unit that leaves at least one, such as `1.5 GiB`."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if count < 1024 or unit == "TiB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    raise AssertionError("unreachable")
