"""`RememberedRules`: the CEL rules of a schema, asked once about values that do not change.

A rule that names `oldSelf` compares, and so is asked at every update, also of a status beside a specification that
stays as it is. What such a rule says of a value that is its own old value depends on that value only, so what was found
in order once is in order again. Values are remembered by their digest, and not those with faults.
"""

from __future__ import annotations

from hashlib import blake2b

import msgspec

from .cel import RuleSet
from .fielderrors import Cause
from .schema import Json, Schema

_LIMIT = 20_000
"""Values that are remembered for one kind; forgotten all together when there are more."""


class RememberedRules:
    """Asks a `RuleSet`. `schema` is the root of its schema."""

    def __init__(self, schema: Schema) -> None:
        self._rules = RuleSet(schema)
        # The fields that have rules; rules of the root see all of the object.
        self._ruled = tuple(name for name, child in schema.properties.items() if child.has_rules_below)
        self._sees_all = bool(schema.rules)
        self._in_order: set[bytes] = set()

    def validate(self, new: Json, old: Json | None) -> list[Cause]:
        """The faults of a whole object."""
        if old is None or self._sees_all or any(new.get(name) != old.get(name) for name in self._ruled):
            return self._rules.validate(new, old)
        values = msgspec.json.encode([new.get(name) for name in self._ruled])
        digest = blake2b(values, digest_size=16).digest()
        if digest in self._in_order:
            return []
        causes = self._rules.validate(new, old)
        if not causes:
            if len(self._in_order) >= _LIMIT:
                self._in_order.clear()
            self._in_order.add(digest)
        return causes
