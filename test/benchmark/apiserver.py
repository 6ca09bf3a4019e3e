"""Measures the embedded API server: a process of its own, driven by wrk; watches are read by this process.

The objects are custom resources of 2 KB, shaped like a LocalModelNode, with a structural schema and CEL rules. Every
side comes twice: over plain HTTP and over TLS. `prototype` measures nothing: it has the numbers of the prototype in
feasibility.md 3.3, the row "hand + copy-on-write, ...", for comparison.
"""

from __future__ import annotations

import http.client
import json
import os
import selectors
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from .case import Context
from .measure import DEADLINE, MIB

Json = dict[str, Any]

GROUP = "benchmark.localmodel.dev"
COLLECTION = f"/apis/{GROUP}/v1/modelnodes"
MODELS = 8
CONNECTIONS = 8
OBJECTS = 500
"""How many objects GETs and patches go round."""
WATCHERS = 500
_TICKS = os.sysconf("SC_CLK_TCK")

_LUA = """
local models, states = {}, {}
for i = 0, %(models)d - 1 do
  models[#models + 1] = string.format('{"modelName":"model-%%d","sourceModelUri":"hf://organisation/model-%%03d",' ..
    '"modelSize":"10Gi","priority":%%d,"revision":"0123456789abcdef0123456789abcdef01234567"}', i, i, i)
end
for k = 0, 1 do
  local entries = {}
  for i = 0, %(models)d - 1 do
    entries[#entries + 1] = string.format('"model-%%d":"%%s"', i, (k + i) %% 2 == 0 and "Downloaded" or "Downloading")
  end
  states[k] = '{"status":{"modelStatus":{' .. table.concat(entries, ",") .. '}}}'
end
local number = 0
local path = "%(collection)s"
local makers = {
  GET = function() return wrk.format("GET", path .. "/node-" .. number %% %(objects)d) end,
  PATCH = function()
    local round = math.floor(number / %(objects)d) %% 2
    return wrk.format("PATCH", path .. "/node-" .. number %% %(objects)d .. "/status", nil, states[round])
  end,
  POST = function()
    local name = '{"apiVersion":"%(group)s/v1","kind":"ModelNode","metadata":{"name":"made-' .. number .. '"},'
    return wrk.format("POST", path, nil, name .. '"spec":{"nodeName":"n","localModels":[' ..
      table.concat(models, ",") .. ']}}')
  end,
}
local make = makers["%(method)s"]
request = function()
  number = number + 1
  return make()
end
wrk.headers["Authorization"] = "Bearer %(token)s"
wrk.headers["Content-Type"] = "%(content_type)s"
wrk.headers["User-Agent"] = "benchmark/1"
done = function(summary, latency)
  local errors = summary.errors
  io.write(string.format('{"requests":%%d,"seconds":%%f,"failed":%%d,"broken":%%d,"p99_ms":%%f}\\n', summary.requests,
    summary.duration / 1e6, errors.status, errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(99) / 1e3))
end
"""


def crd() -> Json:
    model = {
        "type": "object",
        "required": ["modelName", "sourceModelUri"],
        "properties": {
            "modelName": {"type": "string", "minLength": 1, "maxLength": 63, "pattern": "^[a-z0-9-]+$"},
            "sourceModelUri": {"type": "string", "pattern": "^[a-z0-9]+://.+$"},
            "modelSize": {
                "x-kubernetes-int-or-string": True,
                "anyOf": [{"type": "integer"}, {"type": "string"}],
                "pattern": "^[0-9]+(Ki|Mi|Gi|Ti)?$",
            },
            "priority": {"type": "integer", "format": "int32", "minimum": 0},
            "revision": {"type": "string", "maxLength": 64},
        },
    }
    spec = {
        "type": "object",
        "required": ["nodeName"],
        "properties": {
            "nodeName": {"type": "string", "minLength": 1},
            "localModels": {
                "type": "array",
                "items": model,
                "maxItems": 10_000,
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["modelName"],
            },
        },
        "x-kubernetes-validations": [
            {"rule": "self.nodeName == oldSelf.nodeName", "message": "nodeName is immutable"},
            {"rule": "!has(self.localModels) || size(self.localModels) <= 10000"},
        ],
    }
    status = {
        "type": "object",
        "properties": {
            "modelStatus": {
                "type": "object",
                "additionalProperties": {"type": "string", "enum": ["Pending", "Downloading", "Downloaded", "Error"]},
            }
        },
    }
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec, "status": status}}},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"modelnodes.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Cluster",
            "names": {"plural": "modelnodes", "kind": "ModelNode"},
            "versions": [version],
        },
    }


def model_node(name: str) -> Json:
    models = [
        {
            "modelName": f"model-{index}",
            "sourceModelUri": f"hf://organisation/model-{index:03d}",
            "modelSize": "10Gi",
            "priority": index,
            "revision": "0123456789abcdef0123456789abcdef01234567",
        }
        for index in range(MODELS)
    ]
    return {
        "apiVersion": f"{GROUP}/v1",
        "kind": "ModelNode",
        "metadata": {"name": name},
        "spec": {"nodeName": "n", "localModels": models},
    }


@dataclass
class Server:
    """A running server program."""

    process: subprocess.Popen[bytes]
    directory: Path
    ready_seconds: float

    def __post_init__(self) -> None:
        self.url: str = json.loads((self.directory / "ready").read_bytes())["server"]
        self.token: str = json.loads((self.directory / "kubeconfig").read_bytes())["users"][0]["user"]["token"]
        self.host = self.url.partition("//")[2]
        self._connection = self.connect()

    def connect(self) -> http.client.HTTPConnection:
        if self.url.startswith("https"):
            context = ssl._create_unverified_context()
            return http.client.HTTPSConnection(self.host, timeout=DEADLINE, context=context)
        return http.client.HTTPConnection(self.host, timeout=DEADLINE)

    def request(self, method: str, path: str, body: Json | None = None) -> Json:
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        self._connection.request(method, path, json.dumps(body) if body else None, headers)
        answer = self._connection.getresponse()
        decoded: Json = json.loads(answer.read())
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {decoded}")
        return decoded

    def fill(self, count: int) -> None:
        self.request("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd())
        for index in range(count):
            self.request("POST", COLLECTION, model_node(f"node-{index}"))

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def resident_mib(self) -> float:
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / MIB


@contextmanager
def running(*, tls: bool) -> Iterator[Server]:
    # Installed packages have their bytecode.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        command = [sys.executable, "-m", "localmodel.sandbox.apiserver", "--kubeconfig", str(directory / "kubeconfig")]
        started = time.monotonic()
        process = subprocess.Popen(
            [*command, *([] if tls else ["--no-tls"]), "--log-level", "error"],
            stdout=subprocess.PIPE,
            env=environment,
        )
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            ready = time.monotonic() - started
            if not line:
                raise RuntimeError("the server did not start")
            (directory / "ready").write_bytes(line)
            yield Server(process, directory, ready)
        finally:
            process.terminate()
            process.wait(10)


class Load:
    """wrk with a script, as a running process."""

    def __init__(self, server: Server, method: str, seconds: int, *, objects: int, connections: int) -> None:
        if shutil.which("wrk") is None:
            raise RuntimeError("wrk is missing: install it (Debian: apt-get install wrk)")
        content_type = "application/merge-patch+json" if method == "PATCH" else "application/json"
        script = server.directory / f"{method}.lua"
        script.write_text(
            _LUA
            % {
                "models": MODELS,
                "collection": COLLECTION,
                "objects": objects,
                "group": GROUP,
                "method": method,
                "token": server.token,
                "content_type": content_type,
            }
        )
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", "-s", str(script), server.url]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE)

    def result(self) -> Json:
        output, _ = self._process.communicate(timeout=DEADLINE)
        numbers: Json = json.loads(output.splitlines()[-1])
        if numbers["failed"] or numbers["broken"] or not numbers["requests"]:
            raise RuntimeError(f"requests failed: {numbers}")
        return numbers


def _requests(context: Context, *, tls: bool) -> dict[str, float]:
    found: dict[str, float] = {}
    with running(tls=tls) as server:
        server.fill(min(OBJECTS, 100 * context.size))
        for name, method in (("get", "GET"), ("patch", "PATCH"), ("create", "POST")):
            cpu = server.cpu_seconds()
            objects = min(OBJECTS, 100 * context.size)
            numbers = Load(server, method, context.size, objects=objects, connections=CONNECTIONS).result()
            found[name] = numbers["requests"] / numbers["seconds"]
            found[f"{name}_cpu"] = numbers["requests"] / max(server.cpu_seconds() - cpu, 1 / _TICKS)
            found[f"{name}_p99_ms"] = numbers["p99_ms"]
    return found


def requests(context: Context) -> dict[str, float]:
    return _requests(context, tls=False)


def requests_with_tls(context: Context) -> dict[str, float]:
    return _requests(context, tls=True)


class Readers:
    """Watches, read as fast as they go; events are counted, not decoded."""

    def __init__(self, server: Server, count: int, version: str) -> None:
        self._selector = selectors.DefaultSelector()
        self._sockets: list[socket.socket] = []
        host, _, port = server.host.partition(":")
        context = ssl._create_unverified_context()
        for _ in range(count):
            made = socket.create_connection((host, int(port)), timeout=DEADLINE)
            reader = context.wrap_socket(made) if server.url.startswith("https") else made
            head = f"GET {COLLECTION}?watch=1&resourceVersion={version} HTTP/1.1\r\nHost: x\r\n"
            reader.sendall(f"{head}Authorization: Bearer {server.token}\r\n\r\n".encode())
            self._sockets.append(reader)
        for reader in self._sockets:
            reader.recv(4096)
            reader.setblocking(False)
            self._selector.register(reader, selectors.EVENT_READ)

    def read(self, timeout: float) -> int:
        """How many events came."""
        events = 0
        for key, _ in self._selector.select(timeout):
            reader = key.fileobj
            assert isinstance(reader, socket.socket)
            try:
                while data := reader.recv(1 << 18):
                    events += data.count(b'{"type":"MODIFIED"')
            except (BlockingIOError, ssl.SSLWantReadError):
                continue
            raise RuntimeError("a watch has ended")
        return events

    def close(self) -> None:
        for reader in self._sockets:
            reader.close()


def _watches(context: Context, *, tls: bool) -> dict[str, float]:
    watchers = min(WATCHERS, 100 * context.size)
    with running(tls=tls) as server:
        server.fill(100)
        version = server.request("GET", f"{COLLECTION}?limit=1")["metadata"]["resourceVersion"]
        readers = Readers(server, watchers, version)
        load = Load(server, "PATCH", context.size + 1, objects=100, connections=4)
        while not (events := readers.read(1)):
            pass
        started, cpu, events = time.monotonic(), server.cpu_seconds(), 0
        while (elapsed := time.monotonic() - started) < context.size:
            events += readers.read(0.2)
        found = {
            "events": events / elapsed,
            "events_cpu": events / max(server.cpu_seconds() - cpu, 1 / _TICKS),
            "resident_mib": server.resident_mib(),
        }
        load.result()
        readers.close()
    return found


def watches(context: Context) -> dict[str, float]:
    return _watches(context, tls=False)


def watches_with_tls(context: Context) -> dict[str, float]:
    return _watches(context, tls=True)


def _start(context: Context, *, tls: bool) -> dict[str, float]:
    seconds, cpu, resident = [], [], []
    for _ in range(context.size + 1):
        with running(tls=tls) as server:
            seconds.append(server.ready_seconds)
            cpu.append(server.cpu_seconds())
            resident.append(server.resident_mib())
    # The first may have to write bytecode.
    return {
        "ready_seconds": median(seconds[1:]),
        "ready_cpu_seconds": median(cpu[1:]),
        "resident_mib": median(resident[1:]),
    }


def start(context: Context) -> dict[str, float]:
    return _start(context, tls=False)


def start_with_tls(context: Context) -> dict[str, float]:
    return _start(context, tls=True)


def memory(context: Context) -> dict[str, float]:
    with running(tls=True) as server:
        before = server.resident_mib()
        server.fill(context.size)
        after = server.resident_mib()
        size = len(json.dumps(server.request("GET", f"{COLLECTION}/node-0"), separators=(",", ":")))
    return {"resident_mib": after, "kept_bytes": (after - before) * MIB / context.size, "object_bytes": float(size)}


def prototype(_: Context) -> dict[str, float]:
    """The numbers of feasibility.md 3.3: measured once, without TLS, authentication, RBAC and admission."""
    return {
        "ready_seconds": 0.065,
        "resident_mib": 25.1,
        "get": 59_709.0,
        "create": 12_775.0,
        "patch": 26_704.0,
        "events": 109_000.0,
    }
