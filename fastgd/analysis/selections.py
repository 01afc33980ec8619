"""Which configurations are meant: conditions such as "optimizer=adam" or "lr<0.1"."""

import operator
import re
from collections.abc import Callable, Sequence
from math import isclose
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fastgd.common.errors import InputError, nearest
from fastgd.common.numbers import number, number_of

_CONDITION = re.compile(r"\s*(?P<column>[^<>=!]+?)\s*(?P<sign><=|>=|!=|==|=|<|>)\s*(?P<text>.+?)\s*", re.DOTALL)
_ORDER: dict[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_CLOSE = 1e-9  # numbers of a grid are equal to what is typed if they differ by less, relatively
_FEWEST_DIGITS = 3  # of a number that is typed as a table shows it, rounded


def selected(configurations: pd.DataFrame, conditions: str | Sequence[str]) -> NDArray[np.bool_]:
    """Return which configurations meet all conditions: see `Results.best`.

    Parameters
    ----------
    configurations : pandas.DataFrame
        A row a configuration.
    conditions : str or sequence of str
        COLUMN, one of = != < <= > >=, and a value; after = and != also several, with commas between them.

    Raises
    ------
    InputError
        A condition cannot be read, names no column, or nothing meets them.
    """
    conditions = [conditions] if isinstance(conditions, str) else list(conditions)
    found = np.ones(len(configurations), dtype=bool)
    for condition in conditions:
        found &= _meets(configurations, condition)
    if conditions and len(configurations) and not found.any():
        raise InputError(f"no configuration meets {' and '.join(conditions)}")
    return found


def _meets(configurations: pd.DataFrame, condition: str) -> NDArray[np.bool_]:
    parts = _CONDITION.fullmatch(condition)
    if parts is None:
        raise InputError(f"{condition!r} is no condition: write 'optimizer=adam', 'lr<0.1' or 'batch_size=32,64'")
    column, sign, text = parts["column"], parts["sign"], parts["text"]
    if column not in configurations:
        raise InputError(f"{condition}: configurations have no {column!r}; {nearest(column, configurations.columns)}")
    values = configurations[column]
    if sign in _ORDER:
        bound = number_of(text)
        if bound is None or values.dtype.kind not in "iuf":
            raise InputError(f"{condition}: {sign} compares numbers, and {column} is compared with {text!r}")
        return np.asarray(_ORDER[sign](values, bound), dtype=bool)
    equal = _equal(values, text, condition)
    return ~equal if sign == "!=" else equal


def _equal(values: "pd.Series[Any]", text: str, condition: str) -> NDArray[np.bool_]:
    """Return which values are equal to a text or to one of several with commas between them."""
    if values.dtype.kind in "iuf":
        parts = [part.strip() for part in text.split(",")]
        if any(number_of(part) is None for part in parts):
            raise InputError(f"{condition}: {values.name} is a number, found {text!r}")
        there = np.unique(values.dropna())
        found = values.isin(
            [value for value in there if any(_is_written(float(value), part) for part in parts)]
        ).to_numpy()
        known = [number(value, 6) for value in there]
    else:
        texts = values.fillna("").astype(str)
        wanted = [text] if (texts == text).any() else [part.strip() for part in text.split(",")]
        found = texts.isin(wanted).to_numpy()
        known = sorted(set(texts) - {""})
    if not found.any() and len(values):
        raise InputError(f"{condition}: no configuration has {values.name} {text}; {nearest(text, known)}")
    return np.asarray(found, dtype=bool)


def _is_written(value: float, text: str) -> bool:
    """Return whether a text is a number, or the number as a table shows it: rounded to three digits or more."""
    if isclose(value, float(text), rel_tol=_CLOSE):
        return True
    mantissa = text.lower().partition("e")[0].lstrip("+-").replace(".", "").lstrip("0")
    digits = len(mantissa)
    return digits >= _FEWEST_DIGITS and float(f"{value:.{digits - 1}e}") == float(text)
