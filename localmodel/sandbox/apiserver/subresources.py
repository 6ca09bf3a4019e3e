"""Subresources that are not a part of their object: scale, binding, eviction, log and token.

Each is translated into a read or an ordinary write of the parent. (status and finalize are merges of the registry.)
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from localmodel.runtime.client import MERGE_PATCH
from localmodel.runtime.errors import BadRequestError, ConflictError, ServiceUnavailableError
from localmodel.runtime.objects import GroupVersionKind, ObjectKey, format_time
from localmodel.runtime.testing.definitions import ResourceDefinition
from localmodel.runtime.testing.registry import Registry
from localmodel.runtime.testing.subresources import has_scale, patched_scale, rescale, scale_of

from . import requestoptions as options
from . import schemas
from .authentication import ISSUER, Tokens
from .fielderrors import invalid
from .messages import Request, Response, WatchResponse
from .negotiation import decode_body, decode_json, negotiate
from .resources import ResourceHandler, not_allowed, user_info
from .routing import RequestInfo, not_found_page
from .users import User

Json = dict[str, Any]

_SCALE = GroupVersionKind("autoscaling", "v1", "Scale")
MIN_TOKEN_SECONDS = 600
DEFAULT_TOKEN_SECONDS = 3600
MAX_TOKEN_SECONDS = 2**32


class SubresourceHandler:
    """Serves `/RESOURCE/NAME/SUBRESOURCE`; falls back to the registry's own merges."""

    def __init__(self, registry: Registry, resources: ResourceHandler, tokens: Tokens) -> None:
        self._registry = registry
        self._resources = resources
        self._tokens = tokens

    def handle(
        self, request: Request, info: RequestInfo, definition: ResourceDefinition, user: User
    ) -> Response | WatchResponse:
        """Raises ApiError; NotFoundError for a subresource that the kind does not have."""
        match definition.group_resource, info.subresource:
            case (_, "scale") if has_scale(definition):
                return self._scale(request, info, definition, user)
            case ("pods", "binding"):
                return self._bind(request, info, definition, user)
            case ("pods", "eviction"):
                return self._evict(request, info, definition, user)
            case ("pods", "log"):
                return self._log(info, definition)
            case ("serviceaccounts", "token"):
                return self._token(request, info, definition)
        if definition.subresource(info.subresource) is None:
            raise not_found_page()
        return self._resources.handle(request, info, definition, user)

    def _body(self, request: Request, group: str, kind: str) -> Json:
        body = decode_body(request.body, request.headers.get("content-type", ""), find_duplicates=False).value
        if not isinstance(body, dict) or body.get("kind", kind) != kind:
            raise BadRequestError.of(f"the body of the request must be a {kind}")
        schemas.prune(GroupVersionKind(group, "v1", kind), body)
        return body

    def _scale(self, request: Request, info: RequestInfo, definition: ResourceDefinition, user: User) -> Response:
        if info.verb not in ("get", "update", "patch"):
            raise not_allowed()
        current = scale_of(self._registry.get(definition, info.namespace, info.name))
        if info.verb == "get":
            return Response.of_json(current)
        if info.verb == "update":
            wanted = self._body(request, "autoscaling", "Scale")
        else:
            patch_type = request.headers.get("content-type", "").partition(";")[0]
            wanted = patched_scale(current, decode_json(request.body), patch_type)
            schemas.prune(_SCALE, wanted)
        key = ObjectKey(info.namespace, info.name)
        write = options.write_options(request.query, request.headers.get("user-agent", ""), kind="UpdateOptions")
        written = rescale(self._registry, definition, key, wanted, write, user=user_info(user))
        return Response.of_json(scale_of(written.object))

    def _bind(self, request: Request, info: RequestInfo, definition: ResourceDefinition, user: User) -> Response:
        if info.verb != "create":
            raise not_allowed()
        node = (self._body(request, "", "Binding").get("target") or {}).get("name")
        if not node:
            raise BadRequestError.of("Binding.target.name: Required value")
        pod = self._registry.get(definition, info.namespace, info.name)
        if bound := pod["spec"].get("nodeName"):
            raise ConflictError.of(
                f'Operation cannot be fulfilled on pods/binding "{info.name}": pod {info.name} is already assigned to '
                f'node "{bound}"'
            )
        condition = {
            "type": "PodScheduled",
            "status": "True",
            "lastProbeTime": None,
            "lastTransitionTime": format_time(self._registry.clock.now()),
        }
        others = [c for c in (pod.get("status") or {}).get("conditions") or () if c.get("type") != "PodScheduled"]
        version = {"resourceVersion": pod["metadata"]["resourceVersion"]}
        self._registry.patch(
            definition,
            info.namespace,
            info.name,
            {"metadata": version, "spec": {"nodeName": node}},
            MERGE_PATCH,
            user=user_info(user),
        )
        self._registry.patch(
            definition,
            info.namespace,
            info.name,
            {"status": {"conditions": [*others, condition]}},
            MERGE_PATCH,
            subresource="status",
            user=user_info(user),
        )
        return _success(201)

    def _evict(self, request: Request, info: RequestInfo, definition: ResourceDefinition, user: User) -> Response:
        if info.verb != "create":
            raise not_allowed()
        body = self._body(request, "policy", "Eviction")
        wanted = options.delete_options(request.query, body.get("deleteOptions") or {})
        self._registry.delete(definition, info.namespace, info.name, user=user_info(user), **wanted)
        return _success(201)

    def _log(self, info: RequestInfo, definition: ResourceDefinition) -> Response:
        pod = self._registry.get(definition, info.namespace, info.name)
        node = (pod.get("spec") or {}).get("nodeName") or "NODE"
        folder = f"nodes/{node}/logs/{info.namespace}_{info.name}_{pod['metadata']['uid']}"
        raise ServiceUnavailableError.of(
            f"this API server asks no kubelet for logs: read the files in {folder} of the sandbox's working directory"
        )

    def _token(self, request: Request, info: RequestInfo, definition: ResourceDefinition) -> Response:
        """TokenRequest: a token of the service account, bound to an object if it says so."""
        if info.verb != "create":
            raise not_allowed()
        negotiate(request.headers.get("accept", ""))
        body = self._body(request, "authentication.k8s.io", "TokenRequest")
        spec = body.get("spec") or {}
        account = self._registry.get(definition, info.namespace, info.name)
        seconds = spec.get("expirationSeconds") or DEFAULT_TOKEN_SECONDS
        if not isinstance(seconds, int) or not MIN_TOKEN_SECONDS <= seconds <= MAX_TOKEN_SECONDS:
            from localmodel.runtime.testing.answers import invalid_kind

            text = "may not specify a duration less than 10 minutes"
            raise invalid_kind(
                "TokenRequest", "authentication.k8s.io", "", [invalid("spec.expirationSeconds", seconds, text)]
            )
        audiences = tuple(spec.get("audiences") or (ISSUER,))
        token, expires = self._tokens.issue_service_account(
            info.namespace,
            info.name,
            account["metadata"]["uid"],
            lifetime=timedelta(seconds=seconds),
            audiences=audiences,
            bound=self._bound(spec.get("boundObjectRef"), info.namespace),
        )
        moment = format_time(datetime.fromtimestamp(expires, UTC))
        return Response.of_json(
            {
                "kind": "TokenRequest",
                "apiVersion": "authentication.k8s.io/v1",
                "metadata": {"name": info.name, "namespace": info.namespace, "creationTimestamp": None},
                "spec": {**spec, "audiences": list(audiences), "expirationSeconds": seconds},
                "status": {"token": token, "expirationTimestamp": moment},
            },
            status=201,
        )

    def _bound(self, reference: Json | None, namespace: str) -> Json | None:
        if not reference:
            return None
        kind, name = reference.get("kind"), reference.get("name")
        plural = {"Pod": "pods", "Secret": "secrets", "Node": "nodes"}.get(str(kind))
        if plural is None or not name:
            raise BadRequestError.of(f'cannot bind token for serviceaccount to object of type "{kind}"')
        entry = self._registry.store.get(plural, "" if kind == "Node" else namespace, name)
        uid = msgspec.json.decode(entry.value)["metadata"]["uid"] if entry else None
        if uid is None or reference.get("uid", uid) != uid:
            raise ConflictError.of(
                f"the UID in the bound object reference ({reference.get('uid', '')}) does not match the UID in record"
            )
        return {"kind": kind, "name": name, "uid": uid}


def _success(code: int) -> Response:
    return Response.of_json(
        {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": code}, status=code
    )
