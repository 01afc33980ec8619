"""The text that a user's rule, landscape or loss is made of, and its hash: edited code counts as other code.

A function may use whatever stands in other modules of the user's. What it computes is known by the text of all of them,
and by the constants that its functions read, since Numba compiles constants into the machine code.
"""

import ast
import dis
import hashlib
import sys
from collections import namedtuple
from collections.abc import Callable, Iterable, Iterator
from importlib.util import resolve_name
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np

from fastgd.common.errors import InputError
from fastgd.user_code.imports import PACKAGE, file_is_users, home_of

_OF_EVERY_NAMEDTUPLE = frozenset(vars(namedtuple("_Empty", ())))  # a copy: a view would be emptied with the class


def find_same(find: Callable[..., Any], names: tuple[Any, ...], source: str) -> Any:
    """Return `find(*names)`, a record that another process sent by its names; `source` is the record's hash there.

    Raises
    ------
    InputError
        The hashes differ: the user's module was edited after the other process had imported it. Empty: not compared.
    """
    record = find(*names)
    if source and record.source != source:
        raise InputError(
            f"{record.name!r} is not the same in two processes: the text of its module, or a constant that it reads, "
            "has changed since the run began; run again"
        )
    return record


def functions_of(cls: type) -> tuple[FunctionType, ...]:
    """Return the functions that a NamedTuple's class body holds, without those that every NamedTuple has."""
    own = {name: value for name, value in vars(cls).items() if name not in _OF_EVERY_NAMEDTUPLE}
    return tuple(value for value in own.values() if isinstance(value, FunctionType))


def reached(functions: Iterable[Any]) -> tuple[FunctionType, ...]:
    """Return these functions and the Python functions that they use, directly or through others.

    Functions of NumPy and of `fastgd.core.math` are left out: kernels have versions of their own.
    """
    found: dict[FunctionType, None] = {}
    waiting = list(functions)
    while waiting:
        function = waiting.pop()
        known = home_of(function).partition(".")[0] == "numpy" or home_of(function) == "fastgd.core.math"
        if not isinstance(function, FunctionType) or known or function in found:
            continue
        found[function] = None
        waiting += [value for _, value in named_by(function)]
    return tuple(found)


def named_by(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """Yield the names that a function's code uses, and attributes of the user's modules there, with their values."""
    names = list(_names(function.__code__))
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    values = [(name, cell.cell_contents) for name, cell in cells]
    own = function.__globals__
    values += [(name, own[name]) for name in _globals(function.__code__) if name in own]
    modules: list[ModuleType] = []
    for name, value in values:  # the list grows meanwhile
        yield name, value
        if isinstance(value, ModuleType) and value not in modules and _is_users(value):
            modules.append(value)
            values += [(f"{name}.{part}", vars(value)[part]) for part in names if part in vars(value)]


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _globals(code: CodeType) -> Iterator[str]:
    """Yield the names that are looked up in the module; the attribute `lr` in `h.lr` is not."""
    yield from {each.argval: None for each in dis.get_instructions(code) if each.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _globals(constant)


def source_of(module: str, functions: Iterable[Any]) -> str:
    """Return a hash of some functions of a module.

    It covers the text of the module and of every module of the user's that it or they import, and the constants that
    the functions read. Functions without a file, such as those typed at a prompt, count by their byte code.
    """
    functions = reached(functions)
    digest = hashlib.sha256()
    for name in modules_of(module, functions):
        text = _text(sys.modules[name]) or b""
        digest.update(f"{len(text)};".encode() + text)
    if module.partition(".")[0] != PACKAGE.name:
        for function in sorted(functions, key=lambda function: (home_of(function), function.__qualname__)):
            digest.update(repr(_frozen(function)).encode())
            digest.update(_constant(function.__defaults__ or ()).encode())
            if _text(sys.modules.get(home_of(function))) is None:
                digest.update(_code(function.__code__).encode())
    return digest.hexdigest()[:16]


# The constants that each function read when it was first hashed.
_read: dict[FunctionType, list[tuple[str, Any]]] = {}


def _frozen(function: FunctionType) -> list[tuple[str, str]]:
    """Return the constants that a function reads, by name; refuse one that has changed since the first call."""
    named = sorted(named_by(function), key=lambda pair: pair[0])
    now = [(name, value if isinstance(value, FunctionType) else _constant(value)) for name, value in named]
    before = _read.setdefault(function, now)
    if changed := sorted({name for name, _ in set(before) ^ set(now)}):
        name = function.__qualname__
        raise InputError(
            f"{name} reads {changed[0]}, which has changed since it was first used, and its machine code keeps what it "
            f"was: define {name} anew, or reload {home_of(function)} and what imports it"
        )
    return [(name, text) for name, text in now if text and isinstance(text, str)]


def check_unchanged(functions: Iterable[Any]) -> None:
    """Raise InputError where a constant that these functions read, or a function that they call, is not what it was."""
    for function in reached(functions):
        _frozen(function)


def _constant(value: Any) -> str:
    """Return the text of a value that Numba compiles into a kernel as a constant; empty for any other."""
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        return f"{value.dtype}{value.shape}{hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()}"
    if isinstance(value, tuple):
        return f"({','.join(map(_constant, value))})"
    return repr(value) if isinstance(value, (bool, int, float, complex, str, bytes, np.generic)) else ""


def _code(code: CodeType) -> str:
    constants = [_code(value) if isinstance(value, CodeType) else repr(value) for value in code.co_consts]
    return repr((code.co_code, code.co_names, code.co_varnames, code.co_freevars, constants))


def modules_of(module: str, functions: Iterable[Any] = ()) -> list[str]:
    """Return the names, sorted, of a module and of the user's modules that it or these functions import.

    The text of each is read and kept: called right after an import, it is the text that was imported.
    """
    found: set[str] = set()
    waiting = [module, *(home_of(function) for function in reached(functions))]
    while waiting:
        name = waiting.pop()
        known = sys.modules.get(name)
        same_package = name.partition(".")[0] == module.partition(".")[0] != PACKAGE.name
        if known is None or name in found or not (name == module or same_package or _is_users(known)):
            continue
        found.add(name)
        if name.partition(".")[0] != PACKAGE.name:
            waiting += [*_imports(known), *_held(known)]
    return sorted(found)


def _held(module: ModuleType) -> Iterator[str]:
    for value in list(vars(module).values()):
        yield value.__name__ if isinstance(value, ModuleType) else home_of(value)


def _imports(module: ModuleType) -> Iterator[str]:
    """Yield every module that a module's text may import, wherever it does so."""
    try:
        tree = ast.parse(_text(module) or b"")
    except SyntaxError:  # edited since it was imported
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            if node.level:
                base = resolve_name(base, module.__package__) if module.__package__ else base.lstrip(".")
            names = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            parts = name.split(".")
            yield from (".".join(parts[: count + 1]) for count in range(len(parts)))


def _is_users(module: ModuleType) -> bool:
    """Whether a module is neither fastgd's nor of an installed library."""
    if module.__name__ == "__main__":
        return True
    file = getattr(module, "__file__", None)
    folders = getattr(module, "__path__", ())  # of a package without a file of its own
    return any(map(file_is_users, folders if file is None else [file]))


_texts: dict[str, tuple[Any, bytes | None]] = {}


def _text(module: ModuleType | None) -> bytes | None:
    """Return the text of a module as it was when fastgd first saw it, which is what was imported; None: it has no file.

    A module that is reloaded has a new spec, and is read anew.
    """
    if module is None:
        return None
    known = _texts.get(module.__name__)
    if known is None or known[0] is not (module.__spec__ or module):
        path = Path(getattr(module, "__file__", None) or "")
        known = _texts[module.__name__] = (module.__spec__ or module, path.read_bytes() if path.is_file() else None)
    return known[1]
