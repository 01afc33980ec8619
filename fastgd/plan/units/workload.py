"""What the plan knows of rows: what is measured and kept of them, and the size of their losses."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastgd.datasets import Data
from fastgd.datasets.staged_rows import StagedRows
from fastgd.engine.rows.spec import CohortSpec
from fastgd.engine.rows.staging import fits_whole, stage_bytes
from fastgd.plan.units.recording import DEAD_UNITS, EFFECTIVE_RATES, LAYER_NORMS, LAYER_UPDATES, columns_of
from fastgd.problems import Loss
from fastgd.study.config import Study


@dataclass(frozen=True)
class Workload:
    """What the costs of a cohort depend on, beside its lanes and steps: what is measured of it, and kept.

    Attributes
    ----------
    rows : int
        How many training rows are evaluated between the first and the last checkpoint; 0: all.
    held_out : int
        Validation rows.
    measures, held_out_measures : int
        What is summed over them.
    columns : int
        Numbers of a row of curves that change from row to row.
    gradient_norm, effective_rates, updates : bool
        Whether they are measured.
    units : int
        The hidden units of which it is told whether they are dead.
    feedback : bool
        Whether the validation loss is taken at each epoch's end.
    touched : float
        Features of a batch of sparse rows.
    of_weights : bool
        Whether metrics are made of all weights.
    parameters : {"none", "best", "all", "best_iterate"}
        Whose parameters are kept.
    copied : float
        Bytes of targets with their weights, and of the rows that take their form in a buffer.
    mapped, formed : float
        Of a row, the bytes that stand in a mapped file, and the values that take their form in each pass.
    """

    rows: int = 0
    held_out: int = 0
    measures: int = 1
    held_out_measures: int = 1
    columns: int = 3
    gradient_norm: bool = False
    effective_rates: bool = False
    updates: bool = False
    units: int = 0
    feedback: bool = False
    touched: float = 0.0
    of_weights: bool = False
    parameters: str = "none"
    copied: float = 0.0
    mapped: float = 0.0
    formed: float = 0.0


NOTHING_BESIDE = Workload()  # the loss over the training rows


def workload(study: Study, data: Data, spec: CohortSpec, feedback: bool) -> Workload:
    """Return what a cohort's costs depend on, from a study, its data, and what it computes."""
    metrics, held_out = study.record.metrics, data.held_out
    each = {"accuracy": 1, "r2": len(data.targets) or 1}  # r2 is of every target
    summed, held_out_summed = (sum(each.get(name, 0) for name in names) for names in (metrics, _of_held_out(metrics)))
    columns, layered = len(columns_of(metrics)) - (not held_out), spec.kernel.network
    return Workload(
        rows=study.record.rows or 0,
        held_out=held_out,
        measures=1 + summed,
        held_out_measures=1 + held_out_summed,
        columns=columns,
        gradient_norm="grad_norm" in metrics or (LAYER_NORMS in metrics and layered),
        effective_rates=EFFECTIVE_RATES in metrics,
        updates=LAYER_UPDATES in metrics and layered and not spec.rule.optimizer.baseline,
        units=sum(spec.model.units) if DEAD_UNITS in metrics else 0,
        feedback=feedback,
        touched=_touched(data, spec.batch_size) if data.sparse else 0.0,
        of_weights=not {"composite_loss", "nonzeros"}.isdisjoint(metrics),
        parameters=study.record.parameters,
        copied=_copied(data, spec.loss) + _staged(data, spec.batch_size),
        mapped=_row_bytes(data.X) * (data.origin != "memory"),
        formed=data.X.size / data.X.shape[0] * (isinstance(data.X, StagedRows) and not fits_whole(data.X)),
    )


def _copied(data: Data, loss: Loss) -> float:
    """Return the bytes of targets with their weights."""
    itemsize = data.y.dtype.itemsize
    held_out = 0 if data.y_validation is None else len(data.y_validation)
    # of which the steps and the measures have some each
    return float(loss.weighted * loss.columns * itemsize * (2 * len(data.y) + held_out))


def _staged(data: Data, batch_size: int) -> float:
    """Return the bytes of the buffers in which training rows, and held-out ones if they are others, take their form."""
    found = _stage(data.X, batch_size)
    return found if data.X_validation is data.X else found + _stage(data.X_validation, batch_size)


def _stage(X: Any, batch_size: int) -> float:
    if not isinstance(X, StagedRows):
        return 0.0
    return stage_bytes(X, batch_size)


def _row_bytes(X: Any) -> float:
    """Return the bytes of a row as it was loaded, on average."""
    source = X.source if isinstance(X, StagedRows) else X
    entry = source.dtype.itemsize + (0 if isinstance(source, np.ndarray) else source.indices.dtype.itemsize)
    return float(entry * source.size / source.shape[0])


def _of_held_out(metrics: Sequence[str]) -> list[str]:
    return [name.removeprefix("validation_") for name in metrics if name.startswith("validation_")]


def _touched(data: Data, batch_size: int) -> float:
    """Return how many features occur in a batch, on average; features of the same frequency are counted together."""
    if batch_size == 1:
        return entries_of(data)
    n = data.n
    features = np.bincount(np.rint(data.frequencies * n).astype(np.int64))
    rows = np.flatnonzero(features)
    return float(features[rows] @ (1 - (1 - rows / n) ** batch_size))


def entries_of(data: Data) -> float:
    """Return the entries of a row, on average; of dense rows all."""
    return (data.nonzeros or 0) / data.n if data.sparse else float(data.X.shape[1])


def loss_scale(data: Data, loss: Loss) -> float:
    """Return a loss's own scale on some data: the mean, over the training rows, of its size where the margin is 0.

    It changes with the targets as the objective does: a thousandth of the targets is a millionth of the squared loss.
    A loss of counts is `e^0` there whatever these are: of its sizes at the margins 0 and 1 the larger one counts. It is
    0, no scale, where a loss of a user's own has no value there.
    """
    if loss.of_classes:
        return float(np.log(loss.outputs))
    y = data.training_targets.astype(np.float64)
    margins = (0.0, 1.0) if loss.targets == "count" else (0.0,)
    with np.errstate(all="ignore"):
        sizes = np.max([np.abs(loss.value(z, y)) for z in margins], axis=0)
        if (weights := data.training_weights) is not None:
            sizes = np.average(sizes, axis=0, weights=weights)
        scale = float(np.mean(sizes))
    return scale if np.isfinite(scale) else 0.0
