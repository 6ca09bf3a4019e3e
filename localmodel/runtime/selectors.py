"""Label and field selectors, as kubectl and the API server read them.

Used by cached reads, by the versioned store and by predicates. A selector is immutable, parsed once and then matched
often. Labels have the full grammar (`a=b`, `a==b`, `a!=b`, `a in (x,y)`, `a notin (x)`, `a`, `!a`, `a>1`, `a<1`);
fields only have (in)equality. An empty selector matches everything. As in Kubernetes, `!=` and `notin` also match
objects that lack the label.

Grammar: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/ and
https://kubernetes.io/docs/concepts/overview/working-with-objects/field-selectors/
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from .errors import RuntimeLibraryError

Operator = Literal["in", "notin", "exists", "!", ">", "<"]


class SelectorError(RuntimeLibraryError, ValueError):
    """The text is not a selector; the message says where it stops making sense."""


_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_INTEGER = re.compile(r"[+-]?\d+")


def is_subdomain(text: str) -> bool:
    """What most kinds may have as their name: at most 253 characters, lower-case labels between dots."""
    return len(text) <= 253 and bool(_SUBDOMAIN.fullmatch(text))


def is_qualified_name(text: str) -> bool:
    """A name of at most 63 characters with an optional DNS prefix: label keys, finalizers, reporters of events."""
    prefix, slash, name = text.rpartition("/")
    prefix_valid = not slash or is_subdomain(prefix)
    return bool(prefix_valid and _NAME.fullmatch(name))


def _check_key(key: str) -> None:
    if not is_qualified_name(key):
        raise SelectorError(
            f"{key!r} is not a label key: write a name of at most 63 letters, digits, '-', '_' or '.', "
            "with an optional DNS prefix and a slash before it"
        )


def _check_value(key: str, value: str) -> None:
    if value and not _NAME.fullmatch(value):
        raise SelectorError(
            f"{value!r} is not a value for the label {key!r}: write at most 63 letters, digits, '-', '_' or '.'"
        )


@dataclass(frozen=True, slots=True)
class Requirement:
    """One term of a label selector. `=` and `!=` are `in` and `notin` with one value."""

    key: str
    operator: Operator
    values: tuple[str, ...] = ()
    """Sorted and without duplicates."""

    @classmethod
    def of(cls, key: str, operator: Operator, values: Iterable[str] = ()) -> Requirement:
        """A checked requirement; raises SelectorError for what the API server would refuse."""
        _check_key(key)
        unique = tuple(sorted(set(values)))
        for value in unique:
            _check_value(key, value)
        if operator in (">", "<") and not (len(unique) == 1 and _INTEGER.fullmatch(unique[0])):
            raise SelectorError(f"{key!r} {operator} {','.join(unique)!r}: compare with one integer")
        if operator in ("in", "notin") and not unique:
            raise SelectorError(f"{key!r} {operator} (): name at least one value")
        return cls(key, operator, unique)

    def matches(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.key)
        if self.operator == "in":
            return value in self.values
        if self.operator == "notin":
            return value not in self.values
        if self.operator == "exists":
            return value is not None
        if self.operator == "!":
            return value is None
        if value is None or not _INTEGER.fullmatch(value):
            return False
        bound = int(self.values[0])
        return int(value) > bound if self.operator == ">" else int(value) < bound

    def __str__(self) -> str:
        if self.operator == "exists":
            return self.key
        if self.operator == "!":
            return f"!{self.key}"
        if self.operator in (">", "<"):
            return f"{self.key}{self.operator}{self.values[0]}"
        if len(self.values) == 1:
            return f"{self.key}{'=' if self.operator == 'in' else '!='}{self.values[0]}"
        return f"{self.key} {self.operator} ({','.join(self.values)})"


@dataclass(frozen=True, slots=True)
class Selector:
    """A label selector: all requirements must hold."""

    requirements: tuple[Requirement, ...] = ()
    nothing: bool = False
    """Matches no object at all (an absent metav1.LabelSelector)."""

    @classmethod
    def of(cls, selector: str | Mapping[str, str] | Selector) -> Selector:
        """Parses kubectl's grammar, or takes a map of equal pairs; raises SelectorError."""
        if isinstance(selector, Selector):
            return selector
        if isinstance(selector, str):
            return cls(tuple(sorted(_Parser(selector).parse(), key=lambda r: r.key)))
        return cls(tuple(Requirement.of(key, "in", (value,)) for key, value in sorted(selector.items())))

    @classmethod
    def of_label_selector(cls, selector: Mapping[str, Any] | None) -> Selector:
        """The selector of a metav1.LabelSelector object: None matches nothing, an empty one everything."""
        if selector is None:
            return cls(nothing=True)
        requirements = [Requirement.of(k, "in", (v,)) for k, v in (selector.get("matchLabels") or {}).items()]
        for expression in selector.get("matchExpressions") or []:
            operator = _EXPRESSION_OPERATORS.get(expression.get("operator"))
            if operator is None:
                raise SelectorError(f"{expression.get('operator')!r} is not a label selector operator")
            requirements.append(Requirement.of(expression.get("key", ""), operator, expression.get("values") or ()))
        return cls(tuple(sorted(requirements, key=lambda r: r.key)))

    @property
    def is_empty(self) -> bool:
        """It matches everything."""
        return not self.requirements and not self.nothing

    def matches(self, labels: Mapping[str, str]) -> bool:
        return not self.nothing and all(requirement.matches(labels) for requirement in self.requirements)

    def __str__(self) -> str:
        return ",".join(str(requirement) for requirement in self.requirements)


_EXPRESSION_OPERATORS: dict[Any, Operator] = {
    "In": "in",
    "NotIn": "notin",
    "Exists": "exists",
    "DoesNotExist": "!",
}
_TOKEN = re.compile(r"\s*(==|!=|[=!(),<>]|[^\s=!(),<>]+)")
_SPECIAL = frozenset(["==", "!=", "=", "!", "(", ")", ",", "<", ">", ""])


class _Parser:
    """A recursive-descent parser; `""` is the token after the last."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = _TOKEN.findall(text)
        self._next = 0

    def parse(self) -> list[Requirement]:
        if not self._tokens:
            return []
        requirements = [self._requirement()]
        while self._peek() == ",":
            self._take()
            requirements.append(self._requirement())
        self._expect("")
        return requirements

    def _requirement(self) -> Requirement:
        if self._peek() == "!":
            self._take()
            return Requirement.of(self._word("a label key"), "!")
        key = self._word("a label key or '!'")
        operator = self._peek()
        if operator in ("", ","):
            return Requirement.of(key, "exists")
        self._take()
        if operator in ("=", "=="):
            return Requirement.of(key, "in", (self._value(),))
        if operator == "!=":
            return Requirement.of(key, "notin", (self._value(),))
        if operator == "in":
            return Requirement.of(key, "in", self._values())
        if operator == "notin":
            return Requirement.of(key, "notin", self._values())
        if operator == ">":
            return Requirement.of(key, ">", (self._value(),))
        if operator == "<":
            return Requirement.of(key, "<", (self._value(),))
        raise self._error(operator, "one of '=', '==', '!=', 'in', 'notin', '>', '<'")

    def _value(self) -> str:
        """A value may be empty: `a=` and `a=,b`."""
        return "" if self._peek() in ("", ",") else self._word("a value")

    def _values(self) -> list[str]:
        self._expect("(")
        values = []
        while True:
            values.append("" if self._peek() in (",", ")") else self._word("a value"))
            if self._peek() != ",":
                break
            self._take()
        self._expect(")")
        return values

    def _peek(self) -> str:
        return self._tokens[self._next] if self._next < len(self._tokens) else ""

    def _take(self) -> str:
        token = self._peek()
        self._next += 1
        return token

    def _word(self, expected: str) -> str:
        token = self._take()
        if token in _SPECIAL:
            raise self._error(token, expected)
        return token

    def _expect(self, wanted: str) -> None:
        token = self._take()
        if token != wanted:
            if not wanted:  # kube-apiserver's own words
                raise SelectorError(f"found {token!r}, expected: ',' or 'end of string'")
            raise self._error(token, repr(wanted))

    def _error(self, found: str, expected: str) -> SelectorError:
        return SelectorError(f"unable to parse the label selector {self._text!r}: found {found!r}, expected {expected}")


@dataclass(frozen=True, slots=True)
class FieldRequirement:
    """One term of a field selector: the field has (or, negated, has not) the value."""

    field: str
    value: str
    negated: bool = False

    def __str__(self) -> str:
        escaped = re.sub(r"([\\,=])", r"\\\1", self.value)
        return f"{self.field}{'!=' if self.negated else '='}{escaped}"


@dataclass(frozen=True, slots=True)
class FieldSelector:
    """A field selector: all requirements must hold."""

    requirements: tuple[FieldRequirement, ...] = ()

    @classmethod
    def of(cls, selector: str | Mapping[str, str] | FieldSelector) -> FieldSelector:
        """Parses `a=b,c!=d` (a backslash escapes in values), or takes equal pairs; raises SelectorError."""
        if isinstance(selector, FieldSelector):
            return selector
        if isinstance(selector, str):
            return cls(tuple(_field_requirement(selector, term) for term in _split_terms(selector) if term))
        return cls(tuple(FieldRequirement(field, value) for field, value in selector.items()))

    @property
    def is_empty(self) -> bool:
        return not self.requirements

    def matches(self, get: Callable[[str], str]) -> bool:
        """`get` gives the value of a field of the object, empty if it has none."""
        return all((get(term.field) == term.value) != term.negated for term in self.requirements)

    def __str__(self) -> str:
        return ",".join(str(requirement) for requirement in self.requirements)


def field_value(obj: Any, path: Iterable[str], default: str = "") -> str:
    """What a field selector compares: the value at a path of an object's JSON, `default` where there is none."""
    for name in path:
        obj = obj.get(name) if isinstance(obj, dict) else None
    if isinstance(obj, bool):
        return str(obj).lower()
    return default if obj is None else str(obj)


def _split_terms(text: str) -> list[str]:
    """Splits at commas that no backslash escapes."""
    return [term.strip() for term in re.findall(r"(?:\\.|[^\\,]|\\$)+", text, re.DOTALL)]


def _field_requirement(selector: str, term: str) -> FieldRequirement:
    match = re.match(r"([^=!\\]+)(!=|==|=)(.*)", term, re.DOTALL)
    if match is None:
        raise SelectorError(f"invalid field selector {selector!r}; can't understand {term!r}: write field=value")
    field, operator, value = match.groups()
    return FieldRequirement(field.strip(), _unescape(selector, value), operator == "!=")


def _unescape(selector: str, value: str) -> str:
    if re.search(r"(?<!\\)(?:\\\\)*(\\[^\\,=]|\\$|=)", value):
        raise SelectorError(
            f"invalid field selector {selector!r}: in the value {value!r} write '\\' before '\\', ',' and '='"
        )
    return re.sub(r"\\([\\,=])", r"\1", value)
