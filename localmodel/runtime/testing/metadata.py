"""The rules for metadata that hold for every kind: what the server sets, what a client may set, and valid names.

Sources: k8s.io/apiserver/pkg/registry/rest (create.go, update.go, delete.go) and
k8s.io/apimachinery/pkg/api/validation (objectmeta.go), util/validation for the texts.
"""

from __future__ import annotations

import random
import re
from datetime import datetime, timedelta
from typing import Any

from localmodel.runtime.objects import format_time

from .answers import bad_value, cause, forbidden_value, required
from .definitions import Causes, Json

ORPHAN_FINALIZER = "orphan"
FOREGROUND_FINALIZER = "foregroundDeletion"
_STANDARD_FINALIZERS = ("kubernetes", ORPHAN_FINALIZER, FOREGROUND_FINALIZER)

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_QUALIFIED = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_label, _subdomain, _qualified = (re.compile(text) for text in (_LABEL, _SUBDOMAIN, _QUALIFIED))

_SUBDOMAIN_MESSAGE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    f"end with an alphanumeric character (e.g. 'example.com', regex used for validation is '{_SUBDOMAIN}')"
)
_LABEL_MESSAGE = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    f"an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '{_LABEL}')"
)
_QUALIFIED_MESSAGE = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    f"character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '{_QUALIFIED}')"
)
_VALUE_MESSAGE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    f"'({_QUALIFIED})?')"
)
_ANNOTATIONS_LIMIT = 256 * 1024

_SUFFIX_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
_SUFFIX_LENGTH = 5
_GENERATED_LENGTH = 63

_SERVER_OWNED = (
    "name",
    "namespace",
    "uid",
    "creationTimestamp",
    "generation",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "selfLink",
)


def dns1123_subdomain(name: str) -> list[str]:
    """What is wrong with a name of most kinds."""
    faults = [] if len(name) <= 253 else ["must be no more than 253 characters"]
    return faults if _subdomain.fullmatch(name) else [*faults, _SUBDOMAIN_MESSAGE]


def dns1123_label(name: str) -> list[str]:
    """What is wrong with the name of a namespace."""
    faults = [] if len(name) <= 63 else ["must be no more than 63 characters"]
    if _label.fullmatch(name):
        return faults
    return [*faults, "must not contain dots" if _subdomain.fullmatch(name) else _LABEL_MESSAGE]


def path_segment(name: str) -> list[str]:
    """What is wrong with a name of the RBAC kinds, which allow almost anything."""
    if name in (".", ".."):
        return [f"may not be '{name}'"]
    return [f"may not contain '{character}'" for character in "/%" if character in name]


def qualified_name(name: str) -> list[str]:
    """What is wrong with a label key, annotation key or finalizer."""
    if name.count("/") > 1:
        shown = _QUALIFIED_MESSAGE.removeprefix("name part")
        return [f"a qualified name{shown} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"]
    prefix, slash, part = name.rpartition("/")
    faults = []
    if slash and not prefix:
        faults.append("prefix part must be non-empty")
    elif slash:
        faults += [f"prefix part {why}" for why in dns1123_subdomain(prefix)]
    if not part:
        faults.append("name part must be non-empty")
    elif len(part) > 63:
        faults.append("name part must be no more than 63 characters")
    if not _qualified.fullmatch(part):
        faults.append(_QUALIFIED_MESSAGE)
    return faults


def generated_name(base: str) -> str:
    """`base` with five random characters, cut to 63 in all (names.SimpleNameGenerator)."""
    suffix = "".join(random.choices(_SUFFIX_ALPHABET, k=_SUFFIX_LENGTH))
    return base[: _GENERATED_LENGTH - _SUFFIX_LENGTH] + suffix


def initialise(metadata: Json, now: datetime, *, generation: bool) -> None:
    """Sets what the server sets on create, whatever the client sent for it."""
    for field in ("deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "resourceVersion", "generation"):
        metadata.pop(field, None)
    _drop_empty(metadata)
    metadata["uid"] = _random_uid()
    metadata["creationTimestamp"] = format_time(now)
    if generation:
        metadata["generation"] = 1


def _random_uid() -> str:
    """A UUID of version 4 as text, for which `uuid` asks the kernel and takes ten times as long."""
    digits = f"{random.getrandbits(128):032x}"
    variant = "89ab"[int(digits[16], 16) % 4]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


def _drop_empty(metadata: Json) -> None:
    """ObjectMeta leaves empty maps and lists out, also of custom resources."""
    for field in ("labels", "annotations", "finalizers", "ownerReferences"):
        if field in metadata and not metadata[field]:
            del metadata[field]


def keep_server_fields(new: Json, old: Json) -> None:
    """On update, fields of the server stay as they are, whatever the client sent for them."""
    _drop_empty(new)
    for field in _SERVER_OWNED:
        if field in old:
            new[field] = old[field]
        else:
            new.pop(field, None)


def immutable_faults(new: Json, old: Json) -> Causes:
    """Attempts to change when the object is deleted, which nobody may (leaving it out is no attempt)."""
    faults = []
    for field in ("deletionTimestamp", "deletionGracePeriodSeconds"):
        wanted = new.get(field)
        if wanted is not None and wanted != old.get(field):
            shown = (
                f"{datetime.fromisoformat(wanted):%Y-%m-%d %H:%M:%S} +0000 UTC" if isinstance(wanted, str) else wanted
            )
            faults.append(
                cause("FieldValueInvalid", f"metadata.{field}", f"Invalid value: {shown}: field is immutable")
            )
    return faults


def change_faults(new: Json, old: Json, *, builtin: bool = False) -> Causes:
    """What is wrong with the metadata of an update; what did not change is not looked at again."""
    # Of a custom resource's update several validations in a row find the same.
    faults = _finalizer_faults(new, old) * (1 if builtin else 2)
    if any(new.get(key) != old.get(key) for key in ("labels", "annotations", "finalizers", "ownerReferences")):
        faults += metadata_faults(new, builtin=builtin)
        if not builtin:
            faults += _entry_faults(new) * 2
    return faults


def _finalizer_faults(new: Json, old: Json) -> Causes:
    """While an object is being deleted, finalizers may only go."""
    if old.get("deletionTimestamp") is None:
        return []
    added = [finalizer for finalizer in new.get("finalizers") or [] if finalizer not in (old.get("finalizers") or [])]
    if not added:
        return []
    listed = ", ".join(f'"{finalizer}"' for finalizer in added)
    why = f"no new finalizers can be added if the object is being deleted, found new finalizers []string{{{listed}}}"
    return [forbidden_value("metadata.finalizers", why)]


def mark_deleted(metadata: Json, now: datetime, grace: int) -> None:
    """Sets deletionTimestamp (the end of the grace period); a second call can only shorten the period.

    A generation, where there is one, counts this as a change.
    """
    before = metadata.get("deletionTimestamp")
    if before is None:
        metadata["deletionTimestamp"] = format_time(now + timedelta(seconds=grace))
        metadata["deletionGracePeriodSeconds"] = grace
        if metadata.get("generation"):
            metadata["generation"] += 1
        return
    period = int(metadata.get("deletionGracePeriodSeconds") or 0)
    if grace < period:
        end = datetime.fromisoformat(before) - timedelta(seconds=period - grace)
        metadata["deletionTimestamp"] = format_time(end)
        metadata["deletionGracePeriodSeconds"] = grace


def propagation_finalizers(current: list[str], propagation: str | None) -> list[str]:
    """The finalizers of an object that is deleted with this policy; None leaves an earlier choice in force."""
    if propagation is None:
        return current
    kept = [finalizer for finalizer in current if finalizer not in (ORPHAN_FINALIZER, FOREGROUND_FINALIZER)]
    if propagation == "Orphan":
        return [*kept, ORPHAN_FINALIZER]
    if propagation == "Foreground":
        return [*kept, FOREGROUND_FINALIZER]
    return kept


def metadata_faults(metadata: Json, *, builtin: bool = False) -> Causes:
    """What is wrong with labels, annotations, finalizers and owner references.

    Finalizers of `builtin` kinds are standard ones or have a prefix.
    """
    return _entry_faults(metadata) + _finalizer_name_faults(metadata, builtin)


def _entry_faults(metadata: Json) -> Causes:
    faults: Causes = []
    for key, value in (metadata.get("labels") or {}).items():
        faults += [bad_value("metadata.labels", key, why) for why in qualified_name(key)]
        faults += [bad_value("metadata.labels", value, why) for why in label_value(value)]
    size = 0
    for key, value in (metadata.get("annotations") or {}).items():
        faults += [bad_value("metadata.annotations", key, why) for why in qualified_name(key.lower())]
        size += len(key) + len(str(value))
    if size > _ANNOTATIONS_LIMIT:
        too_long = f"Too long: may not be more than {_ANNOTATIONS_LIMIT} bytes"
        faults.append(cause("FieldValueTooLong", "metadata.annotations", too_long))
    return faults + _owner_faults(metadata.get("ownerReferences") or [])


def _finalizer_name_faults(metadata: Json, builtin: bool) -> Causes:
    finalizers = metadata.get("finalizers") or []
    faults = [
        bad_value("metadata.finalizers", finalizer, why)
        for finalizer in finalizers
        for why in qualified_name(finalizer)
    ]
    if ORPHAN_FINALIZER in finalizers and FOREGROUND_FINALIZER in finalizers:
        listed = ", ".join(f'"{finalizer}"' for finalizer in finalizers)
        why = "finalizer orphan and foregroundDeletion cannot be both set"
        faults.append(cause("FieldValueInvalid", "metadata.finalizers", f"Invalid value: []string{{{listed}}}: {why}"))
    for index, finalizer in enumerate(finalizers if builtin else ()):
        if "/" not in finalizer and finalizer not in _STANDARD_FINALIZERS and not faults:
            why = "name is neither a standard finalizer name nor is it fully qualified"
            faults.append(bad_value(f"metadata.finalizers[{index}]", finalizer, why))
    return faults


def label_value(value: Any) -> list[str]:
    """What is wrong with the value of a label."""
    if not isinstance(value, str):
        return ["must be a string"]
    faults = [] if len(value) <= 63 else ["must be no more than 63 characters"]
    return faults if not value or _qualified.fullmatch(value) else [*faults, _VALUE_MESSAGE]


def _owner_faults(owners: list[Json]) -> Causes:
    faults: Causes = []
    for owner in owners:
        version = str(owner.get("apiVersion") or "")
        if not version or version.count("/") > 1:
            faults.append(bad_value("metadata.ownerReferences.apiVersion", version, "version must not be empty"))
        missing = [key for key in ("kind", "name", "uid") if not owner.get(key)]
        faults += [bad_value(f"metadata.ownerReferences.{key}", "", f"{key} must not be empty") for key in missing]
        if (version, owner.get("kind")) == ("v1", "Event"):
            why = f"Invalid value: {_go_owner(owner)}: /v1, Kind=Event is disallowed from being an owner"
            faults.append(cause("FieldValueInvalid", "metadata.ownerReferences", why))
    controllers = [str(owner.get("name")) for owner in owners if owner.get("controller")]
    if len(controllers) > 1:
        why = 'Only one reference can have Controller set to true. Found "true" in references for '
        shown = f"[]v1.OwnerReference{{{', '.join(map(_go_owner, owners))}}}"
        text = f"Invalid value: {shown}: {why}{' and '.join(controllers[:2])}"
        faults.append(cause("FieldValueInvalid", "metadata.ownerReferences", text))
    return faults


def _go_owner(owner: Json) -> str:
    """An owner reference as Go prints it, pointers aside."""
    texts = ", ".join(
        f'{name}:"{owner.get(key) or ""}"'
        for name, key in (("APIVersion", "apiVersion"), ("Kind", "kind"), ("Name", "name"), ("UID", "uid"))
    )
    flags = ", ".join(
        f"{key[0].upper()}{key[1:]}:(*bool)({str(owner[key]).lower() if owner.get(key) is not None else 'nil'})"
        for key in ("controller", "blockOwnerDeletion")
    )
    return f"v1.OwnerReference{{{texts}, {flags}}}"


def name_faults(metadata: Json, faults: list[str], base_faults: list[str] | None = None) -> Causes:
    """A missing name, or the faults found in it; `base_faults` are those of generateName."""
    found = [bad_value("metadata.generateName", metadata["generateName"], fault) for fault in base_faults or ()]
    if not metadata.get("name"):
        return [*found, required("metadata.name", "name or generateName is required")]
    return found + [bad_value("metadata.name", metadata["name"], fault) for fault in faults]


def generation_faults(metadata: Json) -> Causes:
    generation = metadata.get("generation")
    if isinstance(generation, int) and generation < 0:
        return [bad_value("metadata.generation", generation, "must be greater than or equal to 0")]
    return []
