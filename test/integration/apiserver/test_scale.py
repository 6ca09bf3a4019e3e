"""10,000 objects and 200 watchers over TLS, in a server process of its own."""

from __future__ import annotations

import http.client
import json
import selectors
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.apiserver import Program

from localmodel.runtime.testing.store import JournalRecord
from localmodel.sandbox.apiserver.journal import SqliteJournal

OBJECTS = 10_000
WATCHERS = 200
BURST = 100
CMS = "/api/v1/namespaces/default/configmaps"
DEADLINE = 60.0
RESIDENT_LIMIT_MIB = 400
"""Far above what is needed, far below what a copy per watcher would take (200 x 10,000 x 1 KB)."""
Json = dict[str, Any]


class Watcher:
    """Reads one watch without blocking and notes the events of the burst."""

    def __init__(self, program: Program, token: str, version: str) -> None:
        host, _, port = program.url.removeprefix("https://").partition(":")
        context = ssl._create_unverified_context()
        self.socket = context.wrap_socket(socket.create_connection((host, int(port)), timeout=DEADLINE))
        head = f"GET {CMS}?watch=1&resourceVersion={version} HTTP/1.0\r\nAuthorization: Bearer {token}\r\n\r\n"
        self.socket.sendall(head.encode())
        self._buffer = b""
        self.seen: list[tuple[str, str]] = []

    def begin(self) -> None:
        """Returns when the server has answered."""
        while b"\r\n\r\n" not in self._buffer:
            self._buffer += self.socket.recv(4096)
        self._buffer = self._buffer.partition(b"\r\n\r\n")[2]
        self.socket.setblocking(False)

    def read(self) -> None:
        while True:
            try:
                data = self.socket.recv(1 << 18)
            except (ssl.SSLWantReadError, BlockingIOError):
                return
            assert data, "the watch ended"
            *lines, self._buffer = (self._buffer + data).split(b"\n")
            for line in lines:
                event = json.loads(line)
                self.seen.append((event["type"], event["object"]["data"]["round"]))


def config_map(name: str, round_: int) -> Json:
    data = {"round": str(round_), "filling": "x" * 500}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}, "data": data}


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    """A server that comes back with the objects of its last life: faster than making them."""
    journal = SqliteJournal(tmp_path / "data" / "objects.db")
    for number in range(OBJECTS):
        obj, revision = config_map(f"c{number}", 0), number + 1
        obj["metadata"] |= {
            "uid": f"{number}",
            "resourceVersion": f"{revision}",
            "creationTimestamp": "2026-01-01T00:00:00Z",
        }
        journal.append(JournalRecord("configmaps", "default", f"c{number}", revision, json.dumps(obj).encode()))
    journal.close()
    started = Program(tmp_path, ("--data-dir", str(tmp_path / "data")))
    yield started
    started.stop()


def process_number(program: Program, field: str) -> int:
    for line in Path(f"/proc/{program.process.pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1])
    raise LookupError(field)


def test_ten_thousand_objects_and_two_hundred_watchers(program: Program) -> None:
    host = program.url.removeprefix("https://")
    token = program.token
    connection = http.client.HTTPSConnection(host, timeout=DEADLINE, context=ssl._create_unverified_context())
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def request(method: str, path: str, body: Json | None = None) -> Json:
        connection.request(method, path, json.dumps(body) if body else None, headers)
        answer = connection.getresponse()
        content: Json = json.loads(answer.read())
        assert answer.status in (200, 201), content
        return content

    listed = request("GET", CMS)
    assert sum(item["metadata"]["name"].startswith("c") for item in listed["items"]) == OBJECTS
    threads = process_number(program, "Threads")

    watchers = [Watcher(program, token, listed["metadata"]["resourceVersion"]) for _ in range(WATCHERS)]
    selector = selectors.DefaultSelector()
    for watcher in watchers:
        watcher.begin()
        selector.register(watcher.socket, selectors.EVENT_READ, watcher)
    for number in range(BURST):
        request("PUT", f"{CMS}/c{number % 10}", config_map(f"c{number % 10}", number + 1))

    wanted = [("MODIFIED", str(number + 1)) for number in range(BURST)]
    end = time.monotonic() + DEADLINE
    while any(len(watcher.seen) < BURST for watcher in watchers):
        assert time.monotonic() < end
        for key, _ in selector.select(1):
            key.data.read()
    assert all(watcher.seen == wanted for watcher in watchers)
    assert process_number(program, "Threads") == threads
    assert process_number(program, "VmRSS") < RESIDENT_LIMIT_MIB * 1024
    for watcher in watchers:
        watcher.socket.close()
