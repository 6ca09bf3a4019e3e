"""May a cache's services see the folder of its URI? Asked where another cache names it with other credentials.

Agents download a URI once, and each cache's credentials are proved against the source before its entry is called
downloaded (`storageIsolation: verified`). Here the same holds for the way to the files: a cache that has such a rival
gets serving volumes only once a node's report shows that its own credentials were good for the model. What was proved
stands on the volumes themselves, so a report that is lost takes nothing from pods that run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from localmodel.api import Cache
from localmodel.api.config import LocalModelConfig
from localmodel.api.names import status_key
from localmodel.runtime.cache import KindNotServedError
from localmodel.runtime.client import Reader
from localmodel.runtime.objects import ObjectKey, PersistentVolume

from .indexes import BY_CACHE_UID, CACHE_KINDS
from .known import named_credentials, reports_about
from .status import Problem, listed

PROVED_ANNOTATION: Final = "localmodel.kserve.io/proved"
"""On a volume: for which credentials of its cache a node had the model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Whether a cache may have serving volumes: not while there is a `problem`."""

    problem: Problem | None = None
    proof: str = ""
    """The value of PROVED_ANNOTATION for its volumes; empty where no rival asks for one."""


def access_of(cache: Cache, config: LocalModelConfig, reader: Reader) -> Access:
    """The access of a cache that exists."""
    rivals = _rivals(cache, config, reader) if config.storage_isolation == "verified" else []
    if not rivals:
        return Access()
    proof = hashlib.sha256(json.dumps(_credentials(cache.key, named_credentials(cache), cache, config)).encode())
    value = proof.hexdigest()[:16]
    if _is_on_a_node(cache, reader) or value in _proofs(cache, reader):
        return Access(proof=value)
    names = [status_key(rival.name, rival.namespace) for rival in rivals]
    message = (
        f"its services get no volume until a node has the model for it: {listed('cache', names)} names the same "
        "sourceModelUri with other credentials, and those of this cache must be proved first; the states of the nodes "
        "say how far that is"
    )
    return Access(problem=Problem(reason="CredentialsNotProved", message=message))


def same_uri(kind: type[Cache], cache: Cache, reader: Reader) -> Iterable[ObjectKey]:
    """The caches of a kind that name the URI of another."""
    found = reader.parts(kind, named_credentials, cache.spec.source_model_uri)
    return [key for key in found if key != cache.key]


def _rivals(cache: Cache, config: LocalModelConfig, reader: Reader) -> list[ObjectKey]:
    uri = cache.spec.source_model_uri
    mine = _credentials(cache.key, named_credentials(cache), cache, config)
    found: list[ObjectKey] = []
    for kind in CACHE_KINDS:
        try:
            others = reader.parts(kind, named_credentials, uri)
        except KindNotServedError:
            continue
        found += [key for key, named in others.items() if _credentials(key, {uri: named}, cache, config) != mine]
    return sorted(found)


def _credentials(
    key: ObjectKey, named: dict[str, tuple[str, str]], cache: Cache, config: LocalModelConfig
) -> tuple[str, ...]:
    """What decides whether two caches have the same credentials: nothing at all is the same everywhere."""
    account, storage = named[cache.spec.source_model_uri]
    if not account and not storage:
        return ()
    own = config.credential_namespace == "own" and key.namespace
    return (key.namespace if own else config.jobs_namespace, account, storage)


def _is_on_a_node(cache: Cache, reader: Reader) -> bool:
    uri = cache.spec.source_model_uri
    return any(it.is_complete and it.uri == uri for it in reports_about(reader, cache).values())


def _proofs(cache: Cache, reader: Reader) -> set[str]:
    volumes = reader.list(PersistentVolume, fields={BY_CACHE_UID: cache.metadata.uid})
    return {volume.metadata.annotations.get(PROVED_ANNOTATION, "") for volume in volumes}
