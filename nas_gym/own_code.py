"""The code of the user's own that a result depends on, as one sha256.

What a class or a function does is written in its module and in whatever of the user's that module
imports. Of every such file the syntax tree counts, so comments, docstrings and layout do not. What
was typed into a notebook or standard input has no file: there the compiled code counts.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import site
import sys
import sysconfig
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

SHIPPED = ("nas_gym", "agents")  # the packages of this distribution have a version instead
_INSTALLED = [
    Path(place).resolve()
    for place in (
        *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")),
        *site.getsitepackages(),
        site.getusersitepackages(),
    )
]
_seen: dict[str, tuple[ModuleSpec | None, str, tuple[str, ...]]] = {}


def code_of(*things: Any) -> str | None:
    """The code behind classes, functions or objects of the user's own.

    A module is read when it is first asked about (and again after ``importlib.reload``), so a file
    that changes under a running program does not count as what runs.

    Args:
        *things: Classes, functions, partials, or objects, which stand for their classes.

    Returns:
        A sha256, or None where all of it is shipped with this package or with Python.
    """
    digests: dict[str, str] = {}
    for thing in things:
        for part in _parts(thing):
            module = part.__module__
            if _has_file(module):
                _collect(module, digests)
            else:
                name = f"{module}:{part.__qualname__}"
                digests[name] = _digest("\n".join(_compiled(part, set(), digests)))
    if not digests:
        return None
    return _digest("\n".join(f"{name} {digest}" for name, digest in sorted(digests.items())))


def own_code(**parts: Any) -> dict[str, dict[str, str]]:
    """What a context says of the user's own code: ``{"code": {part: sha256}}``, or nothing."""
    found = {name: code for name, part in parts.items() if (code := code_of(part)) is not None}
    return {"code": found} if found else {}


def raised_by_own_code(error: BaseException) -> bool:
    """Whether an exception comes out of the user's code, and not of this package about its input.

    Libraries do not count: they raise for whoever called them.
    """
    modules = []
    trace = error.__traceback__
    while trace is not None:
        modules.append(str(trace.tb_frame.f_globals.get("__name__", "")))
        trace = trace.tb_next
    for module in reversed(modules):
        if _top(module) in SHIPPED:
            return False
        if module == "__main__" or _is_own(module, ""):
            return True
    return False


def _parts(thing: Any, home: str | None = None) -> Iterator[type | FunctionType]:
    """Classes and functions of the user's own that a thing is made of.

    Args:
        thing: A class, a function, or an object.
        home: The package that what it is made of may lie in, although it is installed; None for
            the thing's own.
    """
    into = functools.partial(_parts, home=home)
    if isinstance(thing, functools.partial):
        into = functools.partial(_parts, home=_home(thing.func) if home is None else home)
        for part in (thing.func, *thing.args, *thing.keywords.values()):
            yield from into(part)
    elif isinstance(thing, MethodType):
        yield from into(thing.__self__)
    elif isinstance(thing, type):
        home = _home(thing) if home is None else home
        yield from (one for one in thing.__mro__ if _is_own(one.__module__, home))
    elif isinstance(thing, FunctionType):
        if _is_own(thing.__module__, _home(thing) if home is None else home):
            yield thing
        yield from into(getattr(thing, "__wrapped__", None))
    elif hasattr(thing, "__wrapped__"):  # an lru_cache and its like
        yield from into(thing.__wrapped__)
    elif thing is not None:
        home = _home(type(thing)) if home is None else home
        yield from _parts(type(thing), home)
        for value in getattr(thing, "__dict__", {}).values():
            if isinstance(value, FunctionType | MethodType | functools.partial | type):
                yield from _parts(value, home)


def _home(thing: Any) -> str:
    """The package that a class or function lies in."""
    return _top(getattr(thing, "__module__", None) or "")


def _collect(name: str, digests: dict[str, str]) -> None:
    """The digest of a module, and of those of the user's that it imports."""
    if name in digests:
        return
    digests[name], imports = _read(name)
    for imported in imports:
        if _is_own(imported, _top(name)):
            _collect(imported, digests)


def _read(name: str) -> tuple[str, tuple[str, ...]]:
    """The digest of a module's code and the modules that it may import."""
    module = sys.modules.get(name)
    spec = getattr(module, "__spec__", None) or (None if module else _find(name))
    known = _seen.get(name)
    if known is not None and known[0] is spec:
        return known[1:]
    file = getattr(module, "__file__", None) or (spec.origin if spec else None)
    data = Path(file).read_bytes() if file and Path(file).is_file() else b""
    package = getattr(module, "__package__", None) or (spec.parent if spec else "") or ""
    imports: tuple[str, ...] = ()
    try:
        tree = ast.parse(data)
    except (SyntaxError, ValueError):  # a compiled module
        digest = hashlib.sha256(data).hexdigest()
    else:
        imports = tuple(dict.fromkeys(_imports(tree, package)))
        digest = _digest(ast.dump(_without_docstrings(tree)))
    _seen[name] = (spec, digest, imports)
    return digest, imports


def _imports(tree: ast.Module, package: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*(parts if node.level else []), *filter(None, [node.module])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            value = body[0].value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                body[0] = ast.Pass()
                del body[: len(body) > 1 or isinstance(node, ast.Module)]
    return tree


def _is_own(name: str, importer: str) -> bool:
    """Whether a module is the user's: of the importing package, or not installed."""
    top = _top(name)
    if not top or top in SHIPPED + _stdlib():
        return False
    if top == importer or (name in sys.modules and not _has_file(name)):
        return name == importer or name in sys.modules or _find(name) is not None
    spec = _find(top)  # of the top alone, as finding more would import it
    if spec is None:
        return False
    places = [spec.origin] if spec.origin else list(spec.submodule_search_locations or [])
    resolved = [Path(place).resolve() for place in places]
    if any(place.is_relative_to(root) for place in resolved for root in _INSTALLED):
        return False
    return name == top or _find(name) is not None


def _find(name: str) -> ModuleSpec | None:
    """Where a module lies; nothing is imported to find it."""
    spec: ModuleSpec | None = None
    whole = ""
    for part in name.split("."):
        places = None if spec is None else list(spec.submodule_search_locations or ())
        whole = f"{whole}.{part}" if whole else part
        loaded = getattr(sys.modules.get(whole), "__spec__", None)
        try:
            spec = loaded or PathFinder.find_spec(whole, places)
        except (ImportError, ValueError, AttributeError):
            return None
        if spec is None:
            return None  # no module: an attribute of one
    return spec


def _has_file(module: str) -> bool:
    file = getattr(sys.modules.get(module), "__file__", None)
    return file is not None and Path(file).is_file()


def _compiled(thing: Any, seen: set[int], digests: dict[str, str]) -> Iterator[str]:
    """What was compiled of a class or function without a file, and what of its like it names."""
    into = functools.partial(_compiled, seen=seen, digests=digests)
    if isinstance(thing, type | FunctionType | ModuleType):
        module = thing.__name__ if isinstance(thing, ModuleType) else thing.__module__
        yield f"{module}.{getattr(thing, '__qualname__', '')}"
        if module in sys.modules and _has_file(module):
            if _is_own(module, ""):
                _collect(module, digests)
        elif id(thing) not in seen and _top(module) not in _stdlib():
            seen.add(id(thing))
            yield from _body(thing, into)
    elif isinstance(thing, CodeType):
        yield repr((thing.co_code, thing.co_names, thing.co_varnames))
        for constant in thing.co_consts:
            yield from into(constant)
    elif isinstance(thing, str | bytes | int | float | complex | bool | None):
        yield repr(thing)
    elif isinstance(thing, dict):
        yield from into(list(thing.items()))
    elif isinstance(thing, tuple | list | set | frozenset):
        for value in sorted(thing, key=repr) if isinstance(thing, set | frozenset) else thing:
            yield from into(value)
    else:  # properties, class methods, cached functions: what they are made of
        for name in ("fget", "fset", "func", "__func__", "__wrapped__"):
            if hasattr(thing, name):
                yield from into(getattr(thing, name))


def _body(
    thing: type | FunctionType | ModuleType, into: Callable[[Any], Iterator[str]]
) -> Iterator[str]:
    """Everything that is compiled in a class or a function."""
    if isinstance(thing, type):
        for name, value in sorted(vars(thing).items()):
            if name not in ("__doc__", "__dict__", "__weakref__", "__module__", "_abc_impl"):
                yield name
                yield from into(value)
    elif isinstance(thing, FunctionType):
        yield from into(thing.__code__)
        yield from into([thing.__defaults__, thing.__kwdefaults__])
        yield from into([cell.cell_contents for cell in thing.__closure__ or ()])
        for name in _names(thing.__code__):
            if name in thing.__globals__:
                yield name
                yield from into(thing.__globals__[name])


def _names(code: CodeType) -> Iterator[str]:
    """Global names that compiled code may use, those of its inner functions too."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


@functools.cache
def _stdlib() -> tuple[str, ...]:
    return (*sys.stdlib_module_names, "builtins")


def _top(name: str) -> str:
    return name.partition(".")[0]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
