"""hf:// - a model repository of the Hugging Face hub, or of whatever speaks its API at HF_ENDPOINT.

The hub's own client answers what a revision is and which files it has, with sizes and digests. The bytes come through
our transport instead: that client throws unfinished files away and does not compare digests, and its Xet mode contacts
further hosts and takes memory without regard to limits (reference/caching.md 0.20, 2.4). So nothing is contacted but
the endpoint and where its `resolve` addresses redirect to; the token goes to the endpoint alone.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import quote

from localmodel import __version__
from localmodel.download.errors import (
    AuthenticationError,
    DownloadError,
    InvalidURIError,
    NotFoundError,
    TransientError,
    UnreachableError,
)
from localmodel.download.manifest import check_path
from localmodel.download.options import DownloadOptions
from localmodel.download.sources.base import ByteStream, Plan, PlannedFile
from localmodel.download.transport import Transport, origin, proxy_for, retry_after, tls_context

_DEFAULT_ENDPOINT = "https://huggingface.co"
_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?")
_TRANSIENT = (408, 425, 429)

T = TypeVar("T")


def parse_uri(uri: str) -> tuple[str, str]:
    """`(owner/model, revision)` of `hf://owner/model[:revision]`; the revision is `main` if none is named.

    Raises InvalidURIError. A revision may contain slashes, as `refs/pr/1` does.
    """
    rest = uri.partition("://")[2]
    repository, colon, revision = rest.partition(":")
    parts = repository.strip("/").split("/")
    if len(parts) != 2 or not all(_NAME.fullmatch(part) for part in parts):
        raise InvalidURIError(
            f"{uri} must be hf://owner/model or hf://owner/model:revision: exactly two parts of letters, digits, "
            "'-', '_' and '.'"
        )
    if colon and not revision.strip("/"):
        raise InvalidURIError(f"{uri} has a colon but no revision after it")
    return "/".join(parts), revision.strip("/") or "main"


class HuggingFaceSource:
    """One revision of one model repository."""

    def __init__(self, uri: str, *, env: Mapping[str, str], options: DownloadOptions) -> None:
        """Reads HF_ENDPOINT, HF_TOKEN and LOCALMODEL_DOWNLOAD_REVISION, which wins over the URI's revision.

        Raises InvalidURIError.
        """
        self._uri = uri
        self._repository, self._revision = parse_uri(uri)
        self._revision = env.get("LOCALMODEL_DOWNLOAD_REVISION", "").strip() or self._revision
        self._endpoint = (env.get("HF_ENDPOINT", "").strip() or _DEFAULT_ENDPOINT).rstrip("/")
        if not self._endpoint.startswith(("http://", "https://")):
            raise InvalidURIError("HF_ENDPOINT must start with http:// or https://")
        self._token = (env.get("HF_TOKEN") or env.get("HUGGING_FACE_HUB_TOKEN") or "").strip()
        self._env = env
        self._options = options
        self._transport = Transport(env=env, options=options)

    def resolve(self) -> Plan:
        """Pins the revision to a commit and lists its files. Two kinds of request, whatever the number of files."""
        api = self._api()
        info = self._ask(lambda: api.model_info(self._repository, revision=self._revision))
        if not info.sha:
            raise DownloadError(f"{self._endpoint} named no commit for {self._uri}, so it cannot be pinned")
        commit: str = info.sha
        listing = api.list_repo_tree(self._repository, revision=commit, recursive=True)
        try:
            entries = self._ask(lambda: list(listing))
        except TransientError as error:
            # The client has tried a listing six times by itself; doing that again for each of our attempts takes ages.
            raise UnreachableError(str(error)) from error
        files = [self._plan(entry, commit) for entry in entries if hasattr(entry, "blob_id")]
        return Plan(revision=commit, files=tuple(files))

    def _plan(self, entry: Any, commit: str) -> PlannedFile:
        path = check_path(entry.path)
        sha256 = entry.lfs.sha256 if entry.lfs else None
        url = f"{self._endpoint}/{self._repository}/resolve/{commit}/{quote(path)}"
        return PlannedFile(
            path=path,
            size=entry.lfs.size if entry.lfs else entry.size,
            sha256=sha256,
            git_sha1=None if sha256 else entry.blob_id,
            identity=sha256 or entry.blob_id,
            open=lambda offset: self._open(url, offset),
        )

    def _open(self, url: str, offset: int) -> ByteStream:
        credentials = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        return self._transport.get(url, headers={}, credentials=credentials, offset=offset, describe=self._refusal)

    def _api(self) -> Any:
        """The hub's client, made to contact nothing but the endpoint and to send no token but ours.

        Its connection and its telemetry can only be set for the whole process.
        """
        import huggingface_hub
        from huggingface_hub import constants

        constants.HF_HUB_DISABLE_TELEMETRY = True
        logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
        huggingface_hub.set_client_factory(self._client)
        return huggingface_hub.HfApi(
            endpoint=self._endpoint,
            token=self._token or False,
            library_name="localmodel-download",
            library_version=__version__,
        )

    def _client(self) -> Any:
        """The connection of the hub's client, with our certificates, proxies and deadlines.

        The client asks for listings without any timeout, so the deadline is set on each request and not as a default.
        """
        import httpx2

        deadline = httpx2.Timeout(self._options.read_timeout_seconds, connect=self._options.connect_timeout_seconds)

        def bound(request: httpx2.Request) -> None:
            request.extensions = {**request.extensions, "timeout": deadline.as_dict()}

        return httpx2.Client(
            event_hooks={"request": [bound]},
            follow_redirects=True,
            verify=tls_context(self._env),
            proxy=proxy_for(self._endpoint, self._env),
            trust_env=False,
        )

    def _ask(self, call: Callable[[], T]) -> T:
        import httpx2
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError

        try:
            return call()
        except HFValidationError as error:
            raise InvalidURIError(f"{self._uri} does not name a model: {error}") from error
        except HfHubHTTPError as error:
            status = error.response.status_code
            if status >= 500 or status in _TRANSIENT:
                raise TransientError(
                    f"{origin(self._endpoint)} answered {status} for {self._uri}",
                    retry_after=retry_after(error.response.headers),
                ) from error
            raise self._refusal(status, error.response.headers, self._uri) from error
        except httpx2.HTTPError as error:
            raise TransientError(
                f"cannot reach {origin(self._endpoint)} for {self._uri}: {str(error) or type(error).__name__}; check "
                "HF_ENDPOINT and the network"
            ) from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DownloadError(
                f"{origin(self._endpoint)} does not answer like a Hugging Face hub; check HF_ENDPOINT"
            ) from error

    def _refusal(self, status: int, headers: Mapping[str, str], url: str) -> DownloadError:
        """The hub's answer in words. It says which of repository, revision and file is missing by X-Error-Code."""
        code = headers.get("X-Error-Code", "")
        host = origin(self._endpoint)
        if code == "GatedRepo":
            return AuthenticationError(
                f"authentication failed: {self._uri} is gated on {host}; accept its terms there with the account whose "
                "token is used, then check HF_TOKEN / the secret"
            )
        if status in (401, 403):
            hint = "the token was refused" if self._token else "no token was given, and the model is private or missing"
            return AuthenticationError(
                f"authentication failed: {host} answered {status} for {self._uri} ({hint}); check HF_TOKEN / the secret"
            )
        if code == "RevisionNotFound":
            return NotFoundError(
                f"model or revision not found: {self._repository} on {host} has no revision {self._revision!r}; check "
                f"{self._uri}"
            )
        if status in (404, 410):
            return NotFoundError(
                f"model or revision not found: {host} answered {status} for {url}; check the name in {self._uri}, and "
                "HF_TOKEN / the secret if the model is private"
            )
        return DownloadError(f"{host} refused the request for {url} with status {status}")
