"""Columns of tables as the page reads them: codes into a list of values, or numbers, in base64."""

import base64
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fastgd.common.escape import for_terminal

# A column of more different numbers than these is written as numbers, eight bytes each.
MOST_CODES = 4096


def base64_of(values: NDArray[Any]) -> str:
    """Return the bytes of an array, little-endian, in base64."""
    return base64.b64encode(values.astype(values.dtype.newbyteorder("<")).tobytes()).decode("ascii")


def column(name: str, label: str, values: "pd.Series[Any] | NDArray[Any]") -> dict[str, Any]:
    """Return a column for the page: `kind` "text" or "number", with `codes` into `values`, or `numbers`.

    The code of a missing value is 0, and that of `values[k]` is k + 1. Numbers that JSON lacks are strings.
    """
    series = pd.Series(values).reset_index(drop=True)
    if isinstance(series.dtype, pd.CategoricalDtype) or series.dtype.kind not in "iuf":
        texts = series.astype(object).where(series.notna(), None)
        codes, found = pd.factorize(texts, use_na_sentinel=True)
        shown = [for_terminal(str(value)) for value in found]
        return {"name": name, "label": label, "kind": "text", "values": shown, "codes": _codes(codes)}
    numbers = series.to_numpy(dtype=np.float64, na_value=np.nan)
    codes, unique = pd.factorize(numbers, use_na_sentinel=True, sort=True)
    if len(unique) > MOST_CODES:
        return {"name": name, "label": label, "kind": "number", "numbers": base64_of(numbers)}
    listed = [float(value) if np.isfinite(value) else str(value).replace("inf", "Infinity") for value in unique]
    shown_numbers = [int(value) if isinstance(value, float) and value.is_integer() else value for value in listed]
    return {"name": name, "label": label, "kind": "number", "values": shown_numbers, "codes": _codes(codes)}


def _codes(codes: NDArray[Any]) -> dict[str, Any]:
    """Return codes from 0 for missing, in as few bytes as hold them."""
    shifted = np.asarray(codes, dtype=np.int64) + 1
    size = next(size for size in (1, 2, 4) if shifted.max(initial=0) < 256**size)
    return {"bytes": size, "data": base64_of(shifted.astype(f"u{size}"))}
