"""The keys of `csv = { ... }`, with the meaning that pandas gives them."""

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, model_validator

from fastgd.common.keys import checked

WHITESPACE = r"\s+"
Check = Callable[[Any], bool]


def _must_be(words: str, valid: Check) -> PlainValidator:
    def checked(value: Any) -> Any:
        if not valid(value):
            raise ValueError(f"must be {words}; found {value!r}")
        return value

    return PlainValidator(checked)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _is_place(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_mark(value: Any) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def _all(valid: Check) -> Check:
    return lambda values: isinstance(values, list) and bool(values) and all(map(valid, values))


def _any(*valid: Check) -> Check:
    return lambda value: any(check(value) for check in valid)


_are_names, _are_places, _are_marks = _all(_is_text), _all(_is_place), _any(_is_mark, _all(_is_mark))


def _are_marks_by_column(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_are_marks, value.values()))


def _header(value: Any) -> Any:
    """Return the line of the names, "infer", or False where pandas says None, which TOML does not have."""
    if value is None or value is False:
        return False
    if value == "infer" or _is_place(value):
        return value
    raise ValueError(f"must be the line of the names, from 0, or false: the file has none; found {value!r}")


Text = Annotated[str, _must_be("a text of at least one character", _is_text)]
Character = Annotated[str, _must_be("one character", lambda value: _is_text(value) and len(value) == 1)]
Header = Annotated[int | Literal[False, "infer"], PlainValidator(_header)]
Names = Annotated[list[str], _must_be("a list of names", _are_names)]
Columns = Annotated[
    list[str] | list[int], _must_be("a list of names, or of places from 0", _any(_are_names, _are_places))
]
Lines = Annotated[
    int | list[int], _must_be("a number of lines, or a list of lines from 0", _any(_is_place, _are_places))
]
Marks = Annotated[
    Any,
    _must_be("a text, a number, a list of these, or a table of them by column", _any(_are_marks, _are_marks_by_column)),
]


def _key(default: Any, meaning: str, written: str) -> Any:
    """Return a key with its meaning, and how its value is written where the type does not tell."""
    return Field(default, description=meaning, json_schema_extra={"written": written})


class Csv(BaseModel):
    """What `csv = { ... }` may say; the meaning is that of `pandas.read_csv`, and each field describes its key."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    sep: Text = _key(",", r"What stands between fields; also a regular expression such as `\s+`.", "text")
    decimal: Character = _key(".", "The mark before the fraction of a number.", "a character")
    thousands: Character | None = _key(None, "The mark between thousands.", "a character")
    header: Header = _key(
        "infer", "The line of the names, from 0; `false`: there is none.", 'a whole number, `false` or `"infer"`'
    )
    names: Names | None = _key(
        None, "The columns' names in place of the file's; alone, it says that there is no header.", "a list of names"
    )
    na_values: Marks = _key(
        None, "What else stands for a missing value.", "text, a number, a list of these, or a table of them by column"
    )
    encoding: Text = _key("utf-8", "How characters are encoded.", "text")
    compression: Literal["infer", "gzip", "bz2", "xz", "zip", "zstd"] = _key(
        "infer", "How the file is compressed; `infer`: what its name says.", ""
    )
    usecols: Columns | None = _key(None, "The columns that are read.", "a list of names, or of places from 0")
    skiprows: Lines = _key(
        0, "How many lines are left out at the start, or which.", "a whole number, or a list of lines from 0"
    )

    @model_validator(mode="after")
    def _readable(self) -> "Csv":
        if self.decimal == self.thousands:
            raise ValueError("decimal and thousands must differ")
        for key in ("names", "usecols"):
            values = getattr(self, key) or []
            if twice := [value for value in values if values.count(value) > 1]:
                raise ValueError(f"{key} has {twice[0]!r} twice")
        try:
            "".encode(self.encoding)  # codecs that are not of texts have names too
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
        return given if isinstance(given, Csv) else checked(cls, "csv", given or {})

    def given(self) -> dict[str, Any]:
        """Return the keys that differ from their defaults, as a study file has them."""
        return self.model_dump(exclude_defaults=True)

    @property
    def header_row(self) -> int | None:
        """How many records stand before that of the names; None: there are no names in the file."""
        if self.header == "infer":
            return 0 if self.names is None else None
        return None if self.header is False else self.header

    @property
    def engine(self) -> dict[str, Any]:
        """The arguments of pandas' fast parser, or of the one for regular expressions."""
        if len(self.sep.encode()) > 1 and self.sep != WHITESPACE:
            return {"engine": "python"}
        return {"low_memory": False}  # a column has one type, not one for each piece that is read
