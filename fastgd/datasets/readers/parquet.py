"""Parquet: the schemas, sizes and rows of files, by their footers where these tell it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fastgd.common.remote import arrow_filesystem
from fastgd.datasets.readers.parts import Parts
from fastgd.datasets.readers.reading import reading


def schema(file: Path) -> Any:
    """Return the columns of a file, as a schema of pyarrow."""
    import pyarrow.parquet as pq

    with file.open("rb") as stream:
        return pq.read_schema(stream)


def size(file: Path) -> tuple[int, int]:
    """Return the bytes and the rows of a file, by the sizes in its footer: compressed, it may be tiny."""
    found = _footer(file)
    groups = [found.row_group(index) for index in range(found.num_row_groups)]
    columns = [group.column(j) for group in groups for j in range(group.num_columns)]
    return sum(max(8 * each.num_values, each.total_uncompressed_size) for each in columns), found.num_rows


def rows(file: Path) -> int:
    """Return how many rows a file has."""
    return int(_footer(file).num_rows)


def _footer(file: Path) -> Any:
    import pyarrow.parquet as pq

    with reading(file), file.open("rb") as stream:
        return pq.read_metadata(stream)


def batches(parts: Parts, columns: list[str], values: int | None) -> Iterator[Any]:
    """Yield record batches of some columns, of about so many values; None: all rows are to be in memory."""
    import pyarrow.dataset as ds

    files: Any = list(map(str, parts.files))  # one by one, as those that begin with . or _ hold no rows
    how: dict[str, Any] = {"format": "parquet", "partitioning": parts.hive, "partition_base_dir": parts.base}
    whole: Any = ds.dataset(files, filesystem=arrow_filesystem(parts.file), **how)
    options: dict[str, Any] = {}
    if values is not None:
        taken, count = map(sum, zip(*map(size, parts.files), strict=True))
        # row groups may be larger than memory is
        scan = ds.ParquetFragmentScanOptions(use_buffered_stream=True, pre_buffer=False)
        step = max(1, 8 * values * count // max(1, taken))
        options = {"batch_size": step, "batch_readahead": 1, "fragment_readahead": 1, "fragment_scan_options": scan}
    yield from whole.to_batches(columns=columns, **options)
