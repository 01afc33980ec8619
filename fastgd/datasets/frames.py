"""Tables of other libraries: converted to pandas, and from pandas to numbers."""

import warnings
from decimal import Decimal
from fractions import Fraction
from math import isfinite
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastgd.common.errors import InputError
from fastgd.common.numbers import number_of
from fastgd.common.parsing import shortened
from fastgd.datasets.record import Floats, Place, row_number

if TYPE_CHECKING:
    import pandas as pd

NUMBER_TYPES = (Real, Decimal, np.bool_)
LARGEST_EXACT = 1 << 53  # up to here float64 holds every whole number
PANDAS_INDEX = "__index_level_"  # how pandas names the stored column of an index without a name


def to_pandas(given: Any) -> Any:
    """Return a table of pyarrow, polars or any other library as a table of pandas; anything else as it is.

    The table's own `to_pandas` is tried first, then Arrow's protocol of streams, then the interchange protocol.
    """
    import pandas as pd

    if isinstance(given, np.ndarray | pd.DataFrame | pd.Series | pd.Index | list | tuple) or hasattr(given, "toarray"):
        return given
    if type(given).__module__.startswith("pyarrow") and hasattr(given, "drop_columns"):
        return given.drop_columns(stored_index(given.schema)).to_pandas(ignore_metadata=True)
    if hasattr(given, "collect_schema") and hasattr(given, "collect"):  # polars' LazyFrame
        given = given.collect()
    if hasattr(given, "to_pandas"):
        return given.to_pandas()
    if hasattr(given, "__arrow_c_stream__"):
        import pyarrow as pa

        try:
            return to_pandas(pa.table(given))
        except pa.ArrowInvalid:  # one column
            return pa.chunked_array(given).to_pandas()
    if hasattr(given, "__dataframe__"):
        import pyarrow.interchange as protocol

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of the protocol: the table has no other
            return protocol.from_dataframe(given).to_pandas()
    return given


def check_aligned(X: Any, y: Any, name: str, called: str = "y") -> None:
    """Refuse pandas objects whose indexes differ: rows are matched by position, and the labels suggest another order.

    A default index on one side alone is refused too. It arises when rows were shuffled and one index was reset, where
    positions match, but also when only one side was sorted, where they do not.
    """
    import pandas as pd

    kinds = pd.DataFrame | pd.Series
    if not (isinstance(X, kinds) and isinstance(y, kinds)) or len(X) != len(y) or X.index.equals(y.index):
        return
    ours, theirs = X.index.tolist(), y.index.tolist()
    row = next((i for i, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b), 0)
    raise InputError(
        f"{name}: the indexes of X and {called} differ: {row_number(row)} is {ours[row]!r} in X and {theirs[row]!r} in "
        f"{called}; {called}.loc[X.index] brings {called} into the order of X, and {called}.to_numpy() takes the rows "
        "by position"
    )


def stored_index(schema: Any) -> list[str]:
    """Return the columns of a pyarrow schema in which pandas stored a frame's index, which are no features."""
    described = (schema.pandas_metadata or {}).get("index_columns", [])  # a range is described by a mapping
    named = {name for name in described if isinstance(name, str)}
    return [name for name in schema.names if name in named or name.startswith(PANDAS_INDEX)]


def index_note(index: list[str]) -> tuple[str, ...]:
    """Return the note that a stored index with a name is left out."""
    named = [repr(name) for name in index if not name.startswith(PANDAS_INDEX)]
    return (f"the index that pandas stored is no feature: {', '.join(named)}",) if named else ()


class ReadsAsNumberError(InputError):
    """A column is not numeric, and its first value that is none reads as one, or is missing: "1", for example.

    A later row may hold a text that shows better why the column is none of numbers.
    """


def numbers(frame: "pd.DataFrame", where: str, place: Place = row_number) -> Floats:
    """Return a table as numbers (n, d), NaN where a value is missing, or name the first value that is none.

    Values that read as numbers, in columns of texts, are named where there is no other one.
    """
    dtypes = list(frame.dtypes)
    columns = {j: frame.iloc[:, j] for j, dtype in enumerate(dtypes) if dtype.kind not in "biuf"}
    objects = {j: column.astype(object).to_numpy() for j, column in columns.items()}
    wrong = {j: found for j, values in objects.items() if (found := _wrong(values, dtypes[j]))}
    if wrong:
        j = min(wrong, key=lambda j: (wrong[j].reads, wrong[j].row))
        raise _not_numeric(wrong[j], str(frame.columns[j]), where, place(wrong[j].row))
    frame = frame.copy(deep=False)
    for j, values in objects.items():
        frame.isetitem(j, np.array([float(value) for value in values]))
    single = all(dtype == np.float32 for dtype in dtypes)
    return frame.to_numpy(dtype=np.float32 if single else np.float64, na_value=np.nan)


class _Wrong(NamedTuple):
    """A value of a column that is no number."""

    row: int
    value: Any
    reads: bool = False  # as a number
    categorical: bool = False


def _wrong(values: NDArray[Any], dtype: Any) -> _Wrong | None:
    """Return a value that is no number (Python's, a decimal, a boolean), if there is one."""
    import pandas as pd

    if isinstance(dtype, pd.CategoricalDtype):  # numbers that are names of categories
        return _Wrong(0, values[0], categorical=True) if len(values) else None
    wrong = [row for row, value in enumerate(values) if not is_number(value)]
    if not wrong:
        return None
    row = next((row for row in wrong if not reads(values[row])), None)
    return _Wrong(wrong[0], values[wrong[0]], reads=True) if row is None else _Wrong(row, values[row])


def _not_numeric(found: _Wrong, label: str, where: str, called: str) -> InputError:
    kind = "categorical, and not numeric" if found.categorical else "not numeric"
    return (ReadsAsNumberError if found.reads else InputError)(
        f"{where}: column {label!r} is {kind}: {called} holds {shortened(found.value)}; drop the "
        f"column, or encode it as numbers (pandas.get_dummies makes one-hot columns){_marks(found.value, called)}"
    )


def is_number(value: Any) -> bool:
    """Whether an object is a real number that float64 can hold; booleans are."""
    if not isinstance(value, NUMBER_TYPES):
        return False
    try:
        float(value)
    except (OverflowError, ValueError):  # 10**400, and decimals that signal
        return False
    return True


def reads(value: Any) -> bool:
    """Whether a value is missing or the text of a number: a message shows another value where it can."""
    import pandas as pd

    if not isinstance(value, str):
        return bool(pd.api.types.is_scalar(value) and pd.isna(value))
    return number_of(value) is not None


def _marks(value: Any, called: str) -> str:
    """Return a hint for numbers of a text file in another notation, such as 1,5 and 1.000,5."""
    if not isinstance(value, str) or "," not in value or not called.startswith("line "):
        return ""
    digits = value.replace(",", "").replace(".", "").strip("+-")
    return '; csv = { decimal = "," } or { thousands = "," } says what the comma is' if digits.isdigit() else ""


def of_objects(y: NDArray[Any], name: str, place: Place) -> NDArray[Any]:
    """Return targets (n,) that are objects as numbers or as labels: all of one kind, none missing."""
    if all(map(is_number, y)):
        check_exact([_whole(value) for value in y], name, place)
        return np.array([float(value) for value in y])
    if all(isinstance(value, str | bytes) for value in y):
        return np.array([as_text(value, name) for value in y])
    first = y[0]
    texts = isinstance(first, str | bytes)
    row = next(i for i, value in enumerate(y) if not (isinstance(value, str | bytes) if texts else is_number(value)))
    against = f", and {place(0)} {shortened(first)}" if row else ""
    raise InputError(
        f"{name}: y must hold numbers or labels; found {y.dtype}: {place(row)} holds {shortened(y[row])}{against}"
    )


def _whole(value: Any) -> int:
    """Return an exact whole number as an int, and 0 for any other number: these are not checked."""
    exact = isinstance(value, Integral | Fraction | Decimal) and isfinite(value)
    return int(value) if exact and value == int(value) else 0


def as_text(value: str | bytes, name: str) -> str:
    """Return a label as text."""
    try:
        return value if isinstance(value, str) else value.decode("utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{name}: the label {value!r} is no text in UTF-8") from None


def check_exact(y: Any, name: str, place: Place) -> None:
    """Refuse whole numbers beyond 2^53: float64 makes one number of two of them, and one class of two labels."""
    extremes = (y.max(), y.min()) if isinstance(y, np.ndarray) and y.size else (max(y, default=0), min(y, default=0))
    if max(int(extremes[0]), -int(extremes[1])) > LARGEST_EXACT:
        row, found = next((i, int(value)) for i, value in enumerate(y) if abs(int(value)) > LARGEST_EXACT)
        raise InputError(f"{name}: {place(row)}: the target is {found}; whole numbers are exact up to 2**53 alone")
