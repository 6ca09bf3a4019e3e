"""The two admission plugins that call webhooks: mutating ones in turn, validating ones at the same time.

Order, reinvocation, failure policy, dry run and texts: k8s.io/apiserver/pkg/admission/plugin/webhook (mutating and
validating dispatcher). Calls are made without any lock; the write that follows is conditional on the version that the
webhooks saw.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import structlog

from localmodel.runtime.errors import ApiError, BadRequestError, ForbiddenError, InternalError
from localmodel.runtime.testing.answers import details
from localmodel.runtime.testing.definitions import AdmissionAttributes, ResourceDefinition
from localmodel.runtime.testing.patch import json_patch
from localmodel.runtime.testing.registry import Registry
from localmodel.sandbox.apiserver.cel import EvaluationError
from localmodel.sandbox.apiserver.rbac import Rbac

from .client import CallError, WebhookClient
from .expressions import Values
from .hooks import Hook, Hooks
from .matching import Target, converted
from .review import InvalidAnswerError, Verdict, review_of, verdict_of

log = structlog.get_logger(__name__)

Json = dict[str, Any]

PARALLEL_CALLS = 64
"""Validating webhooks that are called at the same time, for all requests together."""


class FailedCallError(Exception):
    """A webhook gave no verdict: its failure policy decides."""


class Caller:
    """Decides whether a hook is asked, and asks it."""

    def __init__(self, registry: Registry, rbac: Rbac, client: WebhookClient) -> None:
        self.registry = registry
        self._rbac = rbac
        self._client = client

    def matched(self, hook: Hook, target: Target) -> ResourceDefinition | None:
        """The definition under which the hook wants to see the write; None if it does not. Raises ForbiddenError."""
        raw = hook.raw
        # Cheapest first.
        matched = target.matched(raw.get("rules") or (), raw.get("matchPolicy", "Equivalent"))
        if matched is None or not target.is_selected(raw):
            return None
        if not raw.get("matchConditions"):
            return matched
        try:
            holds = hook.conditions.hold(Values(target, matched, self._rbac).all)
        except EvaluationError as error:
            if not hook.fails_closed:
                return None
            raise forbidden(target.attributes, str(error)) from None
        return matched if holds else None

    def ask(self, hook: Hook, target: Target, matched: ResourceDefinition, *, mutating: bool) -> Verdict | None:
        """The verdict; None for a call that failed and may be ignored. Raises ApiError."""
        try:
            return self._call(hook, target, matched, mutating=mutating)
        except FailedCallError as error:
            message = f'failed calling webhook "{hook.name}": {error}'
            if not hook.fails_closed:
                log.warning("webhook failed and is ignored", webhook=hook.name, error=str(error))
                return None
            raise _internal(message) from None

    def _call(self, hook: Hook, target: Target, matched: ResourceDefinition, *, mutating: bool) -> Verdict:
        if target.attributes.options.dry_run and hook.has_side_effects:
            raise BadRequestError.of(f'admission webhook "{hook.name}" does not support dry run')
        review = review_of(target, matched, hook.raw["admissionReviewVersions"])
        timeout = float(hook.raw.get("timeoutSeconds") or 10)
        try:
            answer = self._client.post(hook.raw["clientConfig"], msgspec.json.encode(review), timeout=timeout)
        except CallError as error:
            raise FailedCallError(f"failed to call webhook: {error}") from None
        try:
            return verdict_of(hook.name, review, answer, mutating=mutating)
        except InvalidAnswerError as error:
            raise FailedCallError(f"received invalid webhook response: {error}") from None


class MutatingWebhooks:
    """Asks the hooks one after the other; each sees what those before it made of the object."""

    def __init__(self, caller: Caller, hooks: Hooks) -> None:
        self._caller = caller
        self._hooks = hooks

    def __call__(self, attributes: AdmissionAttributes) -> None:
        hooks = self._hooks.all
        if not hooks or not attributes.user.name or Target(attributes, self._caller.registry).is_exempt:
            return
        # Hooks that were asked and want to be asked again if others change the object after them.
        asked: list[Hook] = []
        again: list[Hook] = []
        for hook in hooks:
            if self._apply(hook, attributes):
                again += [earlier for earlier in asked if earlier not in again]
                asked = []
            if hook.is_reinvoked:
                asked.append(hook)
        for hook in hooks:
            if hook in again:
                self._apply(hook, attributes)

    def _apply(self, hook: Hook, attributes: AdmissionAttributes) -> bool:
        """Whether the hook has changed the object."""
        target = Target(attributes, self._caller.registry)
        matched = self._caller.matched(hook, target)
        verdict = self._caller.ask(hook, target, matched, mutating=True) if matched else None
        if matched is None or verdict is None:
            return False
        attributes.warnings += verdict.warnings
        if not verdict.patch:
            return False
        if attributes.object is None:
            raise _internal(
                f'admission webhook "{hook.name}" attempted to modify the object, which is not supported for this '
                "operation"
            )
        changed = self._patched(attributes, matched, verdict.patch)
        if changed == attributes.object:
            return False
        attributes.object = changed
        return True

    def _patched(self, attributes: AdmissionAttributes, matched: ResourceDefinition, patch: list[Any]) -> Json:
        own = attributes.definition
        # A private copy: other parts of the request may still look at what was sent.
        seen = msgspec.json.decode(msgspec.json.encode(converted(attributes.object, own, matched)))
        try:
            patched = json_patch(seen, patch)
        except ApiError as error:
            causes = [cause.get("message", "") for cause in error.causes]
            raise _internal(causes[0] if causes else str(error)) from None
        changed = converted(patched, matched, own) or patched
        gvk = attributes.kind or own.mapping.gvk
        if (changed.get("apiVersion"), changed.get("kind")) != (gvk.api_version, gvk.kind):
            raise _internal(f"a webhook turned the object into {changed.get('apiVersion')}, Kind={changed.get('kind')}")
        if not isinstance(changed.get("metadata"), dict):
            changed["metadata"] = {}
        if attributes.kind is None:
            try:
                if own.prune:
                    own.prune(changed)
            except ApiError as error:
                raise _internal(str(error).rpartition("cannot be handled as a ")[2].partition(": ")[2]) from None
            if own.default:
                own.default(changed)
        return changed


class ValidatingWebhooks:
    """Asks all hooks that want to know, at the same time; the first refusal in their order is the answer."""

    def __init__(self, caller: Caller, hooks: Hooks) -> None:
        self._caller = caller
        self._hooks = hooks
        self._lock = threading.Lock()
        self._threads: ThreadPoolExecutor | None = None

    def __call__(self, attributes: AdmissionAttributes) -> None:
        hooks = self._hooks.all
        target = Target(attributes, self._caller.registry) if hooks and attributes.user.name else None
        if target is None or target.is_exempt:
            return
        wanted = [(hook, matched) for hook in hooks if (matched := self._caller.matched(hook, target)) is not None]
        verdicts = self._ask_all(wanted, target)
        for verdict in verdicts:
            if isinstance(verdict, Verdict):
                attributes.warnings += verdict.warnings
        for verdict in verdicts:
            if isinstance(verdict, ApiError):
                raise verdict

    def _ask_all(
        self, wanted: list[tuple[Hook, ResourceDefinition]], target: Target
    ) -> list[Verdict | ApiError | None]:
        if len(wanted) < 2:
            return [self._ask(hook, target, matched) for hook, matched in wanted]
        return list(self._pool().map(lambda pair: self._ask(pair[0], target, pair[1]), wanted))

    def _ask(self, hook: Hook, target: Target, matched: ResourceDefinition) -> Verdict | ApiError | None:
        try:
            return self._caller.ask(hook, target, matched, mutating=False)
        except ApiError as error:
            return error

    def _pool(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._threads is None:
                self._threads = ThreadPoolExecutor(PARALLEL_CALLS, thread_name_prefix="apiserver-webhook")
            return self._threads

    def close(self) -> None:
        """Waits for no call."""
        with self._lock:
            if self._threads is not None:
                self._threads.shutdown(wait=False, cancel_futures=True)


class Webhooks:
    """The two plugins, which share a client."""

    def __init__(self, registry: Registry, rbac: Rbac, mutating: Hooks, validating: Hooks) -> None:
        self._client = WebhookClient(registry)
        caller = Caller(registry, rbac, self._client)
        self.mutating = MutatingWebhooks(caller, mutating)
        self.validating = ValidatingWebhooks(caller, validating)

    def close(self) -> None:
        """Waits for no call."""
        self.validating.close()
        self._client.close()


def _internal(why: str) -> InternalError:
    return InternalError.of(f"Internal error occurred: {why}", details={"causes": [{"message": why}]})


def forbidden(attributes: AdmissionAttributes, why: str) -> ForbiddenError:
    """403 about the object of the request."""
    definition, name = attributes.definition, attributes.name
    return ForbiddenError.of(
        f'{definition.group_resource} "{name}" is forbidden: {why}', details=details(definition, name)
    )
