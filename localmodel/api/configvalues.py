"""What the values of `inferenceservice-config` may be, and what is said of one that cannot be used.

The types of the fields in `config`. A value is of the JSON type that KServe's own decoder demands: `"5"` is no number
and `1` no text. Each refusal is of the form `field is value: what to do`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final

from pydantic import AfterValidator, Field, ValidationError

from localmodel.runtime.objects import parse_quantity

_LABEL: Final = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
_DNS_LABEL: Final = re.compile(_LABEL)
_DNS_SUBDOMAIN: Final = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(\.{_LABEL})*")
_DATA_KEY: Final = re.compile(r"(?!\.\.?\Z)[-._A-Za-z0-9]{1,253}")
_ANNOTATION: Final = re.compile(rf"({_LABEL}(\.{_LABEL})*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{{0,61}}[A-Za-z0-9])?")
_IMAGE: Final = re.compile(r"[^\s\x00-\x1f]+")
_PATH: Final = re.compile(r"/[^\x00:]*")
_MAX_VALUE: Final = 60

INT32_MAX: Final = 2**31 - 1
INT64_MAX: Final = 2**63 - 1


def _like(pattern: re.Pattern[str], advice: str) -> AfterValidator:
    """A text is empty, for the default, or all of it matches."""

    def check(text: str) -> str:
        if text and not pattern.fullmatch(text):
            raise ValueError(advice)
        return text

    return AfterValidator(check)


def _quantity(text: str) -> str:
    try:
        amount = parse_quantity(text) if text else 0
    except ValueError:
        amount = -1
    if amount < 0:
        raise ValueError("give a quantity of Kubernetes, such as 100m or 1Gi")
    return text


def empty_means(default: str) -> AfterValidator:
    """An empty text is as good as none, as in KServe."""
    return AfterValidator(lambda text: text or default)


Namespace = Annotated[
    str, _like(_DNS_LABEL, "give the name of a namespace: lower-case letters, digits and '-', at most 63 characters")
]
ObjectName = Annotated[
    str, _like(_DNS_SUBDOMAIN, "give an object's name: lower-case letters, digits, '-' and '.', at most 253 characters")
]
DataKey = Annotated[str, _like(_DATA_KEY, "give the name of a Secret's key: letters, digits, '-', '_' and '.'")]
AnnotationName = Annotated[
    str, _like(_ANNOTATION, "give an annotation's name, such as serving.kserve.io/storageSecretName")
]
Image = Annotated[str, _like(_IMAGE, "give an image without spaces, such as registry.example.com/name:tag")]
AbsolutePath = Annotated[str, _like(_PATH, "give a path that starts with '/' and has no ':'")]
Quantity = Annotated[str, AfterValidator(_quantity)]
Positive32 = Annotated[int, Field(ge=1, le=INT32_MAX)]
Positive64 = Annotated[int, Field(ge=1, le=INT64_MAX)]
Natural32 = Annotated[int, Field(ge=0, le=INT32_MAX)]

_ADVICE: Final[Mapping[str, Callable[[Mapping[str, Any]], str]]] = {
    "value_error": lambda told: str(told["error"]),
    "literal_error": lambda told: f"give one of {told['expected']}",
    "greater_than_equal": lambda told: f"give at least {told['ge']}",
    "less_than_equal": lambda told: f"give at most {told['le']}",
    "bool_type": lambda _: "give true or false, without quotes",
    "int_type": lambda _: "give a whole number, without quotes",
    "string_type": lambda _: "give a text, in quotes",
    "list_type": lambda _: "give an array of texts",
    "model_type": lambda _: "give a JSON object",
}
"""By pydantic's name of what is wrong: what to do about it."""


def explain(error: ValidationError) -> str:
    """Every value that cannot be used, with its field and what to do, on one line."""
    return "; ".join(map(_explain, error.errors(include_url=False)))


def _explain(found: Any) -> str:
    advise = _ADVICE.get(found["type"])
    advice = advise(found.get("ctx") or {}) if advise is not None else found["msg"]
    if not found["loc"]:  # about several fields: the advice names them
        return advice
    return f"{'.'.join(map(str, found['loc']))} is {_shown(found['input'])}: {advice}"


def _shown(value: Any) -> str:
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "an array"
    text = json.dumps(value)
    return text if len(text) <= _MAX_VALUE else text[: _MAX_VALUE - 1] + "…"
