"""What most reconcilers do: own a child object, hold a finalizer, create an object or bring it up to date.

Names and rules are those of controller-runtime's controllerutil. Functions on owner references and finalizers change
the object in memory; `create_or_update` and `create_or_patch` write. Several finalizers of one kind: `finalizer`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

from .client import Client, Preconditions
from .errors import NotFoundError, RuntimeLibraryError
from .mergepatch import equal_as_json, merge_patch_between
from .objects import Object, OwnerReference, T

OperationResult: TypeAlias = Literal["unchanged", "created", "updated", "updatedStatus", "updatedStatusOnly"]
"""What was done. `updatedStatus`: the object and its status; `updatedStatusOnly`: nothing but the status."""


class AlreadyOwnedError(RuntimeLibraryError):
    """The object is controlled by another owner."""


class OwnerScopeError(RuntimeLibraryError):
    """The owner cannot own the object: a namespaced owner owns objects of its own namespace only."""


class MutateError(RuntimeLibraryError):
    """A mutate function changed the name or namespace of its object."""


def delete_exactly(client: Client, obj: Object) -> bool:
    """Deletes this very object, and no later one of its name; whether it was still there.

    Raises ConflictError if another one is there by now, and what `Client.delete` raises but NotFoundError.
    """
    try:
        client.delete(obj, preconditions=Preconditions(uid=obj.metadata.uid))
    except NotFoundError:
        return False
    return True


def get_controller_of(obj: Object) -> OwnerReference | None:
    """The one owner reference with `controller: true`."""
    return next((reference for reference in obj.metadata.owner_references if reference.controller), None)


def set_controller_reference(owner: Object, obj: Object, *, block_owner_deletion: bool = True) -> None:
    """Makes `owner` the controller of `obj`: found by `Builder.owns`, deleted with it by the garbage collector.

    A reference of the same owner is replaced in place. Raises AlreadyOwnedError if another owner controls the object,
    OwnerScopeError if the scopes do not allow it, ValueError if the owner has no uid yet.
    """
    controller = get_controller_of(obj)
    if controller is not None and not _same_owner(controller, owner):
        raise AlreadyOwnedError(
            f"{obj} is controlled by {controller.kind} {controller.name} already, so {owner} cannot control it"
        )
    set_owner_reference(owner, obj, controller=True, block_owner_deletion=block_owner_deletion)


def set_owner_reference(
    owner: Object, obj: Object, *, controller: bool | None = None, block_owner_deletion: bool | None = None
) -> None:
    """Makes `owner` an owner of `obj`, which goes when its last owner is gone. Raises as set_controller_reference."""
    _check_scope(owner, obj)
    if not owner.metadata.uid:
        raise ValueError(f"{owner} has no uid: only an object read from the API server can own another")
    reference = OwnerReference(
        api_version=owner.mapping.gvk.api_version,
        kind=owner.mapping.gvk.kind,
        name=owner.name,
        uid=owner.metadata.uid,
        controller=controller,
        block_owner_deletion=block_owner_deletion,
    )
    references = obj.metadata.owner_references
    for index, known in enumerate(references):
        if _same_owner(known, owner):
            references[index] = reference
            return
    references.append(reference)


def has_owner_reference(owner: Object, obj: Object) -> bool:
    """Whether `owner`, or one of its kind and name before it, owns `obj`."""
    return any(_same_owner(reference, owner) for reference in obj.metadata.owner_references)


def remove_owner_reference(owner: Object, obj: Object) -> bool:
    """Makes `owner` an owner of `obj` no more; whether it was one."""
    kept = [known for known in obj.metadata.owner_references if not _same_owner(known, owner)]
    found = len(kept) < len(obj.metadata.owner_references)
    obj.metadata.owner_references = kept
    return found


def remove_controller_reference(owner: Object, obj: Object) -> bool:
    """The same, if `owner` is the controller of `obj`; else nothing."""
    controller = get_controller_of(obj)
    if controller is None or not _same_owner(controller, owner):
        return False
    return remove_owner_reference(owner, obj)


def _same_owner(reference: OwnerReference, owner: Object) -> bool:
    """Group, kind and name agree, as in controller-runtime: an owner that was made anew takes its objects over."""
    gvk = owner.mapping.gvk
    return (reference.group, reference.kind, reference.name) == (gvk.group, gvk.kind, owner.name)


def _check_scope(owner: Object, obj: Object) -> None:
    if not owner.namespace:
        return
    if not obj.namespace:
        raise OwnerScopeError(f"{owner} lives in a namespace and cannot own the cluster-scoped {obj}")
    if owner.namespace != obj.namespace:
        raise OwnerScopeError(f"{owner} cannot own {obj}, which lives in another namespace")


def contains_finalizer(obj: Object, finalizer: str) -> bool:
    return finalizer in obj.metadata.finalizers


def add_finalizer(obj: Object, finalizer: str) -> bool:
    """Whether the object changed; nothing is written."""
    if contains_finalizer(obj, finalizer):
        return False
    obj.metadata.finalizers.append(finalizer)
    return True


def remove_finalizer(obj: Object, finalizer: str) -> bool:
    """Whether the object changed; nothing is written."""
    if not contains_finalizer(obj, finalizer):
        return False
    obj.metadata.finalizers = [known for known in obj.metadata.finalizers if known != finalizer]
    return True


def create_or_update(client: Client, obj: T, mutate: Callable[[T], None]) -> tuple[T, OperationResult]:
    """Creates the object, or updates the existing one of its name if `mutate` makes a difference to it.

    `mutate` gets `obj` if there is none yet, else the object read, and sets the desired fields on it. The stored object
    comes back. Raises MutateError if the name or namespace was changed, and what the client raises: a ConflictError
    means that the read was stale, and the reconciler is run again.
    """
    existing = client.find(type(obj), obj.name, namespace=obj.namespace)
    if existing is None:
        return client.create(_mutated(obj, mutate)), "created"

    wanted = _mutated(existing, mutate)
    if equal_as_json(wanted.to_dict(), existing.to_dict()):
        return existing, "unchanged"
    return client.update(wanted), "updated"


def create_or_patch(client: Client, obj: T, mutate: Callable[[T], None]) -> tuple[T, OperationResult]:
    """As `create_or_update`, by merge patches of what `mutate` changes: one of the status, one of the rest.

    A patch conflicts with nobody, and leaves alone what others write meanwhile; only lists are replaced whole. On a
    create the server drops the status, so it is patched in the next run. Raises as `create_or_update`, and
    NotFoundError where the status was changed of a kind without status subresource.
    """
    existing = client.find(type(obj), obj.name, namespace=obj.namespace)
    if existing is None:
        return client.create(_mutated(obj, mutate)), "created"

    wanted = _mutated(existing, mutate)
    patch = merge_patch_between(existing.to_dict(), wanted.to_dict())
    status = {"status": patch.pop("status")} if "status" in patch else {}
    stored = client.patch(wanted, patch) if patch else existing
    if not status:
        return stored, "updated" if patch else "unchanged"
    return client.status.patch(wanted, status), "updatedStatus" if patch else "updatedStatusOnly"


def _mutated(obj: T, mutate: Callable[[T], None]) -> T:
    """A copy of the object, changed; raises MutateError."""
    changed = obj.deepcopy()
    mutate(changed)
    if (obj.namespace, obj.name) != (changed.namespace, changed.name):
        raise MutateError(f"mutate changed the key of {obj.namespace}/{obj.name} to {changed.key}; it must not")
    return changed
