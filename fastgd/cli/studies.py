"""How commands read study files: with the user's own modules that a study names, or without importing them."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from fastgd.runs.reporting.display import errors
from fastgd.study.config import Study, read_fields
from fastgd.study.raw.plugins import plugins_of, without_plugins
from fastgd.user_code.imports import before_imports, origin_of, refuse_import


def read(path: Path, assignments: Sequence[str], *, plugins: bool) -> Study:
    """Return the study of a file, with the values that the command line replaces.

    Each of the user's own modules is named on standard error before it is imported, or refused.
    """
    with importing(plugins):
        return Study.from_toml(path, set=assignments)


def importing(plugins: bool) -> AbstractContextManager[None]:
    """Name each of the user's own modules that are imported in the block on standard error, or refuse them."""
    named: set[str] = set()

    def name_it(kind: str, name: str) -> None:
        if (module := name.partition(":")[0]) not in named:
            named.add(module)
            errors().print(f"importing {origin_of(name)}, for {kind} {name!r}", soft_wrap=True)

    return before_imports(name_it if plugins else refuse_import)


def read_without_plugins(path: Path, assignments: Sequence[str]) -> tuple[Study | None, list[str]]:
    """Return the part of a study that needs none of the user's modules, and sentences on what the rest would import.

    The part is None where the study has nothing without such a module.
    """
    fields, _, overridden = read_fields(path, assignments)
    named = plugins_of(fields)
    if not named:
        return Study.of_fields(fields, path, overridden), []
    rest = without_plugins(fields)
    study = None if rest is None else Study.of_fields(rest, path, overridden)
    return study, [f"would import {origin_of(name)}, for {kind} {name!r}" for kind, name in named]
