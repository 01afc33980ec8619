"""What a schedule is: a NamedTuple of numbers with a pure NumPy function, and the frozen record that describes it."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_type_hints

import numpy as np
from numpy.typing import NDArray

from fastgd._registry import Registry

Horizon = Literal["last", "torch"]
C = TypeVar("C", bound=type)


@dataclass(frozen=True)
class ScheduleRecord:
    """The record of a schedule.

    Attributes
    ----------
    name : str
        As in a study file.
    cls : type
        The NamedTuple with `factors(self, i, span)`.
    witness, reference : str
        For `fastgd list`.
    params : mapping of str to float or None
        The numeric keys in order with their defaults; None: not set.
    required : tuple of str
        Keys without a default.
    one_of : tuple of str
        Of these keys exactly one must be given; empty: no such choice.
    annotations : mapping of str to Any
        The type of each key with its bounds.
    per : str
        What the index counts unless the study says otherwise: "epoch" or "step".
    """

    name: str
    cls: type
    witness: str
    reference: str
    params: Mapping[str, float | None]
    required: tuple[str, ...]
    one_of: tuple[str, ...]
    annotations: Mapping[str, Any]
    per: Literal["epoch", "step"]

    @property
    def summary(self) -> str:
        """The first line of the docstring."""
        return (inspect.getdoc(self.cls) or "").partition("\n")[0]


SCHEDULES: Registry[ScheduleRecord] = Registry("schedule")


def schedule(
    name: str,
    *,
    witness: str = "none",
    reference: str = "",
    one_of: tuple[str, ...] = (),
    per: Literal["epoch", "step"] = "epoch",
) -> Callable[[C], C]:
    """Make a NamedTuple class a schedule; its fields are the keys of its block in a study file.

    The class has one function, `factors(self, i, span)`: the value at each index i (ndarray); i = span is the end.
    """

    def register(cls: C) -> C:
        annotations = get_type_hints(cls, include_extras=True)
        defaults: Mapping[str, float | None] = cls._field_defaults  # type: ignore[attr-defined]
        params = {key: defaults.get(key) for key in annotations}
        required = tuple(key for key in annotations if key not in defaults)
        SCHEDULES.add(ScheduleRecord(name, cls, witness, reference, params, required, one_of, annotations, per))
        return cls

    return register


def factors(
    name: str, params: Mapping[str, float], horizon: Horizon, index: NDArray[np.integer], total: int
) -> NDArray[np.float64]:
    """Return what a schedule multiplies the rate with (or, for another hyper-parameter, its value).

    Parameters
    ----------
    name : str
        A schedule of the registry.
    params : mapping of str to float
        Its keys; those left out have their defaults.
    horizon : {"last", "torch"}
        Where the end is: at the last index, T - 1, or one past it, as PyTorch has it.
    index : ndarray of int
        The epochs or steps k, from 0.
    total : int
        T, the number of epochs or steps.

    Returns
    -------
    ndarray of float64, the shape of `index`
    """
    span = max(total - 1 if horizon == "last" else total, 1)
    record = SCHEDULES.find(name)
    values: NDArray[np.float64] = record.cls(**params).factors(np.asarray(index, dtype=np.float64), span)
    return values
