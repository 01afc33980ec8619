"""What is recorded of trials, and at which steps."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from fastgd.common.errors import InputError
from fastgd.study.config import Study
from fastgd.study.fields import LARGEST, LAYER_METRICS, MOST_CHECKPOINTS
from fastgd.study.networks import MOST_HIDDEN_LAYERS, MOST_LAYERS

Array = npt.NDArray[Any]
TAIL_STEPS = (64, 32, 16, 8, 4, 2, 1)  # steps before the end at which trials on landscapes are read, to be judged
LOSS_EVALUATIONS = "loss_evaluations"  # of the line search so far, where there is one
EFFECTIVE_RATES = "effective_lr"  # a metric of several columns
RATE_CLASSES = ("rare", "medium", "frequent")  # of features
RATE_QUANTILES = {"q10": 0.1, "q50": 0.5, "q90": 0.9}
RATE_COLUMNS = tuple(f"{EFFECTIVE_RATES}.{name}.{quantile}" for name in RATE_CLASSES for quantile in RATE_QUANTILES)
LAYER_NORMS, LAYER_UPDATES, DEAD_UNITS = LAYER_METRICS  # with a column for each layer
NORM_COLUMNS, UPDATE_COLUMNS, DEAD_COLUMNS = (
    tuple(f"{name}.{layer}" for layer in range(1, 1 + layers))
    for name, layers in ((LAYER_NORMS, MOST_LAYERS), (LAYER_UPDATES, MOST_LAYERS), (DEAD_UNITS, MOST_HIDDEN_LAYERS))
)
SEVERAL_COLUMNS = {
    EFFECTIVE_RATES: RATE_COLUMNS,
    LAYER_NORMS: NORM_COLUMNS,
    LAYER_UPDATES: UPDATE_COLUMNS,
    DEAD_UNITS: DEAD_COLUMNS,
}
MOST_RATES_AT_ONCE = 1 << 22  # effective rates that are computed together: more would take more memory


def columns_of(metrics: Sequence[str]) -> list[str]:
    """Return the columns of the curves in which these metrics stand."""
    return [column for name in metrics for column in SEVERAL_COLUMNS.get(name, (name,))]


def saved_after(study: Study) -> float:
    """Return after how many seconds of a run the state of a unit is saved for the first time."""
    return min(study.snapshot_seconds, study.max_seconds or np.inf)


def checkpoints_of(study: Study, steps: int, batches: int) -> Array:
    """Return the steps at which trials of so many steps are recorded, from 0 on; an epoch has `batches` of them.

    Raises
    ------
    InputError
        There are more steps, or more checkpoints, than a trial may have.
    """
    if steps > LARGEST:
        raise InputError(f"epochs = {study.epochs:,} are {steps:,} steps of {batches:,} an epoch; the most are 2^53")
    if study.record.every == "end":
        return _regular(steps, steps)
    if isinstance(study.record.every, dict):
        return _logarithmic(steps, study.record.every["log"])
    if (count := -(-steps // batches) + 1) > MOST_CHECKPOINTS:
        key = "steps" if study.epochs is None else "epochs"
        raise InputError(
            f"record.every = 'epoch': {key} = {getattr(study, key):,} make {count:,} checkpoints of a trial; the most "
            f"are {MOST_CHECKPOINTS:,}; record.every = {{ log = 1000 }} makes fewer"
        )
    return _regular(steps, batches)


@lru_cache(8)  # cohorts share them: there may be many, of a million checkpoints each
def _logarithmic(steps: int, count: int) -> Array:
    log = np.geomspace(1, steps, count)
    return _read_only(np.unique(np.concatenate([[0], np.rint(log).astype(np.int64), [steps]])))


@lru_cache(8)
def _regular(steps: int, batches: int) -> Array:
    return _read_only(np.append(np.arange(0, steps, batches), steps))


def _read_only(array: Array) -> Array:
    array.setflags(write=False)
    return array
