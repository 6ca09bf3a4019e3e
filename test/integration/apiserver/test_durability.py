"""What was acknowledged stays: through kill -9 under load, and on a disk that fills up."""

from __future__ import annotations

import http.client
import json
import random
import resource
import signal
import ssl
import threading
from pathlib import Path
from typing import Any

from support.apiserver import Program
from support.eventually import eventually

CMS = "/api/v1/namespaces/default/configmaps"
ROUNDS = 3
Json = dict[str, Any]


class Connection:
    """Requests on one kept connection, without retries."""

    def __init__(self, program: Program, token: str) -> None:
        host = program.url.rpartition("/")[2]
        self._connection = http.client.HTTPSConnection(host, timeout=10, context=ssl._create_unverified_context())
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def request(self, method: str, path: str, body: Json | None = None) -> tuple[int, Json]:
        self._connection.request(method, path, json.dumps(body) if body else None, self._headers)
        answer = self._connection.getresponse()
        return answer.status, json.loads(answer.read())

    def close(self) -> None:
        self._connection.close()


def config_map(name: str, number: int, size: int = 2000) -> Json:
    """Its two values belong together: an object with one of them is half a write."""
    filling = f"{number}-" + "x" * size
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": filling, "b": filling}}


class Writer(threading.Thread):
    """Creates, updates and deletes its objects, one after the other, until the server is gone."""

    def __init__(self, program: Program, token: str, prefix: str) -> None:
        super().__init__()
        self._connection, self._prefix = Connection(program, token), prefix
        # What was acknowledged: the number of each object's last write, None for a deletion.
        self.acknowledged: dict[str, int | None] = {}
        # The object of the write that was not answered: it may have happened or not.
        self.pending = ""
        self.version = self.answers = 0

    def run(self) -> None:
        chosen = random.Random(self._prefix)
        for number in range(1, 100_000):
            name = self.pending = f"{self._prefix}-{chosen.randrange(20)}"
            known = self.acknowledged.get(name)
            try:
                if known is None:
                    status, answer = self._connection.request("POST", CMS, config_map(name, number))
                elif chosen.random() < 0.2:
                    status, answer = self._connection.request("DELETE", f"{CMS}/{name}")
                    number = 0  # noqa: PLW2901
                else:
                    status, answer = self._connection.request("PUT", f"{CMS}/{name}", config_map(name, number))
            except (OSError, http.client.HTTPException):
                return
            assert status in (200, 201), answer
            self.acknowledged[name] = number or None
            self.answers += 1
            self.version = max(self.version, int(answer["metadata"].get("resourceVersion", 0)))


def test_kill_loses_no_acknowledged_write(tmp_path: Path) -> None:
    arguments = ("--data-dir", str(tmp_path / "data"))
    program = Program(tmp_path, arguments)
    token, url, highest = program.token, program.url, 0
    try:
        for round_ in range(ROUNDS):
            writers = [Writer(program, token, f"r{round_}-w{writer}") for writer in range(4)]
            for writer in writers:
                writer.start()
            enough = random.randrange(20, 200)  # the moment of the kill is to be any
            eventually(lambda: sum(writer.answers for writer in writers) >= enough, timeout=20)  # noqa: B023
            program.stop(signal.SIGKILL)
            for writer in writers:
                writer.join(10)

            program = Program(tmp_path, arguments)
            assert program.url == url, "clients find it where it was"
            status, listed = program.request("GET", CMS, authorization=f"Bearer {token}")
            assert status == 200, "the old token is good"
            found = {item["metadata"]["name"]: item for item in listed["items"]}
            highest = max(highest, *(writer.version for writer in writers))
            assert int(listed["metadata"]["resourceVersion"]) >= highest
            for item in found.values():
                assert int(item["metadata"]["resourceVersion"]) <= int(listed["metadata"]["resourceVersion"])
                if "a" in item["data"]:
                    assert item["data"]["a"] == item["data"]["b"], "half a write"
            for writer in writers:
                assert writer.acknowledged
                for name, number in writer.acknowledged.items():
                    if name != writer.pending:
                        held = found.get(name)
                        assert (int(held["data"]["a"].partition("-")[0]) if held else None) == number
            highest = int(listed["metadata"]["resourceVersion"])
    finally:
        program.stop(signal.SIGKILL)


def test_on_a_full_disk_writes_are_refused_and_the_server_lives_on(tmp_path: Path) -> None:
    audit = tmp_path / "audit.jsonl"
    program = Program(tmp_path, ("--data-dir", str(tmp_path / "data"), "--audit-log", str(audit)))
    try:
        assert program.request("POST", CMS, config_map("before", 1))[0] == 201
        limits = resource.prlimit(program.process.pid, resource.RLIMIT_FSIZE)
        # Files of the process can no longer grow: neither the database nor the audit log.
        resource.prlimit(program.process.pid, resource.RLIMIT_FSIZE, (audit.stat().st_size, limits[1]))
        status, answer = program.request("POST", CMS, config_map("refused", 2, size=50_000))
        assert (status, answer["kind"], answer["reason"]) == (500, "Status", "InternalError")
        assert "the write was not stored: " in answer["message"]
        assert program.request("GET", f"{CMS}/refused")[0] == 404
        assert program.request("GET", f"{CMS}/before")[0] == 200
        resource.prlimit(program.process.pid, resource.RLIMIT_FSIZE, limits)
        assert program.request("POST", CMS, config_map("after", 3, size=50_000))[0] == 201
        assert [json.loads(line)["code"] for line in audit.read_text().splitlines()] == [201, 201]
    finally:
        program.stop(signal.SIGKILL)

    again = Program(tmp_path, ("--data-dir", str(tmp_path / "data")))
    try:
        names = {item["metadata"]["name"] for item in again.request("GET", CMS)[1]["items"]}
        assert {"before", "after"} <= names
        assert "refused" not in names
    finally:
        again.stop()
