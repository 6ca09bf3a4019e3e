"""The copy of the certificates that all downloads shall trust."""

from __future__ import annotations

import json
from typing import Any

from support.manager import JOBS, Cluster
from support.rights import MANAGER, ActingAs

from localmodel.manager.certificates import REFRESH_SECONDS, CertificatesReconciler
from localmodel.runtime.errors import ForbiddenError
from localmodel.runtime.objects import ConfigMap, Object
from localmodel.runtime.reconcile import Request, Result
from localmodel.runtime.testing import FakeClient

REQUEST = Request("kserve", "inferenceservice-config")


def config_map(name: str, namespace: str = "kserve", **data: str) -> ConfigMap:
    return ConfigMap.from_dict({"metadata": {"name": name, "namespace": namespace}, "data": data})


def configuration(name: str = "cabundle", **local_model: str) -> ConfigMap:
    documents = {"storageInitializer": {"caBundleConfigMapName": name}, "localModel": local_model}
    return config_map("inferenceservice-config", **{key: json.dumps(value) for key, value in documents.items()})


class World(Cluster):
    """The reconciler, with the rights that it is shipped with."""

    def __init__(self, *objects: Object) -> None:
        super().__init__(*objects)
        self.certificates = self.wired(CertificatesReconciler(self.settings))
        self.acting(ActingAs(MANAGER))

    def acting(self, interceptor: Any) -> None:
        client = FakeClient(registry=self.client.registry, interceptors=[interceptor])
        self.certificates.client = self.certificates.live = client

    def run(self) -> Result | None:
        return self.certificates.reconcile(REQUEST)

    def configure(self, name: str, **local_model: str) -> None:
        found = self.client.get(ConfigMap, "inferenceservice-config", namespace="kserve")
        found.data = configuration(name, **local_model).data
        self.client.update(found)

    def copy(self, namespace: str = JOBS) -> dict[str, str] | None:
        found = self.client.find(ConfigMap, "global-ca-bundle", namespace=namespace)
        return None if found is None else found.data


def test_it_is_made_in_the_job_namespace_and_renewed_d51() -> None:
    world = World(configuration(), config_map("cabundle", **{"cabundle.crt": "A"}))
    result = world.run()
    assert world.copy() == {"cabundle.crt": "A"}
    assert result is not None
    assert result.requeue_after == REFRESH_SECONDS
    source = world.client.get(ConfigMap, "cabundle", namespace="kserve")
    source.data = {"cabundle.crt": "B"}
    world.client.update(source)
    world.run()
    assert world.copy() == {"cabundle.crt": "B"}


def test_without_news_nothing_is_written() -> None:
    world = World(configuration(), config_map("cabundle", **{"cabundle.crt": "A"}))
    world.run()
    version = world.client.get(ConfigMap, "global-ca-bundle", namespace=JOBS).metadata.resource_version
    world.run()
    assert world.client.get(ConfigMap, "global-ca-bundle", namespace=JOBS).metadata.resource_version == version


def test_it_goes_with_the_setting_also_after_a_restart() -> None:
    world = World(configuration(), config_map("cabundle", **{"cabundle.crt": "A"}))
    world.run()
    world.configure("")
    world.certificates = world.wired(CertificatesReconciler(world.settings))
    assert world.run() is None
    assert world.copy() is None


def test_it_follows_the_job_namespace() -> None:
    world = World(configuration(), config_map("cabundle", **{"cabundle.crt": "A"}))
    world.run()
    world.configure("cabundle", jobNamespace="other")
    world.acting(lambda _action, proceed: proceed())  # the rights of the other namespace are given by hand
    world.run()
    assert (world.copy(), world.copy("other")) == (None, {"cabundle.crt": "A"})


def test_where_downloads_run_in_kserves_namespace_none_is_made() -> None:
    world = World(configuration(jobNamespace="kserve"), config_map("cabundle", **{"cabundle.crt": "A"}))
    world.acting(lambda _action, proceed: proceed())
    world.run()
    assert world.copy("kserve") is None


def test_one_that_is_not_ours_is_left_alone() -> None:
    world = World(
        configuration(),
        config_map("cabundle", **{"cabundle.crt": "A"}),
        config_map("global-ca-bundle", JOBS, **{"cabundle.crt": "KServe's"}),
    )
    world.run()
    world.configure("")
    world.run()
    assert world.copy() == {"cabundle.crt": "KServe's"}


def test_a_source_that_is_missing_is_told_once_and_takes_nothing_away() -> None:
    world = World(configuration(), config_map("cabundle", **{"cabundle.crt": "A"}))
    world.run()
    world.client.delete(world.client.get(ConfigMap, "cabundle", namespace="kserve"))
    world.run()
    world.run()
    assert world.copy() == {"cabundle.crt": "A"}
    assert world.recorder.reasons == ["CertificatesNotFound"]


def test_without_the_rights_it_goes_on_asking_and_harms_nothing() -> None:
    def refuse(action: Any, proceed: Any) -> Any:
        if action.namespace == JOBS:
            raise ForbiddenError.of("no")
        return proceed()

    world = World(configuration(), config_map("cabundle", **{"cabundle.crt": "A"}))
    world.acting(refuse)
    result = world.run()
    assert result is not None
    assert result.requeue_after == REFRESH_SECONDS
    assert world.copy() is None


def test_another_config_map_is_none_of_its_business() -> None:
    world = World()
    assert world.certificates.reconcile(Request("kserve", "other")) is None
    assert world.client.actions == []
