"""By what trials are judged: a loss, another metric or a time, and which of its values are good."""

from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from fastgd.analysis.curve_pieces import first_values, last_values, least_values
from fastgd.analysis.stored_study import METRICS, StoredStudy
from fastgd.common.errors import InputError, nearest
from fastgd.store.schema import UNFINISHED

Array = NDArray[np.float64]
AT = ("final", "best")
# Trials with these statuses rank behind all others, since their last loss says nothing.
LOST = ("diverged", "failed")
# Whether less of a metric is better; of the metrics that are not here (norms of parameters, rates) neither end is good.
_LESS = (*METRICS, "composite_loss", "grad_norm", "nonzeros")
_MORE = ("accuracy", "validation_accuracy", "top_5", "validation_top_5", "r2", "validation_r2")
_LESS_OF_LAYERS = ("layer_grad_norm.", "dead_units.")


@dataclass(frozen=True)
class Scores:
    """What each trial in the study is judged by, in the order of `StoredStudy.configurations`.

    Parameters
    ----------
    name : str
        The column of rankings: "final_loss", "best_accuracy", "epochs".
    sign : float
        1 where less is better, -1 where more is.
    values : ndarray of shape (trials,)
        The value times `sign`, so that less is better: infinite for a trial that is lost, NaN for one of which it is
        not known how it would have ended.
    lost : ndarray of shape (trials,)
        Which trials diverged or failed (of times: before they got there).
    is_loss : bool
        Whether it is a loss, for which trials that `stop.target` ended are in the order of their epochs.
    """

    name: str
    sign: float
    values: Array
    lost: NDArray[np.bool_]
    is_loss: bool

    @property
    def unknown(self) -> NDArray[np.bool_]:
        """Of which trials it is not known how they would have ended."""
        return np.isnan(self.values)


def direction(metric: str) -> float:
    """Return 1 where less of a metric is better, -1 where more is.

    Raises
    ------
    InputError
        Neither is, or there is no such metric.
    """
    if metric in _MORE:
        return -1.0
    if metric in _LESS or metric.startswith(_LESS_OF_LAYERS):
        return 1.0
    raise InputError(f"{metric!r} is nothing to rank by: neither little nor much of it is good")


def sign_of(column: str) -> float:
    """Return the direction of a ranking's column, such as "final_accuracy"; of a time it is 1."""
    return -1.0 if column.removeprefix("final_").removeprefix("best_") in _MORE else 1.0


def ranked_metric(study: StoredStudy, by: str | None) -> str:
    """Return the metric to rank by: the loss of `StoredStudy.metric`, or any recorded metric that is good or bad.

    Raises
    ------
    InputError
        There is no such metric, it was not recorded, or neither little nor much of it is good.
    """
    if by is None or by in METRICS:
        return study.metric(by)
    recorded = [name for name in study.curves_dataset.schema.names if name in (*_LESS, *_MORE)]
    recorded += [name for name in study.curves_dataset.schema.names if name.startswith(_LESS_OF_LAYERS)]
    if by in study.curves_dataset.schema.names:
        direction(by)
    if by not in recorded:
        known = dict.fromkeys((*METRICS, *recorded))
        why = " (record.metrics names what a study records)" if by in (*_LESS, *_MORE) else ""
        raise InputError(f"results cannot be ranked by {by!r}; {nearest(by, known)}{why}")
    return by


def scores_of(study: StoredStudy, by: str | None = None, at: str = "final") -> Scores:
    """Return what the trials in the study are judged by.

    Raises
    ------
    InputError
        There is no such metric or place, or it was not recorded.
    """
    if at not in AT:
        raise InputError(f"results cannot be ranked at {at!r}; {nearest(at, AT)}")
    metric = ranked_metric(study, by)
    sign = direction(metric)
    status = study.configurations[0]["status"]
    lost = status.isin(LOST).to_numpy()
    values = np.array(sign * _metric_of_trials(study, metric, at, sign), dtype=np.float64)
    values[status.isin(UNFINISHED).to_numpy()] = np.nan
    values[lost] = np.inf
    return Scores(f"{at}_{metric}", sign, values, lost, is_loss=metric in METRICS)


def starts_of(study: StoredStudy, by: str | None = None) -> Array:
    """Return the metric of each trial at its start, times its sign; NaN where it was not measured there."""
    metric = ranked_metric(study, by)
    return direction(metric) * first_values(study, metric)


def _metric_of_trials(study: StoredStudy, metric: str, at: str, sign: float) -> Array:
    """Return a metric of each trial at its end or at its best."""
    trials, column = study.configurations[0], f"{at}_{metric}"
    if column in trials:
        return trials[column].to_numpy(dtype=np.float64)
    if study.on_landscapes and column in study.trial_columns:
        stored = study.table("trials", columns=[column], filter=pc.field("in_study"))[column]
        return np.asarray(stored.to_numpy(), dtype=np.float64)
    return last_values(study, metric) if at == "final" else sign * least_values(study, metric, sign)
