"""`pods/NAME/log`: what `kubectl logs` reads, from the kubelet of the pod's node.

As on a kube-apiserver: the container is chosen here, the options are checked here, and the kubelet is asked at the
address and port that the Node announces, over TLS with the server's client certificate and without verifying the
kubelet's. Asking blocks (see `ApiServerCore.may_block`); what the kubelet answers is copied into a stream by a thread
of its own, which waits while the client is slow.
"""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import threading
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import structlog

from localmodel.runtime.errors import (
    ApiError,
    BadRequestError,
    InternalError,
    InvalidError,
    NotFoundError,
    error_from_status,
    make_status,
)
from localmodel.runtime.testing.definitions import ResourceDefinition
from localmodel.runtime.testing.registry import Registry

from .kubeletclient import unverified_context
from .messages import Request, Response, StreamResponse
from .resources import not_allowed
from .routing import RequestInfo

if TYPE_CHECKING:
    import http.client

log = structlog.get_logger(__name__)

Json = dict[str, Any]

CONNECT_SECONDS = 5.0
ADDRESS_TYPES = ("Hostname", "InternalDNS", "InternalIP", "ExternalDNS", "ExternalIP")
"""In the order in which a kube-apiserver takes a node's addresses."""
PIECE = 65536
_TEXT = "text/plain"
_LEAST = {"tailLines": (0, "must be greater than or equal to 0")} | dict.fromkeys(
    ("sinceSeconds", "limitBytes"), (1, "must be greater than 0")
)
_PASSED_ON = ("follow", "previous", "timestamps", "sinceSeconds", "sinceTime", "tailLines", "limitBytes")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")

ClientContext = Callable[[], ssl.SSLContext]


class PodLogs:
    """Answers requests for logs of the pods of a registry."""

    def __init__(self, registry: Registry, client_context: ClientContext | None = None) -> None:
        """`client_context`: TLS towards kubelets, with the server's client certificate; without one by default."""
        self._registry = registry
        self._client_context = client_context or unverified_context

    def handle(self, request: Request, info: RequestInfo, definition: ResourceDefinition) -> Response | StreamResponse:
        """Blocks until the kubelet answers, at most some seconds; raises ApiError."""
        if info.verb != "get":
            raise not_allowed()
        pod = self._registry.get(definition, info.namespace, info.name)
        query = request.query
        check_options(info.name, query)
        container = chosen_container(pod, query.get("container", ""))
        node_name = pod["spec"].get("nodeName")
        if not node_name:
            return Response(status=204, body=b"", content_type=_TEXT)
        host, port = self._endpoint(node_name)
        path = "/".join(quote(part, safe="") for part in (info.namespace, info.name, container))
        passed = urlencode({name: query[name] for name in _PASSED_ON if name in query})
        url = f"/containerLogs/{path}?{passed}" if passed else f"/containerLogs/{path}"
        return self._ask(host, port, url, info.name)

    def _endpoint(self, node_name: str) -> tuple[str, int]:
        """Where the node's kubelet listens; raises NotFoundError, InternalError."""
        nodes = self._registry.lookup("", "v1", "nodes")
        if nodes is None:
            raise NotFoundError.of(f'nodes "{node_name}" not found')
        try:
            status = self._registry.get(nodes, "", node_name).get("status") or {}
        except NotFoundError:
            details = {"name": node_name, "kind": "pods"}
            raise NotFoundError(make_status("NotFound", 404, f'pods "{node_name}" not found', details)) from None
        addresses = {entry.get("type"): entry.get("address") for entry in status.get("addresses") or []}
        host = next((addresses[type_] for type_ in ADDRESS_TYPES if addresses.get(type_)), None)
        if host is None:
            known = " ".join(
                f"{{{entry.get('type')} {entry.get('address')}}}" for entry in status.get("addresses") or []
            )
            raise InternalError.of(f"no preferred addresses found; known addresses: [{known}]")
        port = ((status.get("daemonEndpoints") or {}).get("kubeletEndpoint") or {}).get("Port") or 10250
        return host, port

    def _ask(self, host: str, port: int, url: str, pod: str) -> Response | StreamResponse:
        import http.client

        connection = http.client.HTTPSConnection(host, port, timeout=CONNECT_SECONDS, context=self._client_context())
        try:
            connection.request("GET", url)
            answer = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise InternalError.of(f'Get "https://{host}:{port}{url}": {error}') from error
        if answer.status != 200:
            with contextlib.closing(connection):
                raise _error(answer.status, answer.read(PIECE).decode(errors="replace"), pod)
        return self._stream(connection, answer)

    @staticmethod
    def _stream(connection: http.client.HTTPSConnection, answer: http.client.HTTPResponse) -> StreamResponse:
        stream = StreamResponse(content_type=_TEXT)
        sock = connection.sock
        sock.settimeout(None)

        def hang_up() -> None:
            with contextlib.suppress(OSError):  # the kubelet hung up first
                sock.shutdown(socket.SHUT_RDWR)

        def copy() -> None:
            from http.client import HTTPException

            try:
                while piece := answer.read1(PIECE):
                    stream.write(piece)
            except (OSError, HTTPException, ValueError) as error:
                log.debug("a log ended before its end", error=str(error))
            finally:
                stream.finish()
                connection.close()

        stream.on_close = hang_up
        threading.Thread(target=copy, name="pod-log", daemon=True).start()
        return stream


def _error(code: int, text: str, pod: str) -> ApiError:
    """What a kube-apiserver makes of a kubelet's refusal."""
    if code == 400:
        return BadRequestError.of(text)
    if code == 500:
        return InternalError.of(f"Internal error occurred: {text}")
    details = {"name": pod, "kind": "pods/log", "causes": [{"reason": "UnexpectedServerResponse", "message": text}]}
    reasons = {401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 422: "Invalid"}
    messages = {
        401: "the server has asked for the client to provide credentials",
        403: text or "forbidden",
        404: "the server could not find the requested resource",
    }
    message = f"{messages.get(code, 'the server rejected our request')} ( pods/log {pod})"
    return error_from_status(make_status(reasons.get(code, ""), code, message, details), code=code)


def asks_kubelet(request: Request) -> bool:
    """Whether a request is for a log, which a kubelet has."""
    return request.path.endswith("/log") and "/pods/" in request.path


def chosen_container(pod: Json, wanted: str) -> str:
    """The container that a request means; raises BadRequestError."""
    spec, name = pod["spec"], pod["metadata"]["name"]
    names = [container["name"] for field in ("initContainers", "containers") for container in spec.get(field) or []]
    if wanted:
        if wanted not in names:
            raise BadRequestError.of(f"container {wanted} is not valid for pod {name}")
        return wanted
    if len(names) == 1:
        return str(names[0])
    raise BadRequestError.of(
        f"a container name must be specified for pod {name}, choose one of: [{' '.join(map(str, names))}]"
    )


def check_options(pod: str, query: dict[str, str]) -> None:
    """PodLogOptions in a query; raises BadRequestError for what cannot be read, InvalidError for what may not be."""
    causes = []
    for name, (least, complaint) in _LEAST.items():
        text = query.get(name)
        if not text:
            continue
        if not re.fullmatch(r"[+-]?\d+", text, re.ASCII):
            raise BadRequestError.of(f'strconv.ParseInt: parsing "{text}": invalid syntax')
        if int(text) < least:
            causes.append((name, "FieldValueInvalid", f"Invalid value: {int(text)}: {complaint}"))
    if (time := query.get("sinceTime")) and not _is_time(time):
        raise BadRequestError.of(
            f'parsing time "{time}" as "2006-01-02T15:04:05Z07:00": cannot parse "{time}" as "2006"'
        )
    if query.get("sinceTime") and query.get("sinceSeconds"):
        message = "Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified"
        causes.append(("[]", "FieldValueForbidden", message))
    if not causes:
        return
    errors = [f"{field}: {message}" for field, _, message in causes]
    listed = errors[0] if len(errors) == 1 else f"[{', '.join(errors)}]"
    details = {
        "name": pod,
        "kind": "PodLogOptions",
        "causes": [{"reason": reason, "message": message, "field": field} for field, reason, message in causes],
    }
    raise InvalidError(make_status("Invalid", 422, f'PodLogOptions "{pod}" is invalid: {listed}', details))


def _is_time(text: str) -> bool:
    if not _TIME.fullmatch(text):
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True
