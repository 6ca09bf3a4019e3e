"""What the HTTP layer does on the wire, against a small server whose answers each test scripts."""

import contextlib
import io
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread

import pytest
from support.download import FakeClock

from localmodel.download import AuthenticationError, DownloadError, NotFoundError, UnreachableError
from localmodel.download.engine import Engine
from localmodel.download.options import DownloadOptions
from localmodel.download.transport import Transport, proxy_for

CONTENT = bytes(range(256)) * 64
NOTHING: Mapping[str, str] = {}
Answer = tuple[int, dict[str, str], bytes]


class Server:
    """Answers with what `answer(path, headers)` returns and remembers what was asked."""

    def __init__(self) -> None:
        self.answer: Callable[[str, Mapping[str, str]], Answer] = lambda path, headers: (404, {}, b"")
        self.seen: list[tuple[str, dict[str, str]]] = []
        self.done = Event()  # set when a handler may end; until then it keeps its connection open
        self.done.set()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                headers = {name.lower(): value for name, value in self.headers.items()}
                outer.seen.append((self.path, headers))
                status, answer_headers, body = outer.answer(self.path, headers)
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **answer_headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                with contextlib.suppress(OSError):
                    self.wfile.write(body)
                    self.wfile.flush()
                outer.done.wait(5)

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture
def other() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


def read(url: str, *, credentials: Mapping[str, str] = NOTHING, offset: int = 0) -> bytes:
    stream = Transport(env={}, options=DownloadOptions()).get(url, headers={}, credentials=credentials, offset=offset)
    buffer = io.BytesIO()
    while data := stream.read(1000):
        buffer.write(data)
    stream.close()
    return buffer.getvalue()


def download(uri: str, dest: Path, *, env: Mapping[str, str] = NOTHING) -> None:
    Engine(uri=uri, dest=dest, env=env, clock=FakeClock()).run()


def ranged(_path: str, headers: Mapping[str, str]) -> Answer:
    kind = {"ETag": '"v1"', "Content-Type": "application/octet-stream"}
    if "range" not in headers:
        return 200, kind, CONTENT
    start = int(headers["range"].removeprefix("bytes=").removesuffix("-"))
    return 206, {**kind, "Content-Range": f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}"}, CONTENT[start:]


def test_a_redirect_to_another_host_does_not_get_the_credentials(server: Server, other: Server) -> None:
    server.answer = lambda path, headers: (302, {"Location": f"{other.url}/signed?key=1"}, b"")
    other.answer = lambda path, headers: (200, {}, CONTENT)
    assert read(f"{server.url}/file", credentials={"Authorization": "Bearer s3cret"}) == CONTENT
    assert server.seen[0][1]["authorization"] == "Bearer s3cret"
    assert other.seen[0][0] == "/signed?key=1"
    assert "authorization" not in other.seen[0][1]


def test_a_redirect_on_the_same_host_keeps_the_credentials(server: Server) -> None:
    server.answer = lambda path, headers: (
        (307, {"Location": "/b"}, b"") if path == "/a" else (200, {}, headers["authorization"].encode())
    )
    assert read(f"{server.url}/a", credentials={"Authorization": "Bearer x"}) == b"Bearer x"


def test_redirects_in_a_circle_end(server: Server) -> None:
    server.answer = lambda path, headers: (302, {"Location": "/a"}, b"")
    with pytest.raises(DownloadError, match="redirects more than"):
        read(f"{server.url}/a")


def test_a_read_from_an_offset_asks_for_the_range(server: Server) -> None:
    server.answer = ranged
    assert read(f"{server.url}/file", offset=1000) == CONTENT[1000:]


@pytest.mark.parametrize(
    ("status", "error"),
    [(401, AuthenticationError), (403, AuthenticationError), (404, NotFoundError), (410, NotFoundError)],
)
def test_a_refusal_is_reported_at_once(server: Server, status: int, error: type[DownloadError], tmp_path: Path) -> None:
    server.answer = lambda path, headers: (status, {}, b"")
    with pytest.raises(error, match=f"{server.url}/m.bin"):
        download(f"{server.url}/m.bin", tmp_path)
    assert len(server.seen) == 1


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_server_is_asked_again_as_late_as_it_says(server: Server, status: int, tmp_path: Path) -> None:
    clock = FakeClock()
    server.answer = lambda path, headers: ranged(path, headers) if clock.waits else (status, {"Retry-After": "7"}, b"")
    Engine(uri=f"{server.url}/m.bin", dest=tmp_path, env={}, clock=clock).run()
    assert clock.waits == [7]
    assert (tmp_path / "m.bin").read_bytes() == CONTENT


def test_a_body_that_ends_early_is_continued_under_the_same_etag(server: Server, tmp_path: Path) -> None:
    def answer(path: str, headers: Mapping[str, str]) -> Answer:
        if "range" in headers:
            return ranged(path, headers)
        status, answered, body = ranged(path, headers)
        return status, {**answered, "Content-Length": str(len(body)), "Connection": "close"}, body[:5000]

    server.answer = answer
    download(f"{server.url}/m.bin", tmp_path)
    assert (tmp_path / "m.bin").read_bytes() == CONTENT
    assert (server.seen[1][1]["range"], server.seen[1][1]["if-range"]) == ("bytes=5000-", '"v1"')


def test_headers_for_the_host_come_from_the_environment(server: Server, tmp_path: Path) -> None:
    server.answer = ranged
    download(f"{server.url}/m.bin?x=1", tmp_path, env={"127.0.0.1-headers": '{"X-Key": "s3cret"}'})
    assert (server.seen[0][0], server.seen[0][1]["x-key"]) == ("/m.bin?x=1", "s3cret")


@pytest.mark.parametrize(("name", "kind"), [("m.bin", "text/html; charset=utf-8"), ("m.tar", "text/plain")])
def test_a_web_page_in_place_of_a_file_is_refused(server: Server, name: str, kind: str, tmp_path: Path) -> None:
    server.answer = lambda path, headers: (200, {"Content-Type": kind}, b"<html>")
    with pytest.raises(DownloadError, match=r"web page|archive"):
        download(f"{server.url}/{name}", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".localmodel"]


def test_a_server_that_is_away_is_named(server: Server, tmp_path: Path) -> None:
    server.close()
    with pytest.raises(UnreachableError, match=f"cannot reach {server.url}: .*refused"):
        download(f"{server.url}/m.bin", tmp_path)


def test_a_server_that_falls_silent_is_noticed_by_the_read_timeout(server: Server, tmp_path: Path) -> None:
    server.answer = lambda path, headers: (200, {"Content-Length": "10000", "ETag": '"v1"'}, b"x" * 10)
    server.done.clear()
    env = {"LOCALMODEL_DOWNLOAD_READ_TIMEOUT_SECONDS": "0.1", "LOCALMODEL_DOWNLOAD_MAX_ATTEMPTS": "1"}
    with pytest.raises(UnreachableError, match="stalled"):
        download(f"{server.url}/m.bin", tmp_path, env=env)
    server.done.set()


def test_proxies_come_from_the_environment() -> None:
    env = {"HTTPS_PROXY": "http://proxy:3128", "no_proxy": "internal.example"}
    assert proxy_for("https://hub.example/x", env) == "http://proxy:3128"
    assert proxy_for("https://internal.example/x", env) is None
    assert proxy_for("http://hub.example/x", env) is None
