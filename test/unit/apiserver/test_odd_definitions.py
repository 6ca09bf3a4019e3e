"""Nothing that a CustomResourceDefinition says can break the server: it is refused, or what it defines is served."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest
from structlog.testing import capture_logs
from support.apicore import InProcess, lines
from support.recordings.columns import GROUP, SPEC, column, define
from support.recordings.crds import CRDS

Json = dict[str, Any]
TABLE = {"accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
_PIECES = (
    *(".", "[", "]", "..", "*", "[*]", "[0]", "[-1]", "[1:2]", "[::2]", "['text']", '["a"]', "[0,1]", "['a','z']"),
    *('[?(@.name=="x")]', "[?(@.value>1)]", "[?(", ")]", "@", "$", "{", "}", "==", "<", "!=", "'x'", '"y"', "1"),
    *("true", "range", "end", " ", ",", "\\", "\n", "\t", "é", "_", "#", "\ud800", "\x00", "9" * 20, "(" * 99, "-2.5"),
    *(".list", ".items", ".lists", ".one", ".object", ".deep", ".numbers", ".name", ".spec", ".metadata", "[" * 999),
)  # fmt: skip
_WORDS: tuple[Any, ...] = (None, "", "a", 0, -1, True, [], {}, [None], "string", "date", "integer", 1e308, "metadata")


@pytest.fixture
def server() -> InProcess:
    return InProcess()


def paths(count: int, seed: int) -> Iterator[str]:
    rng = random.Random(seed)
    for _ in range(count):
        yield ".spec" + "".join(rng.choice(_PIECES) for _ in range(rng.randint(1, 6)))


@pytest.mark.parametrize("seed", range(3))
def test_every_path_of_a_column_is_refused_or_shown(server: InProcess, seed: int) -> None:
    crd = define("gears", [])
    server.create(CRDS, crd)
    target = f"/apis/{GROUP}/v1/namespaces/default/gears"
    server.create(target, {"apiVersion": f"{GROUP}/v1", "kind": "Gears", "metadata": {"name": "a"}, "spec": SPEC})
    with capture_logs() as logged:
        for path in paths(150, seed):
            columns = [column(type_, type_, path) for type_ in ("string", "integer", "number", "boolean", "date")]
            crd["spec"]["versions"][0]["additionalPrinterColumns"] = columns
            status, answer = server.call("PUT", f"{CRDS}/gears.{GROUP}", crd)
            assert status in (200, 400, 422), (path, answer)
            status, table = server.call("GET", f"{target}/a", **TABLE)
            assert status == 200, (path, table)
            assert len(table["rows"][0]["cells"]) == len(table["columnDefinitions"]), path
            assert server.call("GET", target, **TABLE)[0] == 200, path
    assert [entry for entry in logged if entry["log_level"] in ("error", "critical")] == []


@pytest.mark.parametrize("seed", range(3))
def test_every_definition_is_refused_or_served(server: InProcess, seed: int) -> None:
    rng = random.Random(seed)
    base = define("gears", [column("A", "string", ".spec.text")])
    base["spec"]["versions"][0] |= {
        "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.n", "statusReplicasPath": ".status.n"}},
        "selectableFields": [{"jsonPath": ".spec.text"}],
    }
    base["spec"]["names"] |= {"shortNames": ["g"], "categories": ["all"], "singular": "gear", "listKind": "GearList"}
    with capture_logs() as logged:
        for number in range(200):
            name = f"g{number}.{GROUP}"
            crd = _mutated(rng, base)
            crd.setdefault("metadata", {})["name"] = f"gears.{name}"
            crd["spec"]["group"] = name
            status, answer = server.call("POST", CRDS, crd)
            assert status in (201, 400, 422), answer
            if status != 201:
                continue
            plural = answer["spec"]["names"]["plural"]
            for version in answer["spec"]["versions"]:
                target = f"/apis/{name}/{version['name']}/{plural}"
                assert server.call("GET", target, **TABLE)[0] in (200, 404), crd
            assert server.call("DELETE", f"{CRDS}/{answer['metadata']['name']}")[0] == 200
        assert server.call("GET", "/openapi/v2")[0] == 200
    assert [entry for entry in logged if entry["log_level"] in ("error", "critical")] == []


def _mutated(rng: random.Random, value: Any) -> Any:
    """A copy in which a part here and there is something else."""
    if isinstance(value, dict):
        return {
            key: item if key in ("spec", "names", "group") and not isinstance(item, dict) else _changed(rng, key, item)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_changed(rng, "", item) for item in value]
    return value


def _changed(rng: random.Random, key: str, item: Any) -> Any:
    if key not in ("spec", "apiVersion", "kind", "metadata") and rng.random() < 0.06:
        return rng.choice(_WORDS)
    return _mutated(rng, item)


def test_a_watcher_of_tables_outlives_a_column_that_fails(server: InProcess) -> None:
    server.create(CRDS, define("gears", [column("A", "string", ".spec.list[9]"), column("B", "string", ".spec[")]))
    target = f"/apis/{GROUP}/v1/namespaces/default/gears"
    response = server.request("GET", f"{target}?watch=true", **TABLE)
    server.create(target, {"apiVersion": f"{GROUP}/v1", "kind": "Gears", "metadata": {"name": "a"}, "spec": SPEC})
    cells = [line["object"]["rows"][0]["cells"] for line in lines(response)]  # type: ignore[arg-type]
    assert cells == [["a", None]]
