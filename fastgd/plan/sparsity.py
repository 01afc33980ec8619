"""What a plan decides for sparse data: what becomes of the parameters that a mini-batch does not touch."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from fastgd.common.errors import InputError
from fastgd.datasets import Data
from fastgd.engine.arrays import most_entries
from fastgd.engine.rows.spec import CohortSpec, coasting
from fastgd.optimizers.coasting import EVERY_STEP, UNCHANGED, declares_coast, prove_coasting
from fastgd.study.config import Problem, Schedule

EXACT, MASKED, DENSE_UPDATES = "exact", "masked", "exact, dense updates"  # what stands in the column `sparse`


def with_untouched(spec: CohortSpec, problem: Problem, data: Data, schedules: Sequence[Schedule]) -> CohortSpec:
    """Return what a cohort computes, with what becomes of untouched parameters.

    Parameters
    ----------
    spec : CohortSpec
        With a kernel for sparse rows.
    problem : Problem
    data : Data
        Sparse.
    schedules : sequence of Schedule
        Those of its lanes.

    Raises
    ------
    InputError
        The rule has no masked form.
    """
    if problem.sparse == MASKED:
        _check_masked(spec)
    elif spec.kernel.parts:
        return spec  # a large batch touches nearly everything
    if spec.batch_size > 1 or spec.estimator != "none":
        spec = replace(spec, listed=most_entries(data.source.indptr, spec.batch_size))  # type: ignore[union-attr]
    if problem.sparse == MASKED:
        return replace(spec, untouched=UNCHANGED)
    feedback = any(part.record.feedback for schedule in schedules for part in schedule.parts)
    untouched = prove_coasting(
        spec.rule,
        spec.hyper,
        spec.l2,
        scheduled=spec.scheduled,
        drift=spec.estimator != "none",
        same=len(schedules) == 1 and not feedback,
    )
    n, d = data.n, data.X.shape[1]
    return coasting(spec, untouched, d, (data.nonzeros or 0) / n, data.y.dtype.itemsize)


def _check_masked(spec: CohortSpec) -> None:
    """Refuse what says nothing of the parameters that are left alone."""
    name, why = spec.rule.optimizer.name, ""
    if spec.line_search is not None:
        why = "a line search is for full batches, which touch all parameters"
    elif spec.kernel.parts:
        why = "large batches touch nearly all parameters, and have no masked form"
    elif spec.estimator != "none":
        why = f"estimator = {spec.estimator!r} moves every parameter in every step"
    elif spec.rule.functions.rounds:
        what = f"{name!r}" if spec.rule.measures else f"an option around {name!r}"
        why = f"{what} sums over all parameters in every step"
    if why:
        raise InputError(f'problem.sparse = "masked": {why}; valid here: "exact"')


def sparse_column(spec: CohortSpec, problem: Problem) -> str | None:
    """Return what stands in the column `sparse`."""
    if not spec.kernel.sparse:
        return None
    if problem.sparse == MASKED:
        return MASKED
    return DENSE_UPDATES if spec.untouched == EVERY_STEP and not spec.rule.optimizer.baseline else EXACT


def dense_updates_note(spec: CohortSpec) -> str:
    """Say why every step updates all parameters; empty: it does not."""
    if not spec.kernel.sparse or spec.kernel.parts or spec.untouched != EVERY_STEP or spec.rule.optimizer.baseline:
        return ""
    if spec.kernel.network:
        return "layers: each step updates all of the first layer's weights, not only those of its batch's features"
    name = spec.rule.optimizer.name
    name = name if spec.rule.measures or not spec.rule.options else f"{name} with {', '.join(spec.rule.options)}"
    if spec.rule.functions.rounds:
        why = "sums over all parameters in every step"
    elif bool(np.any(spec.l2 > 0)):
        why = "has no closed form with l2 > 0"
    elif spec.estimator != "none":
        why = f"has no closed form with estimator = {spec.estimator!r}"
    elif spec.rule.optimizer.foreign and not declares_coast(spec.rule):
        why = "is not proven to take a linear step where there is no gradient"
    else:
        why = "has no closed form with these options and schedules"
    return f"{name} {why}: each step updates all parameters, not only those of its batch"
