"""HTTPS to webhooks: one POST with a deadline for the whole of it, on connections that are kept for the next.

A `service` is looked up in the cluster's own objects, since a sandbox has no cluster network: in its EndpointSlices,
else its Endpoints, else in the annotation `ADDRESS_ANNOTATION` of the Service. The certificate must be good for
NAME.NAMESPACE.svc in any case, as on a real cluster.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

import msgspec

from localmodel.runtime.listwatch import ListOptions
from localmodel.runtime.testing.registry import Registry

Json = dict[str, Any]

ADDRESS_ANNOTATION = "localmodel.kserve.io/sandbox-address"
"""On a Service: HOST:PORT at which the sandbox's API server reaches its webhooks."""
RESPONSE_LIMIT = 3 * 1024 * 1024
"""Bytes of an answer."""
_IDLE_LIMIT = 8
"""Connections kept for each webhook server."""
_CHUNK = 64 * 1024


class CallError(Exception):
    """No answer. The message is worded as Go's HTTP client does."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a webhook is called, and what its certificate must be good for."""

    address: tuple[str, int]
    server_name: str
    url: str
    """As messages name it, without the timeout."""
    target: str
    """Path and query."""
    authorities: str
    """PEM; the system's own if empty."""

    @property
    def key(self) -> tuple[tuple[str, int], str, str]:
        return self.address, self.server_name, self.authorities


@dataclass(frozen=True, slots=True)
class _Answer:
    """An HTTP response, read to its end."""

    status: int
    content_type: str
    body: bytes

    def decoded(self) -> Any:
        """The JSON object; raises CallError."""
        if not 200 <= self.status < 300:
            raise CallError(_status_message(self.status, self.body))
        if not self.body:
            raise CallError(f"0-length response with status code: {self.status} and content type: {self.content_type}")
        try:
            value = msgspec.json.decode(self.body)
        except ValueError as error:
            raise CallError(f"couldn't get version/kind; json parse error: {error}") from None
        if not isinstance(value, dict):
            found = {list: "array", str: "string", bool: "bool"}.get(type(value), "number")
            raise CallError(
                f"couldn't get version/kind; json parse error: json: cannot unmarshal {found} into an object"
            )
        return value


class WebhookClient:
    """Thread-safe. Calls are made without any lock."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._lock = threading.Lock()
        # Idle connections by endpoint. A connection that is in use is in nobody's list.
        self._idle: dict[tuple[tuple[str, int], str, str], deque[_Connection]] = {}

    def post(self, config: Json, body: bytes, *, timeout: float) -> Any:
        """The JSON of the answer. Raises CallError; `config` is a webhook's clientConfig, `timeout` in seconds."""
        deadline = time.monotonic() + timeout
        shown = f'Post "{_url_of(config)}?timeout={timeout:.0f}s"'
        address = ("", 0)
        try:
            endpoint = self.resolve(config)
            address = endpoint.address
            answer = self._exchange(endpoint, f"{endpoint.target}?timeout={timeout:.0f}s", body, deadline)
        except TimeoutError:
            raise CallError(f"{shown}: context deadline exceeded") from None
        except ssl.SSLCertVerificationError as error:
            why = _certificate_fault(error, urlsplit(_url_of(config)).hostname or "")
            raise CallError(f"{shown}: tls: failed to verify certificate: x509: {why}") from None
        except (OSError, http.client.HTTPException, LookupError) as error:
            raise CallError(f"{shown}: {_reason(error, address)}") from None
        return answer.decoded()

    def resolve(self, config: Json) -> Endpoint:
        """Raises LookupError for a service that is not there or that nobody serves."""
        bundle = base64.b64decode(config.get("caBundle") or "").decode("latin-1")
        url = _url_of(config)
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or 443
        target = parts.path or "/"
        service = config.get("service")
        address = self._service_address(service, port) if service else (host, port)
        return Endpoint(address, host, url, target, bundle)

    def _service_address(self, service: Json, port: int) -> tuple[str, int]:
        namespace, name = service["namespace"], service["name"]
        found = self._get("", "services", namespace, name)
        if found is None:
            raise LookupError(f'service "{name}" not found')
        ports = [entry for entry in (found.get("spec") or {}).get("ports") or () if entry.get("port") == port]
        if not ports:
            raise LookupError(f'no service port {port} found for service "{name}"')
        address = next(self._addresses(namespace, name, ports[0]), None)
        annotated = (found["metadata"].get("annotations") or {}).get(ADDRESS_ANNOTATION, "")
        if address is None and annotated:
            host, _, number = annotated.rpartition(":")
            address = host.strip("[]"), int(number) if number.isdecimal() else port
        if address is None:
            raise LookupError(f'no endpoints available for service "{name}"')
        return address

    def _addresses(self, namespace: str, name: str, port: Json) -> Iterator[tuple[str, int]]:
        for slice_ in self._slices(namespace, name):
            number = _port_of(slice_.get("ports"), port)
            for endpoint in slice_.get("endpoints") or ():
                if number and (endpoint.get("conditions") or {}).get("ready", True) is not False:
                    yield from ((address, number) for address in endpoint.get("addresses") or ())
        endpoints = self._get("", "endpoints", namespace, name) or {}
        for subset in endpoints.get("subsets") or ():
            if number := _port_of(subset.get("ports"), port):
                yield from ((address["ip"], number) for address in subset.get("addresses") or ())

    def _slices(self, namespace: str, name: str) -> list[Json]:
        definition = self._registry.lookup("discovery.k8s.io", "v1", "endpointslices")
        if definition is None:
            return []
        selector = f"kubernetes.io/service-name={name}"
        page = self._registry.list(definition, ListOptions(namespace=namespace, label_selector=selector))
        return [msgspec.json.decode(item) for item in page.items]

    def _get(self, group: str, plural: str, namespace: str, name: str) -> Json | None:
        definition = self._registry.lookup(group, "v1", plural)
        entry = self._registry.store.get(definition.resource, namespace, name) if definition else None
        return definition.decode(entry.value) if definition and entry else None

    def _exchange(self, endpoint: Endpoint, target: str, body: bytes, deadline: float) -> _Answer:
        connection = self._take(endpoint)
        is_fresh = connection is None
        connection = connection or _Connection(endpoint)
        try:
            answer = connection.exchange(target, body, deadline)
        except (ConnectionError, http.client.BadStatusLine):
            connection.close()
            if is_fresh:
                raise
            # The peer had closed the idle connection.
            return self._exchange_afresh(endpoint, target, body, deadline)
        except BaseException:
            connection.close()
            raise
        self._put_back(endpoint, connection)
        return answer

    def _exchange_afresh(self, endpoint: Endpoint, target: str, body: bytes, deadline: float) -> _Answer:
        with contextlib.closing(_Connection(endpoint)) as connection:
            return connection.exchange(target, body, deadline)

    def _take(self, endpoint: Endpoint) -> _Connection | None:
        with self._lock:
            idle = self._idle.get(endpoint.key)
            return idle.pop() if idle else None

    def _put_back(self, endpoint: Endpoint, connection: _Connection) -> None:
        if connection.sock is None:
            return
        with self._lock:
            idle = self._idle.setdefault(endpoint.key, deque())
            idle.append(connection)
            surplus = idle.popleft() if len(idle) > _IDLE_LIMIT else None
        if surplus is not None:
            surplus.close()

    def close(self, keep: frozenset[str] = frozenset()) -> None:
        """Closes idle connections, except those made with one of these authorities' bundles."""
        with self._lock:
            closing = [key for key in self._idle if key[2] not in keep]
            connections = [connection for key in closing for connection in self._idle.pop(key)]
        for connection in connections:
            connection.close()


class _Connection(http.client.HTTPSConnection):
    """To the address of an endpoint, whatever its name is."""

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__(endpoint.server_name, endpoint.address[1], context=_context(endpoint.authorities))
        self._endpoint = endpoint
        self._deadline = 0.0

    def connect(self) -> None:
        plain = socket.create_connection(self._endpoint.address, timeout=self._left())
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self.sock = _context(self._endpoint.authorities).wrap_socket(
                plain, server_hostname=self._endpoint.server_name
            )
        except BaseException:
            plain.close()
            raise

    def exchange(self, target: str, body: bytes, deadline: float) -> _Answer:
        """Raises TimeoutError, OSError, HTTPException."""
        self._deadline = deadline
        if self.sock is not None:
            self.sock.settimeout(self._left())
        headers = {"Content-Type": "application/json", "Accept": "application/json, */*"}
        self.request("POST", target, body, headers)
        self._hurry()
        response = self.getresponse()
        parts: list[bytes] = []
        size = 0
        while True:
            self._hurry()
            part = response.read1(_CHUNK)
            if not part:
                # Else the connection holds on to this answer and takes no other request.
                response.close()
                return _Answer(response.status, response.headers.get("Content-Type", ""), b"".join(parts))
            parts.append(part)
            size += len(part)
            if size > RESPONSE_LIMIT:
                self.close()
                raise OSError(f"the webhook response was over {RESPONSE_LIMIT} bytes")

    def _left(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    def _hurry(self) -> None:
        left = self._left()
        if self.sock is not None:
            self.sock.settimeout(left)


@lru_cache(maxsize=64)
def _context(authorities: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=authorities or None)
    context.set_alpn_protocols(["http/1.1"])
    return context


def _url_of(config: Json) -> str:
    if service := config.get("service"):
        path = str(service.get("path") or "/")
        return f"https://{service['name']}.{service['namespace']}.svc:{service.get('port') or 443}{path}"
    return str(config.get("url") or "")


def _port_of(ports: list[Json] | None, wanted: Json) -> int | None:
    """The number of the endpoints' port that has the name of the service's port."""
    name = wanted.get("name") or ""
    return next((entry["port"] for entry in ports or () if (entry.get("name") or "") == name), None)


def _certificate_fault(error: ssl.SSLCertVerificationError, host: str) -> str:
    match error.verify_code:
        case 18 | 19 | 20 | 21:
            return "certificate signed by unknown authority"
        case 10:
            return "certificate has expired or is not yet valid"
        case 62:
            return f"certificate is not valid for {host}"
        case 64:
            return f"cannot validate certificate for {host} because it doesn't contain any IP SANs"
        case _:
            return error.verify_message


def _reason(error: Exception, address: tuple[str, int]) -> str:
    if isinstance(error, ConnectionRefusedError):
        return f"dial tcp {_dialled(*address)}: connect: connection refused"
    if isinstance(error, http.client.RemoteDisconnected | http.client.IncompleteRead):
        return "EOF"
    if isinstance(error, socket.gaierror):
        return f"dial tcp: lookup {address[0]}: no such host"
    return str(error.args[0] if isinstance(error, LookupError) and error.args else error)


def _dialled(host: str, port: int) -> str:
    """The address behind a name, as host and port."""
    with contextlib.suppress(OSError):
        host = str(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[-1][4][0])
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _status_message(status: int, body: bytes) -> str:
    """What client-go makes of an answer that is no success."""
    text = body[:2048].decode("utf-8", "replace").strip() or "unknown"
    match status:
        case 400:
            return "the server rejected our request for an unknown reason"
        case 401:
            return "the server has asked for the client to provide credentials"
        case 403:
            return text
        case 404:
            return "the server could not find the requested resource"
        case 405:
            return "the server does not allow this method on the requested resource"
        case 503:
            return "the server is currently unable to handle the request"
        case 504:
            return (
                "the server was unable to return a response in the time allotted, but may still be processing the "
                "request"
            )
        case _ if status >= 500:
            return f'an error on the server ("{text}") has prevented the request from succeeding'
        case _:
            return f"the server responded with the status code {status} but did not return more information"
