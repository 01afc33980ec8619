"""Numbers as text, as tables, messages, progress and pictures show them."""

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


def amount(value: float, unit: str = "") -> str:
    """Return a number with three digits and a decimal prefix: 1.23 G."""
    for factor, prefix in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= factor:
            return f"{number(value / factor)} {prefix}{unit}"
    return f"{number(value)} {unit}".strip()
