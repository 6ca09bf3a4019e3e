"""Names beside those of metadata: DNS-1035 labels, ports, environment variables, config keys and the like.

Each function gives what is wrong with a name, in the words of apimachinery's util/validation; nothing if it is right.
"""

from __future__ import annotations

import re

_DNS1035 = "[a-z]([-a-z0-9]*[a-z0-9])?"
_LABEL = re.compile(_DNS1035, re.ASCII)
_LABEL_TEXT = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "
    f"and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '{_DNS1035}')"
)


def dns1035_label(name: str) -> list[str]:
    """A name that becomes a part of a URL or DNS name, as a CRD's plural and a service's name."""
    faults = [] if len(name) <= 63 else ["must be no more than 63 characters"]
    return faults if _LABEL.fullmatch(name) else [*faults, _LABEL_TEXT]


_PORT = re.compile("[-a-z0-9]+", re.ASCII)
_PATH_TEXT = "must not contain '..'"


def port_name(name: str) -> list[str]:
    """The name of a container's port (an IANA service name)."""
    faults = [] if len(name) <= 15 else ["must be no more than 15 characters"]
    if not _PORT.fullmatch(name):
        faults.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    elif not re.search("[a-z]", name):
        faults.append("must contain at least one letter (a-z)")
    if "--" in name:
        faults.append("must not contain consecutive hyphens")
    if name.startswith("-") or name.endswith("-"):
        faults.append("must not begin or end with a hyphen")
    return faults


def variable_name(name: str) -> list[str]:
    """The name of an environment variable, as Kubernetes 1.32 takes it."""
    if name and all(" " <= character <= "~" and character != "=" for character in name):
        return []
    return ["a valid environment variable name must consist only of printable ASCII characters other than '='"]


_CONFIG_KEY = re.compile(r"[-._a-zA-Z0-9]+", re.ASCII)
_CONFIG_KEY_TEXT = (
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  "
    "or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
)


def config_key(key: str) -> list[str]:
    """The key of a config map or secret."""
    faults = [] if len(key) <= 253 else ["must be no more than 253 characters"]
    if not _CONFIG_KEY.fullmatch(key):
        return [*faults, _CONFIG_KEY_TEXT]
    if key in (".", ".."):
        faults.append(f"must not be '{key}'")
    elif key.startswith(".."):
        faults.append("must not start with '..'")
    return faults


def path_without_backsteps(path: str) -> list[str]:
    """A path that does not lead up."""
    return [_PATH_TEXT] if ".." in path.split("/") else []


def port_number(port: int) -> list[str]:
    return [] if 1 <= port <= 65535 else ["must be between 1 and 65535, inclusive"]
