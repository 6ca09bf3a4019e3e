"""Acting as somebody else: the Impersonate headers (kubectl --as, --as-group, --as-uid).

Each of user, groups, uid and extra values is a right of its own, checked against whoever really asks; rules and texts
are those of kube-apiserver's impersonation filter.
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import unquote

import msgspec

from localmodel.runtime.errors import InternalError

from .messages import Request
from .rbac import Attributes
from .users import (
    ANONYMOUS,
    AUTHENTICATED,
    UNAUTHENTICATED,
    User,
    parse_service_account,
    service_account_groups,
)

PREFIX = "impersonate-"
_EXTRA = f"{PREFIX}extra-"
_AUTHENTICATION = "authentication.k8s.io"


class HeaderError(InternalError):
    """Impersonation headers without a user: a 500 in plain text, as kube-apiserver has it."""


class Impersonation(msgspec.Struct, frozen=True):
    """Whom a request asks to act as."""

    user: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: dict[str, list[str]] = msgspec.field(default_factory=dict)

    @classmethod
    def of(cls, request: Request) -> Impersonation | None:
        """None if the request does not ask for it. Raises HeaderError for headers that name no user."""
        if not request.impersonation:
            return None
        user = uid = ""
        groups: list[str] = []
        extra: dict[str, list[str]] = {}
        for name, sent in request.impersonation:
            value = _decoded(sent)
            if name == f"{PREFIX}user":
                user = user or value
            elif name == f"{PREFIX}group":
                groups.append(value)
            elif name == f"{PREFIX}uid":
                uid = uid or value
            elif name.startswith(_EXTRA):
                extra.setdefault(unquote(name.removeprefix(_EXTRA)), []).append(value)
        asked = cls(user, tuple(groups), uid, extra)
        if user:
            return asked
        if groups or uid or extra:
            raise HeaderError.of(f"requested {asked._described()} without impersonating a user")
        return None

    def _described(self) -> str:
        """What is asked for without a user, as Go prints a list of object references."""
        version = f"{_AUTHENTICATION}/v1"
        references = [f"{{Group  {group}    }}" for group in self.groups]
        for key, values in self.extra.items():
            references += [f"{{UserExtra  {value}  {version}  {key}}}" for value in values]
        references += [f"{{UID  {self.uid}  {version}  }}"] if self.uid else []
        return f"[{' '.join(references)}]"

    def authorize(self, requestor: User, require: Callable[[Attributes], None]) -> User:
        """The user to act as. `require` raises ForbiddenError for a right that the requestor lacks."""
        for attributes in self._rights(requestor):
            require(attributes)
        groups = self.groups
        account = parse_service_account(self.user)
        if account and not groups:
            groups = service_account_groups(account[0])
        if self.user == ANONYMOUS:
            if UNAUTHENTICATED not in groups:
                groups = (*groups, UNAUTHENTICATED)
        elif AUTHENTICATED not in groups and UNAUTHENTICATED not in groups:
            groups = (*groups, AUTHENTICATED)
        return User(self.user, groups, self.uid, self.extra)

    def _rights(self, requestor: User) -> list[Attributes]:
        def right(resource: str, name: str, **fields: str) -> Attributes:
            return Attributes(user=requestor, verb="impersonate", resource=resource, name=name, **fields)

        account = parse_service_account(self.user)
        rights = [right("serviceaccounts", account[1], namespace=account[0]) if account else right("users", self.user)]
        rights += [right("groups", group) for group in self.groups]
        for key, values in self.extra.items():
            rights += [right("userextras", value, group=_AUTHENTICATION, subresource=key) for value in values]
        rights += [right("uids", self.uid, group=_AUTHENTICATION)] if self.uid else []
        return rights


def _decoded(value: str) -> str:
    """A header's value, which arrives as Latin-1, as the UTF-8 that kubectl sends."""
    try:
        return value.encode("latin-1").decode()
    except UnicodeError:
        return value
