"""`Environment`: what expressions may name, and the compiler for them. `Program`: a compiled expression.

Expressions are parsed and type-checked by cel-cpp (package cel-expr-python, Google's own binding), against the
declarations of the Kubernetes library in this package; `evaluate` runs the checked tree. So what an expression needs
and this server does not have is refused when it is compiled. Cost limits are not there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import msgspec

from . import validators, wording
from .evaluate import Activation, Builder
from .functions import Function, type_spec
from .library import LIBRARY, REDECLARED
from .syntax import Tree
from .values import EvaluationError

DYN = "dyn"
_TYPE_NAMES = {
    "NULL": "null_type",
    "BOOL": "bool",
    "STRING": "string",
    "INT": "int",
    "UINT": "uint",
    "DOUBLE": "double",
    "DYN": "dyn",
}


class CompilationError(ValueError):
    """An expression that does not compile; the message is cel-go's and says where."""

    def __init__(self, message: str, *, is_planning: bool = False) -> None:
        super().__init__(message)
        self.is_planning = is_planning
        """Well typed, but a constant in it has no value: there is no "compilation failed" before such a message."""


class Program:
    """A compiled expression. Thread-safe."""

    def __init__(self, source: str, result: str, tree: Tree, library: Mapping[str, Function]) -> None:
        self.source = source
        self.result = result
        """The type: bool, string, int, ..., dyn, or in cel-cpp's notation."""
        self._names = frozenset(tree.names.values())
        self._evaluate = Builder(tree, library).build(tree.root)

    def uses(self, variable: str) -> bool:
        """Whether the expression names the variable."""
        return variable in self._names

    def evaluate(self, values: Mapping[str, Any], lazy: Mapping[str, Callable[[], Any]] | None = None) -> Any:
        """The value; raises EvaluationError. `lazy` variables are computed when they are used."""
        try:
            return self._evaluate(values if isinstance(values, Activation) else Activation(values, lazy))
        except RecursionError:
            raise EvaluationError("the value is nested too deeply") from None


class Environment:
    """Variables by name, each with its type, and the library. `messages` has the object types that variables name."""

    def __init__(self, variables: Mapping[str, str], *, messages: bytes | None = None) -> None:
        """`messages` is a FileDescriptorProto (see `types`)."""
        self._variables = dict(variables)
        self._messages = messages
        self._library, self._config = _library()
        self._has_variables = False
        # The compiler's own environment, made with the first expression; it does not change.
        self._env: Any = None

    def extended(self, variables: Mapping[str, Any]) -> Environment:
        """This environment with more variables; a type may be one that `compile` gave."""
        wider = Environment.__new__(Environment)
        wider.__dict__.update(self.__dict__)
        wider._variables = {**self._variables, **variables}
        wider._env = None
        return wider

    def composed(self) -> Environment:
        """This environment with `variables`, of which there are none as yet: each is added as `variables.NAME`."""
        composed = self.extended({})
        composed._has_variables = True
        return composed

    def with_optional(self, variable: str) -> Environment:
        """This environment with a variable that may be missing: optional_type of what it was."""
        return self.extended({variable: f"optional_type<{self._variables[variable]}>"})

    def compile(self, source: str) -> Program:
        """Raises CompilationError."""
        return self.compile_typed(source)[0]

    def compile_typed(self, source: str) -> tuple[Program, Any]:
        """The program, and its type as `extended` takes it."""
        # Imported with the first expression: the binding brings a compiler of 50 MB.
        from cel_expr_python import cel

        try:
            if self._env is None:
                self._env = self._made(cel)
            expression = self._env.compile(source)
            type_ = expression.return_type()
        except RuntimeError as error:
            raise CompilationError(wording.message(source, str(error), has_variables=self._has_variables)) from None
        tree = Tree(expression.serialize())
        try:
            found = validators.faults(tree)
        except validators.ConstantError as error:
            raise CompilationError(f"program instantiation failed: {error}", is_planning=True) from None
        if found:
            raise CompilationError("\n".join(wording.located(source, *fault) for fault in sorted(found)))
        name = _TYPE_NAMES.get(type_.name(), type_.name())
        return Program(source, name, tree, self._library), type_

    def _made(self, cel: Any) -> Any:
        # The binding makes optional types only out of a configuration, which takes long to read.
        written = [
            {"name": name, **type_spec(type_)}
            for name, type_ in self._variables.items()
            if isinstance(type_, str) and type_.startswith("optional_type")
        ]
        names = {variable["name"] for variable in written}
        given = {
            name: _built(cel, type_spec(type_)) if isinstance(type_, str) else type_
            for name, type_ in self._variables.items()
            if name not in names
        }
        config = _read({**self._config, "variables": written}) if written else _base_config()
        return cel.NewEnv(_pool(self._messages), config=config, variables=given, extensions=[_optionals()])


def _read(config: dict[str, Any]) -> Any:
    from cel_expr_python import cel

    return cel.NewEnvConfigFromYaml(msgspec.json.encode(config).decode())


@lru_cache(maxsize=1)
def _base_config() -> Any:
    return _read(_library()[1])


def _built(cel: Any, spec: dict[str, Any]) -> Any:
    """A type as the binding's own object."""
    params = [_built(cel, param) for param in spec.get("params", ())]
    match spec["type_name"]:
        case "list":
            return cel.Type.List(*(params or [cel.Type.DYN]))
        case "map":
            return cel.Type.Map(*(params or [cel.Type.DYN, cel.Type.DYN]))
        case name:
            return getattr(cel.Type, name.upper()) if name in _SCALARS else cel.Type(name)


_SCALARS = frozenset({"bool", "int", "uint", "double", "string", "bytes", "dyn"})


def _optionals() -> Any:
    from cel_expr_python.ext import ext_optional

    # Version 1 is without list.first() and last(), as in Kubernetes 1.32.
    return ext_optional.ExtOptional(1)


def _pool(messages: bytes | None) -> Any:
    from google.protobuf import any_pb2, descriptor_pool, duration_pb2, struct_pb2, timestamp_pb2, wrappers_pb2

    pool = descriptor_pool.DescriptorPool()
    for module in (any_pb2, duration_pb2, struct_pb2, timestamp_pb2, wrappers_pb2):
        pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
    if messages is not None:
        pool.AddSerializedFile(messages)
    return pool


@lru_cache(maxsize=1)
def _library() -> tuple[dict[str, Function], dict[str, Any]]:
    """The functions by overload, and the compiler's configuration that declares them."""
    by_name: dict[str, list[dict[str, Any]]] = {}
    for function in (*LIBRARY, *REDECLARED):
        by_name.setdefault(function.name, []).append(function.declaration())
    config = {
        "stdlib": {"exclude_functions": [{"name": name} for name in dict.fromkeys(f.name for f in REDECLARED)]},
        "functions": [{"name": name, "overloads": overloads} for name, overloads in by_name.items()],
    }
    return {function.overload: function for function in LIBRARY}, config
