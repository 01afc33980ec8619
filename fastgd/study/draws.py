"""Values that are drawn: distributions as a study file writes them, and the random axes that are drawn together.

A key with `num` has that many values of its own, which are crossed with all others, as a list is. One without it is a
random axis: number i of such an axis goes with number i of every other one, which is a random search. A number is a
function of the seed, the key and its place alone, so that more draws begin with the fewer ones, whose trials are the
same.
"""

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from difflib import get_close_matches
from functools import partial
from math import exp, floor, log, prod
from typing import Annotated, Any, TypeVar

from pydantic import PlainSerializer, WrapValidator

from fastgd.study.values import (
    LAWS,
    MOST_VALUES,
    brief,
    distinct,
    explicit,
    failure,
    is_number,
    is_whole,
    known_keys,
)

T = TypeVar("T")
# Tables each of whose values has trials of its own: their keys are never drawn beside others.
APART = ("schedule", "then", "also", "line_search")
FORM = "must be { loguniform = [lo, hi] }, { uniform = [lo, hi] } or { choice = [ ... ] }, with num = k or without"
AXIS = "a random axis, such as lr = { loguniform = [1e-4, 1.0] }"
COUNTS = "[search] draws = 200, for example, draws all random axes together; num = 50 draws this key alone"
Read = Callable[[Any], Any]  # what checks a list of values against the type of its key


class Drawn(list[Any]):
    """The values of a random axis, one for each draw of the study, with the distribution as it is written."""

    def __init__(self, values: Iterable[Any], law: Mapping[str, Any]) -> None:
        super().__init__(values)
        self.law = dict(law)

    def __reduce__(self) -> tuple[Any, ...]:
        return Drawn, (list(self), self.law)


class Law(dict[str, Any]):
    """A distribution as it is written, and what decides its numbers.

    Attributes
    ----------
    name : str
        The path of its key in its table: "lr", "clip.norm", "problem.l2".
    seed : int
    draws : int or None
        How many numbers a random axis has; None: the study does not say.
    """

    def __init__(self, table: Mapping[str, Any], name: str, seed: int, draws: int | None) -> None:
        super().__init__(table)
        self.name, self.seed, self.draws = name, seed, draws

    def read(self, read: Read, whole: bool) -> list[Any]:
        """Return its values: those of a random axis, or some distinct ones of a key that is drawn alone."""
        kind, count = self._kind(), self._count()
        valid = self._valid(kind, read)
        draw = partial(_draw, kind, valid, whole)
        values = [draw(_uniform(self.seed, self.name, number)) for number in range(count)]
        return list(dict.fromkeys(values)) if "num" in self else Drawn(values, self)

    def _kind(self) -> str:
        if wrong := [key for key in ("draw", "draws") if key in self]:
            raise failure(f"is not a known key; {COUNTS}", wrong[0])
        known_keys(self, [*LAWS, "num"])
        kinds = [kind for kind in LAWS if kind in self]
        if len(kinds) != 1:
            raise failure(FORM, found=dict(self))
        return kinds[0]

    def _count(self) -> int:
        if "num" in self:
            if not is_whole(self["num"], 1) or self["num"] > MOST_VALUES:
                raise failure(f"must be a whole number from 1 to {MOST_VALUES:,}", "num", found=self["num"])
            return int(self["num"])
        if any(part in APART for part in self.name.split(".")):
            raise failure("cannot be drawn together with others; num = 5, for example, draws this key alone")
        if self.draws is None:
            raise failure(f"has no number of draws: {COUNTS}", found=dict(self))
        return self.draws

    def _valid(self, kind: str, read: Read) -> list[Any]:
        """Return what may be chosen, or both ends of a range: each of them is a valid value of the key."""
        given = self[kind]
        if kind == "choice":
            if not isinstance(given, list):
                raise failure("must be a list of values", kind, found=given)
            return distinct(list(read(given)))
        if not (isinstance(given, list) and len(given) == 2 and all(map(is_number, given)) and given[0] < given[1]):
            raise failure("must be two numbers, [lo, hi] with lo < hi", kind, found=given)
        if kind == "loguniform" and given[0] <= 0:
            raise failure("must have both ends greater than 0 (a uniform range need not)", kind, found=given)
        return list(read(given))


def _uniform(seed: int, name: str, number: int) -> float:
    """Return number `number` of a key's stream, uniform in (0, 1): a hash, as NumPy's generators may change."""
    bits = int.from_bytes(hashlib.sha256(f"{seed}/{name}/{number}".encode()).digest()[:8], "little") >> 12
    return float((bits + 0.5) / 2**52)


def _draw(kind: str, valid: Sequence[Any], whole: bool, u: float) -> Any:
    """Return the value at a share of the way through a distribution; both ends of a whole one are possible."""
    if kind == "choice":
        return valid[floor(u * len(valid))]
    low, high = valid[0], valid[1] + whole
    value = exp((1 - u) * log(low) + u * log(high)) if kind == "loguniform" else (1 - u) * low + u * high
    # 12 digits as of grids; what they round up stays in the range
    return type(valid[0])(min(floor(value) if whole else max(float(f"{value:.12g}"), low), valid[1]))


def with_laws(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return a study's fields with a `Law` in the place of each distribution that a hyper-parameter may have."""
    search = fields.get("search")
    table: Mapping[str, Any] = search if isinstance(search, Mapping) else {}
    mistyped = get_close_matches("draws", map(str, table), n=1)  # one error says so, and not one for each axis
    given = [table.get("seed", 0), table.get("draws", 1 if mistyped else None)]
    seed, draws = (value if is_whole(value, 0) and value <= 2**53 else None for value in given)

    def found(value: Any, name: str) -> Any:
        if isinstance(value, list):
            return [found(item, name) for item in value]
        if not isinstance(value, Mapping):
            return value
        if any(law in value for law in LAWS):
            return Law(value, name, seed or 0, min(draws, MOST_VALUES) if draws else draws)
        return {key: found(item, f"{name}.{key}".lstrip(".")) for key, item in value.items()}

    def penalty(problem: Any) -> Any:
        if not isinstance(problem, Mapping) or "l2" not in problem:
            return problem
        return {**problem, "l2": found(problem["l2"], "problem.l2")}

    of_table: dict[str, Callable[[Any], Any]] = {
        "optimizer": lambda value: found(value, ""),
        "schedule": lambda value: found(value, "schedule"),
        "batch_size": lambda value: found(value, "batch_size"),
        "problem": lambda value: [penalty(each) for each in value] if isinstance(value, list) else penalty(value),
    }
    return {key: of_table[key](value) if key in of_table else value for key, value in fields.items()}


def has_random_axes(fields: Any) -> bool:
    """Whether anything in a study's fields, as `with_laws` returns them, is drawn together with the rest."""
    if isinstance(fields, Law):
        return "num" not in fields
    inner = fields.values() if isinstance(fields, Mapping) else fields if isinstance(fields, list) else ()
    return any(map(has_random_axes, inner))


def values_of(value: Any, read: Read, *, whole: bool = False) -> list[Any]:
    """Return one value, a list, a grid or a distribution as the list of its values, each of the type of its key."""
    return value.read(read, whole) if isinstance(value, Law) else distinct(read(explicit(value)))


def as_written(values: list[Any]) -> Any:
    """Return values as a study file has them: of a random axis its distribution, of a list of one its value."""
    return dict(values.law) if isinstance(values, Drawn) else brief(values)


def _kept(values: Any, read: Read) -> Any:
    return Drawn(read(values), values.law) if isinstance(values, Drawn) else read(values)


Values = Annotated[list[T], WrapValidator(_kept), PlainSerializer(as_written)]  # that were read before


# --- the axes of a block ----------------------------------------------------------------------------------------------


def combinations(axes: Iterable[Collection[Any]]) -> int:
    """Return how many combinations of values axes have, of which those that are drawn run together."""
    axes = list(axes)
    drawn = [len(axis) for axis in axes if isinstance(axis, Drawn)]
    return prod(len(axis) for axis in axes if not isinstance(axis, Drawn)) * max(drawn, default=1)


def draws_with(axes: Iterable[Sequence[Any]], values: Iterable[Any]) -> tuple[int, ...] | None:
    """Return the draws in which each random axis among some has its value; None where none of them is random."""
    drawn = [(axis, value) for axis, value in zip(axes, values, strict=True) if isinstance(axis, Drawn)]
    if not drawn:
        return None
    return tuple(number for number in range(len(drawn[0][0])) if all(axis[number] == value for axis, value in drawn))
