"""A model's whole life over HTTP where KServe's own CRDs are installed: they prune what we added, or check nothing.

Truth is on the disk: what the API forgot is there again after a restart (issue 6, point 9).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support import kserve_crds
from support.liveagent import AGENT, URI, LiveAgent, entry

from localmodel.api import LocalModelCache
from localmodel.api.names import storage_key

pytestmark = pytest.mark.own_server("installs other definitions of fixed names")

KEY = storage_key(URI)


@pytest.fixture(params=["full", "minimal"])
def it(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LiveAgent]:
    crds = kserve_crds.definitions(minimal=request.param == "minimal")
    with LiveAgent(tmp_path, definitions=crds, audit=True) as made:
        made.pruning = request.param == "full"
        yield made


def test_a_model_lives_from_its_download_to_its_removal(it: LiveAgent) -> None:
    it.start()
    it.want(entry())
    it.until("the download starts", it.jobs)
    it.until("it is told", lambda: it.status() in ("ModelDownloadPending", "ModelDownloading"))
    it.download(it.jobs()[0])
    it.until("it is downloaded", lambda: it.status() == "ModelDownloaded")
    assert (it.node().status.models == {}) is it.pruning

    it.until_quiet()
    version = it.node().metadata.resource_version
    it.kill()
    it.start()
    it.until("the next agent has looked", lambda: it.metrics_are_served() and it.reconciles() > 0)
    it.until_quiet()
    assert it.node().metadata.resource_version == version, "a restart without news changes nothing"
    assert len(it.jobs()) == 1

    (it.root / "models" / KEY / "config.json").unlink()
    it.client.patch(it.node(), {"metadata": {"annotations": {"looked": "now"}}})
    it.until("it is downloaded again", lambda: len(it.jobs()) == 2)
    it.until("the repair is told", lambda: it.status() in ("ModelDownloadPending", "ModelDownloading"))
    assert sorted(job.metadata.annotations["localmodel.kserve.io/attempt"] for job in it.jobs()) == ["1", "2"]
    it.download(next(job for job in it.jobs() if job.metadata.annotations["localmodel.kserve.io/attempt"] == "2"))
    it.until("it is whole", lambda: it.status() == "ModelDownloaded")

    for cache in it.client.list(LocalModelCache):
        it.client.delete(cache)
    it.want_nothing()
    it.until("it is gone from the status", lambda: it.node().status.model_status == {})
    it.until("it is gone from the disk", lambda: not (it.root / "models" / KEY).exists())
    it.stop()
    codes = {record.code for record in it.environment.audit(AGENT)}
    assert codes <= {200, 201, 404, 409}


def test_a_failure_is_remembered_though_the_api_forgot_it(it: LiveAgent) -> None:
    it.start()
    it.want(entry())
    it.until("the download starts", it.jobs)
    it.finish(it.jobs()[0], "Failed")
    it.until("the failure is told", lambda: it.status() == "ModelDownloadError")
    it.until_quiet()
    it.kill()
    it.client.delete(it.jobs()[0])
    it.start()
    it.until("the next agent has looked", lambda: it.metrics_are_served() and it.reconciles() > 0)
    it.until_quiet()
    assert (it.status(), it.jobs()) == ("ModelDownloadError", []), "it waits for the time of the next attempt"
