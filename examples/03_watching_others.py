"""An object that depends on others: an App names a ConfigMap, and is told when its content changes.

Nothing owns anything here, so the ConfigMap does not say whom it concerns. An index answers that: Apps filed under the
name that stands in their spec. The checksum in the status is what a real App would restart its pods by.

    python examples/03_watching_others.py --log-format console
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Iterable

from pydantic import Field

from localmodel.runtime import (
    Builder,
    EnqueueRequestsFromMapFunc,
    GenerationChanged,
    LiveClient,
    Manager,
    Object,
    Reconciler,
    Request,
    RESTMapping,
    Result,
    load_config,
    setup_logging,
    setup_signal_handler,
)
from localmodel.runtime.flags import add_common_flags
from localmodel.runtime.objects import ConfigMap, Model

INDEX = "spec.configMap"
"""The index has the name of the field, so that a cached list is written as one that the API server answers."""


class AppSpec(Model):
    config_map: str = ""


class AppStatus(Model):
    checksum: str = ""


class App(Object):
    mapping = RESTMapping.of("example.com", "v1", "App")
    spec: AppSpec = Field(default_factory=AppSpec)
    status: AppStatus = Field(default_factory=AppStatus)


class AppReconciler(Reconciler):
    def setup(self, builder: Builder) -> None:
        builder.index_field(App, INDEX, name_of_config_map)
        # Our own writes of the status are no news to us: they leave the generation alone.
        builder.for_(App, GenerationChanged())
        builder.watches(ConfigMap, EnqueueRequestsFromMapFunc(self.apps_of))

    def apps_of(self, config_map: ConfigMap) -> Iterable[Request]:
        """Those that name it. Asked about the old and the new state of an update, and about what was deleted."""
        found = self.client.list(App, namespace=config_map.namespace, fields={INDEX: config_map.name})
        return [app.key for app in found]

    def reconcile(self, request: Request) -> Result | None:
        app = self.client.find(App, request.name, namespace=request.namespace)
        if app is None or app.is_deleting:
            return None
        config_map = self.client.find(ConfigMap, app.spec.config_map, namespace=app.namespace)
        # A ConfigMap that is not there is no error: when it comes, apps_of names this App.
        checksum = "" if config_map is None else digest(config_map.data)
        if checksum != app.status.checksum:
            app.status.checksum = checksum
            self.client.status.update(app)
        return None


def digest(data: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def name_of_config_map(app: App) -> list[str]:
    return [app.spec.config_map]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_common_flags(parser)
    arguments = parser.parse_args()
    setup_logging(arguments.log_level, arguments.log_format)

    manager = Manager(LiveClient(load_config(arguments.kubeconfig, user_agent="apps")))
    manager.add_reconciler(AppReconciler())
    manager.start(setup_signal_handler())


if __name__ == "__main__":
    main()
