"""Text tables: the keys of `csv = { ... }` with pandas' meaning, what the header says, and which line a row is."""

import codecs
import csv
import io
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, NonNegativeInt, ValidationError, model_validator

from fastgd._errors import InputError, nearest
from fastgd.datasets import _frames
from fastgd.datasets._reading import Reading, opened, target_column
from fastgd.datasets._record import Dataset, row_number
from fastgd.datasets.arrays import build

WHITESPACE = r"\s+"
Character = Annotated[str, Field(min_length=1, max_length=1)]
Mark = str | int | float
Header = Annotated[NonNegativeInt | Literal[False], BeforeValidator(lambda value: False if value is None else value)]


class Csv(BaseModel):
    r"""What `csv = { ... }` may say; the meaning is that of `pandas.read_csv`.

    Attributes
    ----------
    sep : str
        What stands between fields: a character, or a regular expression such as `\s+`.
    decimal, thousands : str
        The marks within numbers.
    header : int or False
        The line of the names, from 0, without blank lines; False (in Python also None): the file has none.
    names : list of str
        The columns' names in place of the file's. Alone, it says that the file has no header.
    na_values : str, number, list or table of these by column
        What else stands for a missing value.
    encoding, compression : str
        Of the file; by default UTF-8, and what the name says.
    usecols : list of str or of int
        The columns that are read.
    skiprows : int or list of int
        How many lines are left out at the start, or which, from 0.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    sep: Annotated[str, Field(min_length=1)] = ","
    decimal: Character = "."
    thousands: Character | None = None
    header: Header | None = None
    names: Annotated[list[str], Field(min_length=1)] | None = None
    na_values: Mark | list[Mark] | dict[str, Mark | list[Mark]] | None = None
    encoding: str = "utf-8"
    compression: Literal["infer", "gzip", "bz2", "xz", "zip", "zstd"] = "infer"
    usecols: Annotated[list[str] | list[NonNegativeInt], Field(min_length=1)] | None = None
    skiprows: NonNegativeInt | list[NonNegativeInt] = 0

    @model_validator(mode="after")
    def _readable(self) -> "Csv":
        if self.decimal == self.thousands or self.sep in (self.decimal, self.thousands):
            raise ValueError("sep, decimal and thousands must differ")
        for key in ("names", "usecols"):
            values = getattr(self, key) or []
            if twice := [value for value in values if values.count(value) > 1]:
                raise ValueError(f"{key} has {twice[0]!r} twice")
        try:
            codecs.lookup(self.encoding)
            re.compile(self.sep)
        except LookupError:
            raise ValueError(f"there is no encoding {self.encoding!r}; 'utf-8', 'latin-1' are two") from None
        except re.error:
            if len(self.sep) > 1:
                raise ValueError(f"sep = {self.sep!r} is no regular expression") from None
        return self

    @classmethod
    def of(cls, given: "Mapping[str, Any] | Csv | None") -> "Csv":
        """Return the keys of a mapping, or raise InputError."""
        if isinstance(given, Csv):
            return given
        for key in given or {}:
            if key not in cls.model_fields:
                raise InputError(f"csv.{key} is no key; {nearest(str(key), cls.model_fields)}")
        try:
            return cls.model_validate(dict(given or {}))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            key = ".".join(["csv", *map(str, first["loc"][:1])])
            message = first["msg"].removeprefix("Value error, ")
            raise InputError(f"{key}: {message}; found {first['input']!r}") from None

    def given(self) -> dict[str, Any]:
        """Return the keys that were given, as a study file has them."""
        return self.model_dump(exclude_unset=True, exclude_none=True)

    @property
    def header_row(self) -> int | None:
        """How many records stand before that of the names; None: there are no names in the file."""
        if self.header is None:
            return 0 if self.names is None else None
        return None if self.header is False else self.header

    @property
    def engine(self) -> dict[str, Any]:
        """The arguments of pandas' fast parser, or of the one for regular expressions."""
        if len(self.sep) > 1 and self.sep != WHITESPACE:
            return {"engine": "python"}
        return {"low_memory": False}  # a column has one type, not one for each piece that is read


def read(file: Path, keys: Reading) -> Dataset:
    """Return the dataset of a text table."""
    import pandas as pd

    options = keys.csv
    target = _check_start(file, keys)
    arguments = {key: value for key, value in options.given().items() if key != "compression"}
    with opened(file, options.compression) as stream, warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        try:
            # index_col: too many fields are no index
            frame: Any = pd.read_csv(
                stream, index_col=False, **{**arguments, "header": options.header_row}, **options.engine
            )
        except pd.errors.ParserWarning as error:
            raise _too_many(file, options) from error
    if frame.empty:
        raise InputError(f"{file}: a header, but no rows")

    def place(row: int) -> str:
        return _line(file, options, row)

    y = frame.pop(next(name for name in frame.columns if str(name) == target))
    features = tuple(str(name) for name in frame.columns)
    return build(str(file), _frames.numbers(frame, str(file), place), y.to_numpy(), features, place=place)


def _check_start(file: Path, keys: Reading) -> str:
    """Check the names, and that the rows fit them, before all is read; return the target."""
    options = keys.csv
    with opened(file, options.compression) as stream, _text(stream, options) as text:
        records = _records(text, options)
        head = [] if options.header_row is None else [fields for _, fields in islice(records, options.header_row + 1)]
        first = next(records, (0, []))[1]
        if options.header_row is not None:
            if len(head) <= options.header_row and (head or options.header_row):
                raise InputError(f"{file}: there is no line {options.header_row} for the header")
            columns = head[-1] if head else []  # none: pandas says that there is nothing
        else:
            columns = [str(j) for j in range(len(first))]
        fields_of_a_row = len(columns)
        if options.names is not None:
            columns = _named(columns, options, file)
        elif columns:
            columns = _checked(_used(columns, options), keys, file)
        if not columns:
            return keys.target or ""
        target = target_column(columns, keys.target, file, _separator(columns, options))
        # pandas itself counts the fields of rows unless columns are chosen
        rows = chain([first], () if options.usecols is None else (fields for _, fields in records))
        if options.header_row is not None and any(_longer(row, fields_of_a_row) for row in rows):
            raise _too_many(file, options)
    return target


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
    return [name for j, name in enumerate(columns) if j in options.usecols or name in options.usecols]


def _checked(columns: list[str], keys: Reading, file: Path) -> list[str]:
    """Return the names of a header, or refuse a first row of data, names that stand twice, and no name."""
    if keys.csv.header_row is None:
        return columns
    features = [name for name in columns if name != keys.target]
    if keys.csv.header is None and (
        all(map(_is_numeric, columns))
        or (len(features) > 1 and all(map(_is_numeric, features)) and not all(map(str.isdigit, features)))
    ):
        raise InputError(
            f"{file}: the first line is read as the header, and its names are numbers: {', '.join(columns[:5])}"
            f"{', ...' if len(columns) > 5 else ''}; csv = {{ header = false }} says that there is no header "
            '(the columns are "0", "1", ..., or csv.names), header = 0 that these are the names'
        )
    if twice := next((name for name in columns if name and columns.count(name) > 1), None):
        raise InputError(f"{file}: there are {columns.count(twice)} columns {twice!r}; each needs a name of its own")
    if any(not name.strip() for name in columns):
        raise InputError(
            f"{file}: column {[bool(name.strip()) for name in columns].index(False) + 1} has no name, as the index has "
            "that pandas writes; leave it out (csv.usecols), or name all columns (csv.names with header = 0)"
        )
    return columns


def _is_numeric(name: str) -> bool:
    try:
        float(name)
    except ValueError:
        return False
    return name.strip().lower().lstrip("+-") not in ("nan", "inf", "infinity")


def _longer(fields: list[str], columns: int) -> bool:
    return any(field.strip() for field in fields[columns:])  # separators at the end of lines separate nothing


def _too_many(file: Path, options: Csv) -> InputError:
    return InputError(f"{file}: the rows have more fields than the {'header' if options.names is None else 'names'}")


def _separator(columns: list[str], options: Csv) -> str:
    """Return a hint where there is one column alone: another separator than the file's was used."""
    if len(columns) > 1 or options.usecols is not None:
        return ""
    found = next((mark for mark in (";", "\t", "|", ",") if mark != options.sep and mark in columns[0]), None)
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
        split: Callable[[str], list[str]] = str.split if options.sep == WHITESPACE else re.compile(options.sep).split
        yield from ((number, split(line.rstrip("\r\n"))) for line in kept() if line.strip())
        return
    reader, before = csv.reader(kept(), delimiter=options.sep), 0
    for fields in reader:
        taken, before = reader.line_num - before, reader.line_num
        if fields and (len(fields) > 1 or fields[0].strip()):
            yield number - taken + 1, fields


def _line(file: Path, options: Csv, row: int) -> str:
    """Return the line of a row of the table; its number where lines are not told apart as pandas does."""
    first = 0 if options.header_row is None else options.header_row + 1
    try:
        with opened(file, options.compression) as stream, _text(stream, options) as text:
            found = next(islice(_records(text, options), first + row, None), None)
    except (OSError, ValueError, csv.Error):
        found = None
    return row_number(row) if found is None else f"line {found[0]}"
