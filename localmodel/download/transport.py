"""HTTP for bulk bytes: one pool of connections, redirects that do not leak credentials, errors in this package's terms.

Built on urllib3 because it hands out the body as it arrives at little cost. Redirects are followed here and not by the
library: a hub answers with a redirect to a storage host, and no credential header may go to a host that it was not
meant for. Certificates and proxies come from the variables that KServe's storage-initializer and curl know.
"""

from __future__ import annotations

import re
import ssl
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol
from urllib.parse import urljoin, urlsplit
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]

import urllib3
from urllib3.exceptions import HTTPError, LocationValueError, NewConnectionError, SSLError
from urllib3.exceptions import TimeoutError as HTTPTimeoutError

from localmodel import __version__
from localmodel.download.errors import (
    AuthenticationError,
    DownloadError,
    InvalidURIError,
    NotFoundError,
    TransientError,
    redact_uri,
)
from localmodel.download.options import DownloadOptions

USER_AGENT = f"localmodel-download/{__version__}"
_MAX_REDIRECTS = 10
_REDIRECTS = (301, 302, 303, 307, 308)
_WORTH_ANOTHER_TRY = (408, 425, 429)
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


class Describe(Protocol):
    """Turns a refusing answer into the error for the user."""

    def __call__(self, status: int, headers: Mapping[str, str], url: str, /) -> DownloadError:
        """The error for this status and these headers; `url` is fit to be shown."""


def origin(url: str) -> str:
    """Scheme, host and port of a URL: what a credential belongs to, and what a message names."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}".lower()


def describe_status(status: int, _headers: Mapping[str, str], url: str) -> DownloadError:
    """The error for a refusing answer of a plain web server."""
    if status in (401, 403):
        return AuthenticationError(
            f"authentication failed: {origin(url)} answered {status} for {url}; check the headers in the secret "
            f"(environment variable {urlsplit(url).hostname}-headers)"
        )
    if status in (404, 410):
        return NotFoundError(f"not found: {origin(url)} answered {status} for {url}; check the URI")
    return DownloadError(f"{origin(url)} refused the request for {url} with status {status}")


class BodyStream:
    """The body of an answer as a `ByteStream`."""

    def __init__(self, response: urllib3.BaseHTTPResponse, *, url: str, asked_offset: int) -> None:
        """`asked_offset` is where the request asked to start; where the body really starts is in `offset`."""
        self._response = response
        self._url = url
        self.headers: Mapping[str, str] = response.headers
        self.offset = 0
        self.size: int | None = None  # of the whole file, where the answer tells
        length = response.headers.get("Content-Length", "")
        if response.status == 206:
            match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
            if match is None or int(match[1]) != asked_offset:
                response.close()
                raise TransientError(f"{origin(url)} answered a request for a range of {redact_uri(url)} with another")
            self.offset = asked_offset
            self.size = None if match[2] == "*" else int(match[2])
        elif length.isdigit() and not response.headers.get("Content-Encoding"):
            self.size = int(length)

    def read(self, limit: int) -> bytes:
        """What has arrived, at most `limit` bytes; waits for at least one, or the end."""
        try:
            return self._response.read1(limit, decode_content=False)
        except HTTPTimeoutError as error:
            raise TransientError(f"{origin(self._url)} stalled: nothing arrived within the read timeout") from error
        except (HTTPError, OSError) as error:
            raise TransientError(f"the connection to {origin(self._url)} broke: {_cause(error)}") from error

    def close(self) -> None:
        """Drops the connection unless the body was read to its end, when it goes back to the pool."""
        if self._response.closed:
            self._response.release_conn()
        else:
            self._response.close()


class Transport:
    """GET requests with a deadline for connecting and for silence. Threads may share one."""

    def __init__(self, *, env: Mapping[str, str], options: DownloadOptions) -> None:
        """Reads certificate and proxy settings from `env`."""
        self._env = env
        self._timeout = urllib3.Timeout(connect=options.connect_timeout_seconds, read=options.read_timeout_seconds)
        self._size = options.parallel_files
        self._pools: dict[str | None, urllib3.PoolManager] = {}
        self._lock = threading.Lock()

    def get(
        self,
        url: str,
        *,
        headers: Mapping[str, str],
        credentials: Mapping[str, str],
        offset: int = 0,
        if_range: str | None = None,
        describe: Describe = describe_status,
    ) -> BodyStream:
        """Opens `url` at `offset`. `credentials` are headers that only the URL's own origin may see.

        With `if_range` (a strong ETag) the server sends the whole file if it is another by now. Raises TransientError
        when another attempt may help, else what `describe` makes of the answer.
        """
        wanted = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **headers}
        if offset:
            wanted["Range"] = f"bytes={offset}-"
            if if_range is not None:
                wanted["If-Range"] = if_range
        home = origin(url)
        for _ in range(_MAX_REDIRECTS + 1):
            sent = {**wanted, **credentials} if origin(url) == home else wanted
            response = self._send(url, sent)
            location = response.headers.get("Location")
            if response.status not in _REDIRECTS or not location:
                return self._accept(response, url=url, offset=offset, describe=describe)
            response.close()
            url = urljoin(url, location)
            if urlsplit(url).scheme not in ("http", "https"):
                raise DownloadError(f"{home} redirects to {redact_uri(url)}, which is not http or https")
        raise DownloadError(f"{home} redirects more than {_MAX_REDIRECTS} times")

    def _accept(self, response: urllib3.BaseHTTPResponse, *, url: str, offset: int, describe: Describe) -> BodyStream:
        if response.status in (200, 206):
            return BodyStream(response, url=url, asked_offset=offset)
        response.close()
        shown = redact_uri(url)
        if response.status >= 500 or response.status in _WORTH_ANOTHER_TRY:
            raise TransientError(
                f"{origin(url)} answered {response.status} for {shown}", retry_after=retry_after(response.headers)
            )
        raise describe(response.status, response.headers, shown)

    def _send(self, url: str, headers: Mapping[str, str]) -> urllib3.BaseHTTPResponse:
        try:
            return self._pool(url).request(
                "GET", url, headers=dict(headers), redirect=False, retries=False, preload_content=False,
                timeout=self._timeout,
            )  # fmt: skip
        except LocationValueError as error:
            raise InvalidURIError(f"{redact_uri(url)} is not a URL: {error}") from error
        except SSLError as error:
            raise DownloadError(
                f"cannot trust {origin(url)}: {_cause(error)}; if it has a certificate of its own authority, give the "
                "authority's certificate in a CA bundle (SSL_CERT_FILE)"
            ) from error
        except (HTTPError, OSError) as error:
            raise TransientError(
                f"cannot reach {origin(url)}: {_cause(error)}; check the address and the network"
            ) from error

    def _pool(self, url: str) -> urllib3.PoolManager:
        proxy = proxy_for(url, self._env)
        with self._lock:
            if proxy not in self._pools:
                self._pools[proxy] = self._new_pool(proxy)
            return self._pools[proxy]

    def _new_pool(self, proxy: str | None) -> urllib3.PoolManager:
        context = tls_context(self._env)
        if proxy is None:
            return urllib3.PoolManager(maxsize=self._size, ssl_context=context)
        return urllib3.ProxyManager(proxy, maxsize=self._size, ssl_context=context)


def tls_context(env: Mapping[str, str]) -> ssl.SSLContext:
    """Verification against the system's authorities plus the bundle that `env` names.

    KServe names it by CA_BUNDLE_CONFIGMAP_NAME and the directory CA_BUNDLE_VOLUME_MOUNT_POINT; curl and its kin by
    SSL_CERT_FILE or REQUESTS_CA_BUNDLE, clients of S3 by AWS_CA_BUNDLE. Raises DownloadError when a bundle cannot be
    read.
    """
    context = ssl.create_default_context()
    bundles = [env[name] for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE") if env.get(name)]
    if env.get("CA_BUNDLE_CONFIGMAP_NAME"):
        mounted = Path(env.get("CA_BUNDLE_VOLUME_MOUNT_POINT") or "/etc/ssl/custom-certs", "cabundle.crt")
        bundles += [str(mounted)] if mounted.exists() else []
    if env.get("AWS_CA_BUNDLE") and Path(env["AWS_CA_BUNDLE"]).exists():
        bundles.append(env["AWS_CA_BUNDLE"])
    for bundle in bundles:
        try:
            context.load_verify_locations(cafile=bundle)
        except OSError as error:
            raise DownloadError(f"cannot read the CA bundle {bundle}: {error}") from error
    return context


def proxy_for(url: str, env: Mapping[str, str]) -> str | None:
    """The proxy that HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY (either case) ask for, or None."""
    if env.get("REQUEST_METHOD"):
        return None  # in a CGI process a client can set HTTP_PROXY by a header
    parts = urlsplit(url)
    settings = {}
    for name in ("http", "https", "all", "no"):
        value = env.get(f"{name}_proxy") or env.get(f"{name.upper()}_PROXY")
        if value:
            settings[name] = value
    if proxy_bypass_environment(parts.netloc.rpartition("@")[2], settings):
        return None
    return settings.get(parts.scheme) or settings.get("all")


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds that a server asks to wait, from Retry-After or the hub's RateLimit header, or None."""
    text = headers.get("Retry-After", "").strip()
    if text.isdigit():
        return float(text)
    match = re.search(r"\bt=(\d+)", headers.get("RateLimit", ""))
    return float(match[1]) if match else None


def _cause(error: BaseException) -> str:
    """The innermost cause in few words: urllib3 wraps what the operating system said in several layers."""
    if isinstance(error, NewConnectionError):
        return str(error).rpartition(": ")[2]
    if isinstance(error, HTTPTimeoutError):
        return "no answer in time"
    inner = error
    while inner.args and isinstance(inner.args[-1], BaseException):
        inner = inner.args[-1]
    return f"{inner}" or type(inner).__name__
