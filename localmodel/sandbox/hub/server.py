"""The hub's HTTP API for model repositories: what a revision is, which files it has, and their bytes.

Speaks `/api/models/{repo}`, `/api/models/{repo}/revision/{rev}`, `/api/models/{repo}/tree/{rev}[/{path}]` and
`/{repo}/resolve/{rev}/{path}`, with the headers and error codes that clients of the hub act on. Revisions are `main`
and the current commit. One thread per connection; `stop` also ends the connections, so a stopped hub is unreachable
even for clients that keep theirs open.
"""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Collection, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import parse_qs, quote, unquote, urlsplit

import structlog

from localmodel.download.clock import SystemClock
from localmodel.download.throttle import Throttle
from localmodel.sandbox.hub.repository import Repository, RepositoryFile, Snapshot

PAGE_SIZE = 1000
_CHUNK = 1 << 18
_CREATED = "2024-01-01T00:00:00.000Z"
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")

log = structlog.get_logger(__name__)


class RequestRecord(NamedTuple):
    """One request as it was answered; `path` without the query, `range` as the client sent it."""

    method: str
    path: str
    range: str | None
    status: int


class _RefusalError(Exception):
    """An answer other than success, with the code and text by which the hub's clients tell them apart."""

    def __init__(self, status: HTTPStatus, *, code: str | None, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


class HubServer:
    """Serves directories as model repositories: `with HubServer({"owner/model": path}) as hub: ... hub.url`."""

    def __init__(
        self,
        models: Mapping[str, Path],
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        token: str | None = None,
        gated: Collection[str] = (),
        max_bytes_per_second: int | None = None,
        page_size: int = PAGE_SIZE,
    ) -> None:
        """Takes the port but answers nothing before `start`.

        token: every request must carry it as bearer token, else 401. gated: repositories that nobody's token may read
        (403). max_bytes_per_second: a cap on file bytes over all connections. page_size: entries per page of a listing.
        """
        self.repositories = {name: Repository(Path(directory)) for name, directory in models.items()}
        self.token = token
        self.gated = frozenset(gated)
        self.page_size = page_size
        self.requests: list[RequestRecord] = []
        self.stopping = threading.Event()
        self.throttle = Throttle(bytes_per_second=max_bytes_per_second or 0, clock=SystemClock())
        self._lock = threading.Lock()
        self._bytes_sent = 0
        self._server = _Server((host, port), self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="hub", daemon=True)

    @property
    def url(self) -> str:
        """The endpoint to give clients as HF_ENDPOINT."""
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}"

    @property
    def bytes_sent(self) -> int:
        """Bytes of files that went out so far, over all requests."""
        with self._lock:
            return self._bytes_sent

    def start(self) -> Self:
        """Begins to answer."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Ends the server and every connection. Calling it again does nothing."""
        if self.stopping.is_set():
            return
        self.stopping.set()
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()
        self._server.drop_connections()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def count(self, sent: int) -> None:
        """Notes that file bytes went out."""
        with self._lock:
            self._bytes_sent += sent

    def record(self, record: RequestRecord) -> None:
        """Notes an answered request."""
        with self._lock:
            self.requests.append(record)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], hub: HubServer) -> None:
        self.hub = hub
        self._connections: set[socket.socket] = set()
        self._connections_lock = threading.Lock()
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._connections_lock:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._connections_lock:
            self._connections.discard(request)
        super().shutdown_request(request)

    def drop_connections(self) -> None:
        with self._connections_lock:
            for connection in self._connections:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:  # the client was faster
                    continue

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A client that went away in the middle is nothing to the hub; the standard library would print a traceback.
        log.debug("a connection ended early", request=str(request), client=str(client_address), exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def log_message(self, *_args: object) -> None:
        """Says nothing: requests are recorded for those who ask (`HubServer.requests`)."""

    def _answer(self) -> None:
        path = urlsplit(self.path).path
        try:
            self._check_token()
            if path.startswith("/api/models/"):
                self._api(path.removeprefix("/api/models/"))
            else:
                self._resolve(path.removeprefix("/"))
        except _RefusalError as refusal:
            headers = {"X-Error-Message": refusal.message}
            if refusal.code:
                headers["X-Error-Code"] = refusal.code
            self._send_json({"error": refusal.message}, status=refusal.status, headers=headers)

    def _check_token(self) -> None:
        token = self.server.hub.token
        given = self.headers.get("Authorization")
        if token is None or given == f"Bearer {token}":
            return
        if given is None:
            raise _RefusalError(HTTPStatus.UNAUTHORIZED, code="RepoNotFound", message="Invalid username or password.")
        raise _RefusalError(HTTPStatus.UNAUTHORIZED, code=None, message="Invalid credentials in Authorization header")

    def _repository(self, path: str) -> tuple[str, Snapshot, list[str]]:
        """The repository that the path starts with, its snapshot, and the rest of the path in parts, unquoted."""
        parts = path.rstrip("/").split("/")
        for length in (2, 1):
            name = unquote("/".join(parts[:length]))
            if len(parts) >= length and name in self.server.hub.repositories:
                if name in self.server.hub.gated:
                    raise _RefusalError(
                        HTTPStatus.FORBIDDEN, code="GatedRepo", message=f"Access to model {name} is restricted."
                    )
                rest = [unquote(part) for part in parts[length:]]
                return name, self.server.hub.repositories[name].snapshot(), rest
        raise _RefusalError(HTTPStatus.NOT_FOUND, code="RepoNotFound", message="Repository not found")

    def _check_revision(self, snapshot: Snapshot, revision: str) -> None:
        if revision not in ("main", "refs/heads/main", snapshot.commit):
            raise _RefusalError(HTTPStatus.NOT_FOUND, code="RevisionNotFound", message=f"Invalid rev id: {revision}")

    def _api(self, path: str) -> None:
        name, snapshot, rest = self._repository(path)
        query = parse_qs(urlsplit(self.path).query)
        match rest:
            case []:
                self._send_json(_model_info(name, snapshot, blobs=_flag(query, "blobs")))
            case ["revision", revision]:
                self._check_revision(snapshot, revision)
                self._send_json(_model_info(name, snapshot, blobs=_flag(query, "blobs")))
            case ["tree", revision, *below]:
                self._check_revision(snapshot, revision)
                self._send_tree(snapshot, "/".join(below), query)
            case _:
                raise _RefusalError(HTTPStatus.NOT_FOUND, code=None, message="No such endpoint")

    def _send_tree(self, snapshot: Snapshot, below: str, query: Mapping[str, list[str]]) -> None:
        entries = _tree(snapshot, below, recursive=_flag(query, "recursive"), expand=_flag(query, "expand"))
        if below and not entries:
            raise _RefusalError(HTTPStatus.NOT_FOUND, code="EntryNotFound", message=f"{below} does not exist")
        size = self.server.hub.page_size
        start = int(query.get("cursor", ["0"])[0])
        headers = {}
        if start + size < len(entries):
            kept = [(key, value) for key, values in query.items() if key != "cursor" for value in values]
            arguments = "&".join(
                f"{quote(key)}={quote(value)}" for key, value in [*kept, ("cursor", str(start + size))]
            )
            headers["Link"] = f'<{self.server.hub.url}{urlsplit(self.path).path}?{arguments}>; rel="next"'
        self._send_json(entries[start : start + size], headers=headers)

    def _resolve(self, path: str) -> None:
        _, snapshot, rest = self._repository(path)
        if len(rest) < 3 or rest[0] != "resolve":
            raise _RefusalError(HTTPStatus.NOT_FOUND, code=None, message="No such page")
        self._check_revision(snapshot, rest[1])
        file = snapshot.files.get("/".join(rest[2:]))
        if file is None:
            raise _RefusalError(HTTPStatus.NOT_FOUND, code="EntryNotFound", message="Entry not found")
        headers = {"Accept-Ranges": "bytes", "ETag": f'"{file.etag}"', "X-Repo-Commit": snapshot.commit}
        if file.sha256:
            headers |= {"X-Linked-ETag": f'"{file.sha256}"', "X-Linked-Size": str(file.size)}
        self._send_file(file, headers)

    def _send_file(self, file: RepositoryFile, headers: dict[str, str]) -> None:
        window = self._window(file)
        headers["Content-Type"] = "application/octet-stream"
        if window is None:
            headers["Content-Range"] = f"bytes */{file.size}"
            self._send_head(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, headers, length=0)
            return
        status = HTTPStatus.OK
        if len(window) != file.size:
            status = HTTPStatus.PARTIAL_CONTENT
            headers["Content-Range"] = f"bytes {window.start}-{window.stop - 1}/{file.size}"
        self._send_head(status, headers, length=len(window))
        if self.command != "HEAD":
            self._send_bytes(file.location, window)

    def _window(self, file: RepositoryFile) -> range | None:
        """The bytes asked for, or None if there are no such bytes."""
        whole = range(file.size)
        match = _RANGE.fullmatch(self.headers.get("Range", ""))
        validator = self.headers.get("If-Range")
        if match is None or match[0] == "bytes=-" or validator not in (None, f'"{file.etag}"'):
            return whole
        first, last = match[1], match[2]
        if not first:
            return whole[-int(last) :] if int(last) else None
        window = whole[int(first) : int(last) + 1 if last else None]
        return window or None

    def _send_bytes(self, location: Path, window: range) -> None:
        hub = self.server.hub
        rest = len(window)
        with location.open("rb") as file:
            file.seek(window.start)
            while rest and not hub.stopping.is_set():
                data = file.read(min(rest, hub.throttle.chunk(_CHUNK)))
                if not data:
                    break
                self.wfile.write(data)
                hub.count(len(data))
                rest -= len(data)
                hub.throttle.take(len(data), hub.stopping)
        if rest:
            self.close_connection = True

    def _send_json(
        self, content: object, *, status: HTTPStatus = HTTPStatus.OK, headers: Mapping[str, str] | None = None
    ) -> None:
        body = json.dumps(content).encode()
        self._send_head(
            status, {"Content-Type": "application/json; charset=utf-8", **(headers or {})}, length=len(body)
        )
        if self.command != "HEAD":
            self.wfile.write(body)

    def _send_head(self, status: HTTPStatus, headers: Mapping[str, str], *, length: int) -> None:
        path = urlsplit(self.path).path
        self.server.hub.record(RequestRecord(self.command, path, self.headers.get("Range"), status.value))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()


def _flag(query: Mapping[str, list[str]], name: str) -> bool:
    return query.get(name, ["false"])[-1].lower() in ("true", "1")


def _lfs(file: RepositoryFile, *, digest_key: str) -> dict[str, Any]:
    if file.sha256 is None:
        return {}
    return {"lfs": {digest_key: file.sha256, "size": file.size, "pointerSize": file.pointer_size}}


def _model_info(name: str, snapshot: Snapshot, *, blobs: bool) -> dict[str, Any]:
    siblings: list[dict[str, Any]] = []
    for file in snapshot.files.values():
        details = {"size": file.size, "blobId": file.blob_id, **_lfs(file, digest_key="sha256")} if blobs else {}
        siblings.append({"rfilename": file.path, **details})
    return {
        "_id": snapshot.commit[:24],
        "id": name,
        "modelId": name,
        "author": name.rpartition("/")[0] or None,
        "sha": snapshot.commit,
        "createdAt": _CREATED,
        "lastModified": _CREATED,
        "private": False,
        "gated": False,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": [],
        "siblings": siblings,
    }


def _tree(snapshot: Snapshot, below: str, *, recursive: bool, expand: bool) -> list[dict[str, Any]]:
    """The entries below a directory (empty for the root), in the order of their paths."""
    prefix = f"{below}/" if below else ""
    extra: dict[str, Any] = {}
    if expand:
        extra = {"lastCommit": {"id": snapshot.commit, "title": "Upload model", "date": _CREATED}}
    entries: dict[str, dict[str, Any]] = {}
    for file in snapshot.files.values():
        if not file.path.startswith(prefix):
            continue
        parts = file.path.removeprefix(prefix).split("/")
        for depth in range(1, len(parts) if recursive else min(len(parts), 2)):
            path = prefix + "/".join(parts[:depth])
            entries.setdefault(path, {"type": "directory", "oid": snapshot.commit, "size": 0, "path": path, **extra})
        if recursive or len(parts) == 1:
            entry = {"type": "file", "oid": file.blob_id, "size": file.size, "path": file.path}
            entries[file.path] = {**entry, **_lfs(file, digest_key="oid"), **extra}
    return [entries[path] for path in sorted(entries)]
