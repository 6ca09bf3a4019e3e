"""`ApiServerCore`: the whole API server without HTTP.

`handle` takes a Request and gives a Response, or a WatchResponse that fills while it is open. On the way: who asks
(`authentication`), what for (`routing`), may they (`rbac`), the answer (`resources`, `subresources`, `reviews`,
discovery and OpenAPI), and a line in the audit log. It never raises; anything unforeseen is a 500 in the log.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from typing import Any

import msgspec
import structlog

from localmodel import __version__
from localmodel.runtime.errors import ApiError, InternalError, NotFoundError, RequestEntityTooLargeError
from localmodel.runtime.objects import GroupVersionKind
from localmodel.runtime.testing.definitions import ResourceDefinition
from localmodel.runtime.testing.registry import Registry

from . import discovery, gotypes
from .admission import Admission
from .audit import AuditLog, AuditRecord
from .authentication import Authenticator, Metadata
from .builtins import BUILTIN_KINDS
from .control import PREFIX, Control
from .customresources import CustomResources
from .definitions import SCHEMA, api_resource, register_builtins, resource_of
from .discovery import ApiResource
from .escalation import EscalationCheck
from .expiry import EventExpiry
from .faults import ServerFaults, SkewedClock, request_target
from .impersonation import HeaderError, Impersonation
from .messages import Answer, NoAnswer, Request, Response, WatchResponse
from .negotiation import decode_body, require_producible
from .openapi import OpenApi
from .podlogs import ClientContext, PodLogs, asks_kubelet
from .rbac import Attributes, Rbac
from .resources import ResourceHandler, error_response, not_allowed
from .reviews import Reviews, check_kind
from .routing import RequestInfo, check_name, is_malformed, not_found_page, parse
from .subresources import SubresourceHandler
from .tokens import Tokens
from .users import User

log = structlog.get_logger(__name__)

Json = dict[str, Any]

KUBERNETES_VERSION = ("1", "32")
"""The release whose behaviour this server copies."""
PLAIN = "text/plain; charset=utf-8"
_HEALTH = {
    f"/{endpoint}{check}"
    for endpoint in ("healthz", "livez", "readyz")
    for check in ("", "/ping", "/log", "/etcd", *(("/informer-sync", "/shutdown") if endpoint == "readyz" else ()))
}
"""The endpoints of health, with the checks that need nothing which this server has not."""
_PATHS = ["/api", "/api/v1", "/apis", "/healthz", "/livez", "/openapi/v2", "/openapi/v3", "/readyz", "/version"]


class _Review(msgspec.Struct, frozen=True):
    """A kind that is answered, not stored."""

    resource: ApiResource


class _Head(msgspec.Struct):
    """The part of an object that authentication looks at."""

    metadata: Metadata


class _Names(msgspec.Struct):
    """What the audit log wants to know of a request, as far as it is known."""

    user: str = ""
    impersonated: str = ""
    verb: str = ""


class ApiServerCore:
    """Serves a registry. Thread-safe as far as the registry is."""

    def __init__(
        self,
        registry: Registry,
        tokens: Tokens,
        *,
        clock: SkewedClock,
        audit: AuditLog | None = None,
        kubelet_context: ClientContext | None = None,
    ) -> None:
        """`clock` is that of the registry and the tokens, too.

        `kubelet_context`: TLS towards kubelets, with the client certificate that they ask for.
        """
        self.registry = registry
        self.server_url = ""
        """As clients reach it; shown in discovery."""
        self._clock = clock
        self._audit = audit
        register_builtins(registry)
        self.rbac = Rbac(registry)
        self.admission = Admission(registry, self.rbac)
        self.authenticator = Authenticator(tokens, self._metadata, clock=clock)
        self.openapi = OpenApi(self.api_resources, self._custom_schema)
        self._resources = ResourceHandler(registry)
        logs = PodLogs(registry, kubelet_context)
        self._subresources = SubresourceHandler(registry, self._resources, tokens, logs)
        self._reviews = Reviews(self.rbac, self.authenticator, clock=clock)
        registry.validating_admission.append(EscalationCheck(self.rbac))
        self._review_kinds = {
            (kind.mapping.gvk.group, kind.mapping.gvk.version, kind.mapping.plural): _Review(api_resource(kind))
            for kind in BUILTIN_KINDS
            if not kind.is_stored
        }
        self.custom_resources = CustomResources(registry, self.openapi.reset)
        self.faults = ServerFaults(registry, clock)
        self.control = Control(self.faults, tokens)
        self.waits: list[Callable[[Request], bool]] = [
            lambda _: self.faults.has_delays,
            asks_kubelet,
            self.admission.waits,
        ]
        """Asked about each request; True if it may have to wait for a webhook, an injected delay or the like."""
        self.event_expiry = EventExpiry(registry)

    def may_block(self, request: Request) -> bool:
        """Whether answering may mean to wait for somebody else: then the front gives the request its own thread."""
        for waits in self.waits:  # noqa: SIM110 - any() costs a generator for each request
            if waits(request):
                return True
        return False

    def handle(self, request: Request) -> Answer:
        """Answers one request. Never raises."""
        started = self._clock.monotonic() if self._audit is not None else 0.0
        names = _Names()
        try:
            answer = _without_route(request.path) or self._answer(request, names)
        except HeaderError as error:
            answer = _plain_error(request, error)
        except ApiError as error:
            answer = error_response(error)
        except Exception:
            log.exception("request failed", method=request.method, path=request.path)
            answer = error_response(
                InternalError.of("an error on the server has prevented the request from succeeding")
            )
        if self._audit is not None:
            self._record(self._audit, request, answer, names, started)
        return answer

    def _record(self, audit: AuditLog, request: Request, answer: Answer, names: _Names, started: float) -> None:
        audit.write(
            AuditRecord(
                user=names.user,
                impersonated_user=names.impersonated or msgspec.UNSET,
                user_agent=request.headers.get("user-agent", ""),
                verb=names.verb or request.method.lower(),
                path=f"{request.path}?{request.raw_query}" if request.raw_query else request.path,
                code=200 if isinstance(answer, WatchResponse) else answer.status,
                ms=round((self._clock.monotonic() - started) * 1000, 3),
            )
        )

    def _answer(self, request: Request, names: _Names) -> Answer:
        """`names` gets the users and the verb, as soon as they are known, for the audit log."""
        info = parse(request)
        names.verb = info.verb
        user = self.authenticator.authenticate(request)
        names.user = user.name
        wanted = Impersonation.of(request) if request.impersonation else None
        if wanted is not None:
            user = wanted.authorize(user, self.rbac.require)
            names.impersonated = user.name
        if request.is_too_large:
            self.rbac.require(Attributes.of(user, info))
            raise RequestEntityTooLargeError.of("Request entity too large: limit is 3145728")
        if not info.is_resource:
            self.rbac.require(Attributes.of(user, info))
            return self._non_resource(request, info)
        if not (self.faults.rules or info.verb == "watch"):
            return self._resource(request, info, user)
        target = request_target(info, user.name, request.headers.get("user-agent", ""))
        taken = self.faults.before(target)
        if any(rule.reset for rule in taken):
            return NoAnswer()
        return self.faults.after(taken, target, self._resource(request, info, user))

    def _resource(self, request: Request, info: RequestInfo, user: User) -> Response | WatchResponse:
        self.rbac.require(Attributes.of(user, info))
        review = self._review_kinds.get((info.group, info.version, info.resource))
        if review is not None:
            return self._review(request, info, review, user)
        definition = self.registry.lookup(info.group, info.version, info.resource)
        if definition is None or (
            info.namespace
            and not definition.mapping.namespaced
            and not (info.resource == "namespaces" and info.name == info.namespace)
        ):
            raise not_found_page()
        if info.resource == "events":
            self.event_expiry.sweep()
        check_name(info)
        if info.subresource:
            return self._subresources.handle(request, info, definition, user)
        return self._resources.handle(request, info, definition, user)

    def _review(self, request: Request, info: RequestInfo, review: _Review, user: User) -> Response:
        if info.name:
            raise not_found_page()
        if info.verb != "create" or bool(info.namespace) != review.resource.namespaced:
            raise not_allowed()
        gvk = GroupVersionKind(info.group, info.version, review.resource.kind)
        require_producible(request.headers.get("accept", ""))
        content_type = request.headers.get("content-type", "")
        body = decode_body(request.body, content_type, find_duplicates=False, kind=gvk.kind).value
        body = check_kind(body, gvk)
        gotypes.decode(gvk, body)
        head = {"kind": gvk.kind, "apiVersion": gvk.api_version}
        return Response.of_json(self._reviews.answer(gvk.kind, {**body, **head}, user, info.namespace), status=201)

    def _non_resource(self, request: Request, info: RequestInfo) -> Response:
        if info.path.startswith(PREFIX):
            return self.control.answer(request, info.path)
        path = "/" + "/".join(request.segments)
        if request.path in _HEALTH:
            return Response(status=200, body=b"ok", content_type=PLAIN)
        if info.verb != "get":
            raise not_allowed()
        if path == "/version":
            require_producible(request.headers.get("accept", ""))
            return Response.of_json(version_info())
        if path == "/":
            groups = {
                f"/apis/{resource.group}/{resource.version}" for resource in self.api_resources() if resource.group
            }
            return Response.of_json({"paths": sorted({*_PATHS, *groups})})
        if path.startswith("/openapi/"):
            document = self.openapi.answer(request, path)
            return document or Response(status=404, body=b"", content_type=PLAIN)
        return self._discovery(request, path)

    def _discovery(self, request: Request, path: str) -> Response:
        resources = self.api_resources()
        parts = path.strip("/").split("/")
        document: Json | None = None
        if parts[0] in ("api", "apis"):
            require_producible(request.headers.get("accept", ""))
        if parts in (["api"], ["apis"]):
            return discovery.root(path, request.headers.get("accept", ""), resources, server=self.server_url)
        if parts[0] == "api" and len(parts) == 2:
            document = discovery.version_document("", parts[1], resources)
        elif parts[0] == "apis" and len(parts) == 2:
            document = discovery.group_document(parts[1], resources)
        elif parts[0] == "apis" and len(parts) == 3:
            document = discovery.version_document(parts[1], parts[2], resources)
        if document is not None:
            return Response.of_json(document)
        is_served = parts[0] == "api" or any(resource.group == parts[-2] for resource in resources if len(parts) == 3)
        if is_served:
            raise not_found_page()
        return not_found_text()

    def api_resources(self) -> list[ApiResource]:
        """All that is served: built-in kinds, reviews, custom resources."""
        stored = [resource_of(definition) for definition in self.registry.definitions()]
        return [*stored, *(review.resource for review in self._review_kinds.values())]

    def _custom_schema(self, resource: ApiResource) -> Json | None:
        definition = self.registry.lookup(resource.group, resource.version, resource.plural)
        schema: Json | None = definition.extra.get(SCHEMA) if definition else None
        return schema

    def definition(self, group: str, plural: str, version: str = "v1") -> ResourceDefinition:
        """A registered definition; raises NotFoundError."""
        found = self.registry.lookup(group, version, plural)
        if found is None:
            raise NotFoundError.of(f"the server does not serve {plural}.{version}.{group}")
        return found

    def _metadata(self, resource: str, namespace: str, name: str) -> Metadata | None:
        entry = self.registry.store.get(resource, namespace, name)
        return msgspec.json.decode(entry.value, type=_Head).metadata if entry else None


def _plain_error(request: Request, error: HeaderError) -> Response:
    """What kube-apiserver answers before it knows of media types."""
    target = f"{request.path}?{request.raw_query}" if request.raw_query else request.path
    text = f'Internal Server Error: "{target}": {error}\n'
    for character, escaped in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        text = text.replace(character, escaped)
    return Response(status=error.code, body=text.encode(), content_type="text/plain; charset=utf-8")


def _without_route(path: str) -> Response | None:
    """The answer to a path that no route can have, which is given before anybody is asked who they are."""
    if is_malformed(path):
        return Response(status=400, body=b"400 Bad Request", content_type=PLAIN)
    return not_found_text() if path.startswith("//") else None


def not_found_text() -> Response:
    """The answer to a path outside of the groups that are served."""
    return Response(status=404, body=b"404 page not found\n", content_type=PLAIN)


def version_info() -> Json:
    """The answer to /version."""
    major, minor = KUBERNETES_VERSION
    return {
        "major": major,
        "minor": minor,
        "gitVersion": f"v{major}.{minor}.0+localmodel-sandbox-{__version__}",
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": f"python{platform.python_version()}",
        "compiler": platform.python_implementation(),
        "platform": f"linux/{platform.machine()}",
    }
