"""`storage.parameters` of a cache, which reach its Job as plain text (kserve-behaviour.md 9.2).

They are settings, as `region` or `endpoint_url`. What is a credential by its name stays out of Jobs (D-21) and is for
the storage secret.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from .additions import Credentials, literal
from .errors import CredentialsError
from .s3 import certificates_of

VARIABLE: Final = "STORAGE_OVERRIDE_CONFIG"
_SECRET_NAME: Final = re.compile(
    "secret|token|passw|keytab|credential|private|headers|access_?key|api_?key|account_?key|tls_?key", re.IGNORECASE
)
_WITH_PASSWORD: Final = re.compile("://[^/?#]*:[^/?#]*@")


def of_parameters(parameters: Mapping[str, str] | None) -> Credentials:
    """What they add to a Job beside credentials of another kind; raises CredentialsError as `override` does."""
    if not parameters:
        return Credentials()
    certificates = (literal(name, value) for name, value in certificates_of(parameters).items())
    return Credentials(env=(*certificates, override(parameters)))


def override(parameters: Mapping[str, str]) -> dict[str, Any]:
    """The variable, as plain JSON of core/v1; raises CredentialsError where it would show a credential."""
    shown = sorted(name for name, value in parameters.items() if _is_secret(name, value))
    if shown:
        raise CredentialsError(
            f"storage.parameters must not hold credentials, as anybody who may read Jobs could read them: move "
            f"{', '.join(shown)} into a key of the storage secret, and name that in storage.key"
        )
    return literal(VARIABLE, json.dumps(dict(parameters), sort_keys=True))


def _is_secret(name: str, value: str) -> bool:
    return bool(value) and (bool(_SECRET_NAME.search(name)) or has_password(value))


def has_password(address: str) -> bool:
    """Whether an address is of the form `scheme://user:password@host`."""
    return bool(_WITH_PASSWORD.search(address))
