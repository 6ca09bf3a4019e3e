"""Imports that cost little: names that a package offers at its top and imports only when they are asked for (PEP 562),
and modules without what they would like to have."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from types import ModuleType
from typing import Any


def import_without(module: str, *unwanted: str) -> None:
    """Imports a module as if some packages, which it would use if it could, were not installed.

    Without effect on a module that has been imported already, and on packages that have.
    """
    _import_among(module, dict.fromkeys(unwanted))


def import_with_stand_ins(module: str, stand_ins: Mapping[str, Iterable[str]], *unwanted: str) -> None:
    """Imports a module with stand-ins for modules that it imports and that this program never uses, and without others
    (`import_without`).

    A stand-in has the names that are imported from it, each None. It is gone afterwards: who imports its module gets
    the real one; but `module` keeps the names that it took from it. Without effect on a module that has been imported
    already, and on stand-ins for such.
    """
    made = {name: ModuleType(name, "A stand-in.") for name in stand_ins}
    for name, names in stand_ins.items():
        vars(made[name]).update(dict.fromkeys(names))
    _import_among(module, {**made, **dict.fromkeys(unwanted)})


def _import_among(module: str, others: Mapping[str, ModuleType | None]) -> None:
    """Imports a module while `others` are in the place of modules; None is one that is not installed."""
    placed = {name: other for name, other in others.items() if name not in sys.modules}
    sys.modules.update(placed)  # type: ignore[arg-type]
    try:
        import_module(module)
    finally:
        for name in placed:
            del sys.modules[name]


def lazy_exports(
    package: str, homes: Mapping[str, tuple[str, ...]]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """The `__getattr__` and `__dir__` of a package whose submodules (keys) are the homes of the names (values)."""
    home_of = {name: module for module, names in homes.items() for name in names}

    def get(name: str) -> Any:
        module = home_of.get(name)
        if module is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(f".{module}", package), name)
        setattr(sys.modules[package], name, value)
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *home_of})

    return get, names
