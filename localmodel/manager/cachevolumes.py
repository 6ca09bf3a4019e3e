"""All volumes of a cache in one step: which it shall have, what stands in the way, and what goes.

`pairs` names them, `isolation` says whether services may have theirs yet, `volumes` makes, mends and removes them, and
`retiring` keeps those for a while that pods may still name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from localmodel.api import Cache, LocalModelNodeGroup
from localmodel.api.config import LocalModelConfig
from localmodel.runtime.client import Client, Reader
from localmodel.runtime.clock import Clock
from localmodel.runtime.errors import ApiError, ConflictError
from localmodel.runtime.events import EventRecorder
from localmodel.runtime.reconcile import Request

from .consumers import Consumers
from .earlypods import EarlyPods
from .isolation import access_of
from .pairs import VolumePair, model_pair, wanted_pairs
from .retiring import Retiring
from .status import Problem
from .volumes import Volumes


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumesOutcome:
    """What came of it. `failure` is to be tried again after the status has been written (D-55)."""

    problems: list[Problem]
    is_settled: bool = True
    """Nothing stands in the way, and nothing is left that shall go."""
    failure: ApiError | None = None


class CacheVolumes:
    """The volumes of all caches of a reconciler. One worker at a time touches a cache."""

    def __init__(self) -> None:
        self._retiring = Retiring()

    def forget(self, cache: Request) -> None:
        """The cache is gone."""
        self._retiring.forget(cache)

    def ensure(
        self,
        cache: Cache,
        groups: Mapping[str, LocalModelNodeGroup],
        consumers: Consumers,
        config: LocalModelConfig,
        *,
        prune: bool,
        guards_pods: bool,
        client: Client,
        live: Reader,
        recorder: EventRecorder,
        clock: Clock,
    ) -> VolumesOutcome:
        """`groups` are those of the cache that exist: volumes of others are left as they are.

        `guards_pods`: the manager serves the webhooks of pods.
        """
        managed = not config.disable_volume_management
        access = access_of(cache, config, client)
        early = EarlyPods(live, config.jobs_namespace) if guards_pods else None
        volumes = Volumes(cache, client=client, live=live, recorder=recorder, early_pods=early, proof=access.proof)
        serving = consumers.claims if managed and access.problem is None else frozenset()
        single_models, isolated = config.serves_single_models, config.isolates_namespaces
        pairs = volumes.named(
            wanted_pairs(
                cache,
                config.jobs_namespace,
                serving,
                single_models=single_models,
                isolated=isolated,
                downloads=not config.downloads_in_agent,
            )
        )
        held = [access.problem] if access.problem is not None and managed and consumers.claims else []
        problems, failure = _ensure(volumes, pairs, groups)
        problems = [*held, *problems]
        if failure is not None or not managed or not consumers.complete or not prune:
            return VolumesOutcome(problems=problems, is_settled=not problems, failure=failure)
        singles = (model_pair(cache, group, ns, isolated=it) for ns, group in serving for it in (False, True))
        wanted = {pair.claim for pair in pairs}
        unwanted = {pair.claim: pair for pair in singles if pair.claim not in wanted}
        kept = self._retiring.kept(cache.key, unwanted.values(), reader=client, live=live, clock=clock)
        volumes.prune([*pairs, *kept])
        return VolumesOutcome(problems=problems, is_settled=not problems and not kept)


def _ensure(
    volumes: Volumes, pairs: Iterable[VolumePair], groups: Mapping[str, LocalModelNodeGroup]
) -> tuple[list[Problem], ApiError | None]:
    problems: list[Problem] = []
    failure: ApiError | None = None
    for pair in pairs:
        if (group := groups.get(pair.group)) is None:
            continue
        try:
            problems += volumes.ensure(pair, group)
        except ApiError as error:
            failure = failure or error
            if not isinstance(error, ConflictError):
                message = f"cannot make claim {pair.claim} and volume {pair.volume}: {error}"
                problems.append(Problem(reason="VolumeFailed", message=message))
    return problems, failure


def every_pair(cache: Cache, job_namespace: str) -> list[VolumePair]:
    """The pairs that a LocalModelNamespaceCache can have, whatever is configured."""
    serving = [(cache.namespace, group) for group in cache.spec.node_groups]
    found = {
        pair.claim: pair
        for isolated in (False, True)
        for pair in wanted_pairs(cache, job_namespace, serving, single_models=True, isolated=isolated)
    }
    return list(found.values())
