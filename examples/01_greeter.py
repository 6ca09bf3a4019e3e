"""A first controller: every Greeter gets a ConfigMap with its greeting, and a status that says so.

Level-triggered: `reconcile` is told which Greeter, not what happened to it. Whether the Greeter is new, its message was
edited or someone deleted the ConfigMap, the answer is the same: look at what is, make what should be.

Run it against any cluster that has the CRD of the docstring's kind (greeters.example.com, with a status subresource):

    python examples/01_greeter.py --log-format console
"""

from __future__ import annotations

import argparse

from pydantic import Field

from localmodel.runtime import (
    Builder,
    LiveClient,
    Manager,
    ManagerOptions,
    Object,
    ObjectMeta,
    Reconciler,
    Request,
    RESTMapping,
    Result,
    create_or_update,
    load_config,
    set_controller_reference,
    setup_logging,
    setup_signal_handler,
)
from localmodel.runtime.conditions import set_status_condition
from localmodel.runtime.flags import add_common_flags
from localmodel.runtime.objects import Condition, ConfigMap, Model


class GreeterSpec(Model):
    message: str = "hello"


class GreeterStatus(Model):
    conditions: list[Condition] = Field(default_factory=list)


class Greeter(Object):
    """The resource: declare the fields you use; all others are kept as they are."""

    mapping = RESTMapping.of("example.com", "v1", "Greeter")
    spec: GreeterSpec = Field(default_factory=GreeterSpec)
    status: GreeterStatus = Field(default_factory=GreeterStatus)


class GreeterReconciler(Reconciler):
    def setup(self, builder: Builder) -> None:
        builder.for_(Greeter).owns(ConfigMap)

    def reconcile(self, request: Request) -> Result | None:
        greeter = self.client.find(Greeter, request.name, namespace=request.namespace)
        if greeter is None or greeter.is_deleting:
            return None  # the garbage collector deletes what it owned

        def mutate(child: ConfigMap) -> None:
            child.data["greeting"] = f"{greeter.spec.message}, {greeter.name}"
            set_controller_reference(greeter, child)

        meta = ObjectMeta(name=f"{greeter.name}-greeting", namespace=greeter.namespace)
        child, result = create_or_update(self.client, ConfigMap(metadata=meta), mutate)
        if result != "unchanged":
            self.recorder.event(greeter, "Normal", "Greeted", f"ConfigMap {child.name} was {result}")

        changed = set_status_condition(
            greeter.status.conditions,
            "Ready",
            "True",
            "Greeted",
            f"The greeting is in ConfigMap {child.name}",
            observed_generation=greeter.metadata.generation,
            clock=self.clock,
        )
        if changed:
            self.client.status.update(greeter)
        return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_common_flags(parser)
    arguments = parser.parse_args()
    setup_logging(arguments.log_level, arguments.log_format)

    client = LiveClient(load_config(arguments.kubeconfig, user_agent="greeter"))
    manager = Manager(client, ManagerOptions(component="greeter"))
    manager.add_reconciler(GreeterReconciler())
    manager.start(setup_signal_handler())


if __name__ == "__main__":
    main()
