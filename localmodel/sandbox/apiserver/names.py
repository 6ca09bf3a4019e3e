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
