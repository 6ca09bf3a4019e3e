"""An API server core without HTTP, and a client that calls it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from localmodel.runtime.clock import Clock
from localmodel.runtime.testing.fake_clock import FakeClock
from localmodel.runtime.testing.registry import Registry
from localmodel.runtime.testing.store import VersionedStore
from localmodel.sandbox.apiserver.bootstrap import bootstrap
from localmodel.sandbox.apiserver.core import ApiServerCore
from localmodel.sandbox.apiserver.faults import SkewedClock
from localmodel.sandbox.apiserver.messages import Answer, Request, Response, WatchResponse
from localmodel.sandbox.apiserver.peers import PeerCertificate
from localmodel.sandbox.apiserver.tokens import Tokens
from localmodel.sandbox.apiserver.users import MASTERS

Json = dict[str, Any]


class InProcess:
    """Makes requests of a core as an administrator, as the user whose token is set, or as nobody if it is empty."""

    def __init__(self, *, clock: Clock | None = None) -> None:
        self.clock = clock or FakeClock()
        skewed = SkewedClock(self.clock)
        self.tokens = Tokens(b"k" * 32, clock=skewed)
        self.registry = Registry(VersionedStore(), clock=skewed)
        self.core = ApiServerCore(self.registry, self.tokens, clock=skewed)
        bootstrap(self.registry, authority_pem="PEM")
        self.core.custom_resources.start()
        self.core.event_expiry.start()
        self.token = self.tokens.issue_user("admin", (MASTERS,))

    def request(
        self,
        method: str,
        target: str,
        body: Any = None,
        peer: PeerCertificate | None = None,
        **headers: str | list[str],
    ) -> Answer:
        """Header names are written with underscores; a body that is not bytes is sent as JSON.

        `peer` is the client's certificate; an Impersonate header may have several values, in a list.
        """
        path, _, query = target.partition("?")
        sent = {"content-type": "application/json"}
        if self.token:
            sent["authorization"] = f"Bearer {self.token}"
        impersonation = []
        for name, given in headers.items():
            values = [given] if isinstance(given, str) else given
            sent[name.replace("_", "-")] = values[-1]
            if name.startswith("impersonate_"):
                impersonation += [(name.replace("_", "-"), value) for value in values]
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        request = Request(
            method=method,
            path=path,
            raw_query=query,
            headers=sent,
            body=data,
            impersonation=tuple(impersonation),
            peer=peer,
        )
        return self.core.handle(request)

    def call(
        self,
        method: str,
        target: str,
        body: Any = None,
        peer: PeerCertificate | None = None,
        **headers: str | list[str],
    ) -> tuple[int, Json]:
        """Status code and JSON of an answer; of plain text, a map with that."""
        response = self.request(method, target, body, peer, **headers)
        assert isinstance(response, Response)
        if response.content_type.startswith("text/plain"):
            return response.status, {"text": response.body.decode()}
        return response.status, json.loads(response.body)

    def told(self, method: str, target: str, body: Any, headers: dict[str, str]) -> tuple[int, Json, list[str]]:
        """Status code, JSON and the texts of the Warning headers of an answer."""
        named = {name.replace("-", "_").lower(): value for name, value in headers.items()}
        response = self.request(method, target, body, **named)
        assert isinstance(response, Response)
        warnings = warning_texts(value for name, value in response.headers if name == "Warning")
        return response.status, json.loads(response.body), warnings

    def create(self, target: str, body: Json) -> Json:
        """The object that was created."""
        status, answer = self.call("POST", target, body)
        assert status == 201, answer
        return answer

    def events(self, target: str, **headers: str) -> WatchResponse:
        response = self.request("GET", target, **headers)
        assert isinstance(response, WatchResponse), response
        return response


def warning_texts(headers: Iterable[str]) -> list[str]:
    """The texts in the values of Warning headers."""
    quoted = [value.split('"', 1)[1].rsplit('"', 1)[0] for value in headers]
    return [text.replace('\\"', '"').replace("\\\\", "\\") for text in quoted]


def lines(watch: WatchResponse) -> list[Json]:
    """What a watch has to say now."""
    return [json.loads(line) for line in watch.take().splitlines()]


WIDGETS = "/apis/example.com/v1/namespaces/default/widgets"


def widget_crd(**spec_properties: Json) -> Json:
    """A CRD for namespaced Widgets whose spec has the given properties."""
    schema = {
        "type": "object",
        "properties": {
            "spec": {"type": "object", "properties": spec_properties},
            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        },
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget", "shortNames": ["wd"]},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "schema": {"openAPIV3Schema": schema},
                }
            ],
        },
    }


def widget(name: str, **spec: Any) -> Json:
    return {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name}, "spec": spec}
