"""The columns of results on disk: explicit Arrow schemas, and the union of columns when a study grows."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa

from fastgd.common.errors import InputError

_STRING, _INT, _FLOAT = pa.string(), pa.int64(), pa.float64()
_NAME = pa.dictionary(pa.int32(), _STRING)  # a name that a million rows share

# The row of a trial: its configuration, then its results. The numeric hyper-parameters come after `variant`, and the
# numbers of the schedule after `schedule`; which there are depends on the study.
_BEFORE_HYPER = {
    "trial_id": _STRING,
    "problem": _STRING,
    "dataset": _STRING,
    "loss": _STRING,
    "n": _INT,
    "d": _INT,
    "l2": _FLOAT,
    "optimizer": _STRING,
    "variant": _STRING,
}
_BEFORE_SCHEDULE = {"schedule": _STRING}
_AFTER_SCHEDULE = {
    "batch_size": _INT,
    "seed": _INT,
    "dtype": _STRING,
    "layout": _STRING,
    "sparse": _STRING,
    "kernel": _STRING,
    "status": _STRING,
    "reason": _STRING,
    "steps": _INT,
    "epochs": _FLOAT,
    "final_loss": _FLOAT,
    "best_loss": _FLOAT,
    "final_validation_loss": _FLOAT,
    "best_validation_loss": _FLOAT,
    "in_study": pa.bool_(),
    "cohort_id": _STRING,
    "cohort_lanes": _INT,
    "compile_seconds": _FLOAT,
    "train_seconds": _FLOAT,
    "evaluate_seconds": _FLOAT,
    "configuration": _STRING,  # a name that trials share which differ only by their seeds
}
_CURVES = {
    "trial_id": _STRING,
    "step": _INT,
    "epoch": _FLOAT,
    "samples_seen": _INT,
    "loss": _FLOAT,
    "validation_loss": _FLOAT,
    "param_norm": _FLOAT,
    "lr": _FLOAT,
    "train_seconds": _FLOAT,
}
# A trial on a landscape is a configuration, whose name is `trial_id`, from a start, whose number is `start`.
_BEFORE_HYPER_OF_SWARM = {
    "trial_id": _NAME,
    "start": _INT,
    "problem": _NAME,
    "landscape": _NAME,
    "d": _INT,
    "noise": _FLOAT,
    "optimizer": _NAME,
    "variant": _NAME,
}
_BEFORE_SCHEDULE_OF_SWARM = {"schedule": _NAME}
_AFTER_SCHEDULE_OF_SWARM = {
    "seed": _INT,
    "dtype": _NAME,
    "kernel": _NAME,
    "status": _NAME,
    "reason": _NAME,
    "minimum": _INT,
    "steps": _INT,
    "steps_to_tolerance": _INT,
    "final_loss": _FLOAT,
    "best_loss": _FLOAT,
    "final_grad_norm": _FLOAT,
    "in_study": pa.bool_(),
    "cohort_id": _NAME,
    "cohort_lanes": _INT,
    "compile_seconds": _FLOAT,
    "train_seconds": _FLOAT,
    "evaluate_seconds": _FLOAT,
    "configuration": _NAME,
}
_CURVES_OF_SWARM = {
    "trial_id": _NAME,
    "start": _INT,
    "step": _INT,
    "loss": _FLOAT,
    "grad_norm": _FLOAT,
    "param_norm": _FLOAT,
    "lr": _FLOAT,
}
# Each step of chosen trials has a row for each coordinate, with the state before the step; one more is after the last.
_TRAJECTORIES = {
    "trial_id": _NAME,
    "start": _INT,
    "step": _INT,
    "loss": _FLOAT,
    "lr": _FLOAT,
    "coordinate": _INT,
    "x": _FLOAT,
    "gradient": _FLOAT,
    "effective_lr": _FLOAT,
}
_TAKEN = {*_BEFORE_HYPER, *_BEFORE_SCHEDULE, *_AFTER_SCHEDULE}
_TAKEN |= {*_BEFORE_HYPER_OF_SWARM, *_BEFORE_SCHEDULE_OF_SWARM, *_AFTER_SCHEDULE_OF_SWARM}
# Columns that rankings and pictures add.
_LOSSES = {name for name in _AFTER_SCHEDULE if name.startswith(("final_", "best_"))}
_TAKEN |= {"rank", "seeds", "starts", "diverged", "timeout", "target_epochs", "method"}
_TAKEN |= {"end", "rates", "value", "settings", "trial_ids", "run"}
_TAKEN |= {f"{name}_{end}" for name in _LOSSES for end in ("min", "max")}
_POINT = re.compile(r"(start|end)_\d+")  # a coordinate where a trial on a landscape starts or ends
_PREFIX = "schedule."
_START, _END, _SLOT = "start_", "end_", "slot."
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
            return pa.schema({**_BEFORE_HYPER, **hyper, **_BEFORE_SCHEDULE, **numbers, **_AFTER_SCHEDULE})
        points = {f"{which}{i}": _FLOAT for which in (_START, _END) for i in range(self.coordinates)}
        before = {**_BEFORE_HYPER_OF_SWARM, **hyper, **_BEFORE_SCHEDULE_OF_SWARM, **numbers}
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


def trials_table(trials: pd.DataFrame, columns: Columns) -> pa.Table:
    """Return the rows of trials as a table with the study's schema.

    A column that is absent, and None or pd.NA in one that is present, becomes null: not measured, or not a
    hyper-parameter of this rule. A NaN is stored as such, except among the hyper-parameters and the numbers of the
    schedule, which are never NaN.

    Raises
    ------
    ValueError
        A column is not in the schema, or one that may not be null is absent.
    """
    schema = columns.trials
    if unknown := [name for name in trials.columns if name not in schema.names]:
        raise ValueError(f"trials have columns that the study's schema lacks: {unknown}")
    sparse = {*columns.hyper, *columns.schedule}
    return pa.table([_trials_column(trials, field, field.name in sparse) for field in schema], schema=schema)


def conform(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return a table with the columns of a wider schema, which are null where the table lacks them."""
    rows = table.num_rows
    arrays = [
        table.column(field.name) if field.name in table.column_names else pa.nulls(rows, field.type) for field in schema
    ]
    return pa.table(arrays, schema=schema)


def _trials_column(trials: pd.DataFrame, field: pa.Field, sparse: bool) -> pa.Array:
    if field.name not in trials.columns:
        if field.type != _FLOAT:
            raise ValueError(f"trials lack the column {field.name!r}")
        return pa.nulls(len(trials), field.type)
    values = trials[field.name]
    # from_pandas=True would turn the NaN of a diverged trial into a null.
    plain = values.to_numpy() if isinstance(values.dtype, np.dtype) else values.array
    return pa.array(plain, type=field.type, from_pandas=sparse)


def _is_taken(name: str) -> bool:
    """Whether results have, or may have, another column of this name."""
    return name in _TAKEN or name.startswith(_PREFIX) or _POINT.fullmatch(name) is not None


def _unique(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
