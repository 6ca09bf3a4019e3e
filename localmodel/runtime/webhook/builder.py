"""`WebhookBuilder`: the webhooks of one kind at their usual paths, as kubebuilder's manifests name them."""

from __future__ import annotations

from typing import Generic, Protocol, Self

from localmodel.runtime.errors import RuntimeLibraryError
from localmodel.runtime.objects import RESTMapping, T

from .admission import Handler
from .custom import CustomDefaulter, CustomValidator, defaulting_handler, validating_handler


class WebhookBuilderError(RuntimeLibraryError):
    """The declaration of a webhook is incomplete."""


class Registrar(Protocol):
    """Where handlers are registered: a `WebhookServer`."""

    def register(self, path: str, handler: Handler) -> None: ...


def mutate_path(mapping: RESTMapping) -> str:
    """`/mutate-example-com-v1-greeter`."""
    return _path("mutate", mapping)


def validate_path(mapping: RESTMapping) -> str:
    """`/validate-example-com-v1-greeter`."""
    return _path("validate", mapping)


def _path(verb: str, mapping: RESTMapping) -> str:
    gvk = mapping.gvk
    return f"/{verb}-{gvk.group.replace('.', '-')}-{gvk.version}-{gvk.kind.lower()}"


class WebhookBuilder:
    """Begins the declaration: `WebhookBuilder(server).for_(Greeter).with_validator(...).complete()`."""

    def __init__(self, server: Registrar) -> None:
        self._server = server

    def for_(self, kind: type[T]) -> KindWebhooks[T]:
        return KindWebhooks(self._server, kind)


class KindWebhooks(Generic[T]):
    """The webhooks of one kind, registered by `complete`."""

    def __init__(self, server: Registrar, kind: type[T]) -> None:
        self._server = server
        self._kind = kind
        self._handlers: dict[str, Handler] = {}
        """By path."""

    def with_defaulter(self, defaulter: CustomDefaulter[T], *, path: str = "") -> Self:
        """At `path`, or `mutate_path` of the kind."""
        self._handlers[path or mutate_path(self._kind.mapping)] = defaulting_handler(self._kind, defaulter)
        return self

    def with_validator(self, validator: CustomValidator[T], *, path: str = "") -> Self:
        """At `path`, or `validate_path` of the kind."""
        self._handlers[path or validate_path(self._kind.mapping)] = validating_handler(self._kind, validator)
        return self

    def complete(self) -> None:
        """Raises WebhookBuilderError if there is nothing to register, ValueError for a path that is taken."""
        if not self._handlers:
            kind = self._kind.mapping.gvk.kind
            raise WebhookBuilderError(f"the webhooks of {kind} do nothing: call with_defaulter or with_validator")
        for path, handler in self._handlers.items():
            self._server.register(path, handler)
