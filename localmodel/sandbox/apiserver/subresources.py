"""Subresources that are not a part of their object: scale, binding, eviction, log and token.

Each is translated into a read or an ordinary write of the parent. (status and finalize are merges of the registry.)
"""

from __future__ import annotations

from typing import Any

from localmodel.runtime.errors import ApiError, BadRequestError, ConflictError, error_from_status, make_status
from localmodel.runtime.objects import GroupVersionKind, ObjectKey, format_time
from localmodel.runtime.testing.answers import nameless, not_found, unfit_patch
from localmodel.runtime.testing.definitions import ResourceDefinition
from localmodel.runtime.testing.registry import Registry
from localmodel.runtime.testing.subresources import has_scale, patched_scale, rescale, shown_scale

from . import gotypes
from . import requestoptions as options
from .messages import Request, Response, WatchResponse
from .negotiation import decode_body, decode_json, negotiate
from .podlogs import PodLogs
from .resources import ResourceHandler, not_allowed, user_info
from .reviews import check_kind
from .routing import RequestInfo, not_found_page
from .tokenrequests import TOKEN_REQUEST, TokenRequests
from .tokens import Tokens
from .users import User

Json = dict[str, Any]

_SCALE = GroupVersionKind("autoscaling", "v1", "Scale")
_BINDING = GroupVersionKind("", "v1", "Binding")
_EVICTION = GroupVersionKind("policy", "v1", "Eviction")


class SubresourceHandler:
    """Serves `/RESOURCE/NAME/SUBRESOURCE`; falls back to the registry's own merges."""

    def __init__(self, registry: Registry, resources: ResourceHandler, tokens: Tokens, logs: PodLogs) -> None:
        self._registry = registry
        self._resources = resources
        self._token_requests = TokenRequests(registry, tokens)
        self._logs = logs

    def handle(
        self, request: Request, info: RequestInfo, definition: ResourceDefinition, user: User
    ) -> Response | WatchResponse:
        """Raises ApiError; NotFoundError for a subresource that the kind does not have."""
        if info.subresource == "status" and definition.status_subresource:
            return self._resources.handle(request, info, definition, user)
        match definition.group_resource, info.subresource:
            case (_, "scale") if has_scale(definition):
                return self._scale(request, info, definition, user)
            case ("pods", "binding"):
                return self._bind(request, info, definition, user)
            case ("pods", "eviction"):
                return self._evict(request, info, definition, user)
            case ("pods", "log") if info.verb == "get":
                return self._logs.handle(request, info, definition)
            case ("pods", "exec" | "attach" | "portforward" | "proxy"):
                raise _not_there(info)
            case ("serviceaccounts", "token"):
                return self._token(request, info, definition, user)
        if definition.subresource(info.subresource) is None:
            if info.subresource == "log":
                raise not_allowed()
            raise not_found(definition, info.name) if "crd_uid" in definition.extra else not_found_page()
        return self._resources.handle(request, info, definition, user)

    def _body(self, request: Request, group: str, kind: str) -> Json:
        content_type = request.headers.get("content-type", "")
        body = decode_body(request.body, content_type, find_duplicates=False, kind=kind).value
        if not isinstance(body, dict) or body.get("kind", kind) != kind:
            raise BadRequestError.of(f"the body of the request must be a {kind}")
        gotypes.decode(GroupVersionKind(group, "v1", kind), body)
        return body

    def _scale(self, request: Request, info: RequestInfo, definition: ResourceDefinition, user: User) -> Response:
        if info.verb not in ("get", "update", "patch"):
            raise not_allowed()
        obj = self._registry.get(definition, info.namespace, info.name)
        if info.verb == "get":
            return Response.of_json(shown_scale(definition, obj))
        if info.verb == "update":
            wanted = self._body(request, "autoscaling", "Scale")
            name = (wanted.get("metadata") or {}).get("name")
            if not name:
                raise nameless(info.name)
            if name != info.name:
                raise BadRequestError.of(
                    f"the name of the object ({name}) does not match the name on the URL ({info.name})"
                )
        else:
            current = shown_scale(definition, obj)
            patch_type = request.headers.get("content-type", "").partition(";")[0]
            wanted = patched_scale(current, decode_json(request.body), patch_type)
            try:
                gotypes.decode(_SCALE, wanted)
            except BadRequestError as error:
                why = str(error).partition("cannot be handled as a Scale: ")[2]
                raise unfit_patch(definition, wanted, why) from None
        key = ObjectKey(info.namespace, info.name)
        write = options.write_options(request, kind="UpdateOptions" if info.verb == "update" else "PatchOptions")
        current = shown_scale(definition, obj, absent=0)
        asked = {**current, **wanted, "metadata": {**current["metadata"], **(wanted.get("metadata") or {})}}
        asked = self._registry.admit(
            definition, info.namespace, info.name, "scale", _SCALE, asked, current, write, user=user_info(user)
        )
        wanted = {**wanted, "spec": asked.get("spec")}
        written = rescale(self._registry, definition, key, wanted, write, user=user_info(user), is_admitted=True)
        return Response.of_json(shown_scale(definition, written.object))

    def _bind(self, request: Request, info: RequestInfo, definition: ResourceDefinition, user: User) -> Response:
        if info.verb != "create":
            raise not_allowed()
        body = self._body(request, "", "Binding")
        _check_name(body, info, "Binding")
        body = self._admitted(request, info, definition, user, body, _BINDING)
        node = (body.get("target") or {}).get("name")
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
        status = pod.setdefault("status", {})
        others = [c for c in status.get("conditions") or () if c.get("type") != "PodScheduled"]
        status["conditions"] = [*others, condition]
        pod["spec"]["nodeName"] = node
        self._registry.update(
            definition,
            info.namespace,
            info.name,
            pod,
            subresource="binding",
            user=user_info(user),
            is_admitted=True,
        )
        return _success(201)

    def _evict(self, request: Request, info: RequestInfo, definition: ResourceDefinition, user: User) -> Response:
        if info.verb != "create":
            raise not_allowed()
        body = self._body(request, "policy", "Eviction")
        _check_name(body, info, "Eviction")
        body = self._admitted(request, info, definition, user, body, _EVICTION)
        wanted = options.delete_options(request, body.get("deleteOptions") or {})
        self._registry.delete(definition, info.namespace, info.name, user=user_info(user), is_admitted=True, **wanted)
        return _success(201)

    def _admitted(
        self,
        request: Request,
        info: RequestInfo,
        definition: ResourceDefinition,
        user: User,
        body: Json,
        kind: GroupVersionKind,
    ) -> Json:
        """The body of a subresource as admission leaves it."""
        write = options.write_options(request, kind="CreateOptions")
        sent = {**body, "apiVersion": kind.api_version, "kind": kind.kind}
        return self._registry.admit(
            definition, info.namespace, info.name, info.subresource, kind, sent, options=write, user=user_info(user)
        )

    def _token(self, request: Request, info: RequestInfo, definition: ResourceDefinition, user: User) -> Response:
        if info.verb != "create":
            raise not_allowed()
        negotiate(request.headers.get("accept", ""))
        sent = decode_body(request.body, request.headers.get("content-type", ""), find_duplicates=False).value
        body = check_kind(sent, TOKEN_REQUEST)
        gotypes.decode(TOKEN_REQUEST, body)
        body = self._admitted(request, info, definition, user, body, TOKEN_REQUEST)
        answer = self._token_requests.create(definition, ObjectKey(info.namespace, info.name), body)
        return Response.of_json(answer, status=201)


def _not_there(info: RequestInfo) -> ApiError:
    """kubectl exec, attach, port-forward, cp and proxy: nothing here carries such a connection."""
    text = f"the sandbox has no pods/{info.subresource}: containers are plain processes of this machine, in the folder "
    text += "nodes/NODE of its working directory"
    details = {"name": info.name, "kind": "pods"}
    return error_from_status(make_status("NotImplemented", 501, text, details), code=501)


def _check_name(body: Json, info: RequestInfo, kind: str) -> None:
    if (body.get("metadata") or {}).get("name") != info.name:
        raise BadRequestError.of(f"name in URL does not match name in {kind} object")


def _success(code: int) -> Response:
    return Response.of_json(
        {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": code}, status=code
    )
