"""A webhook server that answers what a test wants, and configurations that call it."""

from __future__ import annotations

import base64
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from .certificates import Pair, make_pair

Json = dict[str, Any]
Answer = Callable[[Json], "Json | bytes | int"]
"""From the request of a review to its response; or bytes as the whole body, or an HTTP status."""
ALLOW: Json = {"allowed": True}


def patch(*operations: Json) -> Json:
    """A response with a JSON patch."""
    encoded = base64.b64encode(json.dumps(operations).encode()).decode()
    return {"allowed": True, "patchType": "JSONPatch", "patch": encoded}


def add(path: str, value: Any) -> Json:
    return {"op": "add", "path": path, "value": value}


class FakeWebhooks:
    """Serves answers by path over TLS and remembers the reviews."""

    def __init__(self, directory: Path, *hosts: str) -> None:
        self.pair: Pair = make_pair("webhook", *hosts)
        self.reviews: list[Json] = []
        self.targets: list[str] = []
        self.connections = 0
        self._answers: dict[str, Answer] = {}
        certificate, key = directory / "webhook.crt", directory / "webhook.key"
        certificate.write_bytes(self.pair.certificate)
        key.write_bytes(self.pair.key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def bundle(self) -> str:
        return base64.b64encode(self.pair.certificate).decode()

    def serve(self, path: str, answer: Answer | Json) -> None:
        self._answers[path] = answer if callable(answer) else lambda _: answer

    def config(self, path: str) -> Json:
        """A clientConfig."""
        return {"url": f"https://localhost:{self.port}{path}", "caBundle": self.bundle}

    @property
    def requests(self) -> list[Json]:
        return [review["request"] for review in self.reviews]

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                fake.connections += 1
                super().setup()

            def do_POST(self) -> None:
                review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                fake.reviews.append(review)
                fake.targets.append(self.path)
                answer = fake._answers[self.path.partition("?")[0]](review["request"])
                status = answer if isinstance(answer, int) else 200
                body = answer if isinstance(answer, bytes) else b"body text"
                if isinstance(answer, dict):
                    response = {"uid": review["request"]["uid"], **answer}
                    body = json.dumps(
                        {"apiVersion": review["apiVersion"], "kind": "AdmissionReview", "response": response}
                    ).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json" if status == 200 else "text/plain")
                if status == 302:
                    self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Says nothing."""

        return Handler


@contextmanager
def fake_webhooks(directory: Path, *hosts: str) -> Iterator[FakeWebhooks]:
    webhooks = FakeWebhooks(directory, *hosts)
    try:
        yield webhooks
    finally:
        webhooks.stop()


def rule(*resources: str, operations: tuple[str, ...] = ("*",), group: str = "", **more: Any) -> Json:
    return {
        "operations": list(operations),
        "apiGroups": [group],
        "apiVersions": ["*"],
        "resources": list(resources),
        **more,
    }


def webhook(name: str, config: Json, *rules: Json, **more: Any) -> Json:
    return {
        "name": name,
        "clientConfig": config,
        "rules": list(rules) or [rule("configmaps")],
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        **more,
    }


def configuration(kind: str, name: str, *webhooks: Json) -> Json:
    """`kind` is Mutating or Validating."""
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": f"{kind}WebhookConfiguration",
        "metadata": {"name": name},
        "webhooks": list(webhooks),
    }


CONFIGURATIONS = "/apis/admissionregistration.k8s.io/v1"
MUTATING = f"{CONFIGURATIONS}/mutatingwebhookconfigurations"
VALIDATING = f"{CONFIGURATIONS}/validatingwebhookconfigurations"
