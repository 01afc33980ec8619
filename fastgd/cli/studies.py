"""Study files as commands read them: with the modules of their users, or without."""

from collections.abc import Sequence
from pathlib import Path

from fastgd.runs.reporting.display import errors
from fastgd.study.config import Study, read_fields
from fastgd.study.plugins import plugins_of, without_plugins
from fastgd.user_code.imports import before_imports, origin_of, refuse_import


def read(path: Path, assignments: Sequence[str], *, plugins: bool) -> Study:
    """Return the study of a file, with the replacements of the command line.

    Modules of its user's are named before they are imported, or refused.
    """
    named: set[str] = set()

    def name_it(kind: str, name: str) -> None:
        if (module := name.partition(":")[0]) not in named:
            named.add(module)
            errors().print(f"importing {origin_of(name)}, for {kind} {name!r}", soft_wrap=True)

    with before_imports(name_it if plugins else refuse_import):
        return Study.from_toml(path, set=assignments)


def read_without_plugins(path: Path, assignments: Sequence[str]) -> tuple[Study | None, list[str]]:
    """Return what of a study needs no module of its user's, and in words what would be imported for all of it.

    The study is None where nothing of it can be said without.
    """
    fields, _, overridden = read_fields(path, assignments)
    named = plugins_of(fields)
    if not named:
        return Study.of_fields(fields, path, overridden), []
    rest = without_plugins(fields)
    study = None if rest is None else Study.of_fields(rest, path, overridden)
    return study, [f"would import {origin_of(name)}, for {kind} {name!r}" for kind, name in named]
