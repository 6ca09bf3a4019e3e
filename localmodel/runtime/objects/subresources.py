"""The bodies of subresources that are objects of their own: Scale, Eviction, TokenRequest.

They are sent and received by `client.subresource(NAME)` and live at no path of their own. Imported by who needs them:
few programs do.
"""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from .mapping import RESTMapping
from .meta import Model, Object, Time


class ScaleSpec(Model):
    """The number of replicas that there shall be."""

    replicas: int = 0


class ScaleStatus(Model):
    """The number of replicas that there are, and the selector of their pods in kubectl's grammar."""

    replicas: int = 0
    selector: str = ""


class Scale(Object):
    """autoscaling/v1 Scale, the subresource `scale` of workloads and of custom resources that declare it."""

    mapping: ClassVar[RESTMapping] = RESTMapping.of("autoscaling", "v1", "Scale")
    spec: ScaleSpec = Field(default_factory=ScaleSpec)
    status: ScaleStatus = Field(default_factory=ScaleStatus)


class Eviction(Object):
    """policy/v1 Eviction, created at the subresource `eviction` of a pod: a deletion that respects budgets."""

    mapping: ClassVar[RESTMapping] = RESTMapping.of("policy", "v1", "Eviction")
    delete_options: dict[str, Any] | None = None


class TokenRequestSpec(Model):
    """What the token shall be good for."""

    audiences: list[str] = Field(default_factory=list)
    expiration_seconds: int | None = None
    bound_object_ref: dict[str, Any] | None = None


class TokenRequestStatus(Model):
    """The token, and when it ends."""

    token: str = ""
    expiration_timestamp: Time | None = None


class TokenRequest(Object):
    """authentication.k8s.io/v1 TokenRequest, created at the subresource `token` of a service account."""

    mapping: ClassVar[RESTMapping] = RESTMapping.of("authentication.k8s.io", "v1", "TokenRequest")
    spec: TokenRequestSpec = Field(default_factory=TokenRequestSpec)
    status: TokenRequestStatus | None = None
