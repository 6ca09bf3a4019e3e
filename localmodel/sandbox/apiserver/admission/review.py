"""AdmissionReview of admission.k8s.io, v1 or v1beta1: the question to a webhook, and the reading of its answer.

The request is also what the variable `request` of CEL expressions holds. Checks of answers and their texts:
k8s.io/apiserver/pkg/admission/plugin/webhook/request.
"""

from __future__ import annotations

import base64
import binascii
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from localmodel.runtime.errors import ApiError, InternalError, error_from_status, make_status
from localmodel.runtime.testing.definitions import AdmissionAttributes, ResourceDefinition, UserInfo

from .matching import Resource, Target, converted

Json = dict[str, Any]

GROUP, KIND = "admission.k8s.io", "AdmissionReview"
VERSIONS = ("v1", "v1beta1")
"""Which a webhook may be asked in: the first of them in its own list."""


class InvalidAnswerError(ValueError):
    """A webhook's answer that is none."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a webhook said. `patch` is None where it changes nothing."""

    patch: list[Any] | None
    warnings: tuple[str, ...]


def user_info(user: UserInfo) -> Json:
    """authentication.k8s.io UserInfo."""
    info: Json = {"username": user.name, "uid": user.uid, "groups": list(user.groups)}
    info["extra"] = {key: list(values) for key, values in user.extra.items()}
    return {key: value for key, value in info.items() if value}


def operation_options(attributes: AdmissionAttributes) -> Json:
    """CreateOptions, UpdateOptions or DeleteOptions as the request came with them."""
    options = attributes.options
    head = {"kind": f"{attributes.operation.capitalize()}Options", "apiVersion": "meta.k8s.io/v1"}
    dry_run = {"dryRun": ["All"]} if options.dry_run else {}
    if attributes.operation == "DELETE":
        return {**head, **attributes.delete_options, **dry_run}
    given = {"fieldManager": options.field_manager, "fieldValidation": options.field_validation}
    return {**head, **dry_run, **{key: value for key, value in given.items() if value}}


def request_attributes(target: Target, matched: ResourceDefinition) -> Json:
    """An AdmissionRequest without its uid and objects."""
    attributes, requested = target.attributes, target.requested
    gvk = matched.mapping.gvk
    shown = Resource(gvk.group, gvk.version, matched.mapping.plural, attributes.kind or gvk)
    request: Json = {
        "kind": shown.gvk,
        "resource": shown.gvr,
        "subResource": attributes.subresource,
        "requestKind": requested.gvk,
        "requestResource": requested.gvr,
        "requestSubResource": attributes.subresource,
        "name": attributes.name,
        "namespace": target.namespace,
    }
    request = {key: value for key, value in request.items() if value}
    return {
        **request,
        "operation": attributes.operation,
        "userInfo": user_info(attributes.user),
        "dryRun": attributes.options.dry_run,
        "options": operation_options(attributes),
    }


def review_of(target: Target, matched: ResourceDefinition, versions: Sequence[str]) -> Json:
    """The whole review, with a uid of its own, in the first version that this server and the webhook know."""
    version = next(version for version in versions if version in VERSIONS)
    attributes = target.attributes
    own = attributes.definition
    request = {
        "uid": str(uuid.uuid4()),
        **request_attributes(target, matched),
        "object": converted(attributes.object, own, matched),
        "oldObject": converted(attributes.old_object, own, matched),
    }
    return {"kind": KIND, "apiVersion": f"{GROUP}/{version}", "request": request}


def verdict_of(name: str, review: Json, answer: Any, *, mutating: bool) -> Verdict:
    """Reads the answer to a review. Raises InvalidAnswerError, and the webhook's own refusal as an ApiError."""
    is_beta = review["apiVersion"] == f"{GROUP}/v1beta1"
    response = _response(review, answer, is_beta=is_beta)
    if is_beta:
        # Neither a patch's type nor its absence was asked for in those days.
        patch = _decoded(response["patch"]) if mutating and response.get("patch") else None
    else:
        patch = _patch(response, mutating=mutating)
    if response.get("allowed") is not True:
        raise refusal(name, response.get("status"))
    warnings = response.get("warnings") or []
    return Verdict(patch, tuple(map(str, warnings)) if isinstance(warnings, list) else ())


def _response(review: Json, answer: Any, *, is_beta: bool) -> Json:
    uid, asked = review["request"]["uid"], review["apiVersion"]
    api_version, kind = (answer.get("apiVersion", ""), answer.get("kind", "")) if isinstance(answer, dict) else ("", "")
    if not isinstance(answer, dict) or (api_version, kind) != (asked, KIND):
        expected = f"{asked}, Kind={KIND}"
        raise InvalidAnswerError(f"expected webhook response of {expected}, got {api_version or '/'}, Kind={kind}")
    response = answer.get("response")
    if not isinstance(response, dict):
        raise InvalidAnswerError("webhook response was absent")
    if not is_beta and response.get("uid") != uid:
        raise InvalidAnswerError(f'expected response.uid="{uid}", got "{response.get("uid") or ""}"')
    return response


def _patch(response: Json, *, mutating: bool) -> list[Any] | None:
    encoded, type_ = response.get("patch"), response.get("patchType")
    if not mutating:
        if encoded:
            raise InvalidAnswerError("validating webhook may not return response.patch")
        if type_ is not None:
            raise InvalidAnswerError("validating webhook may not return response.patchType")
        return None
    if not encoded:
        if type_ is not None:
            raise InvalidAnswerError("webhook returned response.patchType but not response.patch")
        return None
    if type_ is None:
        raise InvalidAnswerError("webhook returned response.patch but not response.patchType")
    operations = _decoded(encoded)
    if operations and type_ != "JSONPatch":
        raise InvalidAnswerError(f'unsupported patch type "{type_}"')
    return operations


def _decoded(encoded: Any) -> list[Any]:
    """The operations. What is no patch at all is no failure of the call: no failure policy makes up for it."""
    try:
        patch = msgspec.json.decode(base64.b64decode(str(encoded), validate=True))
    except (binascii.Error, ValueError) as error:
        raise InternalError.of(
            f"Internal error occurred: {error}", details={"causes": [{"message": str(error)}]}
        ) from None
    if not isinstance(patch, list):
        why = "json: cannot unmarshal object into Go value of type jsonpatch.Patch"
        raise InternalError.of(f"Internal error occurred: {why}", details={"causes": [{"message": why}]})
    return patch


def refusal(name: str, status: Any) -> ApiError:
    """The webhook's status as the answer to the client (webhookerrors.ToStatusErr)."""
    given: Json = dict(status) if isinstance(status, dict) else {}
    denied = f'admission webhook "{name}" denied the request'
    why = given.get("message") or given.get("reason")
    code = given.get("code")
    made = make_status(
        str(given.get("reason") or ""),
        code if isinstance(code, int) and code >= 400 else 400,
        f"{denied}: {why}" if why else f"{denied} without explanation",
        given.get("details"),
    )
    if not made["reason"]:
        del made["reason"]
    return error_from_status(made)
