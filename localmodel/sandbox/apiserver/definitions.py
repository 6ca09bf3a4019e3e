"""The registry's definitions of the built-in kinds: rows of `builtins` with schemas, defaults, checks and columns.

What others need to know of a definition, built-in or custom, stands in its `extra` and is read with the functions here.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from localmodel.runtime.objects import format_time
from localmodel.runtime.testing.builtins import builtin_definition
from localmodel.runtime.testing.definitions import Causes, Json, ResourceDefinition
from localmodel.runtime.testing.registry import Registry

from . import gotypes
from .builtins import BuiltinKind, stored_kinds
from .checks import check, check_status
from .defaults import DEFAULTS, PREPARE, PREPARE_AT
from .discovery import ApiResource
from .podchecks import WARNINGS
from .serviceaddresses import ServiceAddresses

if TYPE_CHECKING:
    from .table import Printer

API_RESOURCE = "api_resource"
PRINTER = "printer"
SCHEMA = "schema"


def api_resource(kind: BuiltinKind) -> ApiResource:
    gvk = kind.mapping.gvk
    return ApiResource(
        group=gvk.group,
        version=gvk.version,
        kind=gvk.kind,
        plural=kind.mapping.plural,
        singular=kind.singular,
        namespaced=kind.mapping.namespaced,
        verbs=kind.verbs,
        short_names=kind.short_names,
        categories=kind.categories,
        subresources=kind.subresources,
    )


def register_builtins(registry: Registry) -> None:
    """Registers all built-in kinds that are stored."""
    for kind in stored_kinds():
        registry.register(_definition(kind, registry))


def _definition(kind: BuiltinKind, registry: Registry) -> ResourceDefinition:
    resource = kind.mapping.group_resource

    def validate(new: Json, old: Json | None, subresource: str) -> Causes:
        if subresource:
            return check_status(resource, new) if subresource == "status" else []
        return check(resource, new, old)

    return builtin_definition(
        kind.mapping,
        status_subresource=any(subresource.name == "status" for subresource in kind.subresources),
        prune=partial(gotypes.decode, kind.mapping.gvk),
        default=DEFAULTS.get(resource),
        prepare=_prepare(resource, registry),
        warn=WARNINGS.get(resource),
        validate=validate,
        extra={API_RESOURCE: api_resource(kind)},
    )


def _prepare(resource: str, registry: Registry) -> Callable[[Json, Json | None], None] | None:
    if resource == "services":
        return ServiceAddresses(registry)
    timed = PREPARE_AT.get(resource)
    if timed is None:
        return PREPARE.get(resource)
    return lambda new, old: timed(new, old, format_time(registry.clock.now()))


def resource_of(definition: ResourceDefinition) -> ApiResource:
    """How discovery shows a registered definition."""
    shown: ApiResource = definition.extra[API_RESOURCE]
    return shown


def printer_of(definition: ResourceDefinition) -> Printer:
    """The columns of a registered definition."""
    printer: Printer | None = definition.extra.get(PRINTER)
    if printer is not None:
        return printer
    # All columns of all kinds: not before somebody asks for a table.
    from .printers import builtin_printer

    return builtin_printer(definition.mapping)
