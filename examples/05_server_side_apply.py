"""Children by server-side apply: a Site gets a ConfigMap, and shares it with whoever else writes to it.

`apply` sends exactly the fields that are ours, each time; the server keeps who owns which field. What others added
stays, what they changed of ours comes back, and what we no longer send is removed: no reading, no comparing.

    python examples/05_server_side_apply.py --log-format console
"""

from __future__ import annotations

import argparse

from pydantic import Field

from localmodel.runtime import (
    Builder,
    ConflictError,
    LiveClient,
    Manager,
    Object,
    ObjectMeta,
    Reconciler,
    Request,
    RESTMapping,
    Result,
    load_config,
    set_controller_reference,
    setup_logging,
    setup_signal_handler,
)
from localmodel.runtime.flags import add_common_flags
from localmodel.runtime.objects import ConfigMap, Model

OWNER = "site-controller"


class SiteSpec(Model):
    pages: dict[str, str] = Field(default_factory=dict)
    take_over: bool = False
    """Take fields that others own, instead of reporting the conflict."""


class Site(Object):
    mapping = RESTMapping.of("example.com", "v1", "Site")
    spec: SiteSpec = Field(default_factory=SiteSpec)


class SiteReconciler(Reconciler):
    def setup(self, builder: Builder) -> None:
        builder.for_(Site).owns(ConfigMap)

    def reconcile(self, request: Request) -> Result | None:
        site = self.client.find(Site, request.name, namespace=request.namespace)
        if site is None or site.is_deleting:
            return None

        wanted = ConfigMap(metadata=ObjectMeta(name=site.name, namespace=site.namespace), data=site.spec.pages)
        set_controller_reference(site, wanted)
        try:
            self.client.apply(wanted, field_owner=OWNER, force=site.spec.take_over)
        except ConflictError as conflict:
            self.recorder.event(site, "Warning", "Conflict", f"set spec.takeOver to overrule: {conflict}")
        return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_common_flags(parser)
    arguments = parser.parse_args()
    setup_logging(arguments.log_level, arguments.log_format)

    manager = Manager(LiveClient(load_config(arguments.kubeconfig, user_agent=OWNER)))
    manager.add_reconciler(SiteReconciler())
    manager.start(setup_signal_handler())


if __name__ == "__main__":
    main()
