"""Code of the user's: found by name, told apart by its source, and what is wrong with it in one message.

A rule, a landscape or a loss may use whatever stands in other modules of the user's. What it computes is known by the
text of all of them, and by the constants that its functions read: kernels freeze these.
"""

import ast
import hashlib
import importlib
import inspect
import linecache
import os
import re
import site
import sys
import sysconfig
import textwrap
from collections.abc import Callable, Iterable, Iterator
from importlib.util import resolve_name
from pathlib import Path
from types import CodeType, FrameType, FunctionType, ModuleType
from typing import Any

import numpy as np

from fastgd._errors import InputError, nearest
from fastgd._traced import AVAILABLE, TooShort

_PACKAGE = Path(__file__).parent
_LIBRARIES = {
    Path(folder).resolve()
    for folder in (
        *(sysconfig.get_paths()[key] for key in ("stdlib", "platstdlib", "purelib", "platlib")),
        *site.getsitepackages(),
        site.getusersitepackages(),
    )
}


def find_attribute(kind: str, name: str) -> Any:
    """Return what "package.module:name" names; a module is looked for where Python looks, the current folder included.

    Raises
    ------
    InputError
        There is no such module, it cannot be imported, or it has no such name.
    """
    module_name, _, attribute = name.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        module = importlib.import_module(module_name)
    except InputError:
        raise
    except Exception as error:  # the user's module may raise anything
        raise InputError(f"{kind} {name!r}: cannot import the module {module_name!r}: {error}") from error
    if not hasattr(module, attribute):
        own = {key: value for key, value in vars(module).items() if _home(value) == module_name}
        plain = kind in ("landscape", "gradient")  # which any function may be
        names = [key for key, value in own.items() if hasattr(value, kind) or (plain and callable(value))]
        raise InputError(f"{kind} {name!r}: the module has no {attribute!r}; {nearest(attribute, names)}")
    return getattr(module, attribute)


def _home(value: Any) -> str:
    return str(getattr(value, "__module__", ""))


# --- identity ---------------------------------------------------------------------------------------------------------


def functions_of(cls: type) -> tuple[FunctionType, ...]:
    """Return the functions that a class defines."""
    return tuple(value for value in vars(cls).values() if isinstance(value, FunctionType) and _home(value) != "typing")


def reached(functions: Iterable[Any]) -> tuple[FunctionType, ...]:
    """Return these functions and the plain functions that they name, directly or not.

    NumPy's are left out, those that kernels know (`fastgd._math`), and what is no function of Python's.
    """
    found: dict[FunctionType, None] = {}
    waiting = list(functions)
    while waiting:
        function = waiting.pop()
        known = _home(function).partition(".")[0] == "numpy" or _home(function) == "fastgd._math"
        if not isinstance(function, FunctionType) or known or function in found:
            continue
        found[function] = None
        waiting += [value for _, value in _named(function)]
    return tuple(found)


def _named(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """Yield what a function's code names, attributes of the user's modules included."""
    names = list(_names(function.__code__))
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    values = [(name, cell.cell_contents) for name, cell in cells]
    values += [(name, function.__globals__[name]) for name in names if name in function.__globals__]
    for name, value in values:
        yield name, value
        if isinstance(value, ModuleType) and _is_users(value):
            yield from ((f"{name}.{part}", vars(value)[part]) for part in names if part in vars(value))


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def source_of(module: str, functions: Iterable[Any]) -> str:
    """Return a hash of what some functions of a module are made of.

    It covers the text of the module and of every module of the user's that it or they reach, and the constants that the
    functions read. What has no file, as at a prompt, counts by its byte code.
    """
    functions = reached(functions)
    digest = hashlib.sha256()
    for name in modules_of(module, functions):
        digest.update(_text(sys.modules[name]) or b"")
    if module.partition(".")[0] != _PACKAGE.name:
        for function in sorted(functions, key=lambda function: (_home(function), function.__qualname__)):
            for name, value in sorted(_named(function), key=lambda pair: pair[0]):
                digest.update(f"{name}={_constant(value)};".encode())
            if _text(sys.modules.get(_home(function))) is None:
                digest.update(_code(function.__code__).encode())
                digest.update(repr(function.__defaults__).encode())
    return digest.hexdigest()[:16]


def _constant(value: Any) -> str:
    """The text of what a kernel would freeze; empty for anything else."""
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        return f"{value.dtype}{value.shape}{hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()}"
    if isinstance(value, tuple):
        return f"({','.join(map(_constant, value))})"
    return repr(value) if isinstance(value, (bool, int, float, complex, str, bytes, np.generic)) else ""


def _code(code: CodeType) -> str:
    constants = [_code(value) if isinstance(value, CodeType) else repr(value) for value in code.co_consts]
    return repr((code.co_code, code.co_names, code.co_varnames, code.co_freevars, constants))


def modules_of(module: str, functions: Iterable[Any] = ()) -> list[str]:
    """Return the names of a module and of those of the user's that it, or these functions, reach, in order.

    Their text is kept as it is now, which is what was imported.
    """
    found: set[str] = set()
    waiting = [module, *(_home(function) for function in reached(functions))]
    while waiting:
        name = waiting.pop()
        known = sys.modules.get(name)
        same_package = name.partition(".")[0] == module.partition(".")[0] != _PACKAGE.name
        if known is None or name in found or not (name == module or same_package or _is_users(known)):
            continue
        found.add(name)
        if name.partition(".")[0] != _PACKAGE.name:
            waiting += [*_imports(known), *_held(known)]
    return sorted(found)


def _held(module: ModuleType) -> Iterator[str]:
    for value in list(vars(module).values()):
        yield value.__name__ if isinstance(value, ModuleType) else _home(value)


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
    file = getattr(module, "__file__", None)
    if module.__name__ == "__main__" or file is None:
        return module.__name__ == "__main__"
    return file_is_users(file)


def file_is_users(file: str) -> bool:
    """Whether a file is neither fastgd's nor of an installed library."""
    path = Path(file)
    if not path.exists():
        return False
    folders = path.resolve().parents
    return _PACKAGE not in folders and not any(folder in _LIBRARIES for folder in folders)


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


# --- what is wrong with it --------------------------------------------------------------------------------------------

_REFUSED: dict[type[ast.AST], str] = {
    ast.Import: "an import inside a function; import at the top of the module",
    ast.ImportFrom: "an import inside a function; import at the top of the module",
    ast.JoinedStr: "an f-string; values have no text in a kernel",
    ast.ListComp: "a list; write a tuple, or a loop that adds up",
    ast.GeneratorExp: "a generator; write a loop that adds up, from the first term on",
    ast.SetComp: "a set; write a tuple",
    ast.Set: "a set; write a tuple",
    ast.DictComp: "a dict; write a tuple",
    ast.Dict: "a dict; write a tuple",
    ast.Try: "try; nothing is raised in a kernel",
    ast.Raise: "raise; nothing is raised in a kernel",
    ast.Assert: "assert; nothing is raised in a kernel",
    ast.With: "with, which a kernel does not have",
    ast.Yield: "yield; return a tuple",
    ast.YieldFrom: "yield; return a tuple",
    ast.ClassDef: "a class inside a function",
    ast.Global: "global; a kernel changes nothing outside of it",
}


def check_syntax(what: str, functions: Iterable[Any]) -> None:
    """Raise InputError for the first statement that a kernel cannot have, in these functions or what they call."""
    for function in reached(functions):
        if not file_is_users(function.__code__.co_filename) and function.__code__.co_filename not in linecache.cache:
            continue
        try:
            lines, first = inspect.getsourcelines(function)
            tree = ast.parse(textwrap.dedent("".join(lines)))
        except (OSError, TypeError, SyntaxError, IndentationError):  # no source: the kernel's compiler will tell
            continue
        for node in ast.walk(tree):
            if why := _refused(node):
                line = first + node.lineno - 1  # type: ignore[attr-defined]
                raise InputError(f"{what}: {function.__name__}, {_place(function.__code__.co_filename, line)}: {why}")


def _refused(node: ast.AST) -> str:
    if isinstance(node, ast.List) and not all(isinstance(item, ast.Constant) for item in node.elts):
        return "a list; write a tuple"
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
        return "print; a kernel prints nothing"
    return _REFUSED.get(type(node), "")


def dry_call(what: str, function: Callable[..., Any], *values: Any) -> Any:
    """Call a user's function once outside of kernels; what it raises becomes one message that names its line.

    `TooShort` passes: a landscape may need a point of more coordinates.

    Raises
    ------
    InputError
        With the function, its file and line, the expression, and what was wrong.
    """
    try:
        with np.errstate(all="ignore"):
            return function(*values)
    except TooShort:
        raise
    except Exception as error:  # a user's function may raise anything
        raise InputError(f"{what}: {_where(error, function)}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    text = str(error) or type(error).__name__
    if isinstance(error, AttributeError) and "module 'numpy'" in text:
        return f"{text}; {AVAILABLE}"
    return text


def _where(error: Exception, function: Callable[..., Any]) -> str:
    """The user's function, file, line and expression in which an error came up."""
    trace, place = error.__traceback__, None
    while trace is not None:
        code = trace.tb_frame.f_code
        if _is_users_frame(trace.tb_frame):
            place = (code, trace.tb_lineno, trace.tb_lasti)
        trace = trace.tb_next
    if place is None:
        return line_of(function)
    code, line, instruction = place
    shown = _expression(code, instruction)
    return f"{code.co_name}, {_place(code.co_filename, line)}" + (f", `{shown}`" if shown else "")


def _is_users_frame(frame: FrameType) -> bool:
    module = str(frame.f_globals.get("__name__", ""))
    if module.partition(".")[0] in (_PACKAGE.name, "numpy", "numba"):
        return False
    file = frame.f_code.co_filename
    return not any(folder in _LIBRARIES for folder in Path(file).resolve().parents) or file.startswith("<")


def _expression(code: CodeType, instruction: int) -> str:
    """The text of the expression that an instruction belongs to; empty where it is long or unknown."""
    line, end, start, stop = list(code.co_positions())[instruction // 2]
    if line is None or line != end or start is None:
        return ""
    text = linecache.getline(code.co_filename, line).encode()[start:stop].decode(errors="replace")
    return text if len(text) <= 60 else ""


def _place(file: str, line: int) -> str:
    return f"line {line} of {file if file.startswith('<') else Path(file).name}"


def has_compiled(functions: Iterable[Any]) -> bool:
    """Whether these functions call one that Numba has compiled already, which takes no symbols."""
    return any(hasattr(value, "py_func") for function in reached(functions) for _, value in _named(function))


def line_of(function: Callable[..., Any]) -> str:
    """Return "name, line 3 of file.py" of a function."""
    code = inspect.unwrap(function).__code__
    return f"{code.co_name}, {_place(code.co_filename, code.co_firstlineno)}"


def refused_by_compiler(error: Exception, *records: Any) -> InputError | None:
    """Return what Numba found wrong in a user's functions, in one sentence; None: they are all fastgd's.

    Parameters
    ----------
    error : NumbaError
    records : Optimizer, Landscape or Loss
        Of what was compiled.
    """
    own = [record for record in records if record.foreign]
    if not own:
        return None
    text = re.sub(r"\x1b\[[0-9;]*m| at 0x[0-9a-f]+", "", str(error))
    # Numba explains the innermost function first: what is wrong stands before the first of the user's lines.
    places = (found for found in re.finditer(r'File "(.*?)", line (\d+)', text) if _is_own(found[1], own))
    place = next(places, None)
    where = f"{_place(place[1], int(place[2]))}: " if place else ""
    lines = [line.strip() for line in text[: place.start() if place else None].splitlines() if line.strip()]
    said = [line for line in lines if re.match(_SAYS, line)] or lines
    names = " or ".join(f"{type(record).__name__.lower()} {record.name!r}" for record in own)
    return InputError(f"{names}: {where}its functions do not compile: {said[-1]}; {AVAILABLE}")


def _is_own(file: str, records: Iterable[Any]) -> bool:
    """Whether a file, as Numba shows its path, is that of a module which these records reach."""
    modules = {name for record in records for name in modules_of(record.name.partition(":")[0])}
    files = {Path(getattr(sys.modules[name], "__file__", None) or "").name for name in modules if name in sys.modules}
    return file.startswith("<") or Path(file).name in files


_SAYS = "Cannot|Unsupported|Untyped|Use of|Unknown|Invalid use|No implementation|NameError|The use of"
