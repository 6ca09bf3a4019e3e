"""The pages in docs/runtime say what is so: code compiles and uses names that exist, excerpts and links are right."""

from __future__ import annotations

import ast
import builtins
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import localmodel.runtime
from localmodel.runtime import Builder, ObjectMeta
from localmodel.runtime.metrics import Metrics
from localmodel.runtime.objects import ConfigMap
from localmodel.runtime.testing import BackgroundManager, FakeClient

ROOT = Path(__file__).parents[3]
PAGES = sorted((ROOT / "docs" / "runtime").glob("*.md"))
GUIDE = ROOT / "docs" / "runtime" / "README.md"
COMING = ROOT / "docs" / "runtime" / "coming-from.md"
OWN = {"App", "Backup", "Greeter", "Retry", "After"}
"""Names on the pages that are the reader's or of an example."""
BLOCK = re.compile(r"(?:<!-- from (?P<source>\S+) -->\n)?```python\n(?P<code>.*?)```", re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A piece of Python; an excerpt has the file that it is from."""

    page: str
    line: int
    code: str
    source: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks() -> Iterator[Block]:
    for page in PAGES:
        text = page.read_text()
        for match in BLOCK.finditer(text):
            yield Block(page.name, text[: match.start()].count("\n") + 1, match["code"], match["source"] or "")


@cache
def public_names() -> dict[str, list[Any]]:
    """Everything that the modules of the library define or offer, by its name."""
    names: dict[str, list[Any]] = {}
    found = pkgutil.walk_packages(localmodel.runtime.__path__, "localmodel.runtime.")
    others = ("localmodel.sandbox.envtest", "localmodel.sandbox.pytest_plugin")
    modules = [importlib.import_module(name) for name in (*(module.name for module in found), *others)]
    for module in (builtins, localmodel.runtime, *modules):
        for name, value in vars(module).items():
            if not name.startswith("_"):
                names.setdefault(name, []).append(value)
    return names


def imported(tree: ast.AST) -> dict[str, Any]:
    """What a block imports of this project, by the names it has there; raises if there is no such thing."""
    found: dict[str, Any] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("localmodel"):
            assert node.module is not None
            module = importlib.import_module(node.module)
            for alias in node.names:
                if not hasattr(module, alias.name):
                    importlib.import_module(f"{node.module}.{alias.name}")
                found[alias.asname or alias.name] = getattr(module, alias.name)
    return found


def resolve(node: ast.expr, names: dict[str, Any]) -> Any:
    """What a dotted name stands for; None if it does not begin with an imported one. Raises AttributeError."""
    if isinstance(node, ast.Name):
        return names.get(node.id)
    if isinstance(node, ast.Attribute):
        owner = resolve(node.value, names)
        return None if owner is None else getattr(owner, node.attr)
    return None


@pytest.mark.parametrize("block", [b for b in blocks() if not b.source], ids=str)
def test_code_compiles_and_uses_what_exists(block: Block) -> None:
    tree = ast.parse(block.code)
    names = imported(tree)
    # A parameter that is annotated with an imported class stands for it: the methods that are called on it exist.
    for argument in (node for node in ast.walk(tree) if isinstance(node, ast.arg)):
        if isinstance(argument.annotation, ast.Name) and argument.annotation.id in names:
            names.setdefault(argument.arg, names[argument.annotation.id])
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            resolve(node, names)
        elif isinstance(node, ast.Call) and callable(called := resolve(node.func, names)):
            parameters = inspect.signature(called).parameters
            if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
                unknown = {keyword.arg for keyword in node.keywords} - set(parameters)
                assert not unknown, f"{block}: {ast.unparse(node.func)} has no {unknown}"


@pytest.mark.parametrize("block", [b for b in blocks() if not b.source], ids=str)
def test_code_runs(block: Block, manager: BackgroundManager, fake_client: FakeClient) -> None:
    namespace: dict[str, Any] = {"__name__": "a page"}
    exec(compile(block.code, str(block), "exec"), namespace)
    for name, value in list(namespace.items()):
        if name.startswith("test_") and not inspect.signature(value).parameters:  # fixtures are not for a page
            value()
    if "tour" in namespace:
        fake_client.create(ConfigMap(metadata=ObjectMeta(name="colours", namespace="default", labels={"app": "web"})))
        namespace["tour"](fake_client)
    if "setup" in namespace:
        namespace["setup"](Builder(manager))


@pytest.mark.parametrize("block", [b for b in blocks() if b.source], ids=str)
def test_an_excerpt_is_in_the_file_that_it_is_from(block: Block) -> None:
    assert block.code in (ROOT / block.source).read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        path, _, anchor = target.partition("#")
        if "://" in target:
            continue
        file = (page.parent / path) if path else page
        assert file.exists(), f"{page.name}: {target}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
            assert anchor in [re.sub(r"[^a-z0-9 -]", "", h.lower()).replace(" ", "-") for h in headings], target


def test_the_table_of_metrics_is_complete() -> None:
    text = GUIDE.read_text().split("### The metrics")[1].split("\n## ")[0]
    named = set(re.findall(r"`([a-z_]+)`", text))
    families = Metrics().registry.collect()
    assert named == {family.name + ("_total" if family.type == "counter" else "") for family in families}


def code_spans() -> Iterator[tuple[str, str]]:
    """Code in the text, and the page it is on; of the tables that compare, the column that is about this library."""
    for page in PAGES:
        text = BLOCK.sub("", page.read_text())
        if page == COMING:
            rows = re.findall(r"^\| .* \|$", text, re.MULTILINE)
            text = "\n".join(row.replace("\\|", "").split(" | ")[1] for row in rows)
        for span in re.findall(r"`([^`\n]+)`", text):
            yield page.name, span


def expressions() -> dict[str, ast.expr]:
    """The spans that are Python and speak of a name of this library: `KindOptions.labels`, `Result(requeue=True)`."""
    found: dict[str, ast.expr] = {}
    for page, span in code_spans():
        try:
            tree = ast.parse(span.removeprefix("raise ").removeprefix("return "), mode="eval").body
        except SyntaxError:
            continue
        # Elsewhere a bare word in small letters may be anything.
        if re.match(r"[A-Z]\w*[a-z]", span) or (
            page == COMING.name and re.fullmatch(r"[a-z]+(_[a-z]+)+(\(.*\))?", span)
        ):
            found[span] = tree
    return found


@pytest.mark.parametrize("span", sorted(expressions()))
def test_what_is_named_exists(span: str) -> None:
    tree = expressions()[span]
    called = {id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute):
            values = candidates(node)
            if values is None:
                continue
            assert values, f"there is no {ast.unparse(node)}"
            call = called.get(id(node))
            if call is not None:
                assert any(takes(value, call) for value in values), f"nothing of that name takes what {span} gives it"


def candidates(node: ast.expr) -> list[Any] | None:
    """All that a name of the library may stand for; None where it is a name of the reader's own."""
    if isinstance(node, ast.Attribute):
        owners = candidates(node.value)
        return None if owners is None else [getattr(one, node.attr) for one in owners if hasattr(one, node.attr)]
    if isinstance(node, ast.Name) and (node.id in OWN or (node.id[0].islower() and "_" not in node.id)):
        return None
    if not isinstance(node, ast.Name):
        return None
    return public_names().get(node.id) or [value for value in classes() if hasattr(value, node.id)]


def classes() -> list[type]:
    everything = (value for values in public_names().values() for value in values)
    return [value for value in everything if inspect.isclass(value) and value.__module__.startswith("localmodel.")]


def takes(value: Any, call: ast.Call) -> bool:
    """Whether the arguments by name are among the parameters."""
    parameters = inspect.signature(value).parameters
    return all(keyword.arg in parameters for keyword in call.keywords)
