"""Admission webhooks: what an API server asks before it stores an object (controller-runtime's pkg/webhook).

    class GreeterWebhook(CustomDefaulter[Greeter], CustomValidator[Greeter]):
        def default(self, obj: Greeter, request: AdmissionRequest) -> None:
            obj.spec.greeting = obj.spec.greeting or "Hello"

        def validate_create(self, obj: Greeter, request: AdmissionRequest) -> Warnings:
            if not obj.spec.name:
                raise DeniedError("spec.name: a greeter needs somebody to greet")
            return None

    server = WebhookServer(WebhookServerOptions(cert_dir=Path("/certs")))
    hook = GreeterWebhook()
    WebhookBuilder(server).for_(Greeter).with_defaulter(hook).with_validator(hook).complete()

`admission` has requests, responses and `Handler`, the one shape that everything here has: a function from one to the
other, which a test calls without HTTP. `custom` makes handlers of typed objects, `multi` one of several, `review` puts
a handler behind HTTP, `server` serves it with TLS, and `builder` ties it together. Conversion webhooks are not here.
"""

from .admission import (
    AdmissionRequest,
    AdmissionResponse,
    DeniedError,
    Handler,
    Operation,
    Warnings,
    allowed,
    denied,
    errored,
    patched,
)
from .builder import WebhookBuilder, mutate_path, validate_path
from .custom import CustomDefaulter, CustomValidator, defaulting_handler, validating_handler
from .multi import mutating_handlers, validating_handlers
from .server import WebhookServer, WebhookServerOptions

__all__ = [
    "AdmissionRequest",
    "AdmissionResponse",
    "CustomDefaulter",
    "CustomValidator",
    "DeniedError",
    "Handler",
    "Operation",
    "Warnings",
    "WebhookBuilder",
    "WebhookServer",
    "WebhookServerOptions",
    "allowed",
    "defaulting_handler",
    "denied",
    "errored",
    "mutate_path",
    "mutating_handlers",
    "patched",
    "validate_path",
    "validating_handler",
    "validating_handlers",
]
