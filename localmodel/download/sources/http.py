"""http(s):// - one file, or one archive that is unpacked.

Follows KServe's storage-initializer: the file is named after the URL's path, `<host>-headers` in the environment holds
a JSON object of request headers, and an answer that is a web page instead of a file is refused. KServe takes nothing
but application/octet-stream for plain files; this takes any type but web pages, since a config.json is rightly served
as JSON, while a page is what a login wall or an error answers with.
"""

from __future__ import annotations

import json
import posixpath
import threading
from collections.abc import Mapping
from urllib.parse import unquote, urlsplit

from localmodel.download.errors import DownloadError, InvalidURIError, redact_uri
from localmodel.download.manifest import check_path
from localmodel.download.options import DownloadOptions
from localmodel.download.redaction import HEADERS_SUFFIX
from localmodel.download.sources.base import ArchiveKind, ByteStream, Plan, PlannedFile
from localmodel.download.transport import BodyStream, Transport

_WEB_PAGES = ("text/html", "application/xhtml+xml")
_OPAQUE = ("application/octet-stream", "binary/octet-stream", "")
_ARCHIVE_TYPES: dict[ArchiveKind, tuple[str, ...]] = {
    "zip": ("application/zip", "application/x-zip-compressed", "application/zip-compressed"),
    "tar": ("application/x-tar", "application/x-gtar", "application/x-gzip", "application/gzip", "application/x-bzip2",
            "application/x-xz", "application/x-compressed-tar"),
}  # fmt: skip
_ARCHIVE_SUFFIXES: dict[ArchiveKind, tuple[str, ...]] = {
    "zip": (".zip",),
    "tar": (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz"),
}


def archive_kind(name: str) -> ArchiveKind | None:
    """The kind of archive that a file of this name is, or None."""
    return next((kind for kind, endings in _ARCHIVE_SUFFIXES.items() if name.lower().endswith(endings)), None)


class HTTPSource:
    """Fetches one URL with GET, and continues with ranges under the same ETag."""

    def __init__(self, uri: str, *, env: Mapping[str, str], options: DownloadOptions) -> None:
        """Raises InvalidURIError without a host or a file name in the URL, DownloadError on unusable headers."""
        try:
            parts = urlsplit(uri)
            host = parts.hostname
            _ = parts.port
        except ValueError as error:
            raise InvalidURIError(f"{redact_uri(uri)} is not a URL: {error}") from error
        name = posixpath.basename(unquote(parts.path))
        if not host or not name:
            raise InvalidURIError(f"{redact_uri(uri)} must name a host and, at the end of its path, a file")
        self._uri = uri
        self._name = check_path(name)
        self._credentials = _headers_for(host, env)
        self._transport = Transport(env=env, options=options)
        self._lock = threading.Lock()
        self._opened: BodyStream | None = None  # the answer that told the plan; the first read from zero goes on in it

    def resolve(self) -> Plan:
        """Asks for the file itself, since servers that sign URLs often refuse HEAD, and keeps the answer open."""
        stream = self._get(0, None)
        kind = archive_kind(self._name)
        content_type = stream.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        try:
            self._check_type(content_type, kind)
        except DownloadError:
            stream.close()
            raise
        etag = stream.headers.get("ETag", "").strip()
        strong = etag if etag and not etag.startswith("W/") else None
        with self._lock:
            self._opened = stream
        file = PlannedFile(
            path=self._name,
            size=stream.size,
            identity=strong and f"{self._uri} {strong}",
            open=lambda offset: self._open(offset, strong),
        )
        return Plan(revision=strong and strong.strip('"'), files=(file,), archive=kind)

    def _open(self, offset: int, etag: str | None) -> ByteStream:
        with self._lock:
            opened, self._opened = self._opened, None
        if opened is not None:
            if offset == 0:
                return opened
            opened.close()
        stream = self._get(offset, etag)
        now = stream.headers.get("ETag", "").strip()
        if etag is not None and now != etag:
            stream.close()
            raise DownloadError(f"{redact_uri(self._uri)} changed while it was downloaded; try again")
        return stream

    def _get(self, offset: int, etag: str | None) -> BodyStream:
        return self._transport.get(
            self._uri, headers={}, credentials=self._credentials, offset=offset if etag else 0, if_range=etag
        )

    def _check_type(self, content_type: str, kind: ArchiveKind | None) -> None:
        shown = redact_uri(self._uri)
        if content_type in _WEB_PAGES and not self._name.lower().endswith((".html", ".htm", ".xhtml")):
            raise DownloadError(
                f"{shown} answered with a web page ({content_type}) instead of a file; check the URI, and whether it "
                "needs a login"
            )
        if kind and content_type not in (*_ARCHIVE_TYPES[kind], *_OPAQUE):
            raise DownloadError(f"{shown} is named like a {kind} archive but was answered as {content_type}")


def _headers_for(host: str, env: Mapping[str, str]) -> dict[str, str]:
    text = env.get(f"{host}{HEADERS_SUFFIX}", "").strip()
    if not text:
        return {}
    try:
        headers = json.loads(text)
    except ValueError:
        headers = None
    if not isinstance(headers, dict) or not all(isinstance(value, str) for value in headers.values()):
        # Without the parser's own words: they quote the text, which is a secret.
        raise DownloadError(f"the environment variable {host}{HEADERS_SUFFIX} must be a JSON object of texts")
    return headers
