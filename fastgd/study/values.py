"""Values of a study file: single values, lists and grids, the checks on them, and the errors that name their key."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import product
from math import inf, prod
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
from pydantic import BaseModel, BeforeValidator, PlainSerializer, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from fastgd.common.errors import InputError, nearest
from fastgd.optimizers.options import TABLES

T = TypeVar("T")
MOST_VALUES = 100_000  # of a grid
MOST_TABLES = 5_000  # with one name, and of alternatives that lists in a table make
MOST_LEVELS = 40  # of nested tables and lists, since validation is recursive
SPACING: dict[str, Any] = {"log": np.geomspace, "linear": np.linspace}
LAWS = ("loguniform", "uniform", "choice")  # of values that are drawn


def failure(message: str, *path: str | int, found: Any = None) -> ValidationError:
    """Return a validation error at a key path below the value that is being validated."""
    # pydantic reads braces in a message as a template; as a value the message stays as it is
    kind = PydanticCustomError("study", "{message}", {"message": message})
    return ValidationError.from_exception_data("study", [InitErrorDetails(type=kind, loc=path, input=found)])


# Keys whose lists are lists of tables.
_TABLES = ("problem", "optimizer", "schedule", "then", "also", "line_search", *TABLES)


_MAY_BE_EMPTY = ("hidden",)  # a network without hidden layers is a linear model


def refuse_malformed(fields: Mapping[str, Any]) -> None:
    """Raise a validation error for values that no key takes, at any depth of a study's fields.

    These are empty lists, whole numbers of more than 64 bits, and tables and lists that are nested too deeply.
    """
    errors = []
    for path, message in _malformed(fields, ()):
        kind = PydanticCustomError("study", "{message}", {"message": message})
        errors.append(InitErrorDetails(type=kind, loc=path, input=None))
    if errors:
        raise ValidationError.from_exception_data("study", errors)


def _malformed(value: Any, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    if isinstance(value, int) and value.bit_length() > 63:
        yield path, f"must be a whole number of at most 64 bits, found one of {value.bit_length():,}"
    if not isinstance(value, list | Mapping):
        return
    if isinstance(value, list) and not value and path[-1] not in _MAY_BE_EMPTY:
        yield path, f"is an empty list; give at least one {'table' if path[-1] in _TABLES else 'value'}"
    if len(path) > MOST_LEVELS:
        yield path[:1], f"has more than {MOST_LEVELS} tables and lists within each other"
        return
    for key, item in value.items() if isinstance(value, Mapping) else enumerate(value):
        yield from _malformed(item, (*path, key))


def shown(value: Any) -> str:
    """Return a value as a study file writes it, shortened."""
    text = _toml(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + "".join(f"{key} = {_toml(item)}, " for key, item in value.items()).removesuffix(", ") + " }"
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return str(value).lower() if isinstance(value, bool) else repr(value) if isinstance(value, str) else str(value)


def named(find: Callable[[str], T], name: Any, key: str = "name") -> T:
    """Find a record by the name that a table gives; errors name that key."""
    if name is None:
        raise failure("is missing", key)
    if not isinstance(name, str):
        raise failure("must be a string", key, found=name)
    try:
        return find(name)
    except InputError as error:
        raise failure(f": {error}", key) from None


def known_keys(block: Any, valid: Iterable[str]) -> Any:
    """Return a table, or raise a validation error for its first key that is not valid."""
    if isinstance(block, Mapping):
        for key in block:
            if key not in (names := list(valid)):
                raise failure(f"is not a known key; {nearest(str(key), names)}", key)
    return block


def as_list(value: Any) -> list[Any]:
    """Return a list as it is, and anything else as a list of one."""
    return value if isinstance(value, list) else [value]


def tables(value: Any) -> list[Any]:
    """Return a table, or a list of tables, as a list that is not too long."""
    found = as_list(value)
    if len(found) > MOST_TABLES:
        raise failure(f"must be at most {MOST_TABLES:,} tables, found {len(found):,}")
    return found


def combined(axes: Iterable[Collection[T]]) -> Iterator[tuple[T, ...]]:
    """Return every combination of values, one of each axis, or raise a validation error if there are too many."""
    axes = list(axes)
    if (count := prod(map(len, axes))) > MOST_TABLES:
        raise failure(f"must be at most {MOST_TABLES:,} combinations, found lists that make {count:,}")
    return product(*axes)


def brief(values: list[Any]) -> Any:
    """Return a list of one as its value: the inverse of `as_list`."""
    return values[0] if len(values) == 1 else values


Each = Annotated[list[T], BeforeValidator(as_list), PlainSerializer(brief)]  # one value, or one for each of something


def plain(value: Any) -> Any:
    """Return a value in the types that TOML has, instead of arrays, series, tuples, ranges, paths and models."""
    if isinstance(value, BaseModel):
        return value.model_dump(exclude_none=True)
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | range):
        return [plain(item) for item in value]
    return value


def is_number(value: Any) -> bool:
    """Whether a value is a finite number; true and false are not."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -inf < value < inf


def is_point(value: Any) -> bool:
    """Whether a value is a list of finite numbers, at least one."""
    return isinstance(value, list) and bool(value) and all(map(is_number, value))


def is_whole(value: Any, least: int) -> bool:
    """Whether a value is a whole number that is not below `least`."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def explicit(value: Any) -> Any:
    """Return a value, a list or a grid as a list; both ends of a grid are exact."""
    if not isinstance(value, Mapping):
        return as_list(value)
    # a law that comes here is of a key that is never drawn; where there is neither kind, either may be meant
    known_keys(value, [*SPACING, *([] if any(kind in value for kind in (*SPACING, *LAWS)) else LAWS), "num"])
    kinds = [kind for kind in SPACING if kind in value]
    if len(kinds) != 1 or "num" not in value:
        raise failure("must be { log = [lo, hi], num = k } or { linear = [lo, hi], num = k }", found=dict(value))
    kind, num, ends = kinds[0], value["num"], value[kinds[0]]
    if not (isinstance(ends, list) and len(ends) == 2 and all(map(is_number, ends)) and ends[0] != ends[1]):
        raise failure("must be two different numbers, [lo, hi]", kind, found=ends)
    if kind == "log" and min(ends) <= 0:
        raise failure("must have both ends greater than 0 (a linear grid need not)", kind, found=ends)
    if not is_whole(num, 2) or num > MOST_VALUES:
        raise failure(f"must be a whole number from 2 to {MOST_VALUES:,}", "num", found=num)
    with np.errstate(all="ignore"):
        values = SPACING[kind](float(ends[0]), float(ends[1]), num)
    # 12 digits make rates readable, and the same on machines whose powers differ in the last bit
    return [float(ends[0]), *(float(f"{inner:.12g}") for inner in values[1:-1]), float(ends[1])]


def distinct(values: list[T]) -> list[T]:
    """Return a list, or raise a validation error if it is empty or has a value twice."""
    if not values:
        raise failure("is an empty list; give at least one value")
    if len(set(values)) < len(values):
        first = {value: index for index, value in reversed(list(enumerate(values)))}
        index = next(i for i, value in enumerate(values) if first[value] != i)
        raise failure("stands twice in the list", index, found=values[index])
    return values


def choice(value: Any, valid: tuple[Any, ...]) -> Any:
    """Return a value that is one of the valid ones, of the same type: 1 is not true."""
    if not any(type(value) is type(item) and value == item for item in valid):
        raise failure(f"must be {' or '.join(map(shown, valid))}", found=value)
    return value
