"""The volumes of a cache: pairs of PersistentVolume and claim, made, mended and removed. `pairs` says which.

Names, owners and specifications are KServe's (kserve-behaviour.md 3), with a hash where two caches come to one name and
nobody but us goes by it: volumes and the claims of downloads (D-59).

A volume is ours if it carries our label with the cache's uid or is controlled by the cache. What merely has the name is
never taken over in silence: a volume that KServe left for this very claim and path is adopted with an event, anything
else is a `Problem` of the cache. A PersistentVolume names its claim from the start, so nobody else's claim can bind it,
and binds again after its claim is gone (D-57).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any, Final

import structlog
from pydantic import ValidationError

from localmodel.api import Cache, LocalModelNodeGroup
from localmodel.api.names import CACHE_ANNOTATION, CACHE_UID_LABEL, hashed, is_object_name, status_key
from localmodel.runtime.client import Client, Reader
from localmodel.runtime.controllerutil import delete_exactly, get_controller_of, set_controller_reference
from localmodel.runtime.errors import AlreadyExistsError, ConflictError, InvalidError
from localmodel.runtime.events import EventRecorder
from localmodel.runtime.objects import (
    ObjectKey,
    ObjectMeta,
    ObjectReference,
    PersistentVolume,
    PersistentVolumeClaim,
    PersistentVolumeClaimSpec,
    PersistentVolumeSpec,
)

from .earlypods import EarlyPods
from .indexes import BY_CACHE_UID
from .isolation import PROVED_ANNOTATION
from .pairs import VolumePair, serving_pair
from .status import Problem

log = structlog.get_logger(__name__)

Volume = PersistentVolume | PersistentVolumeClaim

_BOUND: Final = "Bound"
_UNBOUND: Final = frozenset({"Released", "Failed"})
"""A PersistentVolume whose claim is gone; Failed where nobody can reclaim it, as with local volumes."""
_LOST: Final = "Lost"
"""A claim whose volume is gone: it never binds again."""


class Volumes:
    """Makes, mends and removes the volumes of one cache. Made anew for each run of its reconciler."""

    def __init__(
        self,
        cache: Cache,
        *,
        client: Client,
        live: Reader,
        recorder: EventRecorder,
        early_pods: EarlyPods | None = None,
        proof: str = "",
    ) -> None:
        """`early_pods` are looked for where the manager serves the webhooks of pods. `proof`: see `isolation`."""
        self._cache = cache
        self._client = client
        self._live = live
        self._recorder = recorder
        self._early_pods = early_pods
        self._proof = {PROVED_ANNOTATION: proof} if proof else {}

    def named(self, pairs: Iterable[VolumePair]) -> list[VolumePair]:
        """The pairs, with a hash in the name of what another pair or another cache has the plain name of (D-59).

        That is the volume, which nobody but the claim refers to, and the claim of downloads, which the agent finds by
        the same rule. A serving claim keeps its name: KServe mounts it by that. A name that was chosen stays.
        """
        found: dict[str, VolumePair] = {}
        for pair in pairs:
            for split in self._claimed(pair):
                chosen = self._with_volume(split, found)
                found[chosen.volume] = chosen
        return list(found.values())

    def _claimed(self, pair: VolumePair) -> list[VolumePair]:
        """The pair under the name that its claim has. Services that shared it keep KServe's: then there are two."""
        if not pair.other_claim:
            return [pair]
        namespace = pair.claim.namespace
        other = self._client.find(PersistentVolumeClaim, pair.other_claim, namespace=namespace)
        if other is None or not self._is_ours(other):
            plain = self._client.find(PersistentVolumeClaim, pair.claim.name, namespace=namespace)
            if plain is None or not self._is_another_caches(plain):
                return [pair]
        downloads = replace(pair, claim=ObjectKey(namespace, pair.other_claim), serving=False)
        return [downloads, *([serving_pair(self._cache, pair.group, namespace)] if pair.serving else [])]

    def _with_volume(self, pair: VolumePair, found: Mapping[str, VolumePair]) -> VolumePair:
        plain = self._client.find(PersistentVolume, pair.volume)
        other = self._other_name(pair)
        is_taken = pair.volume in found or (plain is not None and self._is_another_caches(plain))
        has_other = is_taken or self._client.find(PersistentVolume, other) is not None
        return replace(pair, volume=other) if has_other else pair

    def _other_name(self, pair: VolumePair) -> str:
        return hashed(pair.volume, f"{self._cache.metadata.uid}/{pair.group}/{pair.claim}")

    def ensure(self, pair: VolumePair, group: LocalModelNodeGroup) -> list[Problem]:
        """Makes the pair as it shall be; what stands in the way is returned. Raises what the client raises."""
        claim_there = self._client.find(PersistentVolumeClaim, pair.claim.name, namespace=pair.claim.namespace)
        if claim_there is not None and self._is_another_caches(claim_there):
            return [self._conflict(claim_there, pair)]
        if pair.sub_path and not group.models_path:
            return [_no_path(group)]
        try:
            volume = self._wanted_volume(pair, group)
            claim = self._wanted_claim(pair, group)
        except ValidationError as error:
            return [_invalid(f"LocalModelNodeGroup {group.name}", error)]
        if (foreign := self._foreign_claim(claim, pair)) is not None:
            return [self._conflict(foreign, pair)]
        if (early := self._early_pod(pair)) is not None:
            return [early]
        problems = self._ensure(volume, pair)
        return problems or self._ensure(claim, pair)

    def _early_pod(self, pair: VolumePair) -> Problem | None:
        """A pod that waits for the claim and was never judged, before the volume is made that it would see."""
        if self._early_pods is None or not pair.serving or self._client.find(PersistentVolume, pair.volume) is not None:
            return None
        return self._early_pods.problem(self._cache, pair.claim)

    def _foreign_claim(self, wanted: PersistentVolumeClaim, pair: VolumePair) -> PersistentVolumeClaim | None:
        """Somebody else's claim of that name, before a volume is made that it would bind, as the volume names it.

        Raises ConflictError where ours may have another name.
        """
        if self._client.find(PersistentVolume, pair.volume) is not None:
            return None
        found = self._live.find(PersistentVolumeClaim, wanted.name, namespace=wanted.namespace)
        if found is None or self._may_be_used(found, wanted, pair):
            return None
        self._check_name(found, pair)
        return found

    def prune(self, keep: Iterable[VolumePair]) -> None:
        """Removes our volumes that are not among those to keep; claims in use go when their pods have gone."""
        kept = list(keep)
        claims, names = {pair.claim for pair in kept}, {pair.volume for pair in kept}
        uid = {BY_CACHE_UID: self._cache.metadata.uid}
        for claim in self._client.list(PersistentVolumeClaim, fields=uid):
            if claim.key not in claims:
                self._delete(claim)
        for volume in self._client.list(PersistentVolume, fields=uid):
            if volume.name not in names:
                self._delete(volume)

    def remove(self, pairs: Iterable[VolumePair]) -> None:
        """Removes all of the cache's volumes that no garbage collector would: those that it cannot own.

        `pairs` are looked up live, since the cache may not have seen what was made a moment ago.
        """
        for pair in pairs:
            namespace = pair.claim.namespace
            # A cache may name a group that cannot be: then there was no volume of it either.
            keys = [ObjectKey(namespace, it) for it in (pair.claim.name, pair.other_claim) if is_object_name(it)]
            claims = [self._live.find(PersistentVolumeClaim, key.name, namespace=namespace) for key in keys]
            names = [pair.volume, *(self._other_name(replace(pair, claim=key)) for key in keys)]
            volumes = [self._live.find(PersistentVolume, name) for name in names if is_object_name(name)]
            for obj in (*claims, *volumes):
                if obj is not None and self._is_ours(obj) and get_controller_of(obj) is None:
                    self._delete(obj)
        self.prune(())

    # what is wanted ---------------------------------------------------------------------------------------------------

    def _wanted_volume(self, pair: VolumePair, group: LocalModelNodeGroup) -> PersistentVolume:
        spec = PersistentVolumeSpec.from_dict(_showing(group.spec.persistent_volume_spec, pair.sub_path))
        volume = PersistentVolume(metadata=self._metadata(pair.volume), spec=spec)
        volume.spec.claim_ref = ObjectReference(
            api_version="v1", kind="PersistentVolumeClaim", namespace=pair.claim.namespace, name=pair.claim.name
        )
        if not self._cache.namespace:
            set_controller_reference(self._cache, volume)
        return volume

    def _wanted_claim(self, pair: VolumePair, group: LocalModelNodeGroup) -> PersistentVolumeClaim:
        claim = PersistentVolumeClaim(
            metadata=self._metadata(pair.claim.name, pair.claim.namespace),
            spec=PersistentVolumeClaimSpec.from_dict(group.spec.persistent_volume_claim_spec),
        )
        claim.spec.volume_name = pair.volume
        if self._cache.namespace in ("", pair.claim.namespace):
            set_controller_reference(self._cache, claim)
        return claim

    def _metadata(self, name: str, namespace: str = "") -> ObjectMeta:
        return ObjectMeta(
            name=name,
            namespace=namespace,
            labels={CACHE_UID_LABEL: self._cache.metadata.uid},
            annotations={CACHE_ANNOTATION: status_key(self._cache.name, self._cache.namespace), **self._proof},
        )

    # how it comes about -----------------------------------------------------------------------------------------------

    def _ensure(self, wanted: Volume, pair: VolumePair) -> list[Problem]:
        existing: Volume | None = self._client.find(type(wanted), wanted.name, namespace=wanted.namespace)
        if existing is None:
            try:
                self._client.create(wanted)
            except InvalidError as error:
                return [_invalid(str(wanted), error)]
            except AlreadyExistsError:
                # Not in our cache: just made by us, left by KServe without our label, or somebody else's.
                existing = self._live.get(type(wanted), wanted.name, namespace=wanted.namespace)
            else:
                log.info("Created volume", volume=str(wanted))
                return []
        return self._mend(existing, wanted, pair)

    def _mend(self, existing: Volume, wanted: Volume, pair: VolumePair) -> list[Problem]:
        """Brings an existing object to what is wanted, as far as it may be changed."""
        ours = self._is_ours(existing)
        if existing.is_deleting and ours:
            return []  # its end queues the cache again
        if not self._may_be_used(existing, wanted, pair):
            self._check_name(existing, pair)
            return [self._conflict(existing, pair)]
        if _is_outdated(existing, wanted) or not _fits(existing, pair):
            return self._replace(existing, pair)

        changed = existing.deepcopy()
        changed.metadata.labels.update(wanted.metadata.labels)
        changed.metadata.annotations.update(wanted.metadata.annotations)
        if isinstance(changed, PersistentVolume) and changed.status.phase in _UNBOUND and changed.spec.claim_ref:
            changed.spec.claim_ref.uid = changed.spec.claim_ref.resource_version = ""
        if changed.to_dict() != existing.to_dict():
            self._client.update(changed)
            if _claim_uid(changed) != _claim_uid(existing):
                message = f"The claim of {existing} is gone: it waits for a new one of the name"
                self._recorder.event(self._cache, "Normal", "VolumeReleased", message)
            if not ours:
                self._recorder.event(self._cache, "Normal", "VolumeAdopted", f"{existing} was found and is used")
        return []

    def _replace(self, existing: Volume, pair: VolumePair) -> list[Problem]:
        """Deletes what cannot be changed into what is wanted; its end queues the cache again, which makes it anew."""
        if isinstance(existing, PersistentVolume) and existing.status.phase == _BOUND:
            if pair.serving or not _fits(existing, pair):
                bound = existing.spec.claim_ref
                message = (
                    f"{existing} does not fit LocalModelNodeGroup {pair.group} any more: delete claim "
                    f"{ObjectKey(bound.namespace, bound.name) if bound else pair.claim} when no pod uses it"
                )
                return [Problem(reason="VolumeOutdated", message=message)]
            claim = self._client.find(PersistentVolumeClaim, pair.claim.name, namespace=pair.claim.namespace)
            if claim is not None and self._is_ours(claim):
                self._delete(claim)
        self._delete(existing)
        message = f"{existing} does not fit any more and is made anew"
        self._recorder.event(self._cache, "Normal", "VolumeReplaced", message)
        return []

    def _is_ours(self, obj: Volume) -> bool:
        uid: str = self._cache.metadata.uid
        controller = get_controller_of(obj)
        if controller is not None:
            return controller.uid == uid
        return obj.metadata.labels.get(CACHE_UID_LABEL) == uid

    def _may_be_used(self, existing: Volume, wanted: Volume, pair: VolumePair) -> bool:
        return self._is_ours(existing) or (_fits(existing, pair) and self._was_kserves(existing, wanted))

    def _check_name(self, existing: Volume, pair: VolumePair) -> None:
        """Raises ConflictError if another cache made it a moment ago and ours may have another name: the next run sees
        it, and takes that."""
        may_have_another = isinstance(existing, PersistentVolume) or pair.other_claim not in ("", existing.name)
        if may_have_another and self._is_another_caches(existing):
            raise ConflictError.of(f"{existing} belongs to another cache")

    def _is_another_caches(self, obj: Volume) -> bool:
        """Whether the manager made it for a cache that is not this one, nor an earlier one of its name."""
        return CACHE_UID_LABEL in obj.metadata.labels and not self._is_ours(obj) and not self._was_a_namesakes(obj)

    def _was_kserves(self, existing: Volume, wanted: Volume) -> bool:
        """Whether the object is what KServe made for this cache: unowned only where the cache cannot own it."""
        if get_controller_of(existing) is not None or get_controller_of(wanted) is not None:
            return False
        if self._is_another_caches(existing):
            return False
        if isinstance(existing, PersistentVolume) and isinstance(wanted, PersistentVolume):
            return _path(existing.spec) == _path(wanted.spec)
        return True

    def _was_a_namesakes(self, existing: Volume) -> bool:
        """An earlier cache of our name left it: there is one of a name at a time."""
        name = status_key(self._cache.name, self._cache.namespace)
        return existing.metadata.annotations.get(CACHE_ANNOTATION) == name

    def _conflict(self, existing: Volume, pair: VolumePair) -> Problem:
        if existing.is_deleting:
            what = "its claim" if isinstance(existing, PersistentVolume) else "it"
            message = f"{existing} is being deleted: waiting until it is gone, which takes until no pod uses {what}"
            return Problem(reason="VolumeTerminating", message=message)
        owner = get_controller_of(existing)
        annotated = existing.metadata.annotations.get(CACHE_ANNOTATION)
        whose = f"{owner.kind} {owner.name}" if owner else f"cache {annotated}" if annotated else ""
        if whose and pair.serving and isinstance(existing, PersistentVolumeClaim):
            message = (
                f"{existing} belongs to {whose}, and KServe gives the claim of {self._cache} in node group "
                f"{pair.group} the same name: make one of the two caches anew under another name, or with a node group "
                "of another name"
            )
        else:
            message = (
                f"{existing} exists already and belongs to {whose or 'somebody else'}: remove it, or make "
                f"{self._cache} anew under another name"
            )
        return Problem(reason="VolumeConflict", message=message)

    def _delete(self, obj: Volume) -> None:
        if not obj.is_deleting and delete_exactly(self._client, obj):
            log.info("Deleted volume", volume=str(obj))


def _showing(spec: dict[str, Any], sub_path: str) -> dict[str, Any]:
    """A group's volume specification, with the path of a folder below its own.

    kubelet must never make that folder: a pod shall wait for the model. It makes none for a local volume, nor for a
    hostPath of type Directory.
    """
    if not sub_path:
        return spec
    shown = dict(spec)
    for source, more in (("local", {}), ("hostPath", {"type": "Directory"})):
        volume = spec.get(source)
        if isinstance(volume, Mapping) and isinstance(volume.get("path"), str):
            shown[source] = {**volume, "path": str(PurePosixPath(volume["path"]) / sub_path), **more}
    return shown


def _no_path(group: LocalModelNodeGroup) -> Problem:
    message = (
        f"LocalModelNodeGroup {group.name} has neither local.path nor hostPath.path: its services get volumes that "
        "show all models of a node, in spite of servingVolumeScope: model"
    )
    return Problem(reason="VolumeWithoutPath", message=message, own=False)


def _invalid(what: str, error: Exception) -> Problem:
    return Problem(reason="VolumeInvalid", message=f"{what}: {error}")


def _is_outdated(existing: Volume, wanted: Volume) -> bool:
    """Whether it is of no use and cannot be changed: a lost claim, a volume of another path or other nodes."""
    if isinstance(existing, PersistentVolumeClaim):
        return existing.status.phase == _LOST
    assert isinstance(wanted, PersistentVolume)
    return (_path(existing.spec), existing.spec.node_affinity) != (_path(wanted.spec), wanted.spec.node_affinity)


def _fits(existing: Volume, pair: VolumePair) -> bool:
    """Whether claim and volume point at each other, or at nothing yet. A bound claim may have another of its group."""
    if isinstance(existing, PersistentVolumeClaim):
        return existing.spec.volume_name in ("", pair.volume) or existing.status.phase == _BOUND
    claim = existing.spec.claim_ref
    return claim is None or ObjectKey(claim.namespace, claim.name) == pair.claim


def _claim_uid(volume: Volume) -> str:
    claim = volume.spec.claim_ref if isinstance(volume, PersistentVolume) else None
    return claim.uid if claim is not None else ""


def _path(spec: PersistentVolumeSpec) -> object:
    for source in (spec.local, spec.host_path):
        if isinstance(source, Mapping):
            return source.get("path")
    return None
