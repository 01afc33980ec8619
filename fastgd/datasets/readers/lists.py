"""Rows in columns of lists: sparse ones in two, `indices` and `values`; dense ones in one, of lists of one length."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgd.common.errors import InputError
from fastgd.datasets.csr import check_columns, row_of
from fastgd.datasets.readers.reading import Reading, target_column
from fastgd.datasets.record import Place

SPARSE = INDICES, VALUES = "indices", "values"


def columns_of(types: dict[str, Any], file: Path) -> tuple[str, ...]:
    """Return the columns of a table, of these types, that hold lists: none, the two of sparse rows, or one of vectors.

    Vectors are lists of one length, a row of features each.
    """
    import pyarrow as pa

    found = [name for name, kind in types.items() if _holds_lists(kind)]
    if not found:
        return ()
    vectors = len(found) == 1 and pa.types.is_fixed_size_list(types[found[0]])
    if not vectors and sorted(found) != [INDICES, VALUES]:
        raise InputError(
            f"{file}: the columns {', '.join(found)} hold lists; sparse rows are two columns of lists, "
            f"{INDICES!r} and {VALUES!r}, and a target, and dense ones one column of lists of one length and a target"
        )
    if not vectors and not pa.types.is_integer(types[INDICES].value_type):
        raise InputError(f"{file}: column {INDICES!r} must hold lists of integers; found {types[INDICES]}")
    numbers = found[0] if vectors else VALUES
    numeric = (pa.types.is_floating, pa.types.is_integer, pa.types.is_boolean)
    if not any(is_kind(types[numbers].value_type) for is_kind in numeric):
        raise InputError(f"{file}: column {numbers!r} must hold lists of numbers; found {types[numbers]}")
    return (numbers,) if vectors else SPARSE


def _holds_lists(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def beside(types: dict[str, Any], lists: tuple[str, ...], keys: Reading, file: Path) -> list[str]:
    """Return the columns beside the lists, which must be the targets, those of the weights and of the groups."""
    if lists == SPARSE and isinstance(keys.target, tuple):
        raise InputError(f"{file}: sparse rows have one target; found target = {list(keys.target)}")
    if lists != SPARSE and keys.n_features is not None:
        size = types[lists[0]].list_size
        raise InputError(f"{file}: n_features = {keys.n_features} is for sparse rows; these are lists of {size}")
    others = [name for name in types if name not in lists]
    found = []
    for name in (*keys.beside_targets, *(keys.targets or (None,))):
        if not others:
            raise InputError(f"{file}: lists alone; there is no column for the target")
        found.append(target_column(others, name, file))
        others.remove(found[-1])
    if others:
        raise InputError(f"{file}: a table of lists has no column {others[0]!r}: its features are in the lists")
    return found


def rows(table: Any, lists: tuple[str, ...], file: Path, n_features: int | None, place: Place) -> Any:
    """Return X as its rows stand in the file: of vectors an array, and else a scipy CSR matrix.

    Its columns are n_features, or as many as the largest index needs.
    """
    if lists == SPARSE:
        return _sparse(table, file, n_features, place)
    kind = table.schema.field(lists[0]).type
    return _flat(table, lists[0], _floats(kind), file, place)[1].reshape(table.num_rows, kind.list_size)


def _floats(kind: Any) -> Any:
    """Return the type of what lists of a type become: float32, if that is what they hold."""
    import pyarrow as pa

    return pa.float32() if kind.value_type == pa.float32() else pa.float64()


def _sparse(table: Any, file: Path, n_features: int | None, place: Place) -> Any:
    import pyarrow as pa
    from scipy.sparse import csr_array

    lengths, indices = _flat(table, INDICES, pa.int64(), file, place)
    other_lengths, values = _flat(table, VALUES, _floats(table.schema.field(VALUES).type), file, place)
    differs = np.flatnonzero(lengths != other_lengths)
    if differs.size:
        found = [each[differs[0]] for each in (lengths, other_lengths)]
        raise InputError(f"{file}: {place(int(differs[0]))} has {found[0]} {INDICES} and {found[1]} {VALUES}")
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    negative = np.flatnonzero(indices < 0)
    if negative.size:
        row = place(row_of(indptr, negative[0]))
        raise InputError(f"{file}: {row}, column {INDICES!r}: found {indices[negative[0]]}; an index is at least 0")
    columns = int(indices.max(initial=-1)) + 1
    if n_features is not None:
        check_columns(columns, n_features, str(file))
    return csr_array((values, indices, indptr), shape=(len(lengths), n_features or columns))


def _flat(table: Any, name: str, kind: Any, file: Path, place: Place) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Return the lengths of a column's lists, (n,), and all that they hold, as `kind`."""
    import pyarrow as pa
    import pyarrow.compute as pc

    lists = table[name].cast(pa.large_list(kind)).combine_chunks()
    if lists.null_count:
        row = pc.index(pc.is_null(lists), True).as_py()
        raise InputError(f"{file}: {place(row)}, column {name!r}: there is no list")
    lengths = pc.list_value_length(lists).to_numpy()
    held = lists.flatten()
    if held.null_count:
        row = row_of(np.concatenate([[0], np.cumsum(lengths)]), pc.index(pc.is_null(held), True).as_py())
        raise InputError(f"{file}: {place(row)}, column {name!r}: a value is missing")
    return lengths, np.require(held.to_numpy(), requirements="W")  # Arrow's own memory is locked
