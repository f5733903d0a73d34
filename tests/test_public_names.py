"""Each type in a public signature is exported, and a public module defines nothing but exported names."""

from __future__ import annotations

import ast
import importlib
import pkgutil
from collections.abc import Iterator
from functools import cache

import attrs
import pytest

import rbhq_stream
import rbhq_stream.metrics
import rbhq_stream.testing
import rbhq_stream.testing.faults

PACKAGES = (rbhq_stream, rbhq_stream.testing)
EXPORTING = (*PACKAGES, rbhq_stream.metrics, rbhq_stream.testing.faults)
PUBLIC_MODULES = sorted(
    found.name
    for package in PACKAGES
    for found in pkgutil.iter_modules(package.__path__, f"{package.__name__}.")
    if not found.name.rpartition(".")[2].startswith("_")
)
TYPE_VARIABLES = {"TypeVar", "ParamSpec", "TypeVarTuple"}


@cache
def definitions(module: str) -> dict[str, list[ast.stmt]]:
    """The statements at the top of a module that bind each name, those under `if TYPE_CHECKING:` included."""
    path = importlib.import_module(module).__file__
    assert path is not None
    with open(path, encoding="utf-8") as source:  # noqa: PTH123  # __file__ is a string
        body = ast.parse(source.read()).body
    found: dict[str, list[ast.stmt]] = {}
    for statement in [*body, *(inner for outer in body if isinstance(outer, ast.If) for inner in outer.body)]:
        match statement:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                found.setdefault(name, []).append(statement)
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                found.setdefault(name, []).append(statement)
            case ast.Import(names=names) | ast.ImportFrom(names=names):
                for alias in names:
                    found.setdefault(alias.asname or alias.name.partition(".")[0], []).append(statement)
    return found


def origin(module: str, name: str) -> tuple[str, str] | None:
    """The module of ours that defines the name, and its name there; `None` when it comes from elsewhere."""
    statements = definitions(module).get(name)
    if statements is None:  # a builtin
        return None
    match statements[0]:
        case ast.Import():
            return None
        case ast.ImportFrom(module=source, names=names):
            if source is None or source.partition(".")[0] != "rbhq_stream":
                return None
            [original] = [alias.name for alias in names if (alias.asname or alias.name) == name]
            return origin(source, original)
        case _:
            return module, name


def exports() -> dict[tuple[str, str], str]:
    """The exported names by where they are defined."""
    found = {}
    for package in EXPORTING:
        for name in package.__all__:
            defined = origin(package.__name__, name)
            assert defined is not None, f"{name} is exported, but it is not ours"
            found[defined] = name
    return found


def named(module: str, annotation: ast.AST) -> Iterator[str]:
    """The names in an annotation, but for what stands in a `Literal`."""
    match annotation:
        case ast.Name(id=name):
            yield name
        case ast.Constant(value=str(text)):
            yield from named(module, ast.parse(text, mode="eval"))
        case ast.Subscript(value=ast.Name(id="Literal")):
            pass
        case _:
            for child in ast.iter_child_nodes(annotation):
                yield from named(module, child)


def declared_types(statement: ast.stmt, *, is_attrs: bool = False) -> Iterator[tuple[str, ast.AST]]:
    """Yields the annotations that users of a class, function or alias see, each with its location."""
    match statement:
        case ast.ClassDef(name=name, body=body):
            for inner in body:
                if isinstance(inner, ast.Assign):  # a value without a declared type
                    continue
                for where, annotation in declared_types(inner, is_attrs=is_attrs):
                    yield f"{name}.{where}", annotation
        case (
            ast.FunctionDef(name=name, args=args, returns=returns)
            | ast.AsyncFunctionDef(name=name, args=args, returns=returns)
        ):
            if name.startswith("_") and not name.endswith("__"):
                return
            every = [*args.posonlyargs, *args.args, *args.kwonlyargs, args.vararg, args.kwarg]
            for each in [returns, *(argument.annotation for argument in every if argument is not None)]:
                if each is not None:
                    yield name, each
        case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation):
            # a private field of an attrs class is a parameter of its constructor all the same
            if is_attrs or not name.startswith("_"):
                yield name, annotation
        case ast.Assign(targets=[ast.Name(id=name)], value=value):
            yield name, value


def public_annotations(module: str, name: str) -> Iterator[tuple[str, str, ast.AST]]:
    """The annotations of something exported, with those that a class inherits: module, location, annotation."""
    value = getattr(importlib.import_module(module), name)
    if isinstance(value, type):
        for base in value.__mro__:
            if base.__module__.startswith("rbhq_stream"):
                for statement in definitions(base.__module__)[base.__name__]:
                    for where, annotation in declared_types(statement, is_attrs=attrs.has(base)):
                        yield base.__module__, where, annotation
    else:
        for statement in definitions(module)[name]:
            for where, annotation in declared_types(statement):
                yield module, where, annotation


def is_type_variable(module: str, name: str) -> bool:
    match definitions(module)[name]:
        case [ast.Assign(value=ast.Call(func=ast.Name(id=function)))]:
            return function in TYPE_VARIABLES
    return False


def unexported() -> list[str]:
    """Each of our names in a public signature that is not exported."""
    public = exports()
    found = set()
    for module, name in public:
        for where_defined, where, annotation in public_annotations(module, name):
            for mentioned in named(where_defined, annotation):
                defined = origin(where_defined, mentioned)
                if defined is not None and defined not in public and not is_type_variable(*defined):
                    found.add(f"{where_defined}: {where} names {mentioned}")
    return sorted(found)


def test_every_type_in_a_public_signature_is_exported() -> None:
    assert unexported() == []


@pytest.mark.parametrize("module", PUBLIC_MODULES)
def test_a_public_module_defines_only_exported_names_and_private_ones(module: str) -> None:
    public = {name for (defined_in, name) in exports() if defined_in == module}
    here = {name for name in definitions(module) if not name.startswith("_") and origin(module, name) == (module, name)}
    assert here == public
