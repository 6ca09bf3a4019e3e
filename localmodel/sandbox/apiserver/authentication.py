"""Who asks: bearer tokens, and impersonation on top of them.

Tokens are JSON Web Tokens signed with a key of this server (HS256), so nothing needs to be remembered about them: a key
kept in the data directory keeps them good over restarts. A service account's token is good as long as the account that
it was made for exists; requests without a good token are 401.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import secrets
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import msgspec

from localmodel.runtime.clock import Clock
from localmodel.runtime.errors import UnauthorizedError

from .messages import Request
from .tls import write_private
from .users import AUTHENTICATED, User, parse_service_account, service_account_groups, service_account_name

Json = dict[str, Any]

ISSUER = "https://kubernetes.default.svc"
USER_LIFETIME = timedelta(days=3650)
_CACHE_LIMIT = 4096

AccountUid = Callable[[str, str], str | None]
"""(namespace, name) -> uid of the service account, None if there is none."""
BoundUid = Callable[[str, str, str], str | None]
"""(kind, namespace, name) -> uid of the object that a token is bound to, None if it is gone."""


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
        # Signatures that were found good, with their claims; emptied when full.
        self._verified: dict[str, Json] = {}
        # Numbers tokens in the order in which they are made, over restarts too.
        self._serial = itertools.count(time.time_ns())
        # By user: the number up to which tokens have been made to expire.
        self._expired: dict[str, int] = {}

    def issue_user(self, name: str, groups: tuple[str, ...] = ()) -> str:
        """A token for a user who is nobody's service account."""
        return self._sign({"sub": name, "groups": list(groups), "exp": self._in(USER_LIFETIME)})

    def issue_service_account(
        self,
        namespace: str,
        name: str,
        uid: str,
        *,
        lifetime: timedelta,
        audiences: tuple[str, ...] = (),
        bound: Json | None = None,
    ) -> tuple[str, int]:
        """A token and the second at which it ends. `bound` is {kind, name, uid} of a Pod, Node or Secret."""
        claims: Json = {"namespace": namespace, "serviceaccount": {"name": name, "uid": uid}}
        if bound:
            claims[bound["kind"].lower()] = {"name": bound["name"], "uid": bound["uid"]}
        expires = self._in(lifetime)
        token = self._sign(
            {
                "iss": ISSUER,
                "aud": list(audiences) or [ISSUER],
                "sub": service_account_name(namespace, name),
                "exp": expires,
                "iat": self._in(timedelta()),
                "nbf": self._in(timedelta()),
                "jti": secrets.token_hex(16),
                "kubernetes.io": claims,
            }
        )
        return token, expires

    def read(self, token: str) -> Json | None:
        """The claims of a token that this server signed and that has not ended."""
        claims = self._verified.get(token)
        if claims is None:
            claims = self._verify(token)
            if claims is None:
                return None
            if len(self._verified) >= _CACHE_LIMIT:
                self._verified.clear()
            self._verified[token] = claims
        if claims["exp"] <= self._clock.now().timestamp() or claims["serial"] <= self._expired.get(claims["sub"], 0):
            return None
        return claims

    def expire(self, user: str) -> None:
        """All tokens of the user that were made until now have ended; new ones are good."""
        self._expired[user] = next(self._serial)

    def _verify(self, token: str) -> Json | None:
        signed, _, signature = token.rpartition(".")
        header, _, payload = signed.partition(".")
        if header != _HEADER or not hmac.compare_digest(self._signature(signed), signature):
            return None
        claims: Json = msgspec.json.decode(_decode(payload))
        return claims

    def _sign(self, claims: Json) -> str:
        claims["serial"] = next(self._serial)
        signed = f"{_HEADER}.{_encode(msgspec.json.encode(claims))}"
        return f"{signed}.{self._signature(signed)}"

    def _signature(self, signed: str) -> str:
        return _encode(hmac.new(self._key, signed.encode(), hashlib.sha256).digest())

    def _in(self, lifetime: timedelta) -> int:
        return int((self._clock.now() + lifetime).timestamp())


class Authenticator:
    """Finds the user of a request."""

    def __init__(self, tokens: Tokens, account_uid: AccountUid, bound_uid: BoundUid) -> None:
        self._tokens = tokens
        self._account_uid = account_uid
        self._bound_uid = bound_uid

    def authenticate(self, headers: Mapping[str, str]) -> User:
        """The user of the bearer token; raises UnauthorizedError."""
        scheme, _, token = headers.get("authorization", "").partition(" ")
        user = self.user_of(token.strip()) if scheme.lower() == "bearer" and token else None
        if user is None:
            raise UnauthorizedError.of("Unauthorized")
        return user

    def user_of(self, token: str) -> User | None:
        """The user of a token, None if it is not good."""
        claims = self._tokens.read(token)
        if claims is None:
            return None
        bound = claims.get("kubernetes.io")
        if bound is None:
            return User(claims["sub"], (*claims["groups"], AUTHENTICATED))
        namespace, account = bound["namespace"], bound["serviceaccount"]
        if self._account_uid(namespace, account["name"]) != account["uid"]:
            return None
        extra = {}
        for kind in ("pod", "node", "secret"):
            if kind not in bound:
                continue
            if self._bound_uid(kind, namespace, bound[kind]["name"]) != bound[kind]["uid"]:
                return None
            extra[f"authentication.kubernetes.io/{kind}-name"] = [bound[kind]["name"]]
            extra[f"authentication.kubernetes.io/{kind}-uid"] = [bound[kind]["uid"]]
        return User(claims["sub"], service_account_groups(namespace), account["uid"], extra)


def impersonated(request: Request) -> User | None:
    """The user that the request asks to act as (kubectl --as), None if it does not."""
    headers = request.headers
    name = headers.get("impersonate-user", "")
    if not name:
        return None
    groups = request.impersonated_groups
    if not groups and (account := parse_service_account(name)):
        groups = service_account_groups(account[0])
    if AUTHENTICATED not in groups:
        groups = (*groups, AUTHENTICATED)
    prefix = "impersonate-extra-"
    extra = {unquote(key.removeprefix(prefix)): [value] for key, value in headers.items() if key.startswith(prefix)}
    return User(name, groups, headers.get("impersonate-uid", ""), extra)
