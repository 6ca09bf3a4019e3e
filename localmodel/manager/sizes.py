"""How large a cache's specification may be. A pure function.

It travels in the entries of all nodes, and a LocalModelNode has those of all caches: an API server stores about 1.5 MiB
of an object, so one that is larger than it needs to be could keep everybody's models from a node.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from localmodel.api import LocalModelCacheSpec

MAX_CHARACTERS: Final = 1 << 16
"""Of all texts of a specification together, whoever writes it; what is downloaded is said in far fewer."""


def size_fault(spec: LocalModelCacheSpec) -> str:
    """What is wrong with the size, in words; empty if nothing is."""
    size = sum(map(len, _texts(spec)))
    if size <= MAX_CHARACTERS:
        return ""
    return (
        f"its texts have {size} characters and may have {MAX_CHARACTERS}, since every LocalModelNode repeats them: "
        "shorten include, exclude or storage.parameters"
    )


def _texts(spec: LocalModelCacheSpec) -> Iterable[str]:
    yield from (spec.source_model_uri, spec.model_size, spec.service_account_name, spec.eviction_policy)
    yield from (spec.revision, spec.digest)
    yield from spec.include
    yield from spec.exclude
    if spec.storage is not None:
        yield spec.storage.key or ""
        for item in (spec.storage.parameters or {}).items():
            yield from item
