"""Numbers in words: one short form for tables, messages and pictures."""

from numbers import Integral, Real
from typing import Any


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
