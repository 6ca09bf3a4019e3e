"""Whether an object is of the kind, and has the name, of the place that it was sent to."""

from __future__ import annotations

from localmodel.runtime.client import Preconditions
from localmodel.runtime.errors import BadRequestError

from .answers import bad_request, cause, invalid, nameless, precondition_failed, unfit_patch, wrong_kind
from .definitions import Json, ResourceDefinition
from .metadatatypes import check_types
from .store import Entry


def check_patched(definition: ResourceDefinition, name: str, obj: Json, *, stored: Json) -> None:
    """What a patch made must be an object of the kind, with its name. Raises InvalidError, BadRequestError.

    `stored` are the metadata before the patch, as for `check_identity`.
    """
    gvk = definition.mapping.gvk
    if obj.get("metadata") is stored and obj.get("kind") == gvk.kind and obj.get("apiVersion") == gvk.api_version:
        return
    for field, expected in (("kind", gvk.kind), ("apiVersion", gvk.api_version)):
        if (found := obj.get(field) or expected) != expected:
            if definition.strategic:
                version = str(obj.get("apiVersion") or gvk.api_version)
                why = f'no kind "{obj.get("kind") or gvk.kind}" is registered for version "{version}"'
                raise unfit_patch(definition, obj, why)
            if field == "kind":
                raise wrong_kind(definition, name, found)
            why = f'Invalid value: "{found}": must be {expected}'
            raise invalid(definition, name, [cause("FieldValueInvalid", field, why)])
        obj[field] = expected
    try:
        metadata = _typed_metadata(definition, obj, stored)
    except BadRequestError as error:
        why = str(error).partition(f" cannot be handled as a {gvk.kind}: ")[2]
        raise unfit_patch(definition, obj, why) from error
    if not metadata.get("name"):
        raise nameless(name)


def _typed_metadata(definition: ResourceDefinition, obj: Json, stored: Json | None) -> Json:
    """A copy of an object's metadata, checked for types. Raises BadRequestError."""
    sent = obj["metadata"] if obj.get("metadata") is not None else {}
    if stored is not None and sent is stored:
        return {key: value for key, value in stored.items() if value is not None}
    return check_types(definition, sent)


def check_identity(
    definition: ResourceDefinition, namespace: str, name: str, obj: Json, *, stored: Json | None = None
) -> Json:
    """The metadata of an object that was sent to this place; fills in its type, namespace and name.

    Raises BadRequestError where the object says otherwise. `name` is empty for a create. Metadata that are the very
    `stored` ones, which a patch left alone, have their types.
    """
    gvk = definition.mapping.gvk
    for field, expected, wording in (("apiVersion", gvk.api_version, "API version"), ("kind", gvk.kind, "kind")):
        if obj.setdefault(field, expected) != expected:
            raise bad_request(
                f"the {wording} in the data ({obj[field]}) does not match the expected {wording} ({expected})"
            )
    metadata = obj["metadata"] = _typed_metadata(definition, obj, stored)
    if not metadata.get("namespace"):
        metadata.pop("namespace", None)
    if name and metadata.setdefault("name", name) != name:
        raise bad_request(f"the name of the object ({metadata['name']}) does not match the name on the URL ({name})")
    if not definition.mapping.namespaced:
        metadata.pop("namespace", None)
    elif not namespace:
        raise bad_request("an empty namespace may not be set when a resource name is provided")
    elif metadata.setdefault("namespace", namespace) != namespace:
        raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
    return metadata


def check_preconditions(definition: ResourceDefinition, entry: Entry, preconditions: Preconditions | None) -> None:
    """rest.BeforeDelete."""
    if preconditions is None:
        return
    uid = str(definition.decode(entry.value)["metadata"].get("uid"))
    if preconditions.uid is not None and preconditions.uid != uid:
        raise precondition_failed(
            definition,
            entry.name,
            f"the UID in the precondition ({preconditions.uid}) does not match the UID in record ({uid}). "
            "The object might have been deleted and then recreated",
        )
    if preconditions.resource_version not in (None, str(entry.revision)):
        raise precondition_failed(
            definition,
            entry.name,
            f"the ResourceVersion in the precondition ({preconditions.resource_version}) does not match the "
            f"ResourceVersion in record ({entry.revision}). The object might have been modified",
        )
