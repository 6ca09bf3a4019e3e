"""The sources: one module per kind of storage, each turning a URI into a plan.

`source_for` is the only place that knows which there are. The modules are imported when their scheme is asked for, so
that a download pays only for the libraries it uses.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from localmodel.download.errors import UnsupportedSchemeError, redact_uri
from localmodel.download.options import DownloadOptions
from localmodel.download.sources.base import Source

SUPPORTED = ("hf://owner/model[:revision]", "http(s)://host/path/file", "file:///path")

# https URIs that KServe's storage-initializer reads in a way of its own; one GET would not fetch what they stand for.
_SPECIAL_HTTPS = re.compile(r"https://[^/]+\.(?:blob|file)\.core\.windows\.net/|https://.+\.git/?$", re.IGNORECASE)


def is_local(uri: str) -> bool:
    """Whether the URI names files of the machine, or container, that downloads it."""
    return _scheme(uri) == "file"


def is_supported(uri: str) -> bool:
    """Whether there is a source for URIs of this form; a malformed one can have it."""
    return _scheme(uri) in ("hf", "file") or (_scheme(uri) in ("http", "https") and not _SPECIAL_HTTPS.match(uri))


def _scheme(uri: str) -> str:
    scheme, separator, _ = uri.partition("://")
    return scheme.lower() if separator else ""


def source_for(uri: str, *, env: Mapping[str, str], options: DownloadOptions) -> Source:
    """The source that serves `uri`. Raises UnsupportedSchemeError, or InvalidURIError when the URI is malformed."""
    scheme = _scheme(uri)
    if scheme == "hf":
        from localmodel.download.sources.huggingface import HuggingFaceSource

        return HuggingFaceSource(uri, env=env, options=options)
    if scheme in ("http", "https") and is_supported(uri):
        from localmodel.download.sources.http import HTTPSource

        return HTTPSource(uri, env=env, options=options)
    if scheme == "file":
        from localmodel.download.sources.file import FileSource

        return FileSource(uri)
    raise UnsupportedSchemeError(
        f"cannot download {redact_uri(uri)}: supported are {', '.join(SUPPORTED)}; for other storage let the cache's "
        "job use an image that knows it (a ClusterStorageContainer, or KServe's storage-initializer)"
    )
