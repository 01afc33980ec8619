"""pydantic's errors as messages of one line: the file, the path of the key, what is valid, and what was found."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from fastgd.common.errors import InputError
from fastgd.study.values import shown

MOST_SHOWN = 8
WORDS = {
    "bool_type": "must be true or false",
    "dict_type": "must be a table",
    "finite_number": "must be a finite number",
    "float_type": "must be a number",
    "int_type": "must be a whole number",
    "list_type": "must be a list",
    "model_type": "must be a table",
    "multiple_of": "must be a whole number",
    "string_type": "must be a string",
}
BOUNDS = {"gt": "greater than", "ge": "at least", "lt": "less than", "le": "at most"}


def input_error(
    error: ValidationError, raw: Mapping[str, Any], file: str | None, overridden: Sequence[str] = ()
) -> InputError:
    """Return the InputError that names every wrong key of a study.

    Parameters
    ----------
    error : ValidationError
        What pydantic found.
    raw : mapping
        The study as it was read, which shows how its author wrote a key.
    file : str, optional
        The study file; None if the study was made in Python.
    overridden : sequence of str
        The paths of keys that were set on the command line.
    """
    lines: dict[str, str] = {}
    for details in error.errors(include_url=False):
        path = _path(details["loc"], raw)
        on_command_line = any(path == key or path.startswith(f"{key}.") for key in overridden)
        where = "--set" if on_command_line else file
        text = f"{path} {_text(details)}".strip().replace(" : ", ": ", 1)
        # the items of one list share a line: a grid of thousands of rates has one mistake
        lines.setdefault(path.rstrip("0123456789"), f"{where}: {text}" if where else text)
    shown_lines = list(lines.values())
    if len(shown_lines) > MOST_SHOWN:
        shown_lines = [*shown_lines[:MOST_SHOWN], f"... and {len(lines) - MOST_SHOWN} more"]
    return InputError("\n".join(shown_lines))


def _path(location: tuple[int | str, ...], raw: Any) -> str:
    """Return the path of a key as its author wrote it: without an index where a single value stands for a list."""
    keys: list[str] = []
    for part in location:
        if isinstance(part, int):
            if not isinstance(raw, list):
                continue
            raw = raw[part] if part < len(raw) else None
        else:
            raw = raw.get(part) if isinstance(raw, Mapping) else None
        keys.append(str(part))
    return ".".join(keys)


def _text(details: ErrorDetails) -> str:
    kind, context, found = details["type"], details.get("ctx", {}), details["input"]
    if kind == "missing":
        return "is missing"
    if kind == "too_short":
        return "is an empty list; give at least one"
    if kind == "too_long":
        return f"must have at most {context['max_length']:,} items, found {shown(found)}"
    if kind == "study":
        return f"{context['message']}" + (f", found {shown(found)}" if found is not None else "")
    if kind == "value_error":
        return f": {context['error']}"
    if kind == "literal_error":
        return f"must be {context['expected']}, found {shown(found)}"
    bound = next((f"must be {words} {context[key]:.16g}" for key, words in BOUNDS.items() if key in context), None)
    return f"{bound or WORDS.get(kind, details['msg'])}, found {shown(found)}"
