"""Who asks: a client certificate, else a bearer token, else nobody (system:anonymous).

The order is kube-apiserver's: a certificate counts before a token, a token that is not good is 401 although anonymous
requests are allowed. What an anonymous user may do is for RBAC to say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import msgspec

from localmodel.runtime.clock import Clock
from localmodel.runtime.errors import UnauthorizedError

from .ages import parse_time
from .messages import Request
from .peers import PeerCertificate
from .tokens import ISSUER, LEEWAY, BadTokenError, Claims, Reference, Tokens, invalid_token
from .users import ANONYMOUS, AUTHENTICATED, UNAUTHENTICATED, User

NOBODY = User(ANONYMOUS, (UNAUTHENTICATED,))


class Metadata(msgspec.Struct, rename="camel"):
    """What must be known of an account, or of an object that a token is bound to."""

    uid: str = ""
    deletion_timestamp: str = ""


Find = Callable[[str, str, str], Metadata | None]
"""(resource, namespace, name) -> the object's metadata, None if there is none."""


class Authenticator:
    """Finds the user of a request."""

    def __init__(self, tokens: Tokens, find: Find, *, clock: Clock) -> None:
        self._tokens = tokens
        self._find = find
        self._clock = clock

    def authenticate(self, request: Request) -> User:
        """Raises UnauthorizedError for credentials that are not good."""
        peer = request.peer
        has_ended = False
        if peer is not None and peer.common_name:
            has_ended = peer.expires <= self._clock.now().timestamp()
            if not has_ended:
                return certificate_user(peer)
        token = bearer_token(request.headers.get("authorization", ""))
        if token:
            try:
                return self.review(token)[0]
            except BadTokenError:
                raise UnauthorizedError.of("Unauthorized") from None
        if has_ended:
            raise UnauthorizedError.of("Unauthorized")
        return NOBODY

    def review(self, token: str, audiences: Sequence[str] = (ISSUER,)) -> tuple[User, list[str]]:
        """The user of a token, and those of the audiences that it is for. Raises BadTokenError."""
        claims = self._tokens.read(token)
        shared = [audience for audience in audiences if audience in claims.audiences]
        if not shared:
            if claims.account is None:
                raise BadTokenError("invalid bearer token")
            raise invalid_token(
                f"token audiences {_quoted(claims.audiences)} is invalid for the target audiences {_quoted(audiences)}"
            )
        self._tokens.check_time(claims)
        if claims.account is not None:
            self._check_account(claims, claims.account)
        return claims.user, shared

    def _check_account(self, claims: Claims, account: Reference) -> None:
        """The account, and what the token is bound to, are still there, and still the same."""
        found = self._find(account.resource, account.namespace, account.name)
        if found is None:
            raise invalid_token(f'serviceaccounts "{account.name}" not found')
        if self._is_gone(found):
            raise invalid_token(f"service account {account.namespace}/{account.name} has been deleted")
        if found.uid != account.uid:
            raise invalid_token(f"service account UID ({found.uid}) does not match claim ({account.uid})")
        bound = claims.bound
        if bound is None:
            return
        found = self._find(bound.resource, bound.namespace, bound.name)
        if found is None or self._is_gone(found):
            raise invalid_token("service account token has been invalidated")
        if found.uid != bound.uid:
            kind = bound.resource.removesuffix("s")
            raise invalid_token(
                f"{kind} UID ({found.uid}) does not match service account {kind} ref claim ({bound.uid})"
            )

    def _is_gone(self, found: Metadata) -> bool:
        """Whether an object that is being deleted has had its time, and the leeway that tokens have."""
        moment = parse_time(found.deletion_timestamp)
        return moment is not None and (self._clock.now() - moment).total_seconds() > LEEWAY


def bearer_token(header: str) -> str:
    """The token of an Authorization header; empty if it has none."""
    scheme, _, rest = header.strip().partition(" ")
    return rest.partition(" ")[0] if scheme.lower() == "bearer" else ""


@lru_cache(maxsize=1024)
def certificate_user(peer: PeerCertificate) -> User:
    """The common name is the user, the organizations are the groups."""
    extra = {"authentication.kubernetes.io/credential-id": [f"X509SHA256={peer.fingerprint}"]}
    return User(peer.common_name, (*peer.organizations, AUTHENTICATED), "", extra)


def _quoted(values: Sequence[str]) -> str:
    """A list of strings as Go's %q shows it."""
    return "[" + " ".join(f'"{value}"' for value in values) + "]"
