"""The schema of a type agrees with the type: for random models, what pydantic takes an API server takes, and what a
constraint of a type refuses, its schema refuses."""

from __future__ import annotations

import copy
import string
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pydantic import Field, ValidationError, create_model

from localmodel.runtime.crdgen import IntOrString, Quantity, structural_schema
from localmodel.runtime.objects import Model, Object, RESTMapping, Time, format_time
from localmodel.sandbox.apiserver.cel.rules import RuleSet
from localmodel.sandbox.apiserver.schema import Schema, compile_schema, default, drop_nulls, prune
from localmodel.sandbox.apiserver.structural import structural_faults
from localmodel.sandbox.apiserver.validation import validate

Json = dict[str, Any]
MAPPING = RESTMapping.of("example.com", "v1", "Thing")


class Mood(StrEnum):
    WARM = "Warm"
    COOL = "Cool"


@dataclass(frozen=True, repr=False)
class Typed:
    """A type, JSON values that it takes, and some that it does not."""

    annotation: Any
    good: st.SearchStrategy[Any]
    bad: st.SearchStrategy[Any]


TEXT = st.text(string.ascii_letters + "äß→", max_size=8)
LEAVES = [
    Typed(bool, st.booleans(), st.just("perhaps")),
    Typed(str, TEXT, st.just(5)),
    Typed(int, st.integers(-(2**53), 2**53), st.sampled_from([1.5, "x", []])),
    Typed(Annotated[int, Field(ge=-3, le=9)], st.integers(-3, 9), st.sampled_from([-4, 10])),
    Typed(Annotated[int, Field(gt=-3, lt=9)], st.integers(-2, 8), st.sampled_from([-3, 9])),
    Typed(Annotated[int, Field(ge=0, gt=0)], st.integers(1, 9), st.just(0)),
    Typed(Annotated[int, Field(multiple_of=5)], st.integers(-4, 4).map(lambda n: n * 5), st.just(7)),
    Typed(
        Annotated[float, Field(gt=0, le=1)],
        st.floats(0, 1, exclude_min=True),
        st.sampled_from([0, -0.5, 1.5]),
    ),
    Typed(
        Annotated[str, Field(min_length=1, max_length=4)],
        st.text("aé→", min_size=1, max_size=4),
        st.sampled_from(["", "ééééé"]),
    ),
    Typed(
        Annotated[str, Field(pattern="^[a-c]{1,3}$")],
        st.text("abc", min_size=1, max_size=3),
        st.sampled_from(["", "d", "abca"]),
    ),
    Typed(Literal["a", "b"], st.sampled_from("ab"), st.just("c")),
    Typed(Literal[1, 2], st.sampled_from([1, 2]), st.just(3)),
    Typed(Mood, st.sampled_from(["Warm", "Cool"]), st.just("Hot")),
    Typed(IntOrString, st.integers(-9, 9) | TEXT, st.sampled_from([True, 1.5, []])),
    Typed(Quantity, st.sampled_from(["10Gi", "1.7T", "500m", "5e9", "-1", 500]), st.just([])),
    Typed(
        Time,
        st.integers(0, 2**32).map(lambda second: format_time(datetime.fromtimestamp(second, UTC))),
        st.sampled_from(["yesterday", 5]),
    ),
    Typed(dict[str, Any], st.dictionaries(TEXT, st.integers() | st.booleans(), max_size=3), st.just("x")),
    Typed(set[str], st.lists(TEXT, unique=True, max_size=3), st.just("x")),
]


def listed(inner: Typed) -> Typed:
    return Typed(
        Annotated[list[inner.annotation], Field(min_length=1, max_length=3)],  # type: ignore[name-defined]
        st.lists(inner.good, min_size=1, max_size=3),
        inner.bad.map(lambda bad: [bad]) | st.just([]) | st.lists(inner.good, min_size=4, max_size=4),
    )


def mapped(inner: Typed) -> Typed:
    return Typed(
        Annotated[dict[str, inner.annotation], Field(max_length=2)],  # type: ignore[name-defined]
        st.dictionaries(TEXT, inner.good, max_size=2),
        inner.bad.map(lambda bad: {"key": bad})
        | st.dictionaries(st.sampled_from("abcdef"), inner.good, min_size=3, max_size=4),
    )


def optional(inner: Typed) -> Typed:
    """Its place in a list or map may be null."""
    return Typed(inner.annotation | None, inner.good | st.none(), inner.bad)


@st.composite
def models(draw: st.DrawFn, fields: st.SearchStrategy[Typed]) -> Typed:
    """An object type, with fields that are required, and such that need not be there."""
    given = draw(st.lists(st.tuples(fields, st.booleans()), min_size=1, max_size=4))
    definitions: Json = {}
    good: Json = {}
    optional_good: Json = {}
    bad = []
    for index, (typed, is_required) in enumerate(given):
        letter = string.ascii_lowercase[index]
        name, json_name = f"field_{letter}", f"field{letter.upper()}"
        definitions[name] = (typed.annotation, ...) if is_required else (typed.annotation | None, None)
        (good if is_required else optional_good)[json_name] = typed.good if is_required else typed.good | st.none()
        bad.append((json_name, typed.bad))
    valid = st.fixed_dictionaries(good, optional=optional_good)
    invalid = [
        st.tuples(valid, wrong).map(lambda pair, name=name: {**pair[0], name: pair[1]})  # type: ignore[misc]
        for name, wrong in bad
    ]
    invalid += [
        valid.map(lambda content, name=name: {key: content[key] for key in content if key != name})  # type: ignore[misc]
        for name in good
    ]
    model = create_model("Part", __base__=Model, **definitions)
    return Typed(model, valid, st.one_of(invalid))


TYPES = st.recursive(
    st.sampled_from(LEAVES),
    lambda inner: st.one_of(
        inner.map(listed),
        inner.map(mapped),
        inner.map(optional).map(listed),
        models(inner),
    ),
    max_leaves=6,
)


def thing(spec: Any) -> tuple[type[Object], Schema]:
    """A kind with that specification, and its schema."""
    kind = create_model("Thing", __base__=Object, spec=(spec, ...))
    kind.mapping = MAPPING
    raw = structural_schema(kind)
    assert structural_faults(raw, "schema") == []
    return kind, compile_schema(raw)


def admitted(schema: Schema, obj: Json) -> list[Any]:
    """What an API server says to an object: fields it drops, and faults."""
    obj = copy.deepcopy(obj)
    dropped = prune(schema, obj)
    default(schema, obj)
    drop_nulls(schema, obj)
    return [*dropped, *validate(schema, obj), *RuleSet(schema).validate(obj, None)]


QUICK = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])


@QUICK
@given(models(TYPES), st.data())
def test_what_the_type_takes_and_writes_the_schema_takes(spec: Typed, data: st.DataObject) -> None:
    kind, schema = thing(spec.annotation)
    obj = {"apiVersion": "example.com/v1", "kind": "Thing", "spec": data.draw(spec.good)}
    written = kind.from_dict(obj).to_dict()
    assert admitted(schema, obj) == []
    assert admitted(schema, written) == []
    assert kind.from_dict(written) == kind.from_dict(obj)


@QUICK
@given(models(TYPES), st.data())
def test_what_a_constraint_of_the_type_refuses_the_schema_refuses(spec: Typed, data: st.DataObject) -> None:
    kind, schema = thing(spec.annotation)
    obj = {"apiVersion": "example.com/v1", "kind": "Thing", "spec": data.draw(spec.bad)}
    try:
        kind.from_dict(obj)
    except ValidationError:
        assert admitted(schema, obj) != []
    else:
        # A map of the wrong size may have lost the reason to be wrong: its keys were equal.
        assume(False)
