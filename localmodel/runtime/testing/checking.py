"""What is asked of an object that is to be stored: nothing unknown in it, nothing missing, nothing wrong.

The rules of a kind are hooks of its `ResourceDefinition`; here is when they are asked, and how an answer is told.
"""

from __future__ import annotations

import copy

from localmodel.runtime.errors import ApiError, BadRequestError

from . import metadata as meta
from .answers import bad_request, invalid, unfit_patch
from .definitions import Causes, Json
from .writerequest import WriteRequest


def is_accepted(request: WriteRequest, obj: Json, old: Json | None) -> bool:
    """Whether there is nothing to prune or to default."""
    accepts = request.definition.is_accepted
    return accepts is not None and not request.unknown and accepts(obj, old)


def normalise(request: WriteRequest, obj: Json, old: Json | None) -> None:
    """Prunes and defaults; unknown fields are a warning, or refused, as the client wants it (fieldValidation)."""
    definition, gvk = request.definition, request.definition.mapping.gvk
    request.is_normalised = True
    if is_accepted(request, obj, old):
        return
    if definition.drop_nulls and request.managed_fields is None:
        definition.drop_nulls(obj)
    is_strict = request.options.field_validation == "Strict"
    # Pruning changes the object, of which the refusal of a patch shows all.
    before = copy.deepcopy(obj) if request.is_patch and is_strict else {**obj}
    try:
        unknown = [*request.unknown, *(definition.prune(obj) if definition.prune else [])]
    except BadRequestError as error:
        if request.is_patch:
            why = str(error).partition(f" cannot be handled as a {gvk.kind}: ")[2] or str(error)
            raise unfit_patch(definition, before, why) from error
        raise
    validation = request.options.field_validation or "Warn"
    messages = [f'unknown field "{path}"' for path in dict.fromkeys(unknown)]
    if messages and is_strict:
        why = f"strict decoding error: {', '.join(messages)}"
        if request.is_patch:
            raise unfit_patch(definition, before, why)
        raise bad_request(f'{gvk.kind} in version "{gvk.version}" cannot be handled as a {gvk.kind}: {why}')
    if validation == "Warn":
        request.warnings += messages
    if definition.default:
        definition.default(obj)


def tell_first_of_decoding(request: WriteRequest, sent: Json, error: ApiError) -> None:
    """A body is decoded before anything else about it is refused: with warnings, and refused itself if it cannot be."""
    if not request.is_normalised:
        normalise(request, copy.deepcopy(sent), None)
        error.warnings = tuple(request.warnings)


def metadata_faults(request: WriteRequest, metadata: Json) -> Causes:
    """Of an object that is created."""
    definition, base = request.definition, str(metadata.get("generateName") or "")
    validate = definition.validate_name or meta.dns1123_subdomain
    # A base may end in a hyphen, and is longer than the name that is made of it.
    base_faults = validate(f"{base[:-1]}a" if base.endswith("-") else base) if base else []
    faults = meta.name_faults(metadata, validate(request.name), base_faults)
    warn_of_owners(request, metadata)
    return faults + meta.metadata_faults(metadata, builtin=definition.strategic)


def warn_of_owners(request: WriteRequest, metadata: Json) -> None:
    owners = metadata.get("ownerReferences")
    if not owners or len(owners) == 1:
        return
    uids = [owner.get("uid") for owner in owners]
    twice = sorted({str(uid) for uid in uids if uids.count(uid) > 1})
    if twice:
        request.warnings.append(
            ".metadata.ownerReferences contains duplicate entries; API server dedups owner references in 1.20+, and "
            "may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: "
            + ", ".join(twice)
        )


def faults_of(request: WriteRequest, new: Json, old: Json | None) -> Causes:
    validate = request.definition.validate
    return validate(new, old, request.subresource) if validate else []


def warn(request: WriteRequest, new: Json, old: Json | None) -> None:
    if request.definition.warn and not request.subresource:
        request.warnings += request.definition.warn(new, old)


def refuse(request: WriteRequest, faults: Causes) -> None:
    if faults:
        error = invalid(request.definition, request.name, faults)
        error.warnings = tuple(request.warnings)
        raise error
