"""Validation of ValidatingAdmissionPolicies and their bindings.

Texts and fields: k8s.io/kubernetes/pkg/apis/admissionregistration/validation.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from localmodel.runtime.testing import metadata
from localmodel.sandbox.apiserver.cel import CompilationError, Environment
from localmodel.sandbox.apiserver.fielderrors import Cause, duplicate, forbidden, invalid, not_supported, required

from . import rulechecks
from .expressions import environment

Json = dict[str, Any]

_REASONS = ("Forbidden", "Invalid", "RequestEntityTooLarge")
_ACTIONS = ("Audit", "Deny", "Warn")
_IDENTIFIER = re.compile(r"^[_a-zA-Z][_a-zA-Z0-9]*$")
_KIND_LABEL = re.compile(r"^[A-Za-z]([-A-Za-z0-9]*[A-Za-z0-9])?$")
_ONE_OF = "validations or auditAnnotations must contain at least one item"


def policy_faults(new: Json, _: Json | None) -> Iterator[Cause]:
    """A ValidatingAdmissionPolicy."""
    spec: Json = new.get("spec") or {}
    yield from rulechecks.choice(spec, "failurePolicy", "spec", ("Fail", "Ignore"))
    kind = spec.get("paramKind")
    if kind is not None:
        yield from _param_kind(kind, "spec.paramKind")
    constraints = spec.get("matchConstraints")
    if constraints is None:
        yield required("spec.matchConstraints")
    else:
        yield from _match_resources(constraints, "spec.matchConstraints")
        if not constraints.get("resourceRules"):
            yield required("spec.matchConstraints.resourceRules")
    env = environment(has_params=bool(kind))
    yield from rulechecks.conditions(spec.get("matchConditions"), "spec.matchConditions", env)
    validations, annotations = spec.get("validations") or [], spec.get("auditAnnotations") or []
    if not validations and not annotations:
        yield required("spec.validations", _ONE_OF)
        yield required("spec.auditAnnotations", _ONE_OF)
        return
    env = env.composed() if spec.get("variables") else env
    for index, variable in enumerate(spec.get("variables") or ()):
        faults, env = _variable(variable, f"spec.variables[{index}]", env)
        yield from faults
    for index, validation in enumerate(validations):
        yield from _validation(validation, f"spec.validations[{index}]", env)
    yield from _annotations(annotations, new["metadata"].get("name", ""), env)


def _param_kind(kind: Json, path: str) -> Iterator[Cause]:
    version, name = str(kind.get("apiVersion") or ""), str(kind.get("kind") or "")
    if not version:
        yield required(f"{path}.apiVersion")
    elif version.count("/") > 1:
        yield invalid(f"{path}.apiVersion", version, f"unexpected GroupVersion string: {version}")
    if not name:
        yield required(f"{path}.kind")
    elif not _KIND_LABEL.match(name):
        yield invalid(f"{path}.kind", name, "may have mixed case, but should otherwise match a DNS-1035 label")


def _match_resources(resources: Json, path: str) -> Iterator[Cause]:
    yield from rulechecks.choice(resources, "matchPolicy", path, ("Equivalent", "Exact"))
    for key in ("namespaceSelector", "objectSelector"):
        yield from rulechecks.selector(resources.get(key), f"{path}.{key}")
    for key in ("resourceRules", "excludeResourceRules"):
        yield from rulechecks.rules(resources.get(key), f"{path}.{key}")


def _variable(variable: Json, path: str, env: Environment) -> tuple[list[Cause], Environment]:
    """The faults of a variable, and what later expressions may name."""
    name, source = str(variable.get("name") or ""), str(variable.get("expression") or "")
    faults: list[Cause] = []
    if not name:
        faults.append(required(f"{path}.name", "name is not specified"))
    elif not _IDENTIFIER.match(name):
        faults.append(invalid(f"{path}.name", name, "name is not a valid CEL identifier"))
    if not source.strip():
        faults.append(required(f"{path}.expression", "expression is not specified"))
    if faults:
        return faults, env
    try:
        _, type_ = env.compile_typed(source)
    except CompilationError as error:
        return [invalid(f"{path}.expression", source, f"compilation failed: {error}")], env
    return [], env.extended({f"variables.{name}": type_})


def _validation(validation: Json, path: str, env: Environment) -> Iterator[Cause]:
    missing = "expression is not specified"
    yield from rulechecks.expression(validation.get("expression"), f"{path}.expression", env, ("bool",), missing)
    message = validation.get("message")
    if message:
        if not message.strip():
            yield invalid(f"{path}.message", message, "message must be non-empty if specified")
        elif "\n" in message.strip():
            yield invalid(f"{path}.message", message, "message must not contain line breaks")
    if expression := validation.get("messageExpression"):
        yield from rulechecks.expression(expression, f"{path}.messageExpression", env, ("string",))
    reason = validation.get("reason")
    if reason is not None and reason not in _REASONS:
        yield not_supported(f"{path}.reason", reason, _REASONS)


def _annotations(annotations: Sequence[Json], policy: str, env: Environment) -> Iterator[Cause]:
    keys: set[str] = set()
    for index, annotation in enumerate(annotations):
        path, key = f"spec.auditAnnotations[{index}]", str(annotation.get("key") or "")
        full = f"{policy}/{key}"
        yield from (invalid(f"{path}.key", full, why) for why in metadata.qualified_name(full))
        if key in keys:
            yield duplicate(f"{path}.key", key)
        keys.add(key)
        missing = "valueExpression is not specified"
        field = f"{path}.valueExpression"
        yield from rulechecks.expression(
            annotation.get("valueExpression"), field, env, ("string", "null_type"), missing
        )


def binding_faults(new: Json, _: Json | None) -> Iterator[Cause]:
    """A ValidatingAdmissionPolicyBinding."""
    spec: Json = new.get("spec") or {}
    policy = str(spec.get("policyName") or "")
    if not policy:
        yield required("spec.policyName")
    else:
        yield from (invalid("spec.policyName", policy, why) for why in metadata.dns1123_subdomain(policy))
    if spec.get("paramRef") is not None:
        yield from _param_ref(spec["paramRef"], "spec.paramRef")
    if spec.get("matchResources") is not None:
        yield from _match_resources(spec["matchResources"], "spec.matchResources")
    yield from _actions(spec.get("validationActions") or [], "spec.validationActions")


def _param_ref(reference: Json, path: str) -> Iterator[Cause]:
    name, selector = reference.get("name"), reference.get("selector")
    if not name and selector is None:
        yield required(path, "one of name or selector must be specified")
    elif name and selector is not None:
        for key in ("name", "selector"):
            yield forbidden(f"{path}.{key}", "name and selector are mutually exclusive")
    yield from rulechecks.selector(selector, f"{path}.selector")
    action = reference.get("parameterNotFoundAction")
    if not action:
        yield required(f"{path}.parameterNotFoundAction")
    elif action not in ("Deny", "Allow"):
        yield not_supported(f"{path}.parameterNotFoundAction", action, ("Deny", "Allow"))


def _actions(actions: Sequence[str], path: str) -> Iterator[Cause]:
    if not actions:
        yield required(path, "at least one validation action is required")
    for index, action in enumerate(actions):
        if action not in _ACTIONS:
            yield not_supported(f"{path}[{index}]", action, _ACTIONS)
        elif action in actions[:index]:
            yield duplicate(f"{path}[{index}]", action)
    if {"Deny", "Warn"} <= set(actions):
        text = (
            "must not contain both Deny and Warn (repeating the same validation failure information in the API "
            "response and headers serves no purpose)"
        )
        yield rulechecks.shown_invalid(
            path, rulechecks.go_list(actions, "admissionregistration.ValidationAction"), text
        )
