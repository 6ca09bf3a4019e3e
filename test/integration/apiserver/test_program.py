"""The program: what it prints, logs, keeps and survives."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.apiserver import Program
from support.eventually import eventually

from localmodel.sandbox.apiserver.server import ApiServer, ApiServerOptions

pytestmark = pytest.mark.embedded_only("is about the program of the embedded server")

CMS = "/api/v1/namespaces/default/configmaps"
Json = dict[str, Any]


def config_map(name: str) -> Json:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}


def test_each_request_is_one_line_of_the_audit_log(server: Program) -> None:
    server.request("GET", f"{CMS}?limit=1", user_agent="test/1")
    assert server.request("GET", f"{CMS}/nope", user_agent="test/1")[0] == 404
    written = [json.loads(line) for line in (server.directory / "audit.jsonl").read_text().splitlines()]
    first, second = [line for line in written if line["userAgent"] == "test/1"]
    assert (first["user"], first["verb"], first["path"], first["code"]) == ("admin", "list", f"{CMS}?limit=1", 200)
    assert (second["verb"], second["code"]) == ("get", 404)
    assert first["ms"] > 0


def test_without_a_token_it_is_401(server: Program) -> None:
    status, answer = server.request("GET", "/version", authorization="Bearer nonsense")
    assert (status, answer["message"]) == (401, "Unauthorized")


def test_a_body_that_is_too_large_is_413(server: Program) -> None:
    assert server.request("POST", CMS, {"data": {"a": "x" * 4_000_000}})[0] == 413


def test_refused_requests_are_in_the_audit_log(server: Program) -> None:
    server.request("GET", f"{CMS}?x=401", authorization="Bearer nonsense")
    server.request("POST", f"{CMS}?x=413", {"data": {"a": "x" * 4_000_000}})
    written = [json.loads(line) for line in (server.directory / "audit.jsonl").read_text().splitlines()]
    found = {line["path"]: (line["user"], line["verb"], line["code"]) for line in written if "?x=" in line["path"]}
    assert found == {f"{CMS}?x=401": ("", "list", 401), f"{CMS}?x=413": ("admin", "create", 413)}


class RawWatch:
    """A watch over a bare TLS socket."""

    def __init__(self, server: Program, path: str) -> None:
        host, _, port = server.url.removeprefix("https://").partition(":")
        context = ssl._create_unverified_context()
        self.socket = context.wrap_socket(socket.create_connection((host, int(port)), timeout=10))
        head = f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.token}\r\n\r\n"
        self.socket.sendall(head.encode())
        self.file = self.socket.makefile("rb")
        self.lines: list[bytes] = []
        while self.file.readline().strip():
            pass

    def event(self) -> Json | None:
        """The next event; None at the end of the watch."""
        if not self.lines:
            size = int(self.file.readline(), 16)
            self.lines = self.file.read(size + 2).rstrip(b"\r\n").splitlines()
        return json.loads(self.lines.pop(0)) if self.lines else None

    def close(self) -> None:
        self.file.close()
        self.socket.close()


def test_a_watch_tells_and_ends_in_good_order(server: Program) -> None:
    version = server.request("GET", CMS)[1]["metadata"]["resourceVersion"]
    watch = RawWatch(server, f"{CMS}?watch=1&resourceVersion={version}&timeoutSeconds=1")
    server.request("POST", CMS, config_map("told"))
    event = watch.event()
    assert event is not None
    assert (event["type"], event["object"]["metadata"]["name"]) == ("ADDED", "told")
    assert watch.event() is None
    watch.close()


def test_a_watcher_that_goes_away_is_forgotten_at_once(tmp_path: Path) -> None:
    with ApiServer(ApiServerOptions(data_dir=tmp_path)) as server:
        kubeconfig = tmp_path / "kubeconfig"
        server.write_kubeconfig(kubeconfig)

        class Running:
            url = server.url
            token = json.loads(kubeconfig.read_text())["users"][0]["user"]["token"]

        watches = [RawWatch(Running, f"{CMS}?watch=1") for _ in range(20)]  # type: ignore[arg-type]
        assert len(server._front.watching) == 20
        for watch in watches:
            watch.close()
        eventually(lambda: not server._front.watching)


def test_sigterm_ends_watches_and_the_program(tmp_path: Path) -> None:
    program = Program(tmp_path)
    try:
        watch = RawWatch(program, "/api/v1/namespaces?watch=1")
        assert watch.event() is not None
    finally:
        status = program.stop()
    assert status == 0
    watch.close()


def start_and_fail(kubeconfig: Path, *arguments: str) -> str:
    """What a server that cannot start says."""
    command = [sys.executable, "-m", "localmodel.sandbox.apiserver", "--kubeconfig", str(kubeconfig), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 1
    return done.stderr


def test_two_on_one_port_say_so(server: Program, tmp_path: Path) -> None:
    port = server.url.rpartition(":")[2]
    assert f"cannot listen on 127.0.0.1:{port}" in start_and_fail(tmp_path / "k", "--port", port)


def test_a_kubeconfig_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "kubeconfig"
    assert f"cannot write --kubeconfig {path}: " in start_and_fail(path)
