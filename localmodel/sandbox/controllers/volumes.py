"""`VolumeClaimReconciler` and `VolumeReconciler`: static binding of PersistentVolumeClaims to PersistentVolumes.

A claim is bound by its volume's name, by the volume's claimRef, or to the smallest volume that fits (class, access
modes, volume mode, capacity, selector). Both sides name each other: first the volume's claimRef gets the claim's uid,
then the claim's volumeName is set, then both phases. A volume whose claim is gone is Released and keeps the old claim's
reference: nothing binds to it until somebody clears that, which is the trap our manager has to step around.
A claim that names no volume and has none reserved for it waits for its pod, and the scheduler's choice, where its class
says WaitForFirstConsumer. Volumes in use are protected by the usual finalizers. There is no provisioner, so nothing is
ever made, and a released volume whose policy is to delete it has Failed.
Rules: https://kubernetes.io/docs/concepts/storage/persistent-volumes/.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import structlog

from localmodel.runtime.errors import NotFoundError
from localmodel.runtime.objects import (
    ObjectReference,
    PersistentVolume,
    PersistentVolumeClaim,
    Pod,
    StorageClass,
    format_time,
    parse_quantity,
)
from localmodel.runtime.reconcile import Reconciler, Request, Result
from localmodel.runtime.selectors import Selector

if TYPE_CHECKING:
    from localmodel.runtime.builder import Builder
    from localmodel.runtime.client import Client
    from localmodel.runtime.clock import Clock

log = structlog.get_logger(__name__)

CLAIM_PROTECTION = "kubernetes.io/pvc-protection"
VOLUME_PROTECTION = "kubernetes.io/pv-protection"
BIND_COMPLETED = "pv.kubernetes.io/bind-completed"
BOUND_BY_CONTROLLER = "pv.kubernetes.io/bound-by-controller"


class VolumeClaimReconciler(Reconciler):
    """Binds claims and sets their phase: Pending, Bound, or Lost when a bound claim's volume is gone."""

    def setup(self, builder: Builder) -> None:
        from localmodel.runtime.handler import EnqueueRequestsFromMapFunc

        builder.named("volume-claim").for_(PersistentVolumeClaim)
        builder.watches(PersistentVolume, EnqueueRequestsFromMapFunc(self._claims_of))
        builder.watches(Pod, EnqueueRequestsFromMapFunc(claims_of_pod))
        builder.watches(StorageClass, EnqueueRequestsFromMapFunc(self._claims_that_wait))

    def _claims_of(self, volume: PersistentVolume) -> Iterable[Request]:
        """The volume's own claim; for one that is free, every claim that waits."""
        if volume.spec.claim_ref is not None:
            yield Request(volume.spec.claim_ref.namespace, volume.spec.claim_ref.name)
            return
        yield from self._claims_that_wait(volume)

    def _claims_that_wait(self, _: object) -> Iterable[Request]:
        return (c.key for c in self.client.list(PersistentVolumeClaim) if c.status.phase != "Bound")

    def reconcile(self, request: Request) -> Result | None:
        claim = self.client.find(PersistentVolumeClaim, request.name, namespace=request.namespace)
        if claim is None:
            return None
        if claim.is_deleting:
            self._release(claim)
            return None
        if CLAIM_PROTECTION not in claim.metadata.finalizers:
            claim.metadata.finalizers.append(CLAIM_PROTECTION)
            claim = self.client.update(claim)
        volume = self._volume_for(claim)
        if volume is not None:
            self._bind(claim, volume)
        return None

    def _release(self, claim: PersistentVolumeClaim) -> None:
        """A claim in deletion stays while a pod uses it."""
        if CLAIM_PROTECTION not in claim.metadata.finalizers:
            return
        pods = self.live.list(Pod, namespace=claim.namespace)
        if any(claim.key in claims_of_pod(pod) and not pod.is_finished for pod in pods):
            return
        claim.metadata.finalizers.remove(CLAIM_PROTECTION)
        try:
            self.client.update(claim)
        except NotFoundError:
            log.debug("claim went by itself", claim=str(claim.key))

    def _volume_for(self, claim: PersistentVolumeClaim) -> PersistentVolume | None:
        if claim.spec.volume_name:
            return self._named_volume(claim)
        waits = self._waits_for_consumer(claim)
        volume = best_volume(self.client.list(PersistentVolume), claim, reserved_only=waits)
        if volume is None:
            self._tell_why_pending(claim, waits=waits)
        return volume

    def _waits_for_consumer(self, claim: PersistentVolumeClaim) -> bool:
        """Its class leaves the choice to the scheduler, which knows the pod."""
        name = claim.spec.storage_class_name
        found = self.client.find(StorageClass, name) if name else None
        return found is not None and found.volume_binding_mode == "WaitForFirstConsumer"

    def _tell_why_pending(self, claim: PersistentVolumeClaim, *, waits: bool) -> None:
        name = claim.spec.storage_class_name
        if waits:
            pods = [p for p in self.client.list(Pod, namespace=claim.namespace) if claim.key in claims_of_pod(p)]
            waiting = sorted(pod.name for pod in pods if not pod.is_finished and not pod.spec.node_name)
            if waiting:
                text = f"waiting for pod {waiting[0]} to be scheduled"
                self._pending(claim, text, reason="WaitForPodScheduled")
            else:
                text = "waiting for first consumer to be created before binding"
                self._pending(claim, text, reason="WaitForFirstConsumer")
        elif not name:
            text = "no persistent volumes available for this claim and no storage class is set"
            self._pending(claim, text, reason="FailedBinding")
        else:
            found = self.client.find(StorageClass, name)
            text = f'storageclass.storage.k8s.io "{name}" not found'
            if found is not None:
                text = f"no volume plugin matched name: {found.provisioner}"
            self._pending(claim, text, reason="ProvisioningFailed", warning=True)

    def _named_volume(self, claim: PersistentVolumeClaim) -> PersistentVolume | None:
        name = claim.spec.volume_name
        volume = self.client.find(PersistentVolume, name)
        if volume is None:
            if BIND_COMPLETED in claim.metadata.annotations:
                self._lost(claim)
            else:
                self._pending(claim)
            return None
        if not is_for(volume, claim):
            text = f'volume "{name}" already bound to a different claim.'
            self._pending(claim, text, reason="FailedBinding", warning=True)
            return None
        if BIND_COMPLETED not in claim.metadata.annotations and (problem := misfit(volume, claim)):
            text = f'Cannot bind to requested volume "{name}": {problem}'
            self._pending(claim, text, reason="VolumeMismatch", warning=True)
            return None
        return volume

    def _bind(self, claim: PersistentVolumeClaim, volume: PersistentVolume) -> None:
        reference = volume.spec.claim_ref
        if reference is None or reference.uid != claim.metadata.uid:
            volume = reserve(self.client, volume, claim)
        if claim.spec.volume_name != volume.name or BIND_COMPLETED not in claim.metadata.annotations:
            if claim.spec.volume_name != volume.name:
                claim.metadata.annotations[BOUND_BY_CONTROLLER] = "yes"
                claim.spec.volume_name = volume.name
            claim.metadata.annotations[BIND_COMPLETED] = "yes"
            claim = self.client.update(claim)
        spec = volume.spec.to_dict()
        wanted = {"phase": "Bound", "accessModes": spec.get("accessModes"), "capacity": spec.get("capacity")}
        if {key: claim.status.to_dict().get(key) for key in wanted} != wanted:
            self.client.status.patch(claim, {"status": wanted})
            log.info("bound claim", claim=str(claim.key), volume=volume.name)
        if volume.status.phase != "Bound":
            self.client.status.patch(volume, {"status": phase_change("Bound", self.clock)})

    def _pending(
        self, claim: PersistentVolumeClaim, message: str = "", *, reason: str = "", warning: bool = False
    ) -> None:
        if reason:
            self.recorder.event(claim, "Warning" if warning else "Normal", reason, message)
        if claim.status.phase != "Pending":
            self.client.status.patch(claim, {"status": {"phase": "Pending"}})

    def _lost(self, claim: PersistentVolumeClaim) -> None:
        if claim.status.phase == "Lost":
            return
        message = "Bound claim has lost its PersistentVolume. Any data on the volume is lost!"
        self.recorder.event(claim, "Warning", "ClaimLost", message)
        self.client.status.patch(claim, {"status": {"phase": "Lost", "accessModes": None, "capacity": None}})


class VolumeReconciler(Reconciler):
    """Sets the phase of volumes that no claim binds: Available or Released; lets unbound ones be deleted."""

    def setup(self, builder: Builder) -> None:
        from localmodel.runtime.handler import EnqueueRequestsFromMapFunc

        builder.named("volume").for_(PersistentVolume)
        builder.watches(PersistentVolumeClaim, EnqueueRequestsFromMapFunc(self._volume_of))

    def _volume_of(self, claim: PersistentVolumeClaim) -> Iterable[Request]:
        if claim.spec.volume_name:
            yield Request("", claim.spec.volume_name)

    def reconcile(self, request: Request) -> Result | None:
        volume = self.client.find(PersistentVolume, request.name)
        if volume is None:
            return None
        phase = self._phase(volume)
        if volume.is_deleting:
            if VOLUME_PROTECTION in volume.metadata.finalizers and phase != "Bound":
                volume.metadata.finalizers.remove(VOLUME_PROTECTION)
                self.client.update(volume)
            return None
        if VOLUME_PROTECTION not in volume.metadata.finalizers:
            volume.metadata.finalizers.append(VOLUME_PROTECTION)
            volume = self.client.update(volume)
        if phase == "Released" and volume.spec.to_dict().get("persistentVolumeReclaimPolicy") in ("Delete", "Recycle"):
            self._fail_to_reclaim(volume)
        elif phase != volume.status.phase:
            self.client.status.patch(volume, {"status": phase_change(phase, self.clock)})
            log.info("volume changed phase", volume=volume.name, phase=phase)
        return None

    def _fail_to_reclaim(self, volume: PersistentVolume) -> None:
        """Nothing here deletes what is behind a volume; a kube-controller-manager without plugins says the same."""
        policy = volume.spec.to_dict()["persistentVolumeReclaimPolicy"]
        if volume.status.phase == "Failed":
            return
        if policy == "Delete":
            text = f'error getting deleter volume plugin for volume "{volume.name}": no volume plugin matched'
        else:
            text = "No recycler plugin found for the volume!"
        self.recorder.event(volume, "Warning", f"VolumeFailed{policy}", text)
        self.client.status.patch(volume, {"status": {**phase_change("Failed", self.clock), "message": text}})

    def _phase(self, volume: PersistentVolume) -> str:
        """Released only if the API server, not just the cache, says that the claim is gone."""
        reference = volume.spec.claim_ref
        if reference is None or not reference.uid:
            return "Available"
        for reader in (self.client, self.live):
            claim = reader.find(PersistentVolumeClaim, reference.name, namespace=reference.namespace)
            if claim is not None and claim.metadata.uid == reference.uid:
                return "Bound"
        return "Released"


def claims_of_pod(pod: Pod) -> list[Request]:
    """The claims that a pod mounts."""
    sources = [volume.persistent_volume_claim for volume in pod.spec.volumes]
    return [Request(pod.namespace, source.claim_name) for source in sources if source is not None]


def phase_change(phase: str, clock: Clock) -> dict[str, Any]:
    """The status of a volume that comes to another phase."""
    return {"phase": phase, "lastPhaseTransitionTime": format_time(clock.now()), "message": None, "reason": None}


def best_volume(
    volumes: Iterable[PersistentVolume], claim: PersistentVolumeClaim, *, reserved_only: bool = False
) -> PersistentVolume | None:
    """The volume that is reserved for the claim, else the smallest free one that fits."""
    fitting = [volume for volume in volumes if is_for(volume, claim) and not misfit(volume, claim)]
    reserved = [volume for volume in fitting if volume.spec.claim_ref is not None]
    candidates = reserved if reserved or reserved_only else fitting
    return min(candidates, key=lambda volume: (capacity(volume), volume.name), default=None)


def reserve(client: Client, volume: PersistentVolume, claim: PersistentVolumeClaim) -> PersistentVolume:
    """Writes the claim into a volume that nobody has, or that is reserved for it by name; raises ApiError."""
    if volume.spec.claim_ref is None:
        volume.metadata.annotations[BOUND_BY_CONTROLLER] = "yes"
    volume.spec.claim_ref = ObjectReference(
        api_version="v1",
        kind="PersistentVolumeClaim",
        namespace=claim.namespace,
        name=claim.name,
        uid=claim.metadata.uid,
        resource_version=claim.metadata.resource_version,
    )
    return client.update(volume)


def is_for(volume: PersistentVolume, claim: PersistentVolumeClaim) -> bool:
    """Whether the volume is free, reserved for this claim by name, or already bound to this very claim."""
    reference = volume.spec.claim_ref
    if reference is None:
        return not volume.is_deleting
    if (reference.namespace, reference.name) != (claim.namespace, claim.name):
        return False
    return not reference.uid or reference.uid == claim.metadata.uid


def misfit(volume: PersistentVolume, claim: PersistentVolumeClaim) -> str:
    """Why the volume cannot serve the claim, or an empty string."""
    offered, asked = volume.spec.to_dict(), claim.spec.to_dict()
    if offered.get("storageClassName", "") != (claim.spec.storage_class_name or ""):
        return "storageClassName does not match"
    if not set(claim.spec.access_modes) <= set(offered.get("accessModes") or []):
        return "incompatible accessMode"
    if (offered.get("volumeMode") or "Filesystem") != (asked.get("volumeMode") or "Filesystem"):
        return "incompatible volumeMode"
    if capacity(volume) < request(claim):
        return "requested PV is too small"
    selector = Selector.of_label_selector(asked.get("selector") or {})
    if not selector.matches(volume.metadata.labels):
        return "labels do not match the selector"
    return ""


def capacity(volume: PersistentVolume) -> int:
    return parse_quantity(volume.spec.capacity.get("storage", "0"))


def request(claim: PersistentVolumeClaim) -> int:
    return parse_quantity((claim.spec.resources.get("requests") or {}).get("storage", "0"))
