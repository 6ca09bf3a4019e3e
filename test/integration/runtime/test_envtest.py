"""`Environment`: an API server for a test, with its definitions, clients and kubeconfigs."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.apicore import widget, widget_crd

from localmodel.runtime.errors import ForbiddenError
from localmodel.runtime.objects import ConfigMap, ObjectMeta, RESTMapping, Unstructured
from localmodel.sandbox.envtest import Environment

CRDS = Path(__file__).parents[3] / "config" / "crd"
Widget = Unstructured.of(RESTMapping.of("example.com", "v1", "Widget"))


def test_definitions_are_installed_and_served_at_once() -> None:
    with Environment(crds=[CRDS, widget_crd(size={"type": "integer"})]) as environment:
        (stored,) = environment.install(widget("a", size=1) | {"metadata": {"name": "a", "namespace": "default"}})
        assert stored.content["spec"] == {"size": 1}
        assert [obj.name for obj in environment.client("someone").list(Widget)] == ["a"]


def test_a_manifest_of_a_kind_that_is_not_served_is_refused_by_name() -> None:
    with Environment() as environment, pytest.raises(ValueError, match=r"Widget \(example.com/v1\) is not served"):
        environment.install(widget("a"))


def test_a_user_has_the_rights_of_its_token() -> None:
    with Environment() as environment:
        nobody = environment.client("nobody", groups=())
        with pytest.raises(ForbiddenError):
            nobody.create(ConfigMap(metadata=ObjectMeta(name="a", namespace="default")))


def test_a_client_stays_the_user_that_it_was_when_others_of_its_name_come() -> None:
    with Environment() as environment:
        kubeconfig = environment.kubeconfig()
        before = kubeconfig.read_text()
        environment.client(groups=())
        assert kubeconfig.read_text() == before
