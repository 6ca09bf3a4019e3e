"""ValidatingAdmissionPolicy: policies with their bindings and parameters, asked about every write.

Order of evaluation, decisions and texts: k8s.io/apiserver/pkg/admission/plugin/policy (validating, generic). What the
policies say to the audit log is evaluated, for its failures count, and kept nowhere: the audit log of this server has
no annotations.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from localmodel.runtime.errors import error_from_status, make_status
from localmodel.runtime.listwatch import ListOptions, WatchOptions
from localmodel.runtime.selectors import Selector
from localmodel.runtime.testing.answers import details
from localmodel.runtime.testing.definitions import AdmissionAttributes, ResourceDefinition
from localmodel.runtime.testing.registry import Registry
from localmodel.sandbox.apiserver.rbac import Rbac

from .matching import GROUP, Target
from .status import PolicyStatus

if TYPE_CHECKING:
    from .policyprograms import Denial, Policy

log = structlog.get_logger(__name__)

Json = dict[str, Any]

POLICIES, BINDINGS = "validatingadmissionpolicies", "validatingadmissionpolicybindings"
_CODES = {"Unauthorized": 401, "Forbidden": 403, "RequestEntityTooLarge": 413, "Invalid": 422}


class ConfigurationError(ValueError):
    """A binding that cannot be evaluated: the policy's failure policy decides, and the binding's actions do not."""


class PolicyConfigurationError(ConfigurationError):
    """The same of the policy itself."""


class ValidatingPolicies:
    """The admission plugin. Follows the policies and bindings, and writes the policies' status."""

    def __init__(self, registry: Registry, rbac: Rbac) -> None:
        self._registry = registry
        self._rbac = rbac
        # Replaced as a whole, so that readers need no lock.
        self._pairs: tuple[tuple[Policy, Json], ...] = ()
        self._compiled: dict[str, Policy] = {}
        self._definitions = {plural: self._definition(plural) for plural in (POLICIES, BINDINGS)}
        self._status = PolicyStatus(registry, self._definitions[POLICIES])
        self._load()
        for definition in self._definitions.values():
            options = WatchOptions(resource_version=str(registry.store.revision), timeout_seconds=2**31)
            registry.watch(definition, options, lambda _: self._load())

    def _definition(self, plural: str) -> ResourceDefinition:
        definition = self._registry.lookup(GROUP, "v1", plural)
        if definition is None:
            raise LookupError(f"{plural}.{GROUP} is not registered")
        return definition

    def _objects(self, plural: str) -> list[Json]:
        page = self._registry.list(self._definitions[plural], ListOptions())
        return sorted(map(msgspec.json.decode, page.items), key=lambda obj: str(obj["metadata"]["name"]))

    def _load(self) -> None:
        compiled: dict[str, Policy] = {}
        for raw in self._objects(POLICIES):
            # Brings CEL, which is slow to import.
            from .policyprograms import CompilationError, Policy

            name = raw["metadata"]["name"]
            known = self._compiled.get(name)
            try:
                compiled[name] = known if known is not None and known.spec == raw["spec"] else Policy(raw)
            except CompilationError as error:
                # Validation refuses such a policy; it can only come from the data directory of another version.
                log.error("policy does not compile and is not asked", policy=name, error=str(error))
        self._compiled = compiled
        bindings = self._objects(BINDINGS)
        self._pairs = tuple(
            (policy, binding)
            for name, policy in compiled.items()
            for binding in bindings
            if binding["spec"].get("policyName") == name
        )

    def handles(self, _operation: str, _definition: ResourceDefinition, _subresource: str) -> bool:
        return bool(self._pairs)

    def __call__(self, attributes: AdmissionAttributes) -> None:
        pairs = self._pairs
        target = Target(attributes, self._registry) if pairs and attributes.user.name else None
        if target is None or target.is_exempt:
            return
        denied: list[tuple[str, Denial]] = []
        for policy, binding in pairs:
            actions = binding["spec"].get("validationActions") or ()
            where = f"ValidatingAdmissionPolicy '{policy.name}' with binding '{binding['metadata']['name']}'"
            for denial in self._denials(policy, binding, target):
                if denial.about:
                    whose = f"ValidatingAdmissionPolicy '{policy.name}'" if denial.about == "policy" else where
                    denied.append((f"{whose} denied request: {denial.message}", denial))
                    continue
                if "Deny" in actions:
                    denied.append((f"{where} denied request: {denial.message}", denial))
                if "Warn" in actions:
                    attributes.warnings.append(f"Validation failed for {where}: {denial.message}")
        if denied:
            raise _refusal(attributes, *denied[0])

    def _denials(self, policy: Policy, binding: Json, target: Target) -> Iterator[Denial]:
        from .policyprograms import Denial, Values

        matched = _matched(policy.spec["matchConstraints"], target)
        wanted = binding["spec"].get("matchResources")
        if matched is None or (wanted is not None and _matched(wanted, target) is None):
            return
        try:
            params = self._params(policy, binding["spec"], target)
        except ConfigurationError as error:
            if policy.fails_closed:
                about = "policy" if isinstance(error, PolicyConfigurationError) else "binding"
                yield Denial(f"failed to configure {about}: {error}", about=about)
            return
        values = Values(target, matched, self._rbac).all
        for param in params:
            yield from policy.denials({**values, "params": param})

    def _params(self, policy: Policy, binding: Json, target: Target) -> list[Json | None]:
        """The parameter objects of a binding; one None where policy or binding want none."""
        kind, reference = policy.spec.get("paramKind"), binding.get("paramRef")
        if not kind or not reference:
            return [None]
        definition = self._of_kind(kind)
        namespace = str(reference.get("namespace") or "")
        if definition.mapping.namespaced:
            namespace = namespace or (target.namespace if target.namespace_object is not None else "")
            if not namespace:
                raise ConfigurationError(
                    "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources"
                )
        elif namespace:
            raise ConfigurationError("paramRef.namespace must not be provided for a cluster-scoped `paramKind`")
        found = list(self._found(definition, namespace, reference))
        if not found and reference.get("parameterNotFoundAction", "Deny") == "Deny":
            raise ConfigurationError("no params found for policy binding with `Deny` parameterNotFoundAction")
        return [*found]

    def _of_kind(self, kind: Json) -> ResourceDefinition:
        for definition in self._registry.definitions():
            gvk = definition.mapping.gvk
            if (gvk.api_version, gvk.kind) == (kind.get("apiVersion"), kind.get("kind")):
                return definition
        group, _, version = str(kind.get("apiVersion", "")).rpartition("/")
        raise PolicyConfigurationError(
            f"failed to find resource referenced by paramKind: '{group}/{version}, Kind={kind.get('kind')}'"
        )

    def _found(self, definition: ResourceDefinition, namespace: str, reference: Json) -> Iterator[Json]:
        if name := reference.get("name"):
            entry = self._registry.store.get(definition.resource, namespace, name)
            if entry is not None:
                yield definition.decode(entry.value)
            return
        selector = str(Selector.of_label_selector(reference.get("selector") or {}))
        page = self._registry.list(definition, ListOptions(namespace=namespace, label_selector=selector))
        yield from map(msgspec.json.decode, page.items)


def _matched(constraints: Json, target: Target) -> ResourceDefinition | None:
    """The definition under which a policy, or a binding of it, is about the write."""
    if not target.is_selected(constraints):
        return None
    policy = constraints.get("matchPolicy", "Equivalent")
    if target.matched(constraints.get("excludeResourceRules") or (), policy) is not None:
        return None
    rules = constraints.get("resourceRules")
    return target.matched(rules, policy) if rules else target.attributes.definition


def _refusal(attributes: AdmissionAttributes, message: str, denial: Denial) -> Exception:
    """403 in form, with the reason and code of the validation."""
    definition, name = attributes.definition, attributes.name
    reason = denial.reason or "Invalid"
    return error_from_status(
        make_status(
            reason,
            _CODES.get(reason, 422),
            f'{definition.group_resource} "{name}" is forbidden: {message}',
            {**details(definition, name), "causes": [{"message": message}]},
        )
    )
