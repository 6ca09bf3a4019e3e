"""`RememberedRules`: the CEL rules of a schema, asked once about values that do not change.

A rule that names `oldSelf` compares, and so is asked at every update, also of a status beside a specification that
stays as it is. What such a rule says of a value that is its own old value depends on that value only, so what was found
in order once is in order again. Remembered are the generations of objects, which count the changes of all that is
neither metadata nor status, and not those with faults.
"""

from __future__ import annotations

from localmodel.runtime.testing.jsonvalues import is_same

from .cel import RuleSet
from .fielderrors import Cause
from .schema import Json, Schema

_LIMIT = 20_000
"""Objects that are remembered of one kind; forgotten all together when there are more."""


class RememberedRules:
    """Asks a `RuleSet`. `schema` is the root of its schema."""

    def __init__(self, schema: Schema) -> None:
        self._rules = RuleSet(schema)
        self._ruled = tuple(name for name, child in schema.properties.items() if child.has_rules_below)
        # Rules of the root see all of the object, and no generation counts the changes of a status.
        self._remembers = not schema.rules and "status" not in self._ruled
        # By uid.
        self._in_order: dict[str, int] = {}

    def is_in_order(self, uid: str, generation: int) -> bool:
        """Whether an object of this generation is in order as long as only its status changes."""
        return self._remembers and self._in_order.get(uid) == generation

    def validate(self, new: Json, old: Json | None) -> list[Cause]:
        """The faults of a whole object."""
        if old is None or not self._remembers:
            return self._rules.validate(new, old)
        for name in self._ruled:
            if not is_same(new.get(name), old.get(name)):
                return self._rules.validate(new, old)
        metadata = old["metadata"]
        uid, generation = metadata["uid"], metadata["generation"]
        if self.is_in_order(uid, generation):
            return []
        causes = self._rules.validate(new, old)
        if not causes:
            if len(self._in_order) >= _LIMIT:
                self._in_order.clear()
            self._in_order[uid] = generation
        return causes
