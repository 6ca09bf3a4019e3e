"""Who may ask the kubelet: client certificates of the cluster's authority, and a SubjectAccessReview for each user.

An API server shows the certificate of its --kubelet-client-certificate, if it has one. The authority is the one that
the API server publishes for its own clients (ConfigMap kube-system/extension-apiserver-authentication); it is read
again every minute. What a user may is asked of the API server and remembered for a while, as the kubelet does it
(https://kubernetes.io/docs/reference/access-authn-authz/kubelet-authn-authz/).
"""

from __future__ import annotations

import ssl
import threading
from dataclasses import dataclass
from typing import Any

import structlog

from localmodel.runtime.authfilter import SubjectAccessReview
from localmodel.runtime.client import Client
from localmodel.runtime.clock import Clock
from localmodel.runtime.errors import ApiError, RuntimeLibraryError, TransportError
from localmodel.runtime.objects import ConfigMap
from localmodel.sandbox.apiserver.tls import ServingCertificate

log = structlog.get_logger(__name__)

AUTHORITY_NAMESPACE, AUTHORITY_NAME, AUTHORITY_KEY = (
    "kube-system",
    "extension-apiserver-authentication",
    "client-ca-file",
)
RELOAD_SECONDS = 60.0
RETRY_SECONDS = 1.0
"""Until the authority is looked for again, where there was none."""
VERDICT_SECONDS = 30.0
_REMEMBERED = 256


@dataclass(frozen=True, slots=True)
class KubeletUser:
    """Of a client certificate: its common name, and its organizations."""

    name: str
    groups: tuple[str, ...]


ANONYMOUS = KubeletUser("system:anonymous", ("system:unauthenticated",))


class AccessDeniedError(RuntimeLibraryError):
    """The request may not be answered."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Access:
    """Makes TLS contexts and checks users. Thread-safe."""

    def __init__(self, client: Client, certificate: ServingCertificate, *, anonymous: bool, clock: Clock) -> None:
        self._client = client
        self._certificate = certificate
        self._anonymous = anonymous
        self._clock = clock
        self._lock = threading.Lock()
        self._context: ssl.SSLContext | None = None
        self._reload_at = 0.0
        """Monotonic time at which `_context` is made anew."""
        self._verdicts: dict[KubeletUser, tuple[float, bool]] = {}
        """User -> monotonic time at which it was asked, whether the user may."""

    def context(self) -> ssl.SSLContext:
        """For the next connection."""
        with self._lock:
            now = self._clock.monotonic()
            if self._context is None or now >= self._reload_at:
                self._context = self._make_context()
                knows_clients = self._context.verify_mode != ssl.CERT_NONE
                self._reload_at = now + (RELOAD_SECONDS if knows_clients else RETRY_SECONDS)
            return self._context

    def _make_context(self) -> ssl.SSLContext:
        """Asks for client certificates if the authority for them is known."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self._certificate.certificate, self._certificate.key)
        try:
            found = self._client.find(ConfigMap, AUTHORITY_NAME, namespace=AUTHORITY_NAMESPACE)
            authority = found.data.get(AUTHORITY_KEY, "") if found else ""
            if authority:
                context.load_verify_locations(cadata=authority)
                context.verify_mode = ssl.CERT_OPTIONAL
        except (ApiError, TransportError, ssl.SSLError) as error:
            log.warning("no authority for the kubelet's clients", error=str(error))
        return context

    def check(self, connection: ssl.SSLSocket) -> None:
        """Raises AccessDeniedError if who is on the connection may not use the kubelet."""
        certificate = connection.getpeercert()
        if not certificate:
            if self._anonymous:
                return
            message = "Unauthorized: show a client certificate, or start the kubelet with --kubelet-anonymous-auth"
            raise AccessDeniedError(401, message)
        user = user_of(certificate)
        if not self._may(user):
            raise AccessDeniedError(403, f"Forbidden (user={user.name}, verb=get, resource=nodes, subresource=proxy)")

    def _may(self, user: KubeletUser) -> bool:
        now = self._clock.monotonic()
        asked, allowed = self._verdicts.get(user, (0.0, False))
        if user in self._verdicts and now - asked < VERDICT_SECONDS:
            return allowed
        attributes = {"verb": "get", "resource": "nodes", "subresource": "proxy", "version": "v1"}
        spec = {"user": user.name, "groups": list(user.groups), "resourceAttributes": attributes}
        try:
            allowed = bool(self._client.create(SubjectAccessReview(spec=spec)).status.get("allowed"))
        except (ApiError, TransportError) as error:
            raise AccessDeniedError(500, f"cannot tell whether {user.name} may use the kubelet: {error}") from error
        if len(self._verdicts) >= _REMEMBERED:
            self._verdicts.clear()
        self._verdicts[user] = (now, allowed)
        return allowed


def user_of(certificate: dict[str, Any]) -> KubeletUser:
    """Of what `getpeercert` gives."""
    attributes = [attribute for names in certificate.get("subject") or () for attribute in names]
    name = next((value for key, value in attributes if key == "commonName"), "")
    groups = [value for key, value in attributes if key == "organizationName"]
    return KubeletUser(name, (*groups, "system:authenticated"))
