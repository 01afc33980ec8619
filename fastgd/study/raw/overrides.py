"""`--set optimizer.0.lr=0.1`: replaces values of a study file from the command line."""

import re
import tomllib
from collections.abc import Sequence
from typing import Any

from fastgd.common.errors import InputError
from fastgd.common.parsing import from_toml


def override(study: dict[str, Any], assignments: Sequence[str]) -> list[str]:
    """Change values of a study in place; missing tables are added.

    Parameters
    ----------
    study : dict
        A parsed study file.
    assignments : sequence of str
        Each "key.path=value"; the value is TOML, and a bare word is a string.

    Returns
    -------
    list of str
        The paths of the keys that were set.

    Raises
    ------
    InputError
        An assignment cannot be read, or its path leads nowhere.
    """
    return [_assign(study, assignment) for assignment in assignments]


def _assign(study: dict[str, Any], assignment: str) -> str:
    path, equals, text = assignment.partition("=")
    path = path.strip()
    keys = path.split(".")
    if not equals or not all(keys):
        raise InputError(f"--set {assignment}: write key.path=value, as in --set optimizer.0.lr=0.1")
    value = _value(assignment, text.strip())
    place: Any = study
    for depth, key in enumerate(keys[:-1]):
        place = _step(assignment, place, key, ".".join(keys[:depth]))
    last = keys[-1]
    if isinstance(place, dict):
        place[last] = value
    else:
        place[_index(assignment, place, last, ".".join(keys[:-1]))] = value
    return path


def _value(assignment: str, text: str) -> Any:
    try:
        return from_toml(f"value = {text}")["value"]
    except ValueError as error:
        # quotes may be missing, as in `--set dtype=float32`, since the shell removes them
        bare = isinstance(error, tomllib.TOMLDecodeError) and "\n" not in text
        if bare and text and text[0] not in "[{\"'":
            return text
        found = f"{text!r} is not a TOML value" if isinstance(error, tomllib.TOMLDecodeError) else str(error)
        raise InputError(f"--set {assignment}: {found}") from None


def _step(assignment: str, place: Any, key: str, path: str) -> Any:
    if isinstance(place, dict):
        if key == "0" and key not in place:
            return place  # a single table [problem] counts as problem.0
        inner = place.setdefault(key, {})
    else:
        inner = place[_index(assignment, place, key, path)]
    if not isinstance(inner, dict | list):
        raise InputError(f"--set {assignment}: {f'{path}.{key}'.lstrip('.')} is a value, it has no keys")
    return inner


def _index(assignment: str, place: list[Any], key: str, path: str) -> int:
    if not re.fullmatch(r"\d{1,9}", key) or int(key) >= len(place):
        valid = f"{path}.0" + (f" to {path}.{len(place) - 1}" if len(place) > 1 else "")
        raise InputError(f"--set {assignment}: the study has {valid}, and no {path}.{key}")
    return int(key)
