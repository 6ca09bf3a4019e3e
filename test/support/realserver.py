"""`RealServer`: a kube-apiserver, asked over HTTPS with the headers and bodies of a test."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from .apicore import warning_texts

Json = dict[str, Any]
Told = tuple[int, Json, list[str]]
"""Status code, JSON and the texts of the Warning headers of an answer."""

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


class RealServer:
    """Makes requests as the administrator of a kubeconfig."""

    def __init__(self, kubeconfig: str | Path) -> None:
        config = yaml.safe_load(Path(kubeconfig).read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        context = ssl.create_default_context(cadata=authority)
        with tempfile.NamedTemporaryFile() as file:
            for field in ("client-certificate-data", "client-key-data"):
                file.write(base64.b64decode(user[field]))
            file.flush()
            context.load_cert_chain(file.name)
        self.connection = http.client.HTTPSConnection(urlsplit(cluster["server"]).netloc, context=context, timeout=30)

    def request(self, method: str, target: str, body: object, headers: dict[str, str]) -> Told:
        named = {name.lower(): value for name, value in headers.items()}
        sent = {"content-type": "application/json", "accept": "application/json", **named}
        self.connection.request(method, target, None if body is None else json.dumps(body), sent)
        response = self.connection.getresponse()
        text = response.read()
        try:
            told = json.loads(text)
        except ValueError:  # "404 page not found"
            told = text.decode()
        return response.status, told, warning_texts(response.headers.get_all("Warning") or ())

    def call(self, method: str, target: str, body: object, headers: dict[str, str]) -> Told:
        """A request, and the wait for what a controller of the server does after it."""
        answer = self.request(method, target, body, headers)
        path, _, query = target.partition("?")
        if path.startswith(CRDS) and answer[0] < 300 and "dryRun" not in query and method != "GET":
            self.settle(answer[1])
        return answer

    def settle(self, crd: Json) -> None:
        """Waits until a definition is served, or gone, and its new schema is in use."""
        name, deadline = crd["metadata"]["name"], time.monotonic() + 4
        while time.monotonic() < deadline:
            code, found, _ = self.request("GET", f"{CRDS}/{name}", None, {})
            if code == 404:
                break
            conditions = {c["type"]: c["status"] for c in (found.get("status") or {}).get("conditions") or ()}
            if conditions.get("NamesAccepted") == "False":
                break
            version = next((v["name"] for v in found["spec"]["versions"] if v["served"]), None)
            group, plural = found["spec"]["group"], found["spec"]["names"]["plural"]
            served = version and self.request("GET", f"/apis/{group}/{version}/{plural}", None, {})[0] == 200
            if conditions.get("Established") == "True" and served and "deletionTimestamp" not in found["metadata"]:
                break
            time.sleep(0.05)
        time.sleep(0.3)
