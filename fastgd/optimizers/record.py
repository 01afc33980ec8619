"""What an optimizer is: a NamedTuple of hyper-parameters with a pure scalar rule, and the frozen record that describes
it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, Literal, TypeAlias, TypeVar, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Lt

from fastgd.common.errors import InputError, nearest
from fastgd.common.properties import cached_property
from fastgd.common.registry import OfClass, Registry
from fastgd.optimizers.rule_checks import check_rule
from fastgd.user_code.imports import find_attribute, import_name
from fastgd.user_code.sources import find_same, functions_of, modules_of, source_of

Value: TypeAlias = Any  # a number, an array, or a kernel's vector of lanes
Slots: TypeAlias = tuple[Any, ...]
Step: TypeAlias = tuple[Any, tuple[Any, ...]]

Rate = Annotated[float, Gt(0)]
NonNegative = Annotated[float, Ge(0)]
Decay = Annotated[float, Ge(0), Lt(1)]

# What sums over parameters are of, where a model has layers: of all parameters, of each layer, or of each group by
# itself, the weights of a layer or its biases.
ALL_PARAMETERS, EACH_LAYER, EACH_GROUP = range(3)

# How a parameter is brought up to date after steps in which its gradient was zero: in closed form, step by step until
# momentum has vanished, or not at all, so that every step updates all parameters.
Lazy = Literal["closed", "cutoff", "none"]

C = TypeVar("C", bound=type)


@dataclass(frozen=True)
class Optimizer(OfClass):
    """The record of an optimizer.

    Attributes
    ----------
    name : str
        As in a study file; for a user's own, "package.module:Name".
    cls : type
        The NamedTuple with `rule`, and optionally `prepare`, `start`, `measure` with `conclude`, `readout` and
        `effective`.
    family, witness, reference : str
        For `fastgd list`; the witness is the outside implementation whose form and defaults the rule takes.
    slots : tuple of str
        The state that it keeps for each parameter, zero at the start unless `start` says otherwise.
    memory : mapping of str to float
        The numbers that it keeps for each trial from step to step, with their values at the start.
    batch_loss : bool
        Whether `conclude` needs the objective of the batch, which costs an evaluation of the loss.
    hyper : mapping of str to float or None
        The numeric hyper-parameters in order with their defaults; None: must be given.
    options : mapping of str to tuple
        The categorical choices; the first is the default. They are part of a kernel's type.
    annotations : mapping of str to Any
        The type of each field with its bounds.
    lazy : tuple of {"closed", "cutoff", "none"}
        How untouched parameters are brought up to date on sparse data: without a penalty, and with l2 > 0. It repeats
        for lists and documentation, which do not import Numba, what `optimizers.coasting` proves of a built-in rule.
    quotients : tuple of (int, int)
        The slots m and v of each `m / (sqrt(v) + eps)` in its step: see `optimizers.adam_series`.
    drawn : bool
        Of a baseline: whether its points depend on the seed.
    """

    name: str
    cls: type
    family: str
    witness: str
    reference: str
    slots: tuple[str, ...]
    memory: Mapping[str, float]
    batch_loss: bool
    hyper: Mapping[str, float | None]
    options: Mapping[str, tuple[Any, ...]]
    annotations: Mapping[str, Any]
    lazy: tuple[Lazy, Lazy]
    quotients: tuple[tuple[int, int], ...] = ()
    drawn: bool = False

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle it by its name, by which another process finds or imports it."""
        return find_same, (find, (self.name,), self.source if self.foreign else "")

    @cached_property
    def source(self) -> str:
        """A hash of its text, in all of the user's modules that it uses: an edited rule is another rule."""
        return source_of(self.cls.__module__, functions_of(self.cls))

    @property
    def foreign(self) -> bool:
        """Whether it is a user's own."""
        return not self.cls.__module__.startswith("fastgd.")

    @property
    def baseline(self) -> bool:
        """Whether it lists points instead of following gradients: see `optimizers.baselines`."""
        return self.name in BASELINES

    @property
    def has_effective_rate(self) -> bool:
        """Whether it says by which rate it multiplies a parameter's gradient."""
        return hasattr(self.cls, "effective")

    def variant(self, options: Mapping[str, Any]) -> str:
        """Name the choices that are not the defaults: the column `variant`."""
        chosen = {name: options.get(name, values[0]) for name, values in self.options.items()}
        return ", ".join(f"{name}={value}" for name, value in chosen.items() if value != self.options[name][0])


OPTIMIZERS: Registry[Optimizer] = Registry("optimizer")
BASELINES: Registry[Optimizer] = Registry("optimizer")


def optimizer(
    *,
    name: str | None = None,
    slots: tuple[str, ...] = (),
    memory: Mapping[str, float] = MappingProxyType({}),
    batch_loss: bool = False,
    lazy: tuple[Lazy, Lazy] | None = None,
    quotients: tuple[tuple[int, int], ...] = (),
    family: str = "custom",
    witness: str = "none",
    reference: str = "",
) -> Callable[[C], C]:
    """Make a NamedTuple class an optimizer.

    The class holds the hyper-parameters as fields: floats (with bounds as `annotated_types`), and booleans or literal
    strings for categorical choices. Its functions take the hyper-parameters `h` first:

    `rule(h, c, w, g, s) -> (w, s)`
        The parameter and its slots after one step with the gradient `g`, written with arithmetic and NumPy's
        element-wise functions, without branches on values (`np.where` instead): kernels call it on whole vectors of
        lanes.
    `prepare(h, t) -> c`, or with memory `prepare(h, t, m) -> (c, m)`, optional
        A tuple of quantities that depend on the step t (from 1) and not on the parameter, once a step; and the memory
        after it. t is one whole number for all lanes, so branches on it are allowed.
    `measure(h, c, w, g, s) -> (x, ...)` and `conclude(h, c, t, m, sums, loss) -> (c, m)`, optional, together
        What a step needs to know of all parameters: the terms of one parameter, and from their sums over all of them
        (an intercept included) the quantities that `rule` gets in place of prepare's, and the memory. `loss` is the
        objective of the batch where the decorator says `batch_loss`, else 0.
    `start(h, w) -> s`, optional
        The slots at the start, from the parameters there; zeros by default. Called with arrays, outside of kernels.
    `readout(h, w, s) -> w`, optional
        The iterate that is reported, when it is not the state.
    `coast(h, c, w, y) -> (w, y)`, with `lift(h, w, s) -> y` and `lower(h, s, y) -> s`, optional
        For sparse data, where most gradients are zero: `coast` is a step without a gradient, linear in w and in numbers
        y; `lift` makes y of the slots (by default it is the slots), and `lower` returns the slots after some steps. A
        rule that is linear without a gradient as it stands needs none of them. That is proven from its text; where it
        cannot be proven, every step updates all parameters. Where y is NaN the linear form does not hold, and steps are
        taken one by one, at most `horizon(h)` of them: after these nothing but decay is left.
    `effective(h, t, m, s) -> rate`, optional
        The rate by which the step multiplies a parameter's gradient, or its average: the metric `effective_lr`. It is
        of the state after step t, with the memory m after it (before the first step: those at the start, and t = 1).
        Called with arrays in float64, outside of kernels: numbers of trials (lanes,), slots (parameters, lanes). A rule
        in which gradients have no such factor (signs, bets, norms that are not kept) goes without.

    Parameters
    ----------
    name : str, optional
        The built-in name. A user's own class needs none: a study names it as "package.module:Name".
    slots : tuple of str
        The state kept for each parameter.
    memory : mapping of str to float
        Numbers kept for each trial, with their values at the start: running products, sums of weights.
    batch_loss : bool
        Whether `conclude` needs the objective of the batch.
    lazy : tuple of str, optional
        Of a built-in rule: as the record has it, where it is not ("closed", "none"), and not ("none", "none") with
        `measure`.
    quotients : tuple of (int, int)
        As the record has them: in `coast`, six terms of each follow the slots in y, and there is no `lift`.
    family, witness, reference : str
        What `fastgd list` shows.
    """

    def register(cls: C) -> C:
        state = {"slots": slots, "memory": dict(memory), "batch_loss": batch_loss, "quotients": quotients}
        texts = {"family": family, "witness": witness, "reference": reference}
        proven = lazy or ("none" if hasattr(cls, "measure") else "closed", "none")
        record = describe(cls, name or import_name(cls), {**state, **texts, "lazy": proven})
        cls.optimizer = record  # type: ignore[attr-defined]
        if name is not None:
            OPTIMIZERS.add(record)
        return cls

    return register


def describe(cls: type, name: str, given: Mapping[str, Any]) -> Optimizer:
    """Return the record of a NamedTuple of hyper-parameters: as given, and as its fields say."""
    if not hasattr(cls, "_field_defaults"):
        raise InputError(f"optimizer {name!r} must be a NamedTuple: class {cls.__name__}(NamedTuple)")
    annotations = get_type_hints(cls, include_extras=True)
    defaults: Mapping[str, Any] = cls._field_defaults
    hyper: dict[str, float | None] = {}
    options: dict[str, tuple[Any, ...]] = {}
    for field, kind in annotations.items():
        values = (False, True) if kind is bool else get_args(kind) if get_origin(kind) is Literal else None
        if values is None:
            if isinstance(defaults.get(field), str):
                raise InputError(f"optimizer {name!r}: {field!r} is text; a choice is a Literal of strings, or a bool")
            hyper[field] = defaults.get(field)
        else:
            if field not in defaults:
                raise InputError(f"optimizer {name!r}: the choice {field!r} needs a default")
            first = defaults[field]
            options[field] = (first, *(value for value in values if value != first))
    modules_of(cls.__module__)  # keeps the text that was imported
    described: dict[str, Any] = {"hyper": hyper, "options": options, "annotations": annotations}
    return Optimizer(name=name, cls=cls, **described, **given)


def find(name: str) -> Optimizer:
    """Return the record of a built-in optimizer or baseline, or of a user's own by "package.module:Name".

    A user's module is looked for where Python looks, the current folder included.

    Raises
    ------
    InputError
        There is no such optimizer, module or class, the class is not decorated with `fastgd.optimizer`, or its
        functions do what kernels cannot.
    """
    if ":" not in name:
        known = {**OPTIMIZERS, **BASELINES}
        if name not in known:
            raise InputError(f"there is no optimizer {name!r}; {nearest(name, known)}")
        check_rule(known[name])
        return known[name]
    cls = find_attribute("optimizer", name)
    record = getattr(cls, "optimizer", None)
    if not isinstance(record, Optimizer):
        attribute = name.partition(":")[2]
        raise InputError(f"optimizer {name!r}: decorate the NamedTuple {attribute!r} with @fastgd.optimizer(...)")
    check_rule(record)
    return record
