"""Texts of files as plain values: whatever is wrong with them is a ValueError, also what parsers stumble over."""

import json
import re
import tomllib
from collections.abc import Callable
from typing import Any

MOST_DOTS = 100  # of a key: the parser's time grows with their square
_DOTTED = re.compile(rf"(?:\.[ \t]{{0,9}}[\w\"'-]{{1,99}}[ \t]{{0,9}}){{{MOST_DOTS}}}")


def from_toml(text: str) -> dict[str, Any]:
    """Return the tables of a TOML file, or raise ValueError."""
    if found := _DOTTED.search(text):
        line = text.count("\n", 0, found.start()) + 1
        raise ValueError(f"a key of more than {MOST_DOTS} parts (at line {line})")
    parsed: dict[str, Any] = _parsed(tomllib.loads, text)
    return parsed


def from_json(text: str | bytes) -> Any:
    """Return the value of a JSON text, or raise ValueError."""
    return _parsed(json.loads, text)


def _parsed(parse: Callable[[Any], Any], text: str | bytes) -> Any:
    try:
        return parse(text)
    except RecursionError:
        raise ValueError("tables or lists are nested too deeply") from None
    except ValueError as error:  # of thousands of digits Python makes no number
        digits = re.search(r"value has (\d+) digits", str(error))
        if digits is None:
            raise
        raise ValueError(f"a whole number of {int(digits[1]):,} digits; it must fit in 64 bits") from None
