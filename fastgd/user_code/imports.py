"""What a study names as "package.module:name", found in the user's module and imported from there.

Importing a module runs it: a hook may ask first, or refuse.
"""

import importlib
import os
import site
import sys
import sysconfig
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any

from fastgd.common.errors import InputError, nearest

PACKAGE = Path(__file__).parent.parent

LIBRARIES = {
    Path(folder).resolve()
    for folder in (
        *(sysconfig.get_paths()[key] for key in ("stdlib", "platstdlib", "purelib", "platlib")),
        *site.getsitepackages(),
        site.getusersitepackages(),
    )
}

_before_import: ContextVar[Callable[[str, str], None] | None] = ContextVar("before_import", default=None)


@contextmanager
def before_imports(hook: Callable[[str, str], None]) -> Iterator[None]:
    """Call `hook(kind, name)` before a user's module is imported; if the hook raises, the module is not imported."""
    token = _before_import.set(hook)
    try:
        yield
    finally:
        _before_import.reset(token)


def refuse_import(kind: str, name: str) -> None:
    """Refuse to import a user's module: a hook for `before_imports`."""
    raise InputError(
        f"{kind} {name!r}: users' modules are not to be imported (--no-plugins, plugins=False), and this is one: "
        f"{origin_of(name)}"
    )


def origin_of(name: str) -> str:
    """Return "module (from file)" of what "module:name" would import, without running anything of it."""
    module = name.partition(":")[0]
    try:
        spec = _spec(module)
    except Exception:  # finders of other packages may raise anything
        spec = None
    if spec is None:
        return f"{module} (which is not found)"
    file = Path(spec.origin or "")
    if not spec.has_location:
        return f"{module} (of Python itself)" if spec.origin else f"{module} (a folder without a file of its own)"
    here = Path.cwd()
    return f"{module} (from {f'./{file.relative_to(here)}' if file.is_relative_to(here) else file})"


def _spec(module: str) -> ModuleSpec | None:
    """Return where a module would be found; unlike importlib's own, it does not import the packages around it."""
    spec, path, known = None, None, ""
    for part in module.split("."):
        known = f"{known}.{part}".lstrip(".")
        found = (finder.find_spec(known, path) for finder in sys.meta_path)
        spec = next((each for each in found if each), None)
        if spec is None and path is None:
            spec = PathFinder.find_spec(known, [os.getcwd()])
        if spec is None:
            return None
        path = list(spec.submodule_search_locations or ())
    return spec


def find_attribute(kind: str, name: str) -> Any:
    """Return what "package.module:name" names; a module is looked for where Python looks, then in the current folder.

    Raises
    ------
    InputError
        There is no such module, it cannot be imported, or it has no such name.
    """
    module_name, _, attribute = name.partition(":")
    if hook := _before_import.get():
        hook(kind, name)
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        module = importlib.import_module(module_name)
    except InputError:
        raise
    except (Exception, SystemExit) as error:  # a user's module may raise anything
        raise InputError(f"{kind} {name!r}: cannot import the module {module_name!r}: {error}") from error
    if not hasattr(module, attribute):
        own = {key: value for key, value in vars(module).items() if home_of(value) == module_name}
        plain = kind in ("landscape", "gradient")  # any function may be one
        names = [key for key, value in own.items() if hasattr(value, kind) or (plain and callable(value))]
        raise InputError(f"{kind} {name!r}: the module has no {attribute!r}; {nearest(attribute, names)}")
    return getattr(module, attribute)


def import_name(value: Any) -> str:
    """Return "package.module:name" of a function or class, by which any process imports it.

    A script is `__mp_main__` in the processes that it starts, where `__main__` names it too.
    """
    module = home_of(value)
    return f"{'__main__' if module == '__mp_main__' else module}:{value.__name__}"


def home_of(value: Any) -> str:
    """Return the name of the module that a function or class is from."""
    return str(getattr(value, "__module__", ""))


def file_is_users(file: str) -> bool:
    """Whether a file is neither fastgd's nor of an installed library."""
    path = Path(file)
    if not path.exists():
        return False
    folders = path.resolve().parents
    return PACKAGE not in folders and not any(folder in LIBRARIES for folder in folders)
