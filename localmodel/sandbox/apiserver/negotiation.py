"""Which representation a client asks for (Accept), and decoding of the bodies that it sends (Content-Type).

Answers are JSON: plain objects, Tables (`;as=Table`, what kubectl prints) or metadata only
(`;as=PartialObjectMetadata`). Bodies may be JSON, YAML or Kubernetes' protobuf; see `protobuf` for which kinds of it.
"""

from __future__ import annotations

import json
import re
from typing import Any, Literal

import msgspec

from localmodel.runtime.errors import (
    BadRequestError,
    NotAcceptableError,
    UnsupportedMediaTypeError,
    make_status,
)

from .jsonsyntax import fault_of
from .messages import JSON

PROTOBUF = "application/vnd.kubernetes.protobuf"
YAML = "application/yaml"
_ACCEPTED = (JSON, YAML, PROTOBUF)
_PRODUCED = frozenset({"*/*", *_ACCEPTED})
_TOKEN = "[-!#$%&'*+.^_`|~0-9A-Za-z]+"
_MEDIA_TYPE = re.compile(rf"\s*({_TOKEN}/{_TOKEN})\s*(?:;\s*{_TOKEN}=(?:{_TOKEN}|\"[^\"]*\")\s*)*;?\s*")
_SURROGATE = re.compile("[\ud800-\udfff]")
TRANSFORMS = {"Table", "PartialObjectMetadata", "PartialObjectMetadataList"}

Form = Literal["", "Table", "PartialObjectMetadata"]


class Representation(msgspec.Struct, frozen=True):
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


def require_producible(accept: str) -> None:
    """Raises NotAcceptableError for a header without any type that a route of the API has, as go-restful matches."""
    if not accept or accept == JSON:
        return
    for part in accept.split(","):
        if part.partition(";")[0].strip(" ") in _PRODUCED:
            return
    message = f"406: Not Acceptable\n\nAvailable representations: {', '.join(_ACCEPTED)}"
    raise NotAcceptableError({**make_status("NotAcceptable", 406, message), "details": {}})


def negotiate(accept: str, answer: Literal["object", "list", "watch"] = "object") -> Representation:
    """The first acceptable type of the header; raises NotAcceptableError if there is none."""
    if accept in ("", JSON, "*/*"):
        return _PLAIN
    for name, parameters in _by_quality(media_types(accept)):
        if name not in (JSON, "*/*", "application/*") or parameters.get("stream", "watch") != "watch":
            continue
        as_ = parameters.get("as", "")
        if not as_:
            return _PLAIN
        if as_ in TRANSFORMS and parameters.get("g") == "meta.k8s.io" and parameters.get("v") in ("v1", "v1beta1"):
            _require_fitting(as_, answer)
            return Representation("Table" if as_ == "Table" else "PartialObjectMetadata", parameters["v"])
    raise not_acceptable()


def not_acceptable() -> NotAcceptableError:
    return NotAcceptableError.of(f"only the following media types are accepted: {', '.join(_ACCEPTED)}")


def _by_quality(types: list[tuple[str, dict[str, str]]]) -> list[tuple[str, dict[str, str]]]:
    def quality(parameters: dict[str, str]) -> float:
        try:
            return float(parameters.get("q", "1"))
        except ValueError:
            return 1.0

    return sorted(types, key=lambda type_: -quality(type_[1]))


def _require_fitting(form: str, answer: str) -> None:
    """Metadata of one object and of a list are different forms."""
    if form == "PartialObjectMetadataList" and answer == "object":
        raise NotAcceptableError.of("you requested PartialObjectMetadataList, but the requested object is not a list")
    if form == "PartialObjectMetadata" and answer == "list":
        raise NotAcceptableError.of("you requested PartialObjectMetadata, but the requested object is a list")


class Body(msgspec.Struct):
    """A decoded body and messages about the keys that stand twice in it."""

    value: Any
    duplicates: list[str]


def decode_body(body: bytes, content_type: str, *, find_duplicates: bool, kind: str = "Status") -> Body:
    """The JSON value of a body that is to be a `kind`; raises BadRequestError or UnsupportedMediaTypeError."""
    media_type = _media_type(content_type)
    if media_type == PROTOBUF:
        from .protobuf import decode_object

        return Body(decode_object(body, kind), [])
    if media_type == YAML:
        return _decode_yaml(body, kind, find_duplicates=find_duplicates)
    value = decode_json(body, kind)
    if not find_duplicates:
        return Body(value, [])
    return Body(value, [f'duplicate field "{path}"' for path in duplicate_fields(body, value)])


def _media_type(content_type: str) -> str:
    """Raises UnsupportedMediaTypeError for a type that no body may have, and for a malformed header."""
    if content_type in ("", JSON):
        return JSON
    match = _MEDIA_TYPE.fullmatch(content_type)
    media_type = match[1].lower() if match else ""
    if media_type not in (JSON, PROTOBUF, YAML):
        raise UnsupportedMediaTypeError.of(
            f"the body of the request was in an unknown format - accepted media types include: {', '.join(_ACCEPTED)}"
        )
    return media_type


def unrecognized(body: bytes, kind: str, why: str) -> BadRequestError:
    """The refusal of a body that cannot even be said to be of a kind."""
    return BadRequestError.of(f"the object provided is unrecognized (must be of type {kind}): {why} ({_shown(body)})")


def _shown(body: bytes) -> str:
    """The beginning of a body for a message: as text if it may be JSON, else in hexadecimal."""
    if not body:
        return "<empty>"
    start = body[:30]
    text = start.decode("utf-8", "replace") if body.startswith(b"{") else start.hex()
    return f"{text} ..." if len(body) > 30 else text


def decode_json(body: bytes, kind: str = "Status") -> Any:
    """The value of a JSON body; raises BadRequestError."""
    try:
        return parse_json(body)
    except ValueError as error:
        raise unrecognized(body, kind, f"couldn't get version/kind; json parse error: {error}") from None


def parse_json(body: bytes) -> Any:
    """The value of a JSON text, read as Go reads it; raises ValueError with the message of Go's parser."""
    try:
        return msgspec.json.decode(body)
    except RecursionError:
        deepest = next((chr(byte) for byte in body if byte in b"{["), "[")
        raise ValueError(f"invalid character '{deepest}' exceeded max depth") from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass
    if (fault := fault_of(body)) is not None:
        raise ValueError(fault)
    # What the fast decoder refuses and Go takes: bytes that are not UTF-8, and lone surrogates.
    try:
        return _without_surrogates(json.loads(body.decode("utf-8", "replace"), parse_constant=float))
    except RecursionError:
        raise ValueError("invalid character '{' exceeded max depth") from None


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return _SURROGATE.sub("\ufffd", value)
    if isinstance(value, dict):
        return {_without_surrogates(key): _without_surrogates(item) for key, item in value.items()}
    return [_without_surrogates(item) for item in value] if isinstance(value, list) else value


def _decode_yaml(body: bytes, kind: str, *, find_duplicates: bool) -> Body:
    from . import yamlbody

    try:
        document = yamlbody.decode(body, find_duplicates=find_duplicates)
    except yamlbody.YamlError as error:
        raise unrecognized(body, kind, str(error)) from None
    if not body.strip():
        raise unrecognized(body, kind, "couldn't get version/kind; json parse error: unexpected end of JSON input")
    return Body(document.value, document.duplicates)


def _is_canonical(body: bytes, value: Any) -> bool:
    """Whether the value would be written just like the body, spaces aside: then no key of it stands twice."""
    try:
        return msgspec.json.format(body, indent=-1) == msgspec.json.encode(value)
    except msgspec.DecodeError:  # taken as Go takes it: lone surrogates, invalid UTF-8
        return False


class _Pairs(list[tuple[str, Any]]):
    """An object with its keys as they came."""


def duplicate_fields(body: bytes, value: Any) -> list[str]:
    """Paths of the keys that stand more than once in their object. `value` is what was read of the body."""
    if _is_canonical(body, value):
        return []
    seen_twice = False

    def note(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal seen_twice
        value = dict(pairs)
        seen_twice = seen_twice or len(value) < len(pairs)
        return value

    text = body.decode("utf-8", "replace")
    json.loads(text, object_pairs_hook=note)
    if not seen_twice:
        return []
    found: list[str] = []
    _collect_duplicates(json.loads(text, object_pairs_hook=_Pairs), "", found)
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
