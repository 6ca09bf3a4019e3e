"""Bearer tokens: JSON Web Tokens signed with a key of this server (HS256), so that none needs to be remembered.

A key kept in the data directory keeps them good over restarts. There are two sorts: a service account's, with
Kubernetes' claims, and a user's, which only this server knows. Whether the account and what a token is bound to still
exist is for `authentication` to say.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import itertools
import secrets
import time
import uuid
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec

from localmodel.runtime.clock import Clock

from .tls import write_private
from .users import AUTHENTICATED, User, service_account_groups, service_account_name

Json = dict[str, Any]

ISSUER = "https://kubernetes.default.svc"
"""Also the audience of this server."""
USER_LIFETIME = timedelta(days=3650)
LEEWAY = 60
"""Seconds that a token is good before its time and after it, for clocks that differ, as kube-apiserver has it."""
_CACHE_LIMIT = 4096
_EXTRA = "authentication.kubernetes.io"


class BadTokenError(Exception):
    """A token that is not good; the text is the one of a TokenReview's status."""


def invalid_token(why: str) -> BadTokenError:
    """Of a token that is, or calls itself, one of a service account of this server."""
    return BadTokenError(f"[invalid bearer token, {why}]")


class Reference(msgspec.Struct, frozen=True):
    """An object that must exist with this uid for a token to be good."""

    resource: str
    namespace: str
    name: str
    uid: str


class Claims(msgspec.Struct, frozen=True):
    """What a token says, as far as its signature vouches for it."""

    user: User
    audiences: tuple[str, ...]
    expires: int
    """Unix time."""
    serial: int
    """Grows from token to token."""
    not_before: int = 0
    """Unix time."""
    account: Reference | None = None
    """The service account; None for the token of a user."""
    bound: Reference | None = None
    """The pod, secret or node that the token is bound to."""


def load_signing_key(path: Path | None) -> bytes:
    """The key in the file, made if it is not there; a passing one without a file."""
    if path is None:
        return secrets.token_bytes(32)
    try:
        return path.read_bytes()
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        key = secrets.token_bytes(32)
        write_private(path, key)
        return key


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


_HEADER = _encode(b'{"alg":"HS256","typ":"JWT"}')


class Tokens:
    """Makes and reads tokens."""

    def __init__(self, key: bytes, *, clock: Clock) -> None:
        self._key = key
        self._clock = clock
        # Tokens whose signature was found good, with their claims; emptied when full.
        self._verified: dict[str, Claims] = {}
        # Numbers tokens in the order in which they are made, over restarts too.
        self._serial = itertools.count(time.time_ns())
        # By user: the number up to which tokens have been made to expire.
        self._expired: dict[str, int] = {}

    def issue_user(self, name: str, groups: tuple[str, ...] = (), *, lifetime: timedelta = USER_LIFETIME) -> str:
        """A token for a user who is nobody's service account."""
        return self._sign({"sub": name, "groups": list(groups), "exp": self._in(lifetime)})

    def issue_service_account(
        self,
        namespace: str,
        name: str,
        uid: str,
        *,
        lifetime: timedelta,
        audiences: tuple[str, ...] = (),
        bound: Mapping[str, Json] | None = None,
        warn_after: timedelta | None = None,
    ) -> tuple[str, int]:
        """A token and the second at which it ends.

        `bound`: the claims `pod`, `secret` and `node`, each {name, uid}. `warn_after`: when the client should have
        asked for a new token, which does not end this one.
        """
        claims: Json = {"namespace": namespace, "serviceaccount": {"name": name, "uid": uid}, **(bound or {})}
        if warn_after is not None:
            claims["warnafter"] = self._in(warn_after)
        expires = self._in(lifetime)
        token = self._sign(
            {
                "iss": ISSUER,
                "aud": list(audiences or (ISSUER,)),
                "sub": service_account_name(namespace, name),
                "exp": expires,
                "iat": self._in(timedelta()),
                "nbf": self._in(timedelta()),
                "jti": str(uuid.uuid4()),
                "kubernetes.io": claims,
            }
        )
        return token, expires

    def read(self, token: str) -> Claims:
        """The claims of a token that this server signed, also of one that has ended. Raises BadTokenError."""
        claims = self._verified.get(token)
        if claims is None:
            claims = _claims(self._verify(token))
            if len(self._verified) >= _CACHE_LIMIT:
                self._verified.clear()
            self._verified[token] = claims
        return claims

    def expire(self, user: str) -> None:
        """All tokens of the user that were made until now have ended; new ones are good."""
        self._expired[user] = next(self._serial)

    def check_time(self, claims: Claims) -> None:
        """Raises BadTokenError for a token whose time is over, or has not come."""
        now = self._clock.now().timestamp()
        if claims.expires < now - LEEWAY or claims.serial <= self._expired.get(claims.user.name, 0):
            raise invalid_token("service account token has expired")
        if claims.not_before > now + LEEWAY:
            raise invalid_token("service account token is not valid yet")

    def _verify(self, token: str) -> Json:
        signed, _, signature = token.rpartition(".")
        if not hmac.compare_digest(self._signature(signed).encode(), signature.encode()):
            # A token that calls itself one of this server's is told apart from one that is nobody's.
            if _issuer(signed) == ISSUER:
                raise invalid_token("square/go-jose: error in cryptographic primitive")
            raise BadTokenError("invalid bearer token")
        payload: Json = msgspec.json.decode(_decode(signed.partition(".")[2]))
        return payload

    def _sign(self, claims: Json) -> str:
        signed = f"{_HEADER}.{_encode(msgspec.json.encode({**claims, 'serial': next(self._serial)}))}"
        return f"{signed}.{self._signature(signed)}"

    def _signature(self, signed: str) -> str:
        return _encode(hmac.new(self._key, signed.encode("utf-8", "replace"), hashlib.sha256).digest())

    def _in(self, lifetime: timedelta) -> int:
        return int((self._clock.now() + lifetime).timestamp())


def _issuer(signed: str) -> str:
    """Who a token says that it is from; empty for what is no JSON Web Token."""
    try:
        payload = msgspec.json.decode(_decode(signed.partition(".")[2]))
    except (ValueError, binascii.Error, RecursionError):
        return ""
    return str(payload.get("iss", "")) if isinstance(payload, dict) else ""


def _claims(payload: Json) -> Claims:
    private = payload.get("kubernetes.io")
    if private is None:
        user = User(payload["sub"], (*payload["groups"], AUTHENTICATED))
        return Claims(user, (ISSUER,), payload["exp"], payload["serial"])
    namespace, account = private["namespace"], private["serviceaccount"]
    # The node of a pod-bound token is only told; the node of a node-bound one must exist.
    kind = next((kind for kind in ("pod", "secret", "node") if kind in private), "")
    bound = None
    if kind:
        place = "" if kind == "node" else namespace
        bound = Reference(f"{kind}s", place, private[kind]["name"], private[kind]["uid"])
    return Claims(
        user=User(payload["sub"], service_account_groups(namespace), account["uid"], _extra(payload["jti"], private)),
        audiences=tuple(payload["aud"]),
        expires=payload["exp"],
        serial=payload["serial"],
        not_before=payload["nbf"],
        account=Reference("serviceaccounts", namespace, account["name"], account["uid"]),
        bound=bound,
    )


def _extra(identifier: str, private: Json) -> dict[str, list[str]]:
    """The extra fields of a service account's user (KEP-4193)."""
    extra = {f"{_EXTRA}/credential-id": [f"JTI={identifier}"]}
    for kind in ("node", "pod"):
        for field, value in private.get(kind, {}).items():
            extra[f"{_EXTRA}/{kind}-{field}"] = [value]
    return extra
