"""Named formats in expressions: format.dns1123Label().validate(text) gives what is wrong with a text, or none."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from localmodel.runtime.testing import metadata

from .conversions import to_timestamp
from .functions import Function, function, member
from .net import parse_url
from .values import EvaluationError, Opaque, Optional

Check = Callable[[str], list[str]]

_UUID = re.compile(r"^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$", re.IGNORECASE)
_DATE = re.compile(r"^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])$")
_DNS1035 = "[a-z]([-a-z0-9]*[a-z0-9])?"
_DNS1035_TEXT = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "
    f"and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '{_DNS1035}')"
)
_QUALIFIED_TEXT = (
    "a qualified name must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
    "alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain prefix and '/' "
    "(e.g. 'example.com/MyName')"
)


@dataclass(frozen=True, slots=True)
class NamedFormat(Opaque):
    """A format by its name."""

    type_name: ClassVar[str] = "kubernetes.NamedFormat"
    name: str
    check: Check = field(compare=False)


def dns1035_label(value: str) -> list[str]:
    """What is wrong with the name of a service, or a version."""
    faults = [] if len(value) <= 63 else ["must be no more than 63 characters"]
    return faults if re.fullmatch(_DNS1035, value) else [*faults, _DNS1035_TEXT]


def _prefix(check: Check) -> Check:
    """A prefix may end with the dash that joins it to the rest."""
    return lambda value: check(value[:-1] + "a" if len(value) > 1 and value.endswith("-") else value)


def _qualified_name(value: str) -> list[str]:
    return [_QUALIFIED_TEXT] if value.count("/") > 1 else metadata.qualified_name(value)


def _uri(value: str) -> list[str]:
    try:
        parse_url(value)
    except EvaluationError as error:
        return [str(error).removeprefix("URL parse error during conversion from string: ")]
    return []


def _base64(value: str) -> list[str]:
    try:
        base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return ["invalid base64"]
    return []


def _datetime(value: str) -> list[str]:
    try:
        to_timestamp(value)
    except EvaluationError:
        return ["invalid datetime"]
    return []


_CHECKS: dict[str, Check] = {
    "dns1123Label": metadata.dns1123_label,
    "dns1123Subdomain": metadata.dns1123_subdomain,
    "dns1035Label": dns1035_label,
    "dns1123LabelPrefix": _prefix(metadata.dns1123_label),
    "dns1123SubdomainPrefix": _prefix(metadata.dns1123_subdomain),
    "dns1035LabelPrefix": _prefix(dns1035_label),
    "labelValue": metadata.label_value,
    "qualifiedName": _qualified_name,
    "uri": _uri,
    "uuid": lambda value: [] if _UUID.match(value) else ["does not match the UUID format"],
    "byte": _base64,
    "date": lambda value: [] if _DATE.match(value) else ["invalid date"],
    "datetime": _datetime,
}
_FORMATS = {name: NamedFormat(name, check) for name, check in _CHECKS.items()}


def _named(name: str) -> Optional:
    return Optional.of(_FORMATS[name]) if name in _FORMATS else Optional()


def _validate(named: NamedFormat, value: str) -> Optional:
    faults = named.check(value)
    return Optional.of(faults) if faults else Optional()


def _constructor(named: NamedFormat) -> Function:
    return function(f"format.{named.name}", [], NamedFormat.type_name, lambda: named)


def _functions() -> Iterator[Function]:
    yield from map(_constructor, _FORMATS.values())
    yield function("format.named", ["string"], f"optional_type<{NamedFormat.type_name}>", _named)
    yield member(NamedFormat.type_name, "validate", ["string"], "optional_type<list<string>>", _validate)


FORMATS: tuple[Function, ...] = tuple(_functions())
