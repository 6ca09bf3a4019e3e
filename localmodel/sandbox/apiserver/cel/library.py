"""The Kubernetes library as one table: what expressions have beside CEL's standard functions, as of Kubernetes 1.32.

https://kubernetes.io/docs/reference/using-api/cel/
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from .authorizer import AUTHORIZER
from .conversions import to_string
from .formats import FORMATS
from .functions import Function, function
from .lists import LISTS
from .net import CIDR, IP, NET
from .quantities import QUANTITIES
from .regex import REGEX
from .standard import STANDARD
from .strings import STRINGS

LIBRARY: tuple[Function, ...] = (*STRINGS, *LISTS, *REGEX, *QUANTITIES, *NET, *FORMATS, *AUTHORIZER)

_NUMBERS = ("int", "uint", "double")
_ORDERED = ("bool", "string", "bytes", "timestamp", "duration")
_TEXTS = ("bool", "bytes", "double", "duration", "int", "string", "timestamp", "uint", IP.type_name, CIDR.type_name)


def _redeclared() -> Iterator[Function]:
    for name in ("_<_", "_<=_", "_>_", "_>=_"):
        for left, right in (*product(_NUMBERS, _NUMBERS), *((type_, type_) for type_ in _ORDERED)):
            yield function(name, [left, right], "bool", STANDARD[name])
    for type_ in _TEXTS:
        yield function("string", [type_], "string", to_string)


REDECLARED: tuple[Function, ...] = tuple(_redeclared())
"""Standard functions that have more overloads in Kubernetes: order of numbers across types, text of addresses."""
