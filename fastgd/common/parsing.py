"""TOML and JSON texts as plain values: whatever is wrong with a text raises ValueError, whatever the parser raises."""

import json
import re
import tomllib
from collections.abc import Callable, Mapping
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

MOST_DOTS = 8  # in one key: the parser's time grows with their square
_DOTTED = re.compile(rf"(?<![\w\"'.\t -])(?:[\w\"'-]{{1,99}}[ \t]{{0,9}}\.[ \t]{{0,9}}){{{MOST_DOTS}}}")


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
    except ValueError as error:  # Python refuses whole numbers of thousands of digits
        digits = re.search(r"value has (\d+) digits", str(error))
        if digits is None:
            raise
        raise ValueError(f"a whole number of {int(digits[1]):,} digits; it must fit in 64 bits") from None


WORDS = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    dict: "a table",
    NoneType: "null",
}
WORDS |= dict.fromkeys((list, tuple), "a list")


def fault_of(cls: type, found: Mapping[str, Any]) -> str:
    """Say which value does not have the type of its field in a dataclass, and what it must be; "": all do."""
    for name, kind in get_type_hints(cls).items():
        if name in found and not _is(found[name], kind):
            return f"{name} must be {_in_words(kind)}, found {shortened(found[name])}"
    return ""


def shortened(value: Any) -> str:
    """Return the `repr` of a value, cut to 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _is(value: Any, kind: Any) -> bool:
    """Whether a parsed value has a type: parsers return lists for tuples, and a whole number is a float too."""
    origin, inner = get_origin(kind) or kind, get_args(kind)
    if origin is UnionType:
        return any(_is(value, each) for each in inner)
    if origin is Any:
        return True
    if origin is dict:
        return isinstance(value, dict) and all(_is(each, inner[1]) for each in value.values())
    if origin is tuple and inner[-1] is not Ellipsis:
        return isinstance(value, list) and len(value) == len(inner) and all(map(_is, value, inner))
    if origin in (list, tuple):
        return isinstance(value, list) and all(_is(each, inner[0]) for each in value)
    if origin is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, origin) and isinstance(value, bool) == (origin is bool)


def _in_words(kind: Any) -> str:
    origin, inner = get_origin(kind) or kind, get_args(kind)
    if origin is UnionType:
        return " or ".join(map(_in_words, inner))
    each = (inner[-1] if origin is dict else inner[0]) if inner else Any
    of = "" if each is Any else f", each {_in_words(each)}"
    return f"{WORDS.get(origin, origin.__name__)}{of}"
