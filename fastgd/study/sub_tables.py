"""The sub-tables of an `[[optimizer]]` block: options around its rule, and the line search of its steps."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any, get_args, get_origin

from annotated_types import MultipleOf
from pydantic import AfterValidator, BeforeValidator, PlainValidator, TypeAdapter, create_model, model_serializer

from fastgd.common.errors import InputError
from fastgd.optimizers.line_search import LINE_SEARCHES
from fastgd.optimizers.options import kind_of, kinds
from fastgd.study.draws import Values, as_written
from fastgd.study.fields import Block, Several, SeveralWhole
from fastgd.study.values import as_list, choice, combined, distinct, failure, named, tables

several: Any = Several  # untyped, since its argument is only known at run time
several_whole: Any = SeveralWhole
list_of: Any = list


class Around(Block):
    """The table of an option around a rule, with its grids.

    Attributes
    ----------
    table, kind : str
        Its names in `fastgd.optimizers.options.OPTIONS`.
    numbers : dict of str to list of float
        Each of its numbers, with its values or its default.
    """

    table: str
    kind: str
    numbers: dict[str, Values[float]]

    @model_serializer
    def _flat(self) -> dict[str, Any]:
        kind = {"kind": self.kind} if self.kind else {}
        return {**kind, **{key: as_written(values) for key, values in self.numbers.items()}}


class Search(Block):
    """The table of a line search.

    Attributes
    ----------
    kind : str
        A name of `fastgd.optimizers.line_search.LINE_SEARCHES`.
    values : dict of str to float, int or tuple of float
        Each of its keys.
    """

    kind: str
    values: dict[str, Any]

    @model_serializer
    def _flat(self) -> dict[str, Any]:
        return {"kind": self.kind, **self.values}

    @property
    def instance(self) -> Any:
        """The line search with these values, as the engine takes it."""
        return LINE_SEARCHES[self.kind].cls(**self.values)

    @property
    def label(self) -> str:
        """Its name in the results, with the values that are lists."""
        lists = [", ".join(f"{item:.12g}" for item in v) for v in self.values.values() if isinstance(v, tuple)]
        return f"line_search={self.kind}" + "".join(f"({text})" for text in lists)

    @property
    def numbers(self) -> dict[str, float]:
        """Its numbers, by the names of their columns."""
        return {f"line_search.{key}": float(v) for key, v in self.values.items() if not isinstance(v, tuple)}


def read_block(block: Mapping[str, Any], what: str, fields: dict[str, Any]) -> dict[str, Any]:
    """Validate a table against the fields of its rule; each of the rule's values may be a list or a grid."""
    return read_by(block_model(what, fields), block)


def block_model(what: str, fields: dict[str, Any]) -> type[Block]:
    """Return the model of a table with some fields; it takes milliseconds to make."""
    return create_model(what, __base__=Block, **fields)


def read_by(model: type[Block], block: Mapping[str, Any]) -> dict[str, Any]:
    """Validate a table against its model."""
    return dict(model.model_validate(dict(block)))


def flattened(read: Callable[[Mapping[str, Any]], list[Any]]) -> BeforeValidator:
    """Read a table or a list of tables, each of which may make several blocks."""

    def read_table(block: Any) -> list[Any]:
        if not isinstance(block, Mapping):
            raise failure("must be a table", found=block)
        return read(block)

    adapter: TypeAdapter[list[list[Any]]] = TypeAdapter(list[Annotated[Any, PlainValidator(read_table)]])
    return BeforeValidator(lambda value: list(itertools.chain(*adapter.validate_python(tables(value)))))


def lists(value: Any) -> list[tuple[Any, ...]]:
    """Read one list of numbers, or a list of such lists, as several values."""
    items = as_list(value)
    several_lists = items if items and isinstance(items[0], list) else [items]
    return [tuple(as_list(item)) for item in several_lists]


def several_of(kind: Any, valid: tuple[Any, ...] = ()) -> Any:
    """Return the type of one value of a kind, or several: one of `valid`, or a list, which has no number twice."""
    if valid:
        return several[Annotated[Any, PlainValidator(partial(choice, valid=valid))]]
    if get_origin(kind) is not tuple:
        return several_whole[kind] if is_of_whole_numbers(kind) else several[kind]
    own = Annotated[kind, AfterValidator(distinct)]
    return Annotated[list_of[own], BeforeValidator(lists), AfterValidator(distinct)]


def is_of_whole_numbers(kind: Any) -> bool:
    """Whether a type is one of whole numbers, which some are kept as float."""
    base, *metadata = get_args(kind) or (kind,)
    return base is int or any(isinstance(item, MultipleOf) for item in metadata)


def fields_of(defaults: Mapping[str, Any], kinds: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a rule's keys; one without a default must be given."""
    return {key: (several_of(kinds[key]), ... if value is None else [value]) for key, value in defaults.items()}


def _around(table: str, block: Mapping[str, Any]) -> list[Around]:
    try:
        kind = kind_of(table, block)
    except InputError as error:
        raise failure(f": {error}") from None
    record = kinds(table)[kind]
    read = read_block(block, table, {"kind": (str | None, None), **fields_of(record.hyper, record.annotations)})
    return [Around(table=table, kind=kind, numbers={key: read[key] for key in record.hyper})]


def _searches(block: Mapping[str, Any]) -> list[Search]:
    record = named(LINE_SEARCHES.find, block.get("kind"), "kind")
    read = read_block(block, "line_search", {"kind": (str, ...), **fields_of(record.fields, record.annotations)})
    axes = [read[key] for key in record.fields]
    return [Search(kind=record.name, values=dict(zip(record.fields, values, strict=True))) for values in combined(axes)]


def around_of(table: str) -> Any:
    """Return the type of a sub-table of options: a table, or a list of alternatives."""
    return Annotated[list[Around], flattened(partial(_around, table))]


Searches = Annotated[list[Search], flattened(_searches)]
