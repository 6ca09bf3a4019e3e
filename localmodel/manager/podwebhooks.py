"""The webhooks of pods that mount the claims of caches; `config/webhook/pods.yaml` says which pods are asked about.

The mutating one takes part with `servingVolumeScope: model` only: a pod's volume with the claim that KServe names is
changed to the claim of the one model, so that a pod on a node without the model waits for it. It looks at the result of
KServe's own webhook and changes nothing that this one looks at again (a volume and mounts of these names are there), so
the order of the two does not matter.

The validating one refuses, in either scope, a pod that could read other models than its claim's own or change one: the
volume of such a claim has all models of a node. It judges what is mounted and not by whom, because labels and owners
are a pod's own words: whoever makes a pod in the job namespace can write into the staging folder of the claim's model
and nowhere else, as download jobs do.

Where the manager cannot tell, the pod is let in with a warning: pods must not depend on it. In namespaces that ask for
it (the label `localmodel.kserve.io/guard: strict`) it is refused instead. Either answer takes less than a second.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any, Final

import structlog

from localmodel.api import Cache, LocalModelNodeGroup
from localmodel.api.config import LocalModelConfig
from localmodel.api.names import LOCAL_MODEL_LABEL, LOCAL_MODEL_NAMESPACE_LABEL, model_pvc_name, storage_key
from localmodel.runtime import deadline
from localmodel.runtime.client import Reader
from localmodel.runtime.clock import Clock
from localmodel.runtime.errors import RuntimeLibraryError
from localmodel.runtime.events import EventRecorder
from localmodel.runtime.objects import ObjectKey, Pod
from localmodel.runtime.webhook import (
    AdmissionRequest,
    AdmissionResponse,
    DeniedError,
    Operation,
    allowed,
    mutate_path,
    patched,
    validate_path,
)
from localmodel.runtime.webhook.builder import Registrar

from .claims import Answer, Claims, Exposure, group_of
from .podmounts import (
    CONTAINERS,
    ClaimVolume,
    Mount,
    claim_volumes,
    ephemeral_volumes,
    fault_of,
    mounts_of,
    show_single,
)
from .settings import Settings

log = structlog.get_logger(__name__)

Json = dict[str, Any]

SECONDS: Final = 0.8
"""The most that an answer takes."""
STRICT_SUFFIX: Final = "-strict"
"""Ends the path of the validating webhook that refuses where it cannot tell."""
EPHEMERAL: Final = "ephemeralContainers"


class PodWebhooks:
    """Both handlers. Called by many threads at once."""

    def __init__(
        self, settings: Settings, *, reader: Reader, live: Reader, recorder: EventRecorder, clock: Clock
    ) -> None:
        self._settings = settings
        self._reader = reader
        self._live = live
        self._recorder = recorder
        self._clock = clock
        self._claims = Claims(reader, live)

    def register(self, server: Registrar) -> None:
        """Serves them."""
        server.register(mutate_path(Pod.mapping), self.mutate)
        server.register(validate_path(Pod.mapping), self.validate)
        server.register(validate_path(Pod.mapping) + STRICT_SUFFIX, self.validate_strictly)

    # the model's own claim --------------------------------------------------------------------------------------------

    def mutate(self, request: AdmissionRequest) -> AdmissionResponse:
        """Answers with a patch where a volume becomes that of one model."""
        if request.operation != Operation.CREATE or request.object is None:
            return allowed()
        pod, warnings = copy.deepcopy(request.object), []
        with deadline.limit(self._clock, SECONDS):
            for volume in claim_volumes(pod):
                try:
                    config = self._config()
                    if config.serves_single_models:
                        self._show_single(pod, volume, request.namespace, config)
                except RuntimeLibraryError as error:
                    warnings.append(f"volume {volume.name} keeps claim {volume.claim}: {error}")
        return patched(request.object, pod).with_warnings(warnings)

    def _show_single(self, pod: Json, volume: ClaimVolume, namespace: str, config: LocalModelConfig) -> None:
        cache = self._served_cache(pod, ObjectKey(namespace, volume.claim), config.jobs_namespace)
        group = self._group(group_of(cache, volume.claim)) if cache is not None else None
        if cache is None or group is None or not group.models_path:
            return  # not KServe's claim of a cache, or one that has no volume of the model alone
        uri = cache.spec.source_model_uri
        claim = model_pvc_name(cache.name, group.name, uri, cache.namespace, isolated=config.isolates_namespaces)
        show_single(pod, volume, storage_key(uri), claim)

    def _served_cache(self, pod: Json, claim: ObjectKey, jobs_namespace: str) -> Cache | None:
        """The cache that the pod's labels name, which KServe gives to it; else the one whose the claim is.

        The labels go first: where claims of two caches have one name (D-59), they tell which model is meant.
        """
        labels = pod.get("metadata", {}).get("labels") or {}
        key = ObjectKey(labels.get(LOCAL_MODEL_NAMESPACE_LABEL, ""), labels.get(LOCAL_MODEL_LABEL, ""))
        if key.name and key.namespace in ("", claim.namespace):
            cache = self._claims.cache(key)
            if cache is not None and group_of(cache, claim.name):
                return cache
        exposures = self._claims.ask(claim, jobs_namespace).exposures
        # A claim that downloads use stays for a pod that does not say to serve: it may be one of KServe's own jobs.
        owners = {shown.cache for shown in exposures if not shown.single and not shown.downloads}
        return self._claims.cache(owners.pop()) if len(owners) == 1 else None

    def _group(self, name: str) -> LocalModelNodeGroup | None:
        if not name:
            return None
        return self._reader.find(LocalModelNodeGroup, name) or self._live.find(LocalModelNodeGroup, name)

    # what a pod may mount ---------------------------------------------------------------------------------------------

    def validate(self, request: AdmissionRequest) -> AdmissionResponse:
        """Lets a pod in where it cannot tell, with a warning. Raises DeniedError."""
        return allowed().with_warnings(self._judge(request))

    def validate_strictly(self, request: AdmissionRequest) -> AdmissionResponse:
        """Refuses where it cannot tell. Raises DeniedError."""
        for doubt in self._judge(request):
            raise DeniedError(f"{doubt}; pods of this namespace wait until that is known")
        return allowed()

    def _judge(self, request: AdmissionRequest) -> list[str]:
        """Doubts; raises DeniedError. Of an update only new ephemeral containers are looked at: nothing else of mounts
        can change, and a pod that is there already is none of ours to stop."""
        pod, doubts = request.object or {}, []
        fields = CONTAINERS if request.operation == Operation.CREATE else (EPHEMERAL,)
        before = _names(request.old_object or {}) if fields == (EPHEMERAL,) else frozenset()
        with deadline.limit(self._clock, SECONDS):
            for volume in (*claim_volumes(pod), *ephemeral_volumes(pod)):
                mounts = [it for it in mounts_of(pod, volume, fields) if it.container not in before]
                answer = self._ask(ObjectKey(request.namespace, volume.claim)) if mounts else Answer()
                for mount in mounts if answer.exposures else ():
                    _check(pod, volume, mount, answer.exposures)
                if answer.doubt and not answer.exposures:
                    doubts.append(answer.doubt)
        return doubts

    def _ask(self, claim: ObjectKey) -> Answer:
        try:
            config = self._config()
        except RuntimeLibraryError as error:
            log.debug("The configuration cannot be read", error=str(error))
            config = self._settings.last_good.local_model  # only the job namespace counts here
        return self._claims.ask(claim, config.jobs_namespace)

    def _config(self) -> LocalModelConfig:
        return self._settings.current(self._reader, self._recorder).local_model


def _names(pod: Json) -> frozenset[str]:
    """Those of the ephemeral containers that the pod has already."""
    return frozenset(container.get("name", "") for container in pod.get("spec", {}).get(EPHEMERAL) or ())


def _check(pod: Json, volume: ClaimVolume, mount: Mount, exposures: Iterable[Exposure]) -> None:
    """Raises DeniedError if the mount is right for none of the caches that the claim may be of."""
    faults = {shown: fault_of(mount, shown) for shown in exposures}
    if "" in faults.values():
        return
    shown, fault = next(iter(faults.items()))
    kind = "LocalModelNamespaceCache" if shown.cache.namespace else "LocalModelCache"
    metadata = pod.get("metadata", {})
    name = metadata.get("name") or metadata.get("generateName") or ""
    what = f"pod {name}: container {mount.container} mounts volume {volume.name} {fault}"
    whose = f"claim {volume.claim} of {kind} {shown.cache}"
    if shown.single:
        raise DeniedError(f"{what}, and {whose} is shared with other pods: give the mount readOnly: true")
    path = f"models/{shown.key or '<storage key>'}"
    raise DeniedError(
        f"{what}, and {whose} shows every model of a node: give the mount subPath: {path} (or below) and readOnly: true"
    )
