"""Admission handlers without HTTP: runtimes.md 2.17 nos. 205 and 206, and what handlers may raise."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from pydantic import ConfigDict, Field
from structlog.testing import capture_logs

from localmodel.runtime.errors import InvalidError, TransportError
from localmodel.runtime.metrics import Metrics
from localmodel.runtime.objects import Model, Object, RESTMapping
from localmodel.runtime.webhook import (
    AdmissionRequest,
    AdmissionResponse,
    CustomDefaulter,
    CustomValidator,
    DeniedError,
    Handler,
    Warnings,
    WebhookBuilder,
    allowed,
    defaulting_handler,
    denied,
    mutate_path,
    mutating_handlers,
    patched,
    validate_path,
    validating_handler,
    validating_handlers,
)
from localmodel.runtime.webhook.admission import answer
from localmodel.runtime.webhook.builder import WebhookBuilderError
from localmodel.runtime.webhook.patch import apply_patch

Json = dict[str, Any]


class Person(Model):
    model_config = ConfigDict(extra="ignore")

    name: str = ""
    title: str = ""


class GreeterSpec(Model):
    model_config = ConfigDict(extra="ignore")

    greeting: str = ""
    times: int = 1
    people: list[Person] = Field(default_factory=list)


class Greeter(Object):
    """Drops what it does not declare, as types do that are only read."""

    model_config = ConfigDict(extra="ignore")
    mapping: ClassVar[RESTMapping] = RESTMapping.of("example.com", "v1", "Greeter")

    spec: GreeterSpec = Field(default_factory=GreeterSpec)


class GreeterWebhook(CustomDefaulter[Greeter], CustomValidator[Greeter]):
    """Remembers what it was asked."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def default(self, obj: Greeter, request: AdmissionRequest) -> None:
        self.calls.append("default")
        obj.spec.greeting = obj.spec.greeting or "Hello"
        for person in obj.spec.people:
            person.title = person.title or "Citizen"

    def validate_create(self, obj: Greeter, request: AdmissionRequest) -> Warnings:
        self.calls.append("create")
        if obj.spec.times > 10:
            raise DeniedError("spec.times: more than 10 is a nuisance", warnings=["think of the neighbours"])
        return ["times is deprecated"] if obj.spec.times != 1 else None

    def validate_update(self, old: Greeter, new: Greeter, request: AdmissionRequest) -> Warnings:
        self.calls.append(f"update {old.spec.times} to {new.spec.times}")
        return None

    def validate_delete(self, obj: Greeter, request: AdmissionRequest) -> Warnings:
        self.calls.append(f"delete {obj.name}")
        raise InvalidError.of("greeters stay", details={"causes": [{"field": "metadata"}]})


def greeter(**spec: Any) -> Json:
    return {
        "apiVersion": "example.com/v1",
        "kind": "Greeter",
        "metadata": {"name": "a", "managedFields": [{"manager": "kubectl"}]},
        "spec": spec,
    }


def request(operation: str, obj: Json | None = None, old: Json | None = None) -> AdmissionRequest:
    return AdmissionRequest(uid="u-1", operation=operation, object=obj, old_object=old)


@pytest.fixture
def hook() -> GreeterWebhook:
    return GreeterWebhook()


@pytest.fixture
def defaulting(hook: GreeterWebhook) -> Handler:
    return defaulting_handler(Greeter, hook)


@pytest.fixture
def validating(hook: GreeterWebhook) -> Handler:
    return validating_handler(Greeter, hook)


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


# defaulters -----------------------------------------------------------------------------------------------------


def test_a_defaulter_answers_with_what_it_changed(defaulting: Handler) -> None:
    response = defaulting(request("CREATE", greeter()))
    assert response.allowed
    assert response.patch == ({"op": "add", "path": "/spec/greeting", "value": "Hello"},)


def test_205_a_defaulter_is_not_called_on_delete(hook: GreeterWebhook, defaulting: Handler) -> None:
    response = defaulting(request("DELETE", None, greeter()))
    assert (response.allowed, response.code, response.patch) == (True, 200, ())
    assert hook.calls == []


def test_205_no_difference_no_patch(hook: GreeterWebhook, defaulting: Handler) -> None:
    response = defaulting(request("UPDATE", greeter(greeting="Hi"), greeter()))
    assert (response.allowed, response.patch) == (True, ())
    assert hook.calls == ["default"]


def test_205_a_defaulter_never_removes_fields_unknown_to_the_type(defaulting: Handler) -> None:
    """Nor values that the type leaves out when it writes, such as an empty greeting list or a zero."""
    obj = greeter(
        unknown={"deep": [1, 2]},
        times=1,
        people=[{"name": "Ada", "born": 1815}, {"name": "Bob", "title": "Sir", "x": 1}],
    )
    obj["extra"] = True
    response = defaulting(request("CREATE", obj))
    assert apply_patch(obj, response.patch) == {
        **obj,
        "spec": {
            **obj["spec"],
            "greeting": "Hello",
            "people": [{"name": "Ada", "born": 1815, "title": "Citizen"}, {"name": "Bob", "title": "Sir", "x": 1}],
        },
    }
    assert {operation["op"] for operation in response.patch} == {"add"}


def test_an_object_that_is_not_of_the_type_is_a_bad_request(defaulting: Handler, metrics: Metrics) -> None:
    response = answer(defaulting, request("CREATE", greeter(times="many")), metrics)
    assert (response.allowed, response.code) == (False, 400)
    assert "spec.times" in response.message
    assert answer(defaulting, request("CREATE"), metrics).code == 400


# validators -----------------------------------------------------------------------------------------------------


def test_a_validator_is_asked_by_operation(hook: GreeterWebhook, validating: Handler, metrics: Metrics) -> None:
    assert validating(request("CREATE", greeter())) == allowed()
    assert validating(request("UPDATE", greeter(times=3), greeter(times=2))) == allowed()
    assert validating(request("CONNECT")) == allowed()
    refused = answer(validating, request("DELETE", None, greeter()), metrics)
    assert (refused.code, refused.message, refused.status["reason"]) == (422, "greeters stay", "Invalid")
    assert refused.status["details"] == {"causes": [{"field": "metadata"}]}
    assert hook.calls == ["create", "update 2 to 3", "delete a"]
    assert validating(request("FROBNICATE", greeter())).code == 400


def test_warnings_go_with_either_verdict(validating: Handler, metrics: Metrics) -> None:
    assert validating(request("CREATE", greeter(times=2))).warnings == ("times is deprecated",)
    refused = answer(validating, request("CREATE", greeter(times=11)), metrics)
    assert (refused.allowed, refused.code, refused.status["reason"]) == (False, 403, "Forbidden")
    assert refused.message == "spec.times: more than 10 is a nuisance"
    assert refused.warnings == ("think of the neighbours",)


def test_a_validator_lets_pass_what_it_does_not_judge() -> None:
    handler = validating_handler(Greeter, CustomValidator[Greeter]())
    for operation in ("CREATE", "UPDATE", "DELETE"):
        assert handler(request(operation, greeter(), greeter())) == allowed()


# failures -------------------------------------------------------------------------------------------------------


def panics(metrics: Metrics) -> float | None:
    return metrics.registry.get_sample_value("controller_runtime_webhook_panics_total")


def test_204_a_panic_is_a_refusal_with_500_counted_and_logged(metrics: Metrics) -> None:
    def panic(request: AdmissionRequest) -> AdmissionResponse:
        raise KeyError("oops")

    with capture_logs() as lines:
        response = answer(panic, request("CREATE"), metrics)
    assert (response.allowed, response.code, response.message) == (False, 500, "panic: 'oops' [recovered]")
    assert panics(metrics) == 1
    assert [(line["event"], line["exc_info"]) for line in lines] == [("Webhook panicked", True)]


def test_a_failure_on_purpose_is_a_refusal_with_500_and_no_panic(metrics: Metrics) -> None:
    def fail(request: AdmissionRequest) -> AdmissionResponse:
        raise TransportError("the API server does not answer")

    response = answer(fail, request("CREATE"), metrics)
    assert (response.allowed, response.code, response.message) == (False, 500, "the API server does not answer")
    assert panics(metrics) == 0


# several handlers -----------------------------------------------------------------------------------------------


def appending(letter: str, *warnings: str) -> Handler:
    """Appends a letter to what the greeting is by then."""

    def handle(request: AdmissionRequest) -> AdmissionResponse:
        original = request.object or {}
        spec = original["spec"]
        changed = {**original, "spec": {**spec, "greeting": spec.get("greeting", "") + letter}}
        return patched(original, changed).with_warnings(warnings)

    return handle


def test_206_several_mutators_run_in_order_each_on_the_result_of_the_one_before() -> None:
    obj = greeter()
    handler = mutating_handlers(appending("a", "one"), lambda _: allowed(), appending("b", "two"), appending("c"))
    response = handler(request("CREATE", obj))
    assert apply_patch(obj, response.patch)["spec"]["greeting"] == "abc"
    assert response.warnings == ("one", "two")
    assert obj == greeter(), "the request is as it was"


def test_206_several_mutators_stop_at_the_first_refusal() -> None:
    handler = mutating_handlers(appending("a", "one"), lambda _: denied("no"), appending("b", "two"))
    response = handler(request("CREATE", greeter()))
    assert (response.allowed, response.message, response.patch, response.warnings) == (False, "no", (), ("one",))


def test_206_several_validators_are_asked_in_order_up_to_the_first_refusal() -> None:
    asked: list[str] = []

    def judge(name: str, response: AdmissionResponse) -> Handler:
        return lambda request: (asked.append(name), response)[1]  # type: ignore[func-returns-value]

    first, second, third = (allowed().with_warnings(["w1"]), denied("no").with_warnings(["w2"]), allowed())
    response = validating_handlers(judge("a", first), judge("b", second), judge("c", third))(request("CREATE"))
    assert asked == ["a", "b"]
    assert (response.allowed, response.message, response.warnings) == (False, "no", ("w1", "w2"))
    assert validating_handlers(judge("a", first), judge("c", third))(request("CREATE")).warnings == ("w1",)


# builder --------------------------------------------------------------------------------------------------------


class Registered(dict[str, Handler]):
    def register(self, path: str, handler: Handler) -> None:
        self[path] = handler


def test_webhooks_of_a_kind_stand_at_their_usual_paths(hook: GreeterWebhook) -> None:
    server = Registered()
    WebhookBuilder(server).for_(Greeter).with_defaulter(hook).with_validator(hook).complete()
    assert set(server) == {"/mutate-example-com-v1-greeter", "/validate-example-com-v1-greeter"}
    server["/validate-example-com-v1-greeter"](request("CREATE", greeter()))
    server["/mutate-example-com-v1-greeter"](request("CREATE", greeter()))
    assert hook.calls == ["create", "default"]


def test_paths_of_the_core_group_and_of_ones_choice(hook: GreeterWebhook) -> None:
    pod = RESTMapping.of("", "v1", "Pod")
    assert (mutate_path(pod), validate_path(pod)) == ("/mutate--v1-pod", "/validate--v1-pod")
    server = Registered()
    WebhookBuilder(server).for_(Greeter).with_validator(hook, path="/check").complete()
    assert set(server) == {"/check"}


def test_a_declaration_without_webhooks_is_refused() -> None:
    with pytest.raises(WebhookBuilderError, match="Greeter do nothing"):
        WebhookBuilder(Registered()).for_(Greeter).complete()
