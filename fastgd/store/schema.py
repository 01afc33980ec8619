"""The columns of results on disk: explicit Arrow schemas, never inferred, and their union when a study grows."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa

from fastgd._errors import InputError

_STRING, _INT, _FLOAT = pa.string(), pa.int64(), pa.float64()

# A trial's row: what was run, then what came of it. The numeric hyper-parameters stand after `variant`, the numbers of
# the schedule after `schedule`; both depend on the study.
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
_TAKEN = {*_BEFORE_HYPER, *_BEFORE_SCHEDULE, *_AFTER_SCHEDULE}
_PREFIX = "schedule."

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
        The metrics of a checkpoint; those that every curve has may be among them.

    Raises
    ------
    InputError
        A hyper-parameter has the name of another column.
    """

    hyper: tuple[str, ...] = ()
    schedule: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if taken := [name for name in self.hyper if name in _TAKEN or name.startswith(_PREFIX)]:
            raise InputError(f"the hyper-parameter {taken[0]!r} has the name of a column of the results; rename it")
        object.__setattr__(self, "schedule", _unique(_PREFIX + name.removeprefix(_PREFIX) for name in self.schedule))
        object.__setattr__(self, "hyper", _unique(self.hyper))
        object.__setattr__(self, "metrics", _unique(name for name in self.metrics if name not in _CURVES))

    def __or__(self, other: "Columns") -> "Columns":
        """Return the union: these columns, then what `other` adds."""
        return Columns(self.hyper + other.hyper, self.schedule + other.schedule, self.metrics + other.metrics)

    @classmethod
    def of(cls, trials: Iterable[str], curves: Iterable[str]) -> "Columns":
        """Return the columns that files have, from the names that stand in the trials and the curves files."""
        varying = [name for name in trials if name not in _TAKEN]
        numbers = tuple(name for name in varying if name.startswith(_PREFIX))
        return cls(tuple(name for name in varying if name not in numbers), numbers, tuple(curves))

    @property
    def trials(self) -> pa.Schema:
        """The schema of a trials file."""
        hyper, numbers = dict.fromkeys(self.hyper, _FLOAT), dict.fromkeys(self.schedule, _FLOAT)
        return pa.schema({**_BEFORE_HYPER, **hyper, **_BEFORE_SCHEDULE, **numbers, **_AFTER_SCHEDULE})

    @property
    def curves(self) -> pa.Schema:
        """The schema of a curves file."""
        return pa.schema({**_CURVES, **dict.fromkeys(self.metrics, _FLOAT)})


def trials_schema(hyper: Iterable[str], schedule: Iterable[str]) -> pa.Schema:
    """Return the schema of a trials file with these hyper-parameters and numbers of the schedule."""
    return Columns(tuple(hyper), tuple(schedule)).trials


def curves_schema(metrics: Iterable[str]) -> pa.Schema:
    """Return the schema of a curves file with these metrics besides those that every curve has."""
    return Columns(metrics=tuple(metrics)).curves


def trials_table(trials: pd.DataFrame, columns: Columns) -> pa.Table:
    """Bring the rows of trials to their schema.

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
    """Bring a table of an older schema to the union schema: what it lacks is null."""
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


def _unique(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
