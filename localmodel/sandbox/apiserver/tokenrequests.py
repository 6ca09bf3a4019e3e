"""TokenRequest: a token of a service account, for audiences, for a time, bound to a pod, secret or node.

Checks and texts are kube-apiserver's (registry/core/serviceaccount/storage/token).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from localmodel.runtime.errors import ApiError, BadRequestError, ConflictError, NotFoundError
from localmodel.runtime.objects import GroupVersionKind, ObjectKey, format_time
from localmodel.runtime.testing.answers import invalid_kind
from localmodel.runtime.testing.definitions import ResourceDefinition
from localmodel.runtime.testing.registry import Registry

from .fielderrors import Cause, invalid
from .tokens import ISSUER, Tokens

Json = dict[str, Any]

TOKEN_REQUEST = GroupVersionKind("authentication.k8s.io", "v1", "TokenRequest")
DEFAULT_SECONDS = 3600
MIN_SECONDS = 600
MAX_SECONDS = 2**32
WARN_AFTER_SECONDS = 3607
"""What a kubelet asks for: such a token of a pod lives a year, its clients are only expected to renew it by then."""
EXTENDED = timedelta(days=365)
_BINDABLE = {"Pod": "pods", "Secret": "secrets", "Node": "nodes"}


class TokenRequests:
    """Answers TokenRequests."""

    def __init__(self, registry: Registry, tokens: Tokens) -> None:
        self._registry = registry
        self._tokens = tokens

    def create(self, accounts: ResourceDefinition, key: ObjectKey, body: Json) -> Json:
        """The request with its status. Raises ApiError."""
        metadata, spec = body.get("metadata") or {}, dict(body.get("spec") or {})
        if metadata.get("namespace", key.namespace) != key.namespace:
            raise BadRequestError.of(
                "the namespace of the provided object does not match the namespace sent on the request"
            )
        if metadata.get("name", key.name) != key.name:
            fault = invalid("metadata.name", metadata["name"], "must match the service account name if specified")
            raise _invalid(key.name, [fault])
        account = self._registry.get(accounts, key.namespace, key.name)
        if spec.get("expirationSeconds") is None:
            spec["expirationSeconds"] = DEFAULT_SECONDS
        seconds = spec["expirationSeconds"]
        spec["audiences"] = spec.get("audiences") or [ISSUER]
        if faults := list(_duration_faults(seconds)):
            raise _invalid("", faults)
        bound = self._bound(spec.get("boundObjectRef"), key)
        lifetime = timedelta(seconds=seconds)
        is_extended = seconds == WARN_AFTER_SECONDS and "pod" in bound and spec["audiences"] == [ISSUER]
        now = self._registry.clock.now()
        token, _ = self._tokens.issue_service_account(
            key.namespace,
            key.name,
            account["metadata"]["uid"],
            lifetime=EXTENDED if is_extended else lifetime,
            audiences=tuple(spec["audiences"]),
            bound=bound,
            warn_after=lifetime if is_extended else None,
        )
        return {
            "kind": "TokenRequest",
            "apiVersion": TOKEN_REQUEST.api_version,
            "metadata": {"name": key.name, "namespace": key.namespace, "creationTimestamp": format_time(now)},
            "spec": {"audiences": [], "expirationSeconds": 0, "boundObjectRef": None, **spec},
            "status": {"token": token, "expirationTimestamp": _end(now, lifetime)},
        }

    def _bound(self, reference: Json | None, key: ObjectKey) -> dict[str, Json]:
        """The claims about the object that the token is to be bound to, and about the node of a pod."""
        if not reference:
            return {}
        version, kind = reference.get("apiVersion") or "", reference.get("kind") or ""
        group, _, number = version.rpartition("/")
        plural = _BINDABLE.get(kind)
        if group or plural is None:
            raise BadRequestError.of(f"cannot bind token to object of type {group}/{number}, Kind={kind}")
        name = reference.get("name") or ""
        if not name:
            raise BadRequestError.of("Name parameter required.")
        found = self._object(plural, "" if kind == "Node" else key.namespace, name)
        if found is None:
            raise NotFoundError.of(f'{plural} "{name}" not found', details={"name": name, "kind": plural})
        claims = {kind.lower(): {"name": name, "uid": found["metadata"]["uid"]}}
        if kind == "Pod":
            claims |= self._node_of(found, key.name)
        uid = reference.get("uid") or ""
        if uid and uid != found["metadata"]["uid"]:
            raise ConflictError.of(
                f'Operation cannot be fulfilled on {kind} "{name}": the UID in the bound object reference ({uid}) does '
                "not match the UID in record. The object might have been deleted and then recreated",
                details={"name": name, "kind": kind},
            )
        return claims

    def _node_of(self, pod: Json, account: str) -> dict[str, Json]:
        """The claim about the node that a pod runs on (KEP-4193); a node that is gone has no uid."""
        spec = pod.get("spec") or {}
        if spec.get("serviceAccountName") != account:
            raise BadRequestError.of(
                f'cannot bind token for serviceaccount "{account}" to pod running with different serviceaccount name.'
            )
        if not spec.get("nodeName"):
            return {}
        node = self._object("nodes", "", spec["nodeName"])
        return {"node": {"name": spec["nodeName"], **({"uid": node["metadata"]["uid"]} if node else {})}}

    def _object(self, resource: str, namespace: str, name: str) -> Json | None:
        entry = self._registry.store.get(resource, namespace, name)
        return msgspec.json.decode(entry.value) if entry else None


def _duration_faults(seconds: int) -> Iterator[Cause]:
    if seconds < MIN_SECONDS:
        yield invalid("spec.expirationSeconds", seconds, "may not specify a duration less than 10 minutes")
    if seconds > MAX_SECONDS:
        yield invalid("spec.expirationSeconds", seconds, "may not specify a duration larger than 2^32 seconds")


def _end(now: datetime, lifetime: timedelta) -> str:
    return format_time(datetime.fromtimestamp(int((now + lifetime).timestamp()), UTC))


def _invalid(name: str, faults: list[Cause]) -> ApiError:
    return invalid_kind(TOKEN_REQUEST.kind, TOKEN_REQUEST.group, name, faults)
