"""The values of a schedule, or of several in a row."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fastgd.schedules.record import SCHEDULES, Index, ScheduleRecord

Horizon = Literal["last", "torch"]


@dataclass(frozen=True)
class Part:
    """One schedule of a chain.

    Attributes
    ----------
    name : str
        A schedule of the registry.
    params : mapping of str to Any
        Its keys; those left out have their defaults.
    length : int, optional
        How many indices it lasts; None: to the end. The last of a chain holds its value from there on.
    """

    name: str
    params: Mapping[str, Any]
    length: int | None = None

    @property
    def record(self) -> ScheduleRecord:
        """The schedule's record."""
        return SCHEDULES.find(self.name)

    def span(self, horizon: Horizon, total: int) -> int:
        """Return the index at which its end is, `total` counted from its start."""
        # the end of a part that is followed is where the next one begins: PyTorch's and optax's convention
        at_last = self.record.whole or (self.length is None and horizon == "last")
        return max((self.length or total) - at_last, 1)

    @property
    def sees_end(self) -> bool:
        """Whether its values depend on how many indices there are."""
        return self.length is None and self.record.sees_end(self.params)

    def factors(self, horizon: Horizon, i: Index, total: int) -> Index:
        """Return the values at the indices i of `total`, both counted from this part's start."""
        record, span = self.record, self.span(horizon, total)
        values: Index = record.cls(**self.params).factors(i if self.length is None else np.minimum(i, span), span)
        return values


def parts_of(block: Mapping[str, Any]) -> tuple[Part, ...]:
    """Return the chain of a schedule's block, as it stands in a normalised study file."""
    record = SCHEDULES.find(block["name"])
    params = {key: tuple(block[key]) if key in record.lists else block[key] for key in record.params if key in block}
    rest = parts_of(block["then"]) if "then" in block else ()
    return (Part(record.name, params, block.get("length")), *rest)


def describe(block: Mapping[str, Any]) -> str:
    """Return a schedule's name in the results: with the choices that are not the defaults, and what follows it."""
    record = SCHEDULES.find(block["name"])
    usual = {"of": record.of, "per": record.per, "horizon": "last"}
    usual |= {key: value for key, value in record.params.items() if key in record.choices}
    told = {key: block[key] for key in (*usual, *record.lists) if key in block and block[key] != usual.get(key)}
    words = ", ".join(f"{key}={_word(value)}" for key, value in told.items())
    name = f"{record.name} ({words})" if words else record.name
    then = f" > {describe(block['then'])}" if "then" in block else ""
    return name + then + (f" + {describe(block['also'])}" if "also" in block else "")


def _word(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(f'{number:.12g}' for number in value)}]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def numbers(block: Mapping[str, Any]) -> dict[str, float]:
    """Return a block's numbers by their key paths: `final`, `length`, `then.final`, `also.start`, ..."""
    found: dict[str, float] = {}
    for key, value in block.items():
        if isinstance(value, Mapping):
            found |= {f"{key}.{inner}": number for inner, number in numbers(value).items()}
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found[key] = value
    return found


def starts(parts: Sequence[Part]) -> list[float]:
    """Return the index at which each part of a chain begins; infinity, where one before it lasts to the end."""
    lengths = [np.inf if part.length is None else part.length for part in parts[:-1]]
    return [float(start) for start in np.cumsum([0.0, *lengths])]


def chained(parts: Sequence[Part], horizon: Horizon, index: NDArray[np.integer], total: int) -> NDArray[np.float64]:
    """Return the values of schedules one after another: what each multiplies the rate, or another value, with.

    Parameters
    ----------
    parts : sequence of Part
    horizon : {"last", "torch"}
        Where the end is: at the last index, T - 1, or one past it, as PyTorch has it.
    index : ndarray of int
        The epochs or steps k, from 0.
    total : int
        T, the number of epochs or steps.

    Returns
    -------
    ndarray of float64, the shape of `index`
        A schedule with feedback has the value that it has before it is judged.
    """
    i = np.asarray(index, dtype=np.float64)
    values = parts[0].factors(horizon, i, total)
    for part, start in zip(parts[1:], starts(parts)[1:], strict=True):
        if start < np.inf:
            own = part.factors(horizon, np.maximum(i - start, 0.0), max(total - int(start), 1))
            values = np.where(i < start, values, own)
    return values


def unreached(parts: Sequence[Part], horizon: Horizon, total: int, unit: str) -> list[str]:
    """Say which parts or keys of a chain lie beyond its `total` indices, and so are cut short or have no effect.

    Parameters
    ----------
    parts, horizon, total
        As for `chained`.
    unit : str
        What an index is: "epoch" or "step".
    """
    found: list[str] = []
    for part, start in zip(parts, starts(parts), strict=True):
        if start >= total:
            why = f"it would at {unit} {start:,.0f}, and there are {total:,} {unit}s, from 0"
            return [*found, f"'{part.name}' never begins: {why}"]
        left = total - int(start)
        count = left if part.length is None else min(part.length, left)
        if part.length is not None and part.span(horizon, left) > left - 1 and part.name != "constant":
            end = f"its end is at {unit} {start + part.length:,.0f}"
            found.append(f"'{part.name}' is longer than the budget: {end}, and there are {total:,} {unit}s, from 0")
        if what := part.record.unreached(part.params, count):
            found.append(f"'{part.name}' has {count:,} {unit}s: {what}")
    return found
