"""Which representation a client asks for (Accept), and decoding of the bodies that it sends (Content-Type).

Answers are JSON: plain objects, Tables (`;as=Table`, what kubectl prints) or metadata only
(`;as=PartialObjectMetadata`). Bodies may be JSON, YAML or Kubernetes' protobuf; see `protobuf` for which kinds of it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from localmodel.runtime.errors import BadRequestError, NotAcceptableError, UnsupportedMediaTypeError

from .messages import JSON

PROTOBUF = "application/vnd.kubernetes.protobuf"
YAML_TYPES = ("application/yaml", "application/apply-patch+yaml")
TRANSFORMS = {"Table", "PartialObjectMetadata", "PartialObjectMetadataList"}

Form = Literal["", "Table", "PartialObjectMetadata"]


@dataclass(frozen=True, slots=True)
class Representation:
    """The chosen form ("" for the object itself) and the API version of that form."""

    form: Form = ""
    version: str = "v1"


_PLAIN = Representation()


def media_types(header: str) -> list[tuple[str, dict[str, str]]]:
    """The types of an Accept or Content-Type header with their parameters, in the order given."""
    types = []
    for part in header.split(","):
        name, *parameters = (piece.strip() for piece in part.split(";"))
        pairs = (parameter.partition("=") for parameter in parameters)
        types.append((name.lower(), {key.strip().lower(): value.strip().strip('"') for key, _, value in pairs}))
    return types


def negotiate(accept: str) -> Representation:
    """The first acceptable type of the header; raises NotAcceptableError if there is none."""
    if accept in ("", JSON, "*/*"):
        return _PLAIN
    for name, parameters in media_types(accept):
        if name not in (JSON, "*/*", "application/*"):
            continue
        as_ = parameters.get("as", "")
        if not as_:
            return _PLAIN
        if as_ in TRANSFORMS and parameters.get("g") == "meta.k8s.io" and parameters.get("v") in ("v1", "v1beta1"):
            return Representation("Table" if as_ == "Table" else "PartialObjectMetadata", parameters["v"])
    raise NotAcceptableError.of("only the following media types are accepted: application/json")


@dataclass(slots=True)
class Body:
    """A decoded body and the paths of keys that stand twice in it, as `spec.size`."""

    value: Any
    duplicates: list[str]


def decode_body(body: bytes, content_type: str, *, find_duplicates: bool) -> Body:
    """The JSON value of a body; raises BadRequestError or UnsupportedMediaTypeError."""
    media_type = content_type.partition(";")[0].strip().lower() or JSON
    if media_type == PROTOBUF:
        from .protobuf import decode_object

        return Body(decode_object(body), [])
    if media_type in YAML_TYPES and not body.lstrip().startswith(b"{"):
        return Body(_decode_yaml(body), [])
    if media_type in (JSON, *YAML_TYPES) or media_type.endswith("+json"):
        value = decode_json(body)
        return Body(value, duplicate_fields(body) if find_duplicates and not _is_canonical(body, value) else [])
    raise UnsupportedMediaTypeError.of(
        "the body of the request was in an unknown format - accepted media types include: "
        "application/json, application/yaml, application/vnd.kubernetes.protobuf"
    )


def decode_json(body: bytes) -> Any:
    """Strict JSON; raises BadRequestError."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequestError.of(
            f"the object provided is unrecognized (must be of type Status): couldn't get version/kind; "
            f"json parse error: {error}"
        ) from None
    except RecursionError:
        raise BadRequestError.of("json parse error: the document is nested too deeply") from None


def _decode_yaml(body: bytes) -> Any:
    import yaml

    try:
        value = yaml.load(body, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequestError.of(f"error converting YAML to JSON: {error}") from None
    # YAML knows more types (dates, binary) than JSON: they become what JSON has.
    return msgspec.to_builtins(value, str_keys=True)


def _is_canonical(body: bytes, value: Any) -> bool:
    """Whether the value would be written just like the body, spaces aside: then no key of it stands twice."""
    return msgspec.json.format(body, indent=-1) == msgspec.json.encode(value)


class _Pairs(list[tuple[str, Any]]):
    """An object with its keys as they came."""


def duplicate_fields(body: bytes) -> list[str]:
    """Paths of the keys that stand more than once in their object."""
    seen_twice = False

    def note(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal seen_twice
        value = dict(pairs)
        seen_twice = seen_twice or len(value) < len(pairs)
        return value

    json.loads(body, object_pairs_hook=note)
    if not seen_twice:
        return []
    found: list[str] = []
    _collect_duplicates(json.loads(body, object_pairs_hook=_Pairs), "", found)
    return found


def _collect_duplicates(value: Any, path: str, found: list[str]) -> None:
    if isinstance(value, _Pairs):
        seen: set[str] = set()
        for key, child in value:
            child_path = f"{path}.{key}" if path else key
            if key in seen and child_path not in found:
                found.append(child_path)
            seen.add(key)
            _collect_duplicates(child, child_path, found)
    elif isinstance(value, list):
        for index, child in enumerate(value):
            _collect_duplicates(child, f"{path}[{index}]", found)
