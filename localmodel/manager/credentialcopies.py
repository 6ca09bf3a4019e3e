"""`CredentialCopies`: makes, renews and removes the copies of credentials in the job namespace, one for each cache.

The cache's reconciler is their only writer. Secrets are neither watched nor cached: what is copied is read when the
cache or the configuration changes and every few minutes, so a rotated credential reaches the copy in five minutes. What
is deleted, or may not be read any more, is revoked: the copy goes, with a condition on the cache.

A copy is found by its name, which has the cache's uid, so a manager that starts anew finds what an earlier one made. It
is made only for a cache that has our finalizer, and is gone before that is. A Secret of the name without our label is
somebody else's, and left alone. Nothing here says a value: not in logs, events, conditions or errors.
"""

from __future__ import annotations

from base64 import b64decode
from dataclasses import dataclass, replace
from typing import Final

import structlog

from localmodel.api import Cache, CredentialsConfig, InferenceServiceConfig
from localmodel.api.credentials import SOURCES_ANNOTATION, copy_name
from localmodel.runtime.client import Client, Reader
from localmodel.runtime.clock import Clock
from localmodel.runtime.controllerutil import delete_exactly
from localmodel.runtime.errors import AlreadyExistsError, ApiError, ConflictError, ForbiddenError
from localmodel.runtime.events import EventRecorder
from localmodel.runtime.objects import ObjectKey, PersistentVolumeClaim, Secret
from localmodel.runtime.reconcile import Request

from .credentials import Named, described, named_credentials
from .credentialsources import FORBIDDEN, UnavailableError, credentials_problem, is_copy_of, wanted_copy
from .indexes import BY_CACHE_UID
from .status import Problem

log = structlog.get_logger(__name__)

REFRESH_SECONDS: Final = 240.0
"""How often credentials are read again: with the time that this takes, a new one is copied within five minutes."""
RETRY_SECONDS: Final = 60.0
"""How often it looks again for what is missing or may not be read."""
FAILED: Final = "CredentialsFailed"
CONFLICT: Final = "CredentialsConflict"
JOBS_ROLE: Final = "kserve-localmodel-manager-credentials-role"
"""The Role in the job namespace that allows it to write copies."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a cache's credentials."""

    problem: Problem | None = None
    failure: ApiError | None = None
    """To try again once the status has been written."""
    wait: float = 0.0
    """Seconds until they must be looked at again; 0 for not before something changes."""
    is_settled: bool = True
    """False: a copy may be left in a former job namespace, which only the cache's claims there can tell."""

    @property
    def problems(self) -> list[Problem]:
        """The problem, if there is one."""
        return [self.problem] if self.problem is not None else []


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """What this manager knows of one cache."""

    uid: str
    namespace: str
    """The job namespace, where its copy is if there is one."""
    asked: object
    """What it was about; where it is the same again, nothing is read before `due`. None: that failed."""
    is_there: bool
    """There may be a copy."""
    problem: Problem | None
    due: float | None
    """By the monotonic clock; None: never."""


class CredentialCopies:
    """One for each reconciler. One worker at a time deals with a cache."""

    def __init__(self) -> None:
        self._known: dict[Request, _Known] = {}
        """By cache."""

    def ensure(
        self,
        cache: Cache,
        config: InferenceServiceConfig,
        *,
        client: Client,
        live: Reader,
        recorder: EventRecorder,
        clock: Clock,
    ) -> Outcome:
        """Brings the cache's copy to what it shall be: none if the cache names nothing or is being deleted.

        A LocalModelCache never has one. Raises TransportError.
        """
        if not cache.namespace:
            return Outcome()
        namespace = config.local_model.jobs_namespace
        named = None if cache.is_deleting else named_credentials(cache, config.local_model)
        asked = (cache.is_deleting, named, named and (config.credentials, cache.metadata.generation))
        known = self._known.get(cache.key)
        if known is not None and (known.uid, known.namespace, known.asked) == (cache.metadata.uid, namespace, asked):
            left = 0.0 if known.due is None else known.due - clock.monotonic()
            if known.due is None or left > 0:
                return Outcome(known.problem, wait=left)

        if known is not None:
            # Until all is done: where copies may be, and nothing that need not be looked at again.
            self._known[cache.key] = replace(known, asked=None, is_there=known.is_there or named is not None)
        copies = _Copies(client=client, live=live)
        is_settled = False
        try:
            former = [copies.remove(uid, place) for uid, place in _former(cache, namespace, known, client)]
            leftover = next(filter(None, former), None)
            is_settled = leftover is None
            if named is None:
                problem = copies.remove(cache.metadata.uid, namespace)
            else:
                problem = _renew(copies, cache, named, namespace, config.credentials, live, recorder)
        except ApiError as error:
            if isinstance(error, ConflictError | AlreadyExistsError):
                return Outcome(failure=error, is_settled=is_settled)
            problem = credentials_problem(FAILED, f"the credentials cannot be copied: {error}")
            return Outcome(problem, error, is_settled=is_settled)
        if leftover is not None:
            return Outcome(problem or leftover, wait=RETRY_SECONDS, is_settled=False)
        wait = RETRY_SECONDS if problem is not None else REFRESH_SECONDS if named is not None else 0.0
        self._known[cache.key] = _Known(
            uid=cache.metadata.uid,
            namespace=namespace,
            asked=asked,
            is_there=named is not None or problem is not None,
            problem=problem,
            due=clock.monotonic() + wait if wait else None,
        )
        return Outcome(problem, wait=wait)

    def forget(self, request: Request, *, client: Client, live: Reader) -> None:
        """The cache is gone. If its copy is not, somebody took the finalizer away. Raises what the clients raise."""
        known = self._known.get(request)
        if known is not None and known.is_there:
            kept = _Copies(client=client, live=live).remove(known.uid, known.namespace)
            if kept is not None:  # there is no cache any more to show it
                log.warning("Copy of credentials is left", cache=str(request), error=kept.message)
        self._known.pop(request, None)


def _former(cache: Cache, namespace: str, known: _Known | None, reader: Reader) -> list[tuple[str, str]]:
    """Copies that may be left: of an earlier cache of the name, or in a former job namespace. Uids and namespaces.

    A manager that starts anew tells former job namespaces by the cache's claims there, which are removed later.
    """
    uid = cache.metadata.uid
    claims = reader.list(PersistentVolumeClaim, fields={BY_CACHE_UID: uid})
    former = {(uid, place) for place in {claim.namespace for claim in claims} - {cache.namespace}}
    if known is not None and known.is_there:
        former.add((known.uid, known.namespace))
    return sorted(former - {(uid, namespace)})


def _renew(
    copies: _Copies,
    cache: Cache,
    named: Named,
    namespace: str,
    config: CredentialsConfig,
    live: Reader,
    recorder: EventRecorder,
) -> Problem | None:
    try:
        wanted = wanted_copy(cache, named, namespace, config, live)
    except UnavailableError as error:
        return copies.remove(cache.metadata.uid, namespace) or error.problem
    try:
        is_new = copies.write(wanted, cache.metadata.uid)
    except UnavailableError as error:
        return error.problem
    if is_new:
        message = f"The credentials of {described(named, cache.namespace, config)} are copied to Secret {wanted.key}"
        recorder.event(cache, "Normal", "CredentialsCopied", message)
    return None


class _Copies:
    """Reads and writes copies, and nothing else."""

    def __init__(self, *, client: Client, live: Reader) -> None:
        self._client = client
        self._live = live

    def write(self, wanted: Secret, uid: str) -> bool:
        """Whether anything had to be written. Raises UnavailableError for what stands in the way."""
        try:
            existing = self._live.find(Secret, wanted.name, namespace=wanted.namespace)
            if existing is None:
                self._create(wanted)
                return True
            if not is_copy_of(existing, uid):
                raise UnavailableError(CONFLICT, f"{existing} exists and was not made for this cache: remove it")
            if existing.is_deleting:
                raise UnavailableError(CONFLICT, f"{existing} is being deleted: waiting until it is gone")
            changed = _changed(existing, wanted)
            if changed.to_dict() == existing.to_dict():
                return False
            if existing.immutable or existing.type != wanted.type:
                delete_exactly(self._client, existing)
                self._create(wanted)
            else:
                self._update(changed)
        except ForbiddenError as error:
            raise UnavailableError(FORBIDDEN, _role_missing(wanted.key, error)) from None
        log.info("Copied credentials", secret=str(wanted.key))
        return True

    def remove(self, uid: str, namespace: str) -> Problem | None:
        """Removes a cache's copy, if it has one; what keeps it from being removed is returned."""
        name = copy_name(uid)
        try:
            existing = self._live.find(Secret, name, namespace=namespace)
        except ForbiddenError:
            # With KServe's roles, or where the Role was left out: then no copy was made either.
            log.debug("Copies of credentials may not be looked for", namespace=namespace)
            return None
        if existing is None or existing.is_deleting or not is_copy_of(existing, uid):
            return None
        try:
            delete_exactly(self._client, existing)
        except ForbiddenError as error:
            return credentials_problem(FORBIDDEN, _role_missing(existing.key, error))
        log.info("Removed copy of credentials", secret=str(existing.key))
        return None

    def _create(self, wanted: Secret) -> None:
        try:
            self._client.create(wanted)
        except ApiError as error:
            raise _without_content(error, wanted) from None

    def _update(self, changed: Secret) -> None:
        try:
            self._client.update(changed)
        except ApiError as error:
            raise _without_content(error, changed) from None


def _changed(existing: Secret, wanted: Secret) -> Secret:
    """What stands there with our part as it shall be; of other labels and annotations nothing is taken."""
    changed = existing.deepcopy()
    changed.data = dict(wanted.data)
    changed.metadata.annotations.pop(SOURCES_ANNOTATION, None)
    changed.metadata.annotations.update(wanted.metadata.annotations)
    return changed


def _role_missing(key: ObjectKey, error: ForbiddenError) -> str:
    return f"Secret {key} may not be written: give the manager the Role {JOBS_ROLE} in {key.namespace}: {error}"


def _without_content(error: ApiError, written: Secret) -> ApiError:
    """The error of a write without the server's words, which may quote what was sent.

    Refusals keep theirs, so that a person sees which right or quota it is, unless a policy has put a value into them.
    """
    if isinstance(error, ForbiddenError) and not _quotes(str(error), written):
        return error
    details = {"retryAfterSeconds": error.retry_after} if error.retry_after else None
    message = f"Secret {written.key} cannot be written: {error.code} {error.reason}"
    return type(error).of(message, code=error.code, reason=error.reason, details=details)


def _quotes(text: str, secret: Secret) -> bool:
    values = [*secret.data.values(), *(b64decode(it).decode(errors="ignore") for it in secret.data.values())]
    return any(value in text for value in values if value)
