"""Checks of users' functions: one message names the function, its line, what a kernel cannot do, and what to write.

Users' code is called once before it is compiled (`user_code/checks.py`), on values that can do what a kernel's values
can and nothing else (`Lane` in `user_code/kernel_values.py`): what they lack raises at the line that asks for it.
Numba's own reports name the kernel that called the function, and are hundreds of lines long.
"""

import ast
import inspect
import linecache
import re
import sys
import textwrap
from collections.abc import Callable, Iterable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import numpy as np

from fastgd.common.errors import InputError
from fastgd.user_code.imports import LIBRARIES, PACKAGE, file_is_users
from fastgd.user_code.kernel_values import AVAILABLE, TooShort
from fastgd.user_code.sources import modules_of, named_by, reached

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
_MODULES = ("np", "numpy", "random")  # under which names random numbers are usually found


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
    named = (node.value.id, node.attr) if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) else ()
    if named and named[0] in _MODULES and "random" in named:
        return "random numbers; a trial has the same bits in every run"
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
    if module.partition(".")[0] in (PACKAGE.name, "numpy", "numba"):
        return False
    file = frame.f_code.co_filename
    return not any(folder in LIBRARIES for folder in Path(file).resolve().parents) or file.startswith("<")


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
    """Whether these functions call one that the user compiled with Numba, which cannot be called on a `Lane`."""
    return any(hasattr(value, "py_func") for function in reached(functions) for _, value in named_by(function))


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
