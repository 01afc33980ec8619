"""Sparse rows in Parquet: a column `indices` of lists of integers, `values` of lists of numbers, and the target."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgd.common.errors import InputError
from fastgd.datasets.csr import check_columns, row_of
from fastgd.datasets.readers.reading import Reading, target_column
from fastgd.datasets.record import row_number

COLUMNS = INDICES, VALUES = "indices", "values"


def is_of_lists(types: dict[str, Any], file: Path) -> bool:
    """Whether a table, of columns of these types, has the two of lists."""
    import pyarrow as pa

    lists = [name for name, kind in types.items() if _holds_lists(kind)]
    if not lists:
        return False
    if sorted(lists) != [INDICES, VALUES]:
        raise InputError(
            f"{file}: the columns {', '.join(lists)} hold lists; sparse rows are two columns of lists, "
            f"{INDICES!r} and {VALUES!r}, and a target"
        )
    if not pa.types.is_integer(types[INDICES].value_type):
        raise InputError(f"{file}: column {INDICES!r} must hold lists of integers; found {types[INDICES]}")
    numeric = (pa.types.is_floating, pa.types.is_integer, pa.types.is_boolean)
    if not any(is_kind(types[VALUES].value_type) for is_kind in numeric):
        raise InputError(f"{file}: column {VALUES!r} must hold lists of numbers; found {types[VALUES]}")
    return True


def target(types: dict[str, Any], keys: Reading, file: Path) -> str:
    """Return the target, the one column beside the two of lists, those of the weights and of the groups."""
    asked = keys.target
    if isinstance(asked, tuple):
        raise InputError(f"{file}: sparse rows have one target; found target = {list(asked)}")
    beside = [name for name in types if name not in COLUMNS]
    for name in keys.beside_targets:
        beside.remove(target_column(beside, name, file))
    if not beside:
        raise InputError(f"{file}: lists alone; there is no column for the target")
    found = target_column(beside, asked, file)
    if other := [name for name in beside if name != found]:
        raise InputError(f"{file}: a table of lists has no column {other[0]!r}: its features are in the lists")
    return found


def _holds_lists(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def read(table: Any, file: Path, target: str, n_features: int | None) -> tuple[Any, NDArray[Any]]:
    """Return X, as `rows` does, and the target's values."""
    return rows(table, file, n_features), table[target].to_pandas().to_numpy()


def rows(table: Any, file: Path, n_features: int | None, first: int = 0) -> Any:
    """Return X, a scipy CSR matrix whose rows are as they stand in the file, where they begin with row `first`.

    The columns are n_features, or as many as the largest index needs.
    """
    import pyarrow as pa
    from scipy.sparse import csr_array

    if not table.num_rows:
        raise InputError(f"{file}: columns, but no rows")
    lengths, indices = _flat(table[INDICES], pa.int64(), file, INDICES, first)
    single = table.schema.field(VALUES).type.value_type == pa.float32()
    other_lengths, values = _flat(table[VALUES], pa.float32() if single else pa.float64(), file, VALUES, first)
    differs = np.flatnonzero(lengths != other_lengths)
    if differs.size:
        row, found = row_number(first + differs[0]), [each[differs[0]] for each in (lengths, other_lengths)]
        raise InputError(f"{file}: {row} has {found[0]} {INDICES} and {found[1]} {VALUES}")
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    negative = np.flatnonzero(indices < 0)
    if negative.size:
        row = row_number(first + row_of(indptr, negative[0]))
        raise InputError(f"{file}: {row}, column {INDICES!r}: found {indices[negative[0]]}; an index is at least 0")
    columns = int(indices.max(initial=-1)) + 1
    if n_features is not None:
        check_columns(columns, n_features, str(file))
    return csr_array((values, indices, indptr), shape=(len(lengths), n_features or columns))


def _flat(column: Any, kind: Any, file: Path, name: str, first: int) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Return the lengths of a column's lists, (n,), and all that they hold, as `kind`."""
    import pyarrow as pa
    import pyarrow.compute as pc

    lists = column.cast(pa.large_list(kind)).combine_chunks()
    if lists.null_count:
        row = pc.index(pc.is_null(lists), True).as_py()
        raise InputError(f"{file}: {row_number(first + row)}, column {name!r}: there is no list")
    lengths = pc.list_value_length(lists).to_numpy()
    held = lists.flatten()
    if held.null_count:
        row = row_of(np.concatenate([[0], np.cumsum(lengths)]), pc.index(pc.is_null(held), True).as_py())
        raise InputError(f"{file}: {row_number(first + row)}, column {name!r}: a value is missing")
    return lengths, np.require(held.to_numpy(), requirements="W")  # Arrow's own memory is locked
