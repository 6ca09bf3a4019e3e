"""Requests whose answers by a real kube-apiserver are on record, and how an answer is compared with its record.

A `Scenario` is a list of steps that begins with an empty namespace of its own name. `play` sends the steps through a
`Send` and makes comparable answers: what differs from run to run (uids, times, resource versions, continue tokens) is
replaced by names that keep equality: the first resource version that is seen is `<rv1>`, the next `<rv2>`.

The scenarios are in `support.requests`, the records in `test/unit/apiserver/recorded`, made by `hack/record-requests`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

Json = dict[str, Any]

AGENT = "table/1.0"
_LONG = 4000
"""Characters from which on a text is recorded as its length and digest."""
HEADERS = ("content-type", "retry-after", "warning")
"""Those that are compared."""


@dataclass(frozen=True, slots=True)
class Step:
    """One request. In `target` and in a text body `@{N:a.b}` stands for a value in the answer to step N."""

    method: str
    target: str
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    compare: str = ""
    """Empty: everything. Else what is left out, as a reason to read: then only status code and reason are compared."""
    during: tuple[Step, ...] = ()
    """Of a watch: what happens while it is open. Their answers are not compared."""

    @property
    def title(self) -> str:
        return f"{self.method} {self.target[:200]}"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server sent back; of a watch, `lines` are its events."""

    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes = b""
    lines: tuple[bytes, ...] | None = None


@dataclass(frozen=True, slots=True)
class Scenario:
    """Steps that build on each other. The first ones are made by `play`: they create the namespace `name`."""

    name: str
    steps: tuple[Step, ...]


Send = Callable[[Step], Answer]


def step(
    method: str,
    target: str,
    body: Any = None,
    *,
    compare: str = "",
    during: Sequence[Step] = (),
    content_type: str = "application/json",
    **headers: str,
) -> Step:
    """A body that is not bytes is sent as JSON; names of headers are written with underscores."""
    data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    if data and content_type:
        sent["content-type"] = content_type
    return Step(method, target, data, sent, compare, tuple(during))


def play(scenario: Scenario, send: Send) -> list[Json]:
    """The comparable answers to all steps of a scenario."""
    namespace = {"metadata": {"name": scenario.name}}
    send(step("POST", "/api/v1/namespaces", namespace))
    names = _Names()
    raw: list[Any] = []
    played = []
    for number, wanted in enumerate(scenario.steps):
        ready = _filled(wanted, raw)
        ready = replace(ready, during=tuple(_filled(inner, raw) for inner in ready.during))
        answer = send(ready)
        raw.append(_decoded(answer.body))
        found = _comparable(answer, names)
        found = {"step": f"{number} {wanted.title}", **found}
        played.append(essence(found) if wanted.compare else found)
    return played


def differences(wanted: Json, got: Json) -> list[str]:
    """Where an answer is not as recorded: a line for each place.

    kube-apiserver answers 500 to some kinds of bad input; here that is refused with a 4xx, and nothing else compared.
    """
    if wanted["status"] == 500 and 400 <= got["status"] < 500:
        return []
    return _differ(wanted, got, "")


def essence(answer: Json) -> Json:
    """Status code and reason; an answer that was recorded as just that is given as it is."""
    if "reason" in answer:
        return answer
    body = answer.get("body")
    return {
        "step": answer["step"],
        "status": answer["status"],
        "reason": body.get("reason") if isinstance(body, dict) else None,
    }


def _differ(wanted: Any, got: Any, path: str) -> list[str]:
    if isinstance(wanted, dict) and isinstance(got, dict):
        keys = [*wanted, *(key for key in got if key not in wanted)]
        missing = object()
        found: list[str] = []
        for key in keys:
            one, other = wanted.get(key, missing), got.get(key, missing)
            if one is missing:
                found.append(f"{path}.{key}: not recorded, got {_short(other)}")
            elif other is missing:
                found.append(f"{path}.{key}: recorded {_short(one)}, got nothing")
            else:
                found += _differ(one, other, f"{path}.{key}")
        return found
    if isinstance(wanted, list) and isinstance(got, list) and len(wanted) == len(got):
        return [
            line
            for index, (one, other) in enumerate(zip(wanted, got, strict=True))
            for line in _differ(one, other, f"{path}[{index}]")
        ]
    return [] if wanted == got else [f"{path}:\n    recorded {_short(wanted)}\n    got      {_short(got)}"]


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) < 600 else f"{text[:600]}..."


_REFERENCE = re.compile(r"@\{(\d+):([^}]*)\}")


def _filled(wanted: Step, answers: list[Any]) -> Step:
    def value(match: re.Match[str]) -> str:
        found = answers[int(match[1])]
        for key in match[2].split("."):
            found = found[int(key)] if isinstance(found, list) else found[key]
        return str(found)

    target = _REFERENCE.sub(value, wanted.target)
    body = wanted.body
    if b"@{" in body:
        body = _REFERENCE.sub(value, body.decode()).encode()
    return replace(wanted, target=target, body=body)


def _decoded(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body.decode("utf-8", "replace")


class _Names:
    """Names for what differs from run to run."""

    def __init__(self) -> None:
        self._versions: dict[str, str] = {}
        self._uids: dict[str, str] = {}

    def version(self, text: str) -> str:
        return self._versions.setdefault(text, f"<rv{len(self._versions) + 1}>")

    def uid(self, text: str) -> str:
        return self._uids.setdefault(text, f"<uid{len(self._uids) + 1}>")

    def known(self, text: str) -> str:
        """A text in which the versions and uids that were seen have their names."""
        for value, name in self._versions.items():
            text = re.sub(rf"(?<![\w.-]){value}(?![\w.-])", name, text)
        return _UID.sub(lambda match: self.uid(match[0]), text)


_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
_UID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_SUFFIX = re.compile(r"(?<=-gen-)[bcdfghjklmnpqrstvwxz2456789]{5}")


def _comparable(answer: Answer, names: _Names) -> Json:
    headers: Json = {}
    for name in HEADERS:
        values = [value for key, value in answer.headers if key.lower() == name]
        if values:
            headers[name] = [_text(value, names) for value in values]
    found: Json = {"status": answer.status, "headers": headers}
    if answer.lines is not None:
        found["events"] = [_value(_decoded(line), names, "") for line in answer.lines]
    else:
        found["body"] = _value(_decoded(answer.body), names, "")
    return found


def _value(value: Any, names: _Names, key: str, parent: str = "") -> Any:
    if isinstance(value, dict):
        is_list = "items" in value or value.get("kind") == "Table"
        # resourceVersion first: so the names are given in the same order, whatever order the fields have.
        return {
            k: "<list-rv>" if is_list and k == "metadata" and isinstance(v, str) else _member(k, v, names, is_list)
            for k, v in sorted(value.items(), key=lambda item: (item[0] != "metadata", item[0]))
        }
    if isinstance(value, list):
        found = [_value(item, names, key) for item in value]
        # Their order depends on times, to the second.
        return sorted(found, key=_manager_order) if key == "managedFields" else found
    if not isinstance(value, str):
        return value
    if key == "resourceVersion" and value.isdigit() and value != "0":
        return names.version(value)
    if key == "continue":
        return "<continue>"
    return _text(value, names)


def _manager_order(entry: Any) -> str:
    return json.dumps([entry.get(name) for name in ("operation", "manager", "subresource")])


def _member(key: str, value: Any, names: _Names, of_list: bool) -> Any:
    if of_list and key == "metadata" and isinstance(value, dict):
        return {k: "<list-rv>" if k == "resourceVersion" else _value(v, names, k) for k, v in sorted(value.items())}
    return _value(value, names, key)


def _text(text: str, names: _Names) -> str:
    if len(text) > _LONG:
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        return f"{text[:100]}... {len(text)} characters, sha256 {digest}"
    return _SUFFIX.sub("<suffix>", _TIME.sub("<time>", names.known(text)))
