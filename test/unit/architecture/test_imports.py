"""Imports run one way: the table of design.md section 2."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3] / "localmodel"

# package -> prefixes of localmodel it may import beside itself. The most specific package of a file counts.
ALLOWED: dict[str, tuple[str, ...]] = {
    "localmodel.runtime": (),
    "localmodel.runtime.testing": ("localmodel.runtime",),
    "localmodel.api": ("localmodel.runtime.objects", "localmodel.runtime.crdgen", "localmodel.runtime.lazy"),
    "localmodel.download": (),
    "localmodel.manager": ("localmodel.runtime", "localmodel.api"),
    "localmodel.agent": ("localmodel.runtime", "localmodel.api", "localmodel.download"),
    "localmodel.sandbox": ("localmodel",),
    "localmodel.cli": ("localmodel",),
}
# Nobody below may know these, although their prefix is allowed.
ABOVE = {
    "localmodel.runtime": ("localmodel.runtime.testing",),
    "localmodel.manager": ("localmodel.runtime.testing",),
    "localmodel.agent": ("localmodel.runtime.testing",),
    "localmodel.sandbox": ("localmodel.cli",),
}


def module_name(path: Path) -> str:
    parts = ("localmodel", *path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> Iterator[str]:
    package = module_name(path) if path.name == "__init__.py" else module_name(path).rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                anchor = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*anchor, base] if base else anchor)
            yield from (f"{base}.{alias.name}" for alias in node.names)


def within(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(prefix + ".")


FILES = sorted(path for path in ROOT.rglob("*.py") if path.parent != ROOT)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_imports_only_from_below(path: Path) -> None:
    name = module_name(path)
    package = max((prefix for prefix in ALLOWED if within(name, prefix)), key=len)
    for imported in imports(path):
        if not within(imported, "localmodel") or imported in ("localmodel.__version__", "localmodel"):
            continue
        allowed = any(within(imported, prefix) for prefix in (package, *ALLOWED[package]))
        hidden = any(within(imported, prefix) for prefix in ABOVE.get(package, ()))
        assert allowed, f"{name} imports {imported}: {package} may import {ALLOWED[package]}"
        assert not hidden, f"{name} imports {imported}, which lies above {package}"
