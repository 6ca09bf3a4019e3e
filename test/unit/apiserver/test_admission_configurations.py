"""Webhook configurations, policies and bindings against what kube-apiserver 1.32.4 made of them.

`admission_expectations.json` was recorded from a stock kube-apiserver: objects, and how each was stored or why it was
refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from support.apicore import InProcess

Json = dict[str, Any]

RECORDED: dict[str, Json] = msgspec.json.decode(Path(__file__).with_name("admission_expectations.json").read_bytes())
CASES = {f"{part}: {name}": case for part, cases in RECORDED.items() for name, case in cases.items()}
PLURALS = {
    "MutatingWebhookConfiguration": "mutatingwebhookconfigurations",
    "ValidatingWebhookConfiguration": "validatingwebhookconfigurations",
    "ValidatingAdmissionPolicy": "validatingadmissionpolicies",
    "ValidatingAdmissionPolicyBinding": "validatingadmissionpolicybindings",
}
# A real server takes a caBundle that holds no certificate, and fails each call.
STRICTER = "hooks: caBundle"


@pytest.fixture(scope="module")
def api() -> InProcess:
    return InProcess()


def create(api: InProcess, obj: Json) -> tuple[int, Json]:
    path = f"/apis/admissionregistration.k8s.io/v1/{PLURALS[obj['kind']]}"
    return api.call("POST", f"{path}?dryRun=All", obj)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case["status"] == 201 and name != STRICTER])
def test_a_good_configuration_is_stored_with_the_defaults_of_a_real_server(api: InProcess, name: str) -> None:
    status, answer = create(api, CASES[name]["object"])
    assert status == 201, answer
    assert {key: answer[key] for key in CASES[name]["stored"]} == CASES[name]["stored"]


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case["status"] == 422])
def test_a_bad_configuration_is_refused_with_the_causes_of_a_real_server(api: InProcess, name: str) -> None:
    status, answer = create(api, CASES[name]["object"])
    assert status == 422, answer
    causes = answer["details"]["causes"]
    assert sorted((c["field"], c["message"]) for c in causes) == sorted(
        (c["field"], c["message"]) for c in CASES[name]["causes"]
    )


def test_a_bundle_without_a_certificate_is_refused_at_once(api: InProcess) -> None:
    status, answer = create(api, CASES[STRICTER]["object"])
    assert status == 422
    assert answer["details"]["causes"][0]["field"] == "webhooks[0].clientConfig.caBundle"
