"""What a checkpoint records, from the engine's sums."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastgd.common.errors import InputError
from fastgd.datasets import Data
from fastgd.datasets.data import with_weights
from fastgd.datasets.targets import columns_of_targets
from fastgd.engine.rows.cohort import AnyCohort, Cohort
from fastgd.engine.rows.evaluation import MeasuredRows
from fastgd.engine.rows.order import subsample
from fastgd.plan.units.recording import (
    DEAD_COLUMNS,
    DEAD_UNITS,
    EFFECTIVE_RATES,
    LAYER_NORMS,
    LOSS_EVALUATIONS,
    NORM_COLUMNS,
)
from fastgd.problems import MISSES, SQUARED_ERRORS, ZERO_ONE, Loss, of_each_target, of_weighted_rows, with_outputs
from fastgd.runs.measured import effective_rates
from fastgd.study.checking.checks import NEEDS_TARGETS
from fastgd.study.fields import LAYER_METRICS

Array = npt.NDArray[Any]
TOP = {"accuracy": 1, "top_5": 5}  # among how many of the likeliest classes a row's own has to be


def fits(metric: str, loss: Loss, y: Array | None = None) -> bool:
    """Whether a loss has a metric; where `y` is given, of these targets: hits are counted of labels, not of numbers."""
    quantity = metric.removeprefix("validation_")
    if loss.targets not in NEEDS_TARGETS.get(quantity, (loss.targets,)):
        return False
    return quantity != "accuracy" or loss.of_classes or y is None or bool(np.all((y == 0) | (y == 1)))


def measures_of(metrics: Sequence[str], loss: Loss) -> list[Loss]:
    """Return what is summed over rows for these metrics of a loss, beside itself."""
    names = {name.removeprefix("validation_") for name in metrics}
    if loss.of_classes:
        found = [with_outputs(MISSES[most], loss.outputs) for name, most in TOP.items() if name in names]
    else:
        found = [ZERO_ONE] if "accuracy" in names else []
        found += _squared_errors(loss) if "r2" in names and loss.name in SQUARED_ERRORS else []
    return [of_weighted_rows(measure, loss.weighted) for measure in found]


def _squared_errors(loss: Loss) -> list[Loss]:
    """Return what is summed for r2: half the squared errors of each target."""
    return of_each_target(with_outputs(SQUARED_ERRORS[loss.name], loss.outputs))


def _explained(halves: Array, y: Array, weights: Array | None) -> Array:
    """Return r2 (alive,), of several targets the mean of theirs, from half the mean squared errors (targets, alive)."""
    columns = columns_of_targets(y)
    found = [1 - 2 * errors / _variance(column, weights) for errors, column in zip(halves, columns, strict=True)]
    return np.asarray(np.mean(found, axis=0))


def _variance(column: Array, weights: Array | None) -> float:
    """Return the variance of a target (n,); NaN of targets that are all the same, of which rounding would make one."""
    if np.ptp(column if weights is None else column[weights > 0]) == 0:
        return np.nan
    if weights is None:
        return float(np.var(column, dtype=np.float64))
    mean = np.average(column.astype(np.float64), weights=weights)
    return float(np.average(np.square(column - mean), weights=weights))


class _Rows(NamedTuple):
    """Rows that are measured, with the prefix of their metrics.

    y : (N,), or (N, targets)
    weights : (N,), or None: all rows weigh the same
    order : (n,), which of X and y they are; None: all
    numbers : y with the weights behind it, as losses take it
    total : by what sums over them are divided to be means
    """

    prefix: str
    X: Any
    y: Array
    weights: Array | None
    order: Array | None
    numbers: Array
    total: float

    @classmethod
    def of(cls, prefix: str, X: Any, y: Array, weights: Array | None, order: Array | None) -> "_Rows":
        count = len(y) if order is None else len(order)
        own = weights if weights is None or order is None else weights[order]
        total = count if own is None else float(own.sum(dtype=np.float64))
        return cls(prefix, X, y, weights, order, with_weights(y, weights), total)

    def only(self, order: Array) -> "_Rows":
        return self.of(self.prefix, self.X, self.y, self.weights, order)._replace(numbers=self.numbers)

    @property
    def targets(self) -> Array:
        return self.y if self.order is None else self.y[self.order]

    @property
    def own_weights(self) -> Array | None:
        return self.weights if self.weights is None or self.order is None else self.weights[self.order]

    def measured_by(self, measures: Sequence[Loss]) -> MeasuredRows:
        return MeasuredRows(self.X, self.numbers, measures, self.order)


def _subsample(of: _Rows, data: Data, rows: int) -> _Rows:
    """Return the same training rows of the same data, whatever the study is."""
    which = subsample(data.n, rows)
    found = of.only(which if data.rows is None else data.rows[which])
    if not found.total:
        raise InputError(f"record.rows = {rows:,}: the weights of all rows of this subsample are 0; take more rows")
    return found


class Recorder:
    """Measures a cohort at checkpoints.

    Parameters
    ----------
    data : Data
    loss : Loss
    metrics : sequence of str
        Those that the study asks for; what the loss's targets do not have is left out.
    rows : int, optional
        How many training rows stand for all of them where `record` need not be exact: a fixed subsample.
    features : bool
        Whether each parameter is that of a feature, as those of linear models are.

    Attributes
    ----------
    sampled : bool
        Whether there is a subsample.
    """

    def __init__(
        self, data: Data, loss: Loss, metrics: Sequence[str], rows: int | None = None, *, features: bool = True
    ) -> None:
        self._loss = loss
        self._sets = [_Rows.of("", data.X, data.y, data.weights, data.rows)]
        if data.X_validation is not None and data.y_validation is not None:
            held = data.X_validation, data.y_validation, data.weights_validation, data.validation_rows
            self._sets.append(_Rows.of("validation_", *held))
        self.sampled = rows is not None and rows < data.n
        self._subsets = [_subsample(self._sets[0], data, rows or 0), *self._sets[1:]] if self.sampled else self._sets
        self._missed = {"accuracy": ZERO_ONE.name}
        if loss.of_classes:
            self._missed = {name: MISSES[most].name for name, most in TOP.items()}
        targets = {of.prefix: of.targets for of in self._sets}
        self._metrics = [
            name for name in metrics if fits(name, loss, targets.get("validation_" * name.startswith("validation_")))
        ]
        others = LAYER_METRICS if features else (EFFECTIVE_RATES,)
        self._metrics = [name for name in self._metrics if name not in others]
        self._classes = effective_rates.classes_of(data) if EFFECTIVE_RATES in self._metrics else {}

    def _measures(self, prefix: str) -> list[Loss]:
        """What is summed over a set of rows; a loss that is its own squared error once."""
        own = [name.removeprefix(prefix) for name in self._metrics if name.startswith("validation_") == bool(prefix)]
        return list({measure.key: measure for measure in (self._loss, *measures_of(own, self._loss))}.values())

    @np.errstate(over="ignore", invalid="ignore")  # a trial that diverges is data
    def record(self, cohort: AnyCohort, poll: Callable[[], None], exact: bool = True) -> dict[str, Array]:
        """Return the metrics of the lanes that are alive, each (alive,) float64.

        Where they need not be exact, the loss, accuracy, r2 and dead units of the training rows are those of the
        subsample.
        """
        of_rows = self._sets if exact else self._subsets
        sets = [of.measured_by(self._measures(of.prefix)) for of in of_rows]
        measured = cohort.measure(sets, poll)
        values = {"param_norm": measured.norms}
        for own, of, sums in zip(of_rows, sets, measured.sums, strict=True):
            prefix = own.prefix
            means = dict(zip([measure.key for measure in of.measures], sums / own.total, strict=True))
            values[f"{prefix}loss"] = means[self._loss.key]
            for name, missed in self._missed.items():
                if f"{prefix}{name}" in self._metrics:
                    values[f"{prefix}{name}"] = 1 - means[missed]
            if f"{prefix}r2" in self._metrics:
                halves = np.array([means[measure.key] for measure in _squared_errors(self._loss)])
                values[f"{prefix}r2"] = _explained(halves, own.targets, own.own_weights)
        l2 = cohort.spec.l2[cohort.alive]
        values["loss"] = values["loss"] + np.where(l2 > 0, 0.5 * l2 * measured.penalised, 0)  # 0 x infinity is 0 here
        if {"grad_norm", LAYER_NORMS} & set(self._metrics):
            values |= self._of_gradient(cohort.gradient_norms(poll))
        if DEAD_UNITS in self._metrics and cohort.spec.model.units:
            values |= dict(zip(DEAD_COLUMNS, cohort.dead_units(sets[0], poll), strict=False))
        if {"composite_loss", "nonzeros"} & set(self._metrics):
            values |= self._of_weights(cohort, values["loss"])
        if self._classes and isinstance(cohort, Cohort):  # a baseline multiplies no gradients
            values |= effective_rates.measure(cohort, self._classes, poll)
        if cohort.line:
            values[LOSS_EVALUATIONS] = cohort.line.evaluations[cohort.alive].astype(np.float64)
        return values

    def _of_gradient(self, norms: Array) -> dict[str, Array]:
        """Return what is asked for of the norms of the gradient and of its layers (1 + layers, alive)."""
        found = {"grad_norm": norms[0]} if "grad_norm" in self._metrics else {}
        return found | (dict(zip(NORM_COLUMNS, norms[1:], strict=False)) if LAYER_NORMS in self._metrics else {})

    def _of_weights(self, cohort: AnyCohort, loss: Array) -> dict[str, Array]:
        """Return the loss with the penalty of proximal steps, and the number of weights that are not zero."""
        weights = np.ascontiguousarray(cohort.parameters()[:, cohort.spec.penalised(cohort.d)])
        penalty = np.zeros(len(weights))
        if "proximal.l1" in cohort.spec.rule.fields:
            l1, l2 = cohort.value_of("proximal.l1"), cohort.value_of("proximal.l2")
            penalty += np.where(l1 > 0, l1 * np.abs(weights).sum(axis=1), 0)  # 0 x infinity is 0 here, too
            penalty += np.where(l2 > 0, 0.5 * l2 * np.square(weights).sum(axis=1), 0)
        found = {"composite_loss": loss + penalty, "nonzeros": np.count_nonzero(weights, axis=1).astype(np.float64)}
        return {name: values for name, values in found.items() if name in self._metrics}

    @np.errstate(over="ignore", invalid="ignore")
    def validation_loss(self, cohort: AnyCohort, poll: Callable[[], None]) -> Array:
        """Return the validation losses (alive,) alone: the bits that `record` gives."""
        held = self._sets[1]
        return np.asarray(cohort.measure([held.measured_by([self._loss])], poll).sums[0][0] / held.total)
