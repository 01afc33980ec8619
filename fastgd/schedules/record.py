"""What a schedule is: a NamedTuple of keys with a pure NumPy function, and the frozen record that describes it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypeAlias, TypeVar, get_args, get_origin, get_type_hints

import numpy as np
from annotated_types import Ge, Gt
from numpy.typing import NDArray

from fastgd.common.pickling import PickledByName
from fastgd.common.registry import OfClass, Registry

Unit = Literal["epoch", "step"]
Index: TypeAlias = NDArray[np.float64]
Positive = Annotated[float, Gt(0)]
NonNegative = Annotated[float, Ge(0)]
C = TypeVar("C", bound=type)


@dataclass(frozen=True)
class ScheduleRecord(OfClass, PickledByName, registry="SCHEDULES"):
    """The record of a schedule.

    Attributes
    ----------
    name : str
        As in a study file.
    cls : type
        The NamedTuple with `factors(self, i, span)`; with `feedback` also `begin(self, lanes)` and
        `judge(self, state, before, loss)`.
    witness, reference : str
        For `fastgd list` and the documentation.
    params : mapping of str to Any
        The keys in order with their defaults; None: not set.
    required : tuple of str
        Keys without a default.
    one_of : tuple of str
        Of these keys exactly one must be given; empty: no such choice.
    annotations : mapping of str to Any
        The type of each key with its bounds.
    choices : mapping of str to tuple
        What a key that is no number may be; the first is the default.
    per : {"epoch", "step"}
        What the index counts unless the study says otherwise.
    of : str
        The hyper-parameter that it drives unless the study names another.
    example : mapping of str to Any
        Keys for the documentation's picture, over 100 indices.
    feedback : bool
        Whether it is judged at epoch ends on the lane's own validation loss.
    timed : bool
        Whether it needs a `length`.
    whole : bool
        Whether its end is always its last index: PyTorch has it so too.
    """

    name: str
    cls: type
    params: Mapping[str, Any]
    required: tuple[str, ...]
    annotations: Mapping[str, Any]
    choices: Mapping[str, tuple[Any, ...]]
    witness: str = "none"
    reference: str = ""
    one_of: tuple[str, ...] = ()
    per: Unit = "epoch"
    of: str = "lr"
    example: Mapping[str, Any] = field(default_factory=dict)
    feedback: bool = False
    timed: bool = False
    whole: bool = False

    @property
    def lists(self) -> tuple[str, ...]:
        """The keys of which one value is a list of numbers."""
        return tuple(key for key, kind in self.annotations.items() if get_origin(kind) is tuple)

    def fault(self, params: Mapping[str, Any]) -> str:
        """Say what is wrong with the keys in combination; "": nothing."""
        check = getattr(self.cls, "fault", None)
        return str(check(self.cls(**params))) if check else ""

    def sees_end(self, params: Mapping[str, Any]) -> bool:
        """Return whether its values depend on where its end is, as its function shows that is given none."""
        try:
            self.cls(**params).factors(np.arange(2.0), _NOWHERE)
        except TypeError:
            return True
        return False

    def unreached(self, params: Mapping[str, Any], count: int) -> str:
        """Say which of its keys have no effect within the first `count` indices; "": all have."""
        check = getattr(self.cls, "unreached", None)
        return str(check(self.cls(**params), count)) if check else ""


class _Nowhere:
    """In place of an end: whatever a function does with it raises TypeError, so one that returns has not seen it.

    That holds for all indices, since schedules are element-wise: their functions take the same way for each array.
    """

    __array_ufunc__ = None  # NumPy's functions refuse it, too
    __hash__ = None  # type: ignore[assignment]

    def _refuse(self, *_: object) -> Any:
        raise TypeError("a schedule's end was looked at")

    __bool__ = __eq__ = __ne__ = __len__ = __iter__ = __getitem__ = __array__ = _refuse
    __str__ = __repr__ = __format__ = _refuse


_NOWHERE = _Nowhere()
SCHEDULES: Registry[ScheduleRecord] = Registry("schedule")


def schedule(name: str, **about: Any) -> Callable[[C], C]:
    """Make a NamedTuple class a schedule; its fields are the keys of its block in a study file.

    The class has one function, `factors(self, i, span)`: the value at each index i (ndarray); i = span is the end.
    Fields are numbers with their bounds, `tuple[float, ...]` for a list of numbers, or a `Literal` or `bool` for a
    choice. An optional `fault(self) -> str` says what is wrong with the keys in combination, and
    `unreached(self, count) -> str` which of them have no effect within so many indices. `about` are the fields of
    `ScheduleRecord` that have defaults.
    """

    def register(cls: C) -> C:
        annotations = get_type_hints(cls, include_extras=True)
        defaults: Mapping[str, Any] = cls._field_defaults  # type: ignore[attr-defined]
        kinds = {key: (False, True) if kind is bool else get_args(kind) for key, kind in annotations.items()}
        params = {key: defaults.get(key) for key in annotations}
        required = tuple(key for key in annotations if key not in defaults)
        choices = {k: kinds[k] for k, kind in annotations.items() if kind is bool or get_origin(kind) is Literal}
        SCHEDULES.add(ScheduleRecord(name, cls, params, required, annotations, choices, **about))
        return cls

    return register
