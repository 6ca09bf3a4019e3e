"""How the steps of a recorded scenario reach a server: over TLS to a real one, in process to ours."""

from __future__ import annotations

import http.client
import json
import re
import socket
import ssl
import threading
import time
from typing import Any
from urllib.parse import urlsplit

from localmodel.runtime.listwatch import ListOptions
from localmodel.runtime.testing.fake_clock import FakeClock
from localmodel.sandbox.apiserver.messages import Request, Response, WatchResponse

from .apicore import InProcess
from .eventually import eventually
from .recorded import AGENT, Answer, Step, step

Json = dict[str, Any]

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
TIMEOUT = 30.0
_WATCH = re.compile(r"configmaps\?.*watch(=(?!0|false)|&)|gadgets\?.*watch=|/api/v1/watch/")


class HttpSender:
    """Sends the bytes of a step as they are written, each on a connection of its own."""

    def __init__(self, server: str, token: str, *, ca: str) -> None:
        parts = urlsplit(server)
        self._address = (str(parts.hostname), int(parts.port or 443))
        self._token = token
        self._context = ssl.create_default_context(cafile=ca)

    def __call__(self, wanted: Step) -> Answer:
        answer = self._send(wanted)
        if wanted.method == "POST" and wanted.target == CRDS and answer.status == 201:
            self._wait_for(json.loads(wanted.body))
        return answer

    def _wait_for(self, crd: Json) -> None:
        """Until the kind of a new CRD is established: it is read sooner, but not created."""
        spec = crd["spec"]
        target = f"/apis/{spec['group']}/{spec['versions'][0]['name']}/{spec['names']['plural']}"

        def is_served() -> bool:
            stored = json.loads(self._send(step("GET", f"{CRDS}/{crd['metadata']['name']}")).body)
            conditions = {c["type"]: c["status"] for c in stored.get("status", {}).get("conditions") or ()}
            established = conditions.get("Established") == "True"
            return established and self._send(step("GET", target)).status == 200

        eventually(is_served, timeout=TIMEOUT)

    def _send(self, wanted: Step) -> Answer:
        watching = is_watch(wanted)
        with (
            socket.create_connection(self._address, TIMEOUT) as plain,
            self._context.wrap_socket(plain, server_hostname=self._address[0]) as secure,
        ):
            secure.sendall(self._bytes(wanted))
            if wanted.during:
                threading.Thread(target=self._happen, args=(wanted,), daemon=True).start()
            response = http.client.HTTPResponse(secure, method=wanted.method)
            response.begin()
            body = response.read()
            headers = tuple(response.getheaders())
        if watching and response.status == 200:
            return Answer(200, headers, lines=tuple(body.splitlines()))
        return Answer(response.status, headers, body)

    def _happen(self, wanted: Step) -> None:
        # The watch has been sent before; a server that is not yet at it would tell the same as initial state.
        time.sleep(0.3)
        for inner in wanted.during:
            self(inner)

    def _bytes(self, wanted: Step) -> bytes:
        headers = {
            "host": self._address[0],
            "authorization": f"Bearer {self._token}",
            "user-agent": AGENT,
            "connection": "close",
            **wanted.headers,
        }
        if wanted.body:
            headers["content-length"] = str(len(wanted.body))
        head = f"{wanted.method} {wanted.target} HTTP/1.1\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return head.encode("latin-1") + b"\r\n" + wanted.body


class InProcessSender:
    """Sends steps to a core of its own."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.api = InProcess(clock=self.clock)

    def __call__(self, wanted: Step) -> Answer:
        path, _, query = wanted.target.partition("?")
        headers = {"authorization": f"Bearer {self.api.token}", "user-agent": AGENT, **wanted.headers}
        request = Request(method=wanted.method, path=path, raw_query=query, headers=headers, body=wanted.body)
        answer = self.api.core.handle(request)
        if (
            wanted.method == "POST"
            and path == "/api/v1/namespaces"
            and isinstance(answer, Response)
            and answer.status == 201
        ):
            self._empty(json.loads(wanted.body)["metadata"].get("name", ""))
        if not isinstance(answer, WatchResponse):
            head = [("content-type", answer.content_type), *answer.headers]
            return Answer(answer.status, head, b"" if wanted.method == "HEAD" else answer.body)
        lines = answer.take().splitlines()
        for inner in wanted.during:
            self(inner)
            lines += answer.take().splitlines()
        for _ in range(100):
            if answer.ended:
                break
            due = answer.tick()
            if not answer.ended:
                self.clock.advance(due)
        lines += answer.take().splitlines()
        answer.close()
        return Answer(200, [("content-type", "application/json"), *answer.headers], lines=tuple(lines))

    def _empty(self, namespace: str) -> None:
        """Removes what controllers put into each new namespace: there were none where the records were made."""
        for plural in ("configmaps",):
            definition = self.api.core.definition("", plural)
            self.api.registry.delete_collection(definition, ListOptions(namespace=namespace))


def is_watch(wanted: Step) -> bool:
    return _WATCH.search(wanted.target) is not None
