"""`User`: who makes a request, and the names that Kubernetes reserves."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

MASTERS = "system:masters"
AUTHENTICATED = "system:authenticated"
UNAUTHENTICATED = "system:unauthenticated"
ANONYMOUS = "system:anonymous"
_SERVICE_ACCOUNT = "system:serviceaccount:"
_LABEL = r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"
_SERVICE_ACCOUNT_USER = re.compile(rf"{_SERVICE_ACCOUNT}({_LABEL}):({_LABEL}(?:\.{_LABEL})*)")


@dataclass(frozen=True, slots=True)
class User:
    """An authenticated identity (user.Info)."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: dict[str, list[str]] = field(default_factory=dict, hash=False, compare=False)

    @property
    def is_master(self) -> bool:
        """Members of system:masters may do anything."""
        return MASTERS in self.groups


def service_account_name(namespace: str, name: str) -> str:
    return f"{_SERVICE_ACCOUNT}{namespace}:{name}"


def service_account_groups(namespace: str) -> tuple[str, ...]:
    return "system:serviceaccounts", f"system:serviceaccounts:{namespace}", AUTHENTICATED


def parse_service_account(user: str) -> tuple[str, str] | None:
    """Namespace and name of a service account's user name, None for other users."""
    matched = _SERVICE_ACCOUNT_USER.fullmatch(user)
    return (matched[1], matched[2]) if matched else None
