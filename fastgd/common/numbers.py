"""Numbers as text, as tables, messages, progress and pictures show them."""

import re
from math import isfinite
from numbers import Integral, Real
from typing import Any

from fastgd.common.errors import InputError


def number(value: Any, digits: int = 3) -> str:
    """Return a short form of a number: 0.0316, 1e-05, 64, 4096; below a million without a power of ten.

    Parameters
    ----------
    value : int or float
    digits : int
        How many are significant. Whole numbers have all of theirs.
    """
    if isinstance(value, Integral):
        return str(int(value))
    value = float(value)
    if value.is_integer() and abs(value) < 1e9:
        return str(int(value))
    text = f"{value:.{digits}g}"
    return f"{value:.0f}" if "e+" in text and abs(value) < 1e6 else text


def is_whole(value: Any) -> bool:
    """Return whether a number is a whole one, whatever its type."""
    return isinstance(value, Real) and float(value).is_integer()


def number_of(text: str) -> float | None:
    """Return the number that a text is; None where it is none."""
    try:
        return float(text)
    except ValueError:
        return None


def count(things: int, noun: str) -> str:
    """Return a number of things: 1 trial, 2,000 trials."""
    return f"{things:,} {noun}" + ("" if things == 1 else "s")


def seconds(value: float) -> str:
    """Return a duration in words: 40 ms, 0.4 s, 12 s, 3 min 5 s, 2 h 10 min."""
    if value < 0.0995:
        return f"{1000 * value:.0f} ms"
    if value < 10:
        return f"{value:.1f} s"
    whole = round(value)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


PREFIXES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
SIZE = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([kmgt]?)(i?)b?\s*", re.I)


def size_of(text: str | float, called: str) -> int:
    """Return the bytes that a text such as 2GB, 500 MB or 1.5GiB names; a number is one of bytes.

    Raises
    ------
    InputError
        It names none; `called` is what the message calls it.
    """
    if isinstance(text, str) and (found := SIZE.fullmatch(text)):
        digits, prefix, binary = found.groups()
        factor = 2 ** (10 * list(PREFIXES).index(prefix.lower())) if binary else PREFIXES[prefix.lower()]
        size = float(digits) * factor
    elif isinstance(text, Real) and not isinstance(text, bool) and isfinite(text):
        size = float(text)
    else:
        size = 0.0
    if size < 1:
        raise InputError(f"{called} must be an amount of memory, such as 2GB or 500MB; found {text!r}")
    return int(size)


def rate_of(text: str, called: str) -> int:
    """Return the bytes a second that a text such as 1GB/s names.

    Raises
    ------
    InputError
        It names none; `called` is what the message calls it.
    """
    amount, second, rest = text.strip().partition("/s")
    whole = amount if second and not rest else ""
    try:
        return size_of(whole, called)
    except InputError:
        raise InputError(f"{called} must be bytes a second, such as 1GB/s or 200MB/s; found {text!r}") from None


def amount(value: float, unit: str = "") -> str:
    """Return a number with three digits and a decimal prefix: 1.23 G."""
    for factor, prefix in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= factor:
            return f"{number(value / factor)} {prefix}{unit}"
    return f"{number(value)} {unit}".strip()
