"""The promises of binding claims to volumes."""

from __future__ import annotations

from typing import Any

from localmodel.runtime.objects import ObjectKey, PersistentVolume, PersistentVolumeClaim, Pod
from localmodel.runtime.testing import FakeClient, wire
from localmodel.sandbox.controllers.volumes import CLAIM_PROTECTION, VolumeClaimReconciler, VolumeReconciler

KEY = ObjectKey("team", "claim")


def volume(name: str = "volume", size: str = "10Gi", **spec: Any) -> PersistentVolume:
    base = {"capacity": {"storage": size}, "accessModes": ["ReadWriteOnce"], "storageClassName": "local-storage"}
    return PersistentVolume.from_dict({"metadata": {"name": name}, "spec": {**base, **spec}})


def claim(size: str = "10Gi", **spec: Any) -> PersistentVolumeClaim:
    base = {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": "local-storage",
        "resources": {"requests": {"storage": size}},
    }
    return PersistentVolumeClaim.from_dict(
        {"metadata": {"name": KEY.name, "namespace": KEY.namespace}, "spec": {**base, **spec}}
    )


class World:
    def __init__(self, *objects: PersistentVolume | PersistentVolumeClaim) -> None:
        self.client = FakeClient()
        for obj in objects:
            self.client.create(obj)
        self.claims = wire(VolumeClaimReconciler(), self.client)
        self.volumes = wire(VolumeReconciler(), self.client)

    def reconcile(self) -> None:
        for _ in range(2):
            self.claims.reconcile(KEY)
            for volume in self.client.list(PersistentVolume):
                self.volumes.reconcile(volume.key)

    @property
    def claim(self) -> PersistentVolumeClaim:
        return self.client.get(PersistentVolumeClaim, KEY.name, namespace=KEY.namespace)

    def volume(self, name: str = "volume") -> PersistentVolume:
        return self.client.get(PersistentVolume, name)

    @property
    def messages(self) -> list[str]:
        return [event.message for event in self.claims.recorder.events]  # type: ignore[attr-defined]


def test_a_claim_that_names_its_volume_is_bound_both_ways() -> None:
    world = World(volume(), claim(volumeName="volume"))
    world.reconcile()
    reference = world.volume().spec.claim_ref
    assert reference is not None
    assert (reference.name, reference.uid) == (KEY.name, world.claim.metadata.uid)
    assert (world.claim.status.phase, world.volume().status.phase) == ("Bound", "Bound")
    assert world.claim.status.to_dict()["capacity"] == {"storage": "10Gi"}


def test_a_reserved_volume_gets_the_uid_of_its_claim() -> None:
    """The manager makes volumes with claimRef {namespace, name} and no uid."""
    world = World(volume(claimRef={"namespace": "team", "name": "claim"}), claim(volumeName="volume"))
    world.reconcile()
    assert world.volume().status.phase == "Bound"


def test_a_volume_reserved_for_another_claim_is_not_taken() -> None:
    world = World(volume(claimRef={"namespace": "other", "name": "claim"}), claim(volumeName="volume"))
    world.reconcile()
    assert (world.claim.status.phase, world.volume().status.phase) == ("Pending", "Available")
    assert any("already bound to a different claim" in message for message in world.messages)


def test_the_smallest_volume_that_fits_is_taken() -> None:
    world = World(volume("big", "100Gi"), volume("small", "20Gi"), volume("tiny", "1Gi"), claim())
    world.reconcile()
    assert world.claim.spec.volume_name == "small"
    assert world.volume("big").status.phase == "Available"


def test_class_modes_and_capacity_must_fit() -> None:
    world = World(
        volume("class", storageClassName="fast"),
        volume("mode", accessModes=["ReadOnlyMany"]),
        volume("size", "1Gi"),
        volume("block", volumeMode="Block"),
        claim(),
    )
    world.reconcile()
    assert world.claim.status.phase == "Pending"


def test_a_named_volume_that_does_not_fit_is_a_warning() -> None:
    world = World(volume(size="1Gi"), claim(volumeName="volume"))
    world.reconcile()
    assert world.claim.status.phase == "Pending"
    assert any("too small" in message for message in world.messages)


def test_a_volume_is_released_when_its_claim_goes_and_keeps_the_old_reference() -> None:
    world = World(volume(), claim(volumeName="volume"))
    world.reconcile()
    old = world.claim.metadata.uid
    world.client.delete(world.claim)
    world.reconcile()
    assert world.volume().status.phase == "Released"
    world.client.create(claim(volumeName="volume"))
    world.reconcile()
    assert world.volume().spec.claim_ref.uid == old  # type: ignore[union-attr]
    assert world.claim.status.phase == "Pending"


def test_clearing_the_uid_of_a_released_volume_lets_a_new_claim_bind() -> None:
    world = World(volume(), claim(volumeName="volume"))
    world.reconcile()
    world.client.delete(world.claim)
    world.reconcile()
    world.client.patch(world.volume(), {"spec": {"claimRef": {"uid": None}}})
    world.client.create(claim(volumeName="volume"))
    world.reconcile()
    assert (world.claim.status.phase, world.volume().status.phase) == ("Bound", "Bound")


def test_a_bound_claim_whose_volume_is_gone_is_lost() -> None:
    world = World(volume(), claim(volumeName="volume"))
    world.reconcile()
    gone = world.volume()
    gone.metadata.finalizers = []
    world.client.update(gone)
    world.client.delete(gone)
    world.reconcile()
    assert world.claim.status.phase == "Lost"


def test_a_claim_that_a_pod_uses_outlives_its_deletion() -> None:
    world = World(volume(), claim(volumeName="volume"))
    world.reconcile()
    assert CLAIM_PROTECTION in world.claim.metadata.finalizers
    spec = {
        "containers": [{"name": "c", "image": "busybox"}],
        "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": KEY.name}}],
    }
    pod = world.client.create(Pod.from_dict({"metadata": {"name": "user", "namespace": "team"}, "spec": spec}))
    world.client.delete(world.claim)
    world.reconcile()
    assert world.claim.is_deleting
    world.client.status.patch(pod, {"status": {"phase": "Succeeded"}})
    world.reconcile()
    assert world.client.find(PersistentVolumeClaim, KEY.name, namespace=KEY.namespace) is None


def test_a_bound_volume_outlives_its_deletion() -> None:
    world = World(volume(), claim(volumeName="volume"))
    world.reconcile()
    world.client.delete(world.volume())
    world.reconcile()
    assert world.volume().is_deleting
