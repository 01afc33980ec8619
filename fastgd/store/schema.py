"""The columns of results on disk: explicit Arrow schemas, and the union of columns when a study grows."""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from fastgd.common.errors import InputError

UNFINISHED = ("timeout", "retired")  # statuses of trials that may go on
FAILED = "failed"  # the status of trials without results, since their unit of work has failed: they run again
_STRING, _INT, _FLOAT = pa.string(), pa.int64(), pa.float64()
_NAME = pa.dictionary(pa.int32(), _STRING)

# The columns that are no float64; names of studies on landscapes are dictionaries, since a million rows share each.
_WHOLE = {"n", "d", "batch_size", "seed", "steps", "cohort_lanes", "step", "samples_seen", "start", "minimum"}
_WHOLE |= {"steps_to_tolerance", "coordinate", "split_seed", "best_step", "fold"}
_TEXTS = {"trial_id", "problem", "dataset", "loss", "landscape", "optimizer", "variant", "schedule", "dtype", "layout"}
_TEXTS |= {"sparse", "kernel", "status", "reason", "cohort_id", "configuration"}  # of trials


def _typed(names: str, text: pa.DataType, texts: Collection[str] = _TEXTS) -> dict[str, pa.DataType]:
    """Return columns with their types, in order."""
    types = dict.fromkeys(_WHOLE, _INT) | dict.fromkeys(texts, text) | {"in_study": pa.bool_()}
    return {name: types.get(name, _FLOAT) for name in names.split()}


# The row of a trial: its configuration, then its results. The numeric hyper-parameters come after `variant`, and the
# numbers of the schedule after `schedule`; which there are depends on the study. Trials share a `configuration` which
# differ only by their seeds.
_TIMES = "in_study cohort_id cohort_lanes compile_seconds train_seconds evaluate_seconds configuration"
_BEFORE_HYPER = _typed("trial_id problem dataset loss n d l2 optimizer variant", _STRING)
_AFTER_SCHEDULE = _typed(
    "batch_size seed dtype layout sparse kernel status reason steps epochs final_loss best_loss "
    f"final_validation_loss best_validation_loss {_TIMES} split_seed fold best_step",
    _STRING,
)
_CURVES = _typed(
    "trial_id step epoch samples_seen loss validation_loss param_norm lr train_seconds", _STRING, ["trial_id"]
)
# A trial on a landscape is a configuration, whose name is `trial_id`, from a start, whose number is `start`.
_BEFORE_HYPER_OF_SWARM = _typed("trial_id start problem landscape d noise optimizer variant", _NAME)
_AFTER_SCHEDULE_OF_SWARM = _typed(
    "seed dtype kernel status reason minimum steps steps_to_tolerance final_loss best_loss final_grad_norm " + _TIMES,
    _NAME,
)
_CURVES_OF_SWARM = _typed("trial_id start step loss grad_norm param_norm lr", _NAME, ["trial_id"])
# Each step of chosen trials has a row for each coordinate, with the state before the step; one more is after the last.
_TRAJECTORIES = _typed("trial_id start step loss lr coordinate x gradient effective_lr", _NAME, ["trial_id"])
# Names that no hyper-parameter may have: those of other columns, and of columns that rankings and pictures add.
_TAKEN = {"schedule", *_BEFORE_HYPER, *_AFTER_SCHEDULE, *_BEFORE_HYPER_OF_SWARM, *_AFTER_SCHEDULE_OF_SWARM}
_LOSSES = {name for name in _AFTER_SCHEDULE if name.startswith(("final_", "best_"))}
_TAKEN |= {"rank", "seeds", "splits", "folds", "starts", "diverged", *UNFINISHED, "target_epochs", "method", "tied"}
_TAKEN |= {"end", "rates", "value", "settings", "trial_ids", "run"}
_TAKEN |= {f"{name}_{end}" for name in _LOSSES for end in ("min", "max")}
_POINT = re.compile(r"(start|end)_\d+")  # a coordinate where a trial on a landscape starts or ends
_PREFIX, _SLOT = "schedule.", "slot."
COORDINATES = 8  # the most coordinates of a landscape that have columns: x_0, x_1, ...

PARAMETERS = pa.schema({"trial_id": _STRING, "parameters": pa.list_(_FLOAT)})


@dataclass(frozen=True)
class Columns:
    """The columns that depend on the study.

    Parameters
    ----------
    hyper : tuple of str
        The numeric hyper-parameters.
    schedule : tuple of str
        The numbers of the schedules, with or without the prefix "schedule.".
    metrics : tuple of str
        The metrics of a checkpoint; they may include those that every curve has.
    coordinates : int, optional
        Of landscapes: how many coordinates have columns; None: the study is one over data.
    slots : tuple of str
        Of landscapes: what the rules keep for each coordinate.

    Raises
    ------
    InputError
        A hyper-parameter has the name of another column.
    """

    hyper: tuple[str, ...] = ()
    schedule: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    coordinates: int | None = None
    slots: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if taken := [name for name in self.hyper if _is_taken(name)]:
            raise InputError(f"the hyper-parameter {taken[0]!r} has the name of a column of the results; rename it")
        object.__setattr__(self, "schedule", _unique(_PREFIX + name.removeprefix(_PREFIX) for name in self.schedule))
        object.__setattr__(self, "hyper", _unique(self.hyper))
        unasked = _CURVES if self.coordinates is None else _CURVES_OF_SWARM
        object.__setattr__(self, "metrics", _unique(name for name in self.metrics if name not in unasked))
        object.__setattr__(self, "slots", _unique(_SLOT + name.removeprefix(_SLOT) for name in self.slots))

    def __or__(self, other: "Columns") -> "Columns":
        """Return the union: these columns, then what `other` adds."""
        lists = (self.hyper + other.hyper, self.schedule + other.schedule, self.metrics + other.metrics)
        counts = [each.coordinates for each in (self, other) if each.coordinates is not None]
        return Columns(*lists, max(counts, default=None), self.slots + other.slots)

    @classmethod
    def of(cls, trials: Iterable[str], curves: Iterable[str], trajectories: Iterable[str] = ()) -> "Columns":
        """Return the columns of files from the names of their columns."""
        names = list(trials)
        points = [name for name in names if _POINT.fullmatch(name)]
        varying = [name for name in names if name not in _TAKEN and name not in points]
        numbers = tuple(name for name in varying if name.startswith(_PREFIX))
        hyper = tuple(name for name in varying if name not in numbers)
        if "start" not in names:
            return cls(hyper, numbers, tuple(curves))
        slots = tuple(name for name in trajectories if name.startswith(_SLOT))
        metrics = tuple(name for name in curves if name not in _CURVES_OF_SWARM and not name.startswith("x_"))
        return cls(hyper, numbers, metrics, len({name.rpartition("_")[2] for name in points}), slots)

    @property
    def trials(self) -> pa.Schema:
        """The schema of a trials file."""
        hyper, numbers = dict.fromkeys(self.hyper, _FLOAT), dict.fromkeys(self.schedule, _FLOAT)
        if self.coordinates is None:
            return pa.schema({**_BEFORE_HYPER, **hyper, "schedule": _STRING, **numbers, **_AFTER_SCHEDULE})
        points = {f"{end}_{i}": _FLOAT for end in ("start", "end") for i in range(self.coordinates)}
        before = {**_BEFORE_HYPER_OF_SWARM, **hyper, "schedule": _NAME, **numbers}
        return pa.schema({**before, **_AFTER_SCHEDULE_OF_SWARM, **points})

    @property
    def curves(self) -> pa.Schema:
        """The schema of a curves file."""
        if self.coordinates is None:
            return pa.schema({**_CURVES, **dict.fromkeys(self.metrics, _FLOAT)})
        points = {f"x_{i}": _FLOAT for i in range(self.coordinates)}
        return pa.schema({**_CURVES_OF_SWARM, **dict.fromkeys(self.metrics, _FLOAT), **points})

    @property
    def trajectories(self) -> pa.Schema:
        """The schema of a trajectories file."""
        return pa.schema({**_TRAJECTORIES, **dict.fromkeys(self.slots, _FLOAT)})


def trials_table(trials: Mapping[str, Any] | pd.DataFrame, columns: Columns) -> pa.Table:
    """Return the rows of trials as a table with the study's schema.

    Columns are arrays or lists, or values of all trials. One that is absent, and None, pd.NA or what is masked in one
    that is present, becomes null: not measured, or not a hyper-parameter of this rule. A NaN is stored as such, except
    among the hyper-parameters and the numbers of the schedule, which are never NaN. `in_study` is True by default.

    Raises
    ------
    ValueError
        A column is not in the schema, or one that may not be null is absent.
    """
    schema, trials, rows = columns.trials, {"in_study": True, **trials}, len(trials["trial_id"])
    if unknown := [name for name in trials if name not in schema.names]:
        raise ValueError(f"trials have columns that the study's schema lacks: {unknown}")
    if lacking := [field.name for field in schema if field.type != _FLOAT and field.name not in trials]:
        raise ValueError(f"trials lack the column {lacking[0]!r}")
    sparse = {*columns.hyper, *columns.schedule}
    arrays = [_trials_column(trials.get(field.name), field.type, rows, field.name in sparse) for field in schema]
    return pa.table(arrays, schema=schema)


def conform(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return a table with the columns of a wider schema, which are null where the table lacks them."""
    rows = table.num_rows
    arrays = [
        table.column(field.name) if field.name in table.column_names else pa.nulls(rows, field.type) for field in schema
    ]
    return pa.table(arrays, schema=schema)


def _trials_column(values: Any, kind: pa.DataType, rows: int, sparse: bool) -> pa.Array:
    if np.ndim(values) == 0:
        return pa.repeat(pa.array([values], kind, from_pandas=sparse)[0], rows)
    if isinstance(values, pd.Series):
        values = values.to_numpy() if isinstance(values.dtype, np.dtype) else values.array
    mask = np.ma.getmaskarray(values) if isinstance(values, np.ma.MaskedArray) else None
    # from_pandas=True would turn the NaN of a diverged trial into a null.
    return pa.array(np.ma.getdata(values) if mask is not None else values, kind, mask=mask, from_pandas=sparse)


def _is_taken(name: str) -> bool:
    """Whether results have, or may have, another column of this name."""
    return name in _TAKEN or name.startswith(_PREFIX) or _POINT.fullmatch(name) is not None


def _unique(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
