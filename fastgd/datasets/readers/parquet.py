"""Parquet: a file, or a folder of files with the same columns, where names of folders such as `fold=1` add columns."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from fastgd.common.errors import InputError
from fastgd.common.remote import arrow_filesystem
from fastgd.datasets import frames
from fastgd.datasets.arrays import build
from fastgd.datasets.readers import parquet_lists
from fastgd.datasets.readers.reading import (
    Reading,
    check_names,
    check_targets,
    pop_groups,
    pop_targets,
    pop_weights,
    reading,
)
from fastgd.datasets.record import Dataset, check_memory

NO_VALUE = "__HIVE_DEFAULT_PARTITION__"  # as a folder is named whose value is missing


def read(file: Path, keys: Reading) -> Dataset:
    """Return the dataset of a table of columns, or of one of lists."""
    others = list(keys.beside_targets)
    whole, types, notes = opened(file, (*keys.targets, *others))
    if parquet_lists.is_of_lists(types, file):
        target = parquet_lists.target(types, keys, file)
        rows = whole.to_table(columns=[*parquet_lists.COLUMNS, target, *others])
        X, y = parquet_lists.read(rows, file, target, keys.n_features)
        frame = rows.select(others).to_pandas(ignore_metadata=True)
        weights, groups = pop_weights(frame, keys, file), pop_groups(frame, keys, file)
        return replace(build(str(file), X, y, notes=notes), weights=weights, groups=groups)
    return _of_columns(whole.to_table(columns=list(types)), file, keys, notes)


def read_frame(file: Path) -> Any:
    """Return all columns as pandas has them, without the index that it stored."""
    whole, types, _ = opened(file, ())
    return whole.to_table(columns=list(types)).to_pandas(ignore_metadata=True)


def read_rows(file: Path, n_features: int) -> Any:
    """Return rows without a target: a table of pandas with all columns, or of a table of lists a scipy matrix."""
    whole, types, _ = opened(file, ())
    if parquet_lists.is_of_lists(types, file):
        return parquet_lists.rows(whole.to_table(columns=list(parquet_lists.COLUMNS)), file, n_features)
    frame = whole.to_table(columns=list(types)).to_pandas(ignore_metadata=True)
    if frame.empty:
        raise InputError(f"{file}: columns, but no rows")
    return frame


def opened(
    file: Path, targets: tuple[str, ...], *, in_memory: bool = True
) -> tuple[Any, dict[str, Any], tuple[str, ...]]:
    """Return a table that is not read yet, the types of its columns, and what is to be noted of them.

    `in_memory`: all of it will be; refused, where memory does not hold it.
    """
    import pyarrow as pa
    import pyarrow.dataset as ds

    files = files_of(file)
    schema = _common_schema(files)
    if in_memory:
        _check_size(file, files)
    partitions = _partitions(file, files, schema.names)
    base = str(file if file.is_dir() else file.parent)
    # files are listed one by one: folders around a single file must not become columns
    folders = pa.schema({name: _type_of(values) for name, values in partitions.items()})
    hive = ds.partitioning(folders, flavor="hive")
    how: dict[str, Any] = {"format": "parquet", "partitioning": hive, "partition_base_dir": base}
    whole: Any = ds.dataset(list(map(str, files)), filesystem=arrow_filesystem(file), **how)
    index = frames.stored_index(schema)
    kept = {*schema.names, *partitions}.difference(index)
    types = {field.name: field.type for field in whole.schema if field.name in kept}
    if stored := [target for target in targets if target in index]:
        raise InputError(f"{file}: column {stored[0]!r} is the index that pandas stored; reset_index() frees it")
    notes = frames.index_note(index)
    if partitions:
        notes = (*notes, f"columns that are made of the names of folders: {', '.join(map(repr, partitions))}")
    return whole, types, notes


def pieces(whole: Any, columns: list[str], file: Path, values: int) -> Iterator[Any]:
    """Yield a table as tables of some of its rows, of about so many values."""
    import pyarrow as pa
    import pyarrow.dataset as ds

    size, rows, _ = size_of(files_of(file))
    step = max(1, 8 * values * rows // max(1, size))
    # row groups may be larger than memory is
    options = ds.ParquetFragmentScanOptions(use_buffered_stream=True, pre_buffer=False)
    how = {"batch_size": step, "batch_readahead": 1, "fragment_readahead": 1, "fragment_scan_options": options}
    found = False
    for batch in whole.to_batches(columns=columns, **how):
        if batch.num_rows:
            found = True
            yield pa.Table.from_batches([batch])
    if not found:
        raise InputError(f"{file}: columns, but no rows")


def check_columns(columns: list[str], keys: Reading, file: Path) -> None:
    """Refuse a table without columns, and one of columns without its targets."""
    if not columns:
        raise InputError(f"{file}: there are no columns")
    check_targets(columns, keys, file)
    if keys.n_features is not None:
        raise InputError(f"{file}: n_features = {keys.n_features} is for a table of lists; this one has columns")


def _of_columns(table: Any, file: Path, keys: Reading, notes: tuple[str, ...]) -> Dataset:
    check_columns(table.column_names, keys, file)
    if not table.num_rows:
        raise InputError(f"{file}: columns, but no rows")
    frame = table.to_pandas(ignore_metadata=True)
    y, targets = pop_targets(frame, keys, file)
    weights, groups = pop_weights(frame, keys, file), pop_groups(frame, keys, file)
    X, features = frames.numbers(frame, str(file)), tuple(map(str, frame.columns))
    return replace(build(str(file), X, y, features, notes, targets=targets), weights=weights, groups=groups)


def files_of(file: Path) -> list[Path]:
    """Return the parts of a table, in the order of their names; those that begin with . or _ hold no rows."""
    if not file.is_dir():
        return [file]
    inner = (path for path in sorted(file.rglob("*")) if path.is_file())
    files = [path for path in inner if not any(part[0] in "._" for part in path.relative_to(file).parts)]
    if not files:
        raise InputError(f"{file}: the folder holds no files")
    return files


def _common_schema(files: list[Path]) -> Any:
    """Return the schema that all parts have, or name the first part and column that differ."""
    first: Any = None
    for file in files:
        schema = _schema(file)
        first = schema if first is None else first
        ours, theirs = _types(first), _types(schema)
        for name in (*theirs, *ours):
            if name not in ours or name not in theirs:
                has, lacks = (file, files[0]) if name not in ours else (files[0], file)
                raise InputError(
                    f"{has}: there is a column {name!r} that {lacks} does not have; parts must have the same"
                )
            if ours[name] != theirs[name]:
                raise InputError(f"{file}: column {name!r} holds {theirs[name]}, and in {files[0]} {ours[name]}")
    return first


def _check_size(file: Path, files: list[Path]) -> None:
    """Refuse a table that memory does not hold."""
    size, rows, columns = size_of(files)
    check_memory(size, f"{file}: {rows:,} rows of {columns:,} columns", "a table")


def size_of(files: list[Path]) -> tuple[int, int, int]:
    """Return the bytes, rows and columns of a table, by the sizes in its footers: compressed, it may be tiny."""
    import pyarrow.parquet as pq

    size, rows = 0, 0
    for part in files:
        with reading(part), part.open("rb") as stream:
            found = pq.read_metadata(stream)
            rows += found.num_rows
            for index in range(found.num_row_groups):
                group = found.row_group(index)
                parts = [group.column(j) for j in range(group.num_columns)]
                size += sum(max(8 * each.num_values, each.total_uncompressed_size) for each in parts)
    columns = len(_schema(files[0]).names)
    return max(size, 8 * rows * columns), rows, columns


def _schema(file: Path) -> Any:
    import pyarrow.parquet as pq

    with reading(file), file.open("rb") as stream:
        schema = pq.read_schema(stream)
    check_names(schema.names, file)
    return schema


def _types(schema: Any) -> dict[str, Any]:
    """Return the types of the columns by name; an index that pandas stored is none, and may be in some parts alone."""
    index = frames.stored_index(schema)
    return {field.name: field.type for field in schema if field.name not in index}


def _partitions(file: Path, files: list[Path], columns: list[str]) -> dict[str, set[str]]:
    """Return the columns that the names of folders make, with their values: fold=1/a.parquet has the column fold."""
    values: dict[str, set[str]] = {}
    for path in files:
        folders = path.parent.relative_to(file).parts if file.is_dir() else ()
        pairs = [tuple(map(unquote, folder.split("=", 1))) for folder in folders if "=" in folder]
        own = [name for name, _ in pairs]
        check_names(own, path)
        if path != files[0] and own != list(values):
            theirs = list(values) or "none"
            raise InputError(f"{path}: its folders name {own or 'no column'}, and those of {files[0]} {theirs}")
        for name, value in pairs:
            values.setdefault(name, set()).add(value)
    if both := [name for name in values if name in columns]:
        raise InputError(f"{file}: there is a column {both[0]!r} in the files, and folders name another one")
    return values


def _type_of(values: set[str]) -> Any:
    """Return the type of a column of folders: pyarrow's own guess is int32 or text."""
    import pyarrow as pa

    known = values - {NO_VALUE}
    if known and all(re.fullmatch(r"-?\d{1,18}", value) for value in known):
        return pa.int64()
    number = r"-?(\d{1,15}(\.\d*)?|\.\d+)(e[+-]?\d+)?"
    return pa.float64() if known and all(re.fullmatch(number, value, re.I) for value in known) else pa.string()
