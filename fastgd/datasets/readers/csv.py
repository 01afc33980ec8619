"""Text tables, which pandas parses: the checks of their header, and the line of the file that a row comes from."""

import codecs
import csv
import io
import re
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, islice
from math import isfinite
from operator import or_
from pathlib import Path
from typing import Any

from fastgd.common.errors import InputError, nearest
from fastgd.common.numbers import number_of
from fastgd.datasets import frames
from fastgd.datasets.arrays import build
from fastgd.datasets.readers.csv_keys import WHITESPACE, Csv
from fastgd.datasets.readers.reading import Beside, Reading, check_names, check_targets, opened, take_beside
from fastgd.datasets.record import Dataset, Place, row_number, shifted

UNNAMED = re.compile(r"Unnamed: \d+")  # how pandas reads, and later writes, a column without a name
MISSING = ("na", "n/a", "nan", "null", "none", "inf", "infinity")  # in a first line that holds data
MARKS = (";", "\t", "|", ",")  # separators that may be meant where the given one leaves a single column


def read(file: Path, keys: Reading) -> Dataset:
    """Return the dataset of a text table."""
    frame, place = read_frame(file, keys)
    beside = take_beside(frame, keys)
    X, features = frames.numbers(frame, str(file), place), tuple(frame.columns)
    found = Beside(beside, keys, file, place)
    return found.joined(build(str(file), X, found.y, features, place=place, targets=found.targets))


def read_frame(file: Path, keys: Reading, *, has_target: bool = True) -> tuple[Any, Place]:
    """Return a text table as pandas has it, and how messages call its rows."""
    import pandas as pd

    columns, arguments = _arguments(file, keys, has_target)
    with opened(file, keys.csv.compression) as stream, _strict(file, keys.csv):
        frame: Any = pd.read_csv(stream, **arguments)
    if frame.empty:
        raise InputError(f"{file}: a header, but no rows")
    frame.columns = columns  # pandas renames a second x to x.1, also where usecols leaves the first one out
    return frame, place_of(file, keys.csv)


def pieces(file: Path, keys: Reading, values: int, texts: Collection[str] = ()) -> Iterator[Any]:
    """Yield a text table as tables of some of its rows, of about so many values; columns of `texts` are not parsed."""
    import pandas as pd

    columns, arguments = _arguments(file, keys, has_target=True)
    rows = max(1, values // max(1, len(columns)))
    with opened(file, keys.csv.compression, whole=False) as stream:
        with _strict(file, keys.csv):
            parser = pd.read_csv(stream, chunksize=rows, dtype=dict.fromkeys(texts, str), **arguments)
        found = False
        while True:
            with _strict(file, keys.csv):
                frame: Any = next(parser, None)
            if frame is None:
                break
            if frame.empty:
                continue
            frame.columns, found = columns, True
            yield frame
    if not found:
        raise InputError(f"{file}: a header, but no rows")


def kinds_of(frame: Any) -> dict[str, str]:
    """Return what pandas made of each column of some rows: "numbers", "truths", "texts", or "nothing"."""
    from pandas.api.types import infer_dtype

    def kind(column: Any) -> str:
        if column.isna().all():
            return "nothing"
        if column.dtype.kind in "iuf":
            return "numbers"
        return "truths" if infer_dtype(column, skipna=True) == "boolean" else "texts"

    return {str(name): kind(frame[name]) for name in frame.columns}


def refuse_column(file: Path, keys: Reading, column: str, values: int) -> None:
    """Raise InputError about the first value of a column that is no number, which all of it then is a column of."""
    place, start = place_of(file, keys.csv), 0
    for frame in pieces(file, keys, values, [column]):
        if not all(frames.reads(value) for value in frame[column]):
            frames.numbers(frame[[column]], str(file), shifted(place, start))
        start += len(frame)


def place_of(file: Path, options: Csv) -> Place:
    """Return how messages call the row at an index: by its line."""
    return lambda row: _line(file, options, row)


@contextmanager
def _strict(file: Path, options: Csv) -> Iterator[None]:
    """Turn the warning of pandas that a row has too many fields into an error."""
    import pandas as pd

    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        try:
            yield
        except pd.errors.ParserWarning as error:
            raise _too_many(file, options) from error


def _arguments(file: Path, keys: Reading, has_target: bool) -> tuple[list[str], dict[str, Any]]:
    """Return the names of the columns that are read, and what `pandas.read_csv` takes besides the file."""
    options = keys.csv
    columns, width = _check_start(file, keys, has_target)
    arguments = {key: value for key, value in options.given().items() if key != "compression"}
    if options.header_row is None and options.names is None:
        arguments["names"] = [
            str(j) for j in range(width)
        ]  # by default pandas names columns by numbers, and keys of a study are texts
    if isinstance(options.na_values, dict):
        arguments["na_values"] = {str(name): marks for name, marks in options.na_values.items()}
    # index_col=False: surplus fields are an error, not an index
    return columns, {**arguments, "index_col": False, "header": options.header_row, **options.engine}


def first_fields(file: Path) -> list[str]:
    """Return the fields of a file's first line that is not blank; none: it is empty."""
    with opened(file) as stream, _text(stream, Csv()) as text:
        return next(_records(text, Csv()), (0, []))[1]


def _check_start(file: Path, keys: Reading, has_target: bool) -> tuple[list[str], int]:
    """Check the names, and that the rows fit them, before all is read.

    Return the names of the columns that are read, and how many the file has.
    """
    options = keys.csv
    with opened(file, options.compression, whole=keys.whole) as stream, _text(stream, options) as text:
        records = _records(text, options)
        head = [] if options.header_row is None else [fields for _, fields in islice(records, options.header_row + 1)]
        line, first = next(records, (0, []))
        if options.header_row is not None:
            if len(head) <= options.header_row and (head or options.header_row):
                raise InputError(f"{file}: there is no line {options.header_row} for the header")
            columns = head[-1] if head else []  # none: pandas says that there is nothing
        else:
            columns = [str(j) for j in range(len(first))]
        width, known = len(columns), options.names or columns
        places = _places(known, options, width)
        if options.names is not None:
            columns = _named(columns, options, file)
        elif columns:
            columns = _checked(_used(columns, options), keys, file)
        if not columns:
            return [], 0
        _check_marks(options, known, file)
        if has_target:
            check_targets(columns, keys, file, _separator(columns, options))
        # pandas itself counts the fields of rows unless columns are chosen
        all_rows = options.usecols is not None or options.thousands is not None
        for number, fields in chain([(line, first)], records if all_rows else ()):
            if any(field.strip() for field in fields[width:]):  # lines may end with separators
                raise _too_many(file, options)
            if options.thousands is not None:
                _check_groups([fields[j] for j in places if j < len(fields)], options, f"{file}: line {number}")
    return columns, width


def _check_marks(options: Csv, columns: list[str], file: Path) -> None:
    """Refuse marks of missing values for a column that is not there: pandas would read them as values."""
    for name in options.na_values if isinstance(options.na_values, dict) else ():
        if str(name) not in columns:
            raise InputError(f"{file}: csv.na_values has a column {name!r}; {nearest(str(name), columns)}")


def _places(names: list[str], options: Csv, width: int) -> list[int]:
    """Return the places of the columns that are read."""
    used = range(width) if options.usecols is None else options.usecols
    return [j for j in range(width) if j in used or (j < len(names) and names[j] in used)]


def _check_groups(fields: list[str], options: Csv, where: str) -> None:
    """Refuse numbers whose thousands are not marked as such: pandas makes 15 of 1,5 and 1022020 of 01.02.2020."""
    mark, point = options.thousands or "", options.decimal
    t, p = re.escape(mark), re.escape(point)
    grouped = rf"[+-]?\d{{1,3}}(({t}\d{{3}})+|({t}\d\d)+{t}\d{{3}})({p}\d*)?(e[+-]?\d+)?"  # also 12,34,567
    for field in map(str.strip, fields):
        if mark in field and is_numeric(_plain(field, options)) and not re.fullmatch(grouped, field, re.IGNORECASE):
            raise InputError(f"{where} holds {field!r}, where {mark!r} does not stand between thousands")


def _plain(field: str, options: Csv) -> str:
    """Return a number as Python writes it."""
    return field.replace(options.thousands or "", "").replace(options.decimal, ".")


def _named(columns: list[str], options: Csv, file: Path) -> list[str]:
    """Return the names that are given for a file's columns, of which there must be as many."""
    names = options.names or []
    wide = len(columns) if options.usecols is None else len(options.usecols)
    if columns and len(names) not in (wide, len(columns)):
        raise InputError(f"{file}: csv.names has {len(names)} names, and the file {wide} columns")
    if options.usecols is None or len(names) == wide < len(columns):
        return names
    return _used(names, options)


def _used(columns: list[str], options: Csv) -> list[str]:
    """Return the names that `usecols` keeps, in the order of the file."""
    if options.usecols is None:
        return columns
    used = set(options.usecols)
    return [name for j, name in enumerate(columns) if j in used or name in used]


def _checked(columns: list[str], keys: Reading, file: Path) -> list[str]:
    """Return the names of a header, or refuse a first row of data, names that stand twice, and no name."""
    if keys.csv.header_row is None:
        return columns
    if keys.csv.header == "infer" and _are_data(columns, keys):
        raise InputError(
            f"{file}: the first line is read as the header, and its names are numbers: {', '.join(columns[:5])}"
            f"{', ...' if len(columns) > 5 else ''}; csv = {{ header = false }} says that there is no header "
            '(the columns are "0", "1", ..., or csv.names), header = 0 that these are the names'
        )
    check_names([name for name in columns if name.strip()], file)
    named = [bool(name.strip()) and not UNNAMED.fullmatch(name) for name in columns]
    if not all(named):
        raise InputError(
            f"{file}: column {named.index(False) + 1} has no name, as the index has "
            "that pandas writes; leave it out (csv.usecols), or name all columns (csv.names with header = 0)"
        )
    return columns


def _are_data(columns: list[str], keys: Reading) -> bool:
    """Whether names look like a row: all are numbers or missing, or all but the target, and these do not just count."""

    def are_values(names: list[str]) -> bool:
        missing = [name.strip().lower().lstrip("+-") in MISSING for name in names]
        numeric = [is_numeric(_plain(name, keys.csv)) for name in names]
        return any(numeric) and all(map(or_, numeric, missing))

    features = [name for name in columns if name not in keys.targets]
    return are_values(columns) or (are_values(features) and not all(map(str.isdigit, features)))


def is_numeric(name: str) -> bool:
    """Whether a name is a finite number, and so is likely to be data."""
    value = number_of(name)
    return value is not None and isfinite(value)


def _too_many(file: Path, options: Csv) -> InputError:
    first = "first" if options.header_row is None else "header"
    return InputError(f"{file}: the rows have more fields than the {first if options.names is None else 'names'}")


def _separator(columns: list[str], options: Csv) -> str:
    """Return a hint where there is one column alone: another separator than the file's was used."""
    if len(columns) > 1 or options.usecols is not None:
        return ""
    found = next((mark for mark in MARKS if mark != options.sep and mark in columns[0]), None)
    if found is not None:
        shown = "\\t" if found == "\t" else found
        return f'; one column alone: is it separated by "{shown}"? csv = {{ sep = "{shown}" }}'
    return '; one column alone: is it separated by ";" or a tab? csv = { sep = ";" } or { sep = "\\t" }'


def _text(stream: Any, options: Csv) -> io.TextIOWrapper:
    encoding = "utf-8-sig" if codecs.lookup(options.encoding).name == "utf-8" else options.encoding
    return io.TextIOWrapper(stream, encoding=encoding, newline="")


def _records(lines: Iterable[str], options: Csv) -> Iterator[tuple[int, list[str]]]:
    """Yield the fields of each record that is not blank, with the line, from 1, on which it starts."""
    skipped = range(options.skiprows) if isinstance(options.skiprows, int) else set(options.skiprows)
    number = 0

    def kept() -> Iterator[str]:
        nonlocal number
        for number, line in enumerate(lines, start=1):
            if number - 1 not in skipped:
                yield line

    if len(options.sep) > 1:
        split: Callable[[str], list[str]] = _words if options.sep == WHITESPACE else re.compile(options.sep).split
        yield from ((number, split(line.rstrip("\r\n"))) for line in kept() if line.strip())
        return
    reader, before = csv.reader(kept(), delimiter=options.sep), 0
    for fields in reader:
        taken, before = reader.line_num - before, reader.line_num
        if fields and (len(fields) > 1 or fields[0].strip()):
            yield number - taken + 1, fields


def _words(line: str) -> list[str]:
    """Return what spaces separate, as pandas' fast parser does: spaces in quotes do not."""
    return [word or quoted.replace('""', '"') for quoted, word in re.findall(r'"((?:[^"]|"")*)"|(\S+)', line)]


def _line(file: Path, options: Csv, row: int) -> str:
    """Return the line of the file that a row of the table is from; the row's number where that cannot be found."""
    first = 0 if options.header_row is None else options.header_row + 1
    try:
        with opened(file, options.compression, whole=False) as stream, _text(stream, options) as text:
            found = next(islice(_records(text, options), first + row, None), None)
    except (OSError, ValueError, csv.Error):
        found = None
    return row_number(row) if found is None else f"line {found[0]}"
