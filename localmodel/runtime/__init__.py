"""A library for level-triggered Kubernetes controllers: what controller-runtime is to Go.

    class GreeterReconciler(Reconciler):
        def setup(self, builder: Builder) -> None:
            builder.for_(Greeter).owns(ConfigMap)

        def reconcile(self, request: Request) -> Result | None:
            greeter = self.client.find(Greeter, request.name, namespace=request.namespace)
            ...

    manager = Manager(LiveClient(load_config(None, user_agent="greeter")))
    manager.add_reconciler(GreeterReconciler())
    manager.start(setup_signal_handler())

These are the names that every controller needs; the modules below hold the rest. They are imported when they are first
used, because a program may need one of them only (the CRD generator needs the types and no HTTP).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from localmodel.runtime.lazy import lazy_exports

if TYPE_CHECKING:
    from .builder import Builder
    from .cache import CacheOptions, KindOptions
    from .client import Client, Reader
    from .controller import ControllerOptions
    from .controllerutil import create_or_update, set_controller_reference
    from .errors import ApiError, ConflictError, NotFoundError, TerminalError
    from .events import EventRecorder
    from .handler import EnqueueRequestForOwner, EnqueueRequestsFromMapFunc
    from .kubeconfig import load_config
    from .logging import setup_logging
    from .manager import Manager
    from .manager_options import ManagerOptions
    from .objects import Condition, Object, ObjectMeta, RESTMapping
    from .reconcile import Reconciler, Request, Result
    from .rest import LiveClient
    from .signals import setup_signal_handler

__all__ = [
    "ApiError",
    "Builder",
    "CacheOptions",
    "Client",
    "Condition",
    "ConflictError",
    "ControllerOptions",
    "EnqueueRequestForOwner",
    "EnqueueRequestsFromMapFunc",
    "EventRecorder",
    "KindOptions",
    "LiveClient",
    "Manager",
    "ManagerOptions",
    "NotFoundError",
    "Object",
    "ObjectMeta",
    "RESTMapping",
    "Reader",
    "Reconciler",
    "Request",
    "Result",
    "TerminalError",
    "create_or_update",
    "load_config",
    "set_controller_reference",
    "setup_logging",
    "setup_signal_handler",
]

_HOMES = {
    "builder": ("Builder",),
    "cache": ("CacheOptions", "KindOptions"),
    "client": ("Client", "Reader"),
    "controller": ("ControllerOptions",),
    "controllerutil": ("create_or_update", "set_controller_reference"),
    "errors": ("ApiError", "ConflictError", "NotFoundError", "TerminalError"),
    "events": ("EventRecorder",),
    "handler": ("EnqueueRequestForOwner", "EnqueueRequestsFromMapFunc"),
    "kubeconfig": ("load_config",),
    "logging": ("setup_logging",),
    "manager": ("Manager",),
    "manager_options": ("ManagerOptions",),
    "objects": ("Condition", "Object", "ObjectMeta", "RESTMapping"),
    "reconcile": ("Reconciler", "Request", "Result"),
    "rest": ("LiveClient",),
    "signals": ("setup_signal_handler",),
}

__getattr__, __dir__ = lazy_exports(__name__, _HOMES)
