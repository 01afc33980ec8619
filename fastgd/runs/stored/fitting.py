"""A study's best trial as a model: trained again on all rows, with those that the study held out, or as it ended."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fastgd.analysis import Results, TrainedModel, load
from fastgd.common.errors import InputError
from fastgd.core.compile import require_compiler
from fastgd.core.threads import Threads
from fastgd.datasets import Data
from fastgd.datasets.arrays import Arrays
from fastgd.optimizers.options import OPTIONS
from fastgd.plan.estimates import memory
from fastgd.plan.planner import make_plan
from fastgd.plan.units.cohort import CohortUnit
from fastgd.runs.clock import Clock
from fastgd.runs.data.loading import load_all_rows, with_weights
from fastgd.runs.reporting.events import Compiling, Event
from fastgd.runs.reporting.reports import OnEvent, reported
from fastgd.runs.runner import Elsewhere, folder_of, run
from fastgd.runs.stored.retraced import retrace
from fastgd.runs.stored.solutions import report_steps, solutions_of, trials_of_one_problem, unit_of
from fastgd.runs.stored.trained_models import model_from, study_of
from fastgd.study.config import OptimizerBlock, Problem, Record, Stop, Study, require_study
from fastgd.study.models import BEST_ITERATE
from fastgd.study.sub_tables import Around

AS_TRAINED = "as_trained = True (--as-trained) takes the trial as it ended"


def fit(
    study: Study,
    out: str | Path | None = None,
    *,
    by: str | None = None,
    where: str | Sequence[str] = (),
    trial: str | None = None,
    as_trained: bool = False,
    data: Arrays | None = None,
    weights: Any = None,
    folds: Sequence[Any] | None = None,
    threads: int | None = None,
    executor: Elsewhere | None = None,
    progress: bool = True,
    on_event: OnEvent | None = None,
) -> TrainedModel:
    """Run what is missing of a study, and train its best configuration on all rows.

    Parameters
    ----------
    study : Study
        Over data.
    out : path, optional
        The folder of the results: by default `results/<name>`.
    by, where
        Which configuration is the best, as for `Results.best`; its trial at the median is taken.
    trial : str, optional
        This trial in place of the best one. Where the folder holds it, nothing else runs.
    as_trained : bool
        Return the trial as it ended, without the rows that it did not see.
    data, weights, folds, threads, executor, progress, on_event
        As for `fastgd.run`. The best configuration is trained here, whatever ran the study.

    Returns
    -------
    TrainedModel
        See `Results.best_model`.

    Raises
    ------
    InputError
        See `fastgd.run` and `Results.best_model`.
    """
    require_study(study)
    if study.landscapes:
        raise InputError("trials on landscapes train no model; a study over data does")
    options: dict[str, Any] = {"threads": threads, "progress": progress, "on_event": on_event}
    path = folder_of(study, out)
    options |= {"data": with_weights(data, weights), "folds": folds}
    held = trial is not None and holds(path, trial)
    results = load(path) if held else run(study, path, executor=executor, **options)
    return best_model(results, by=by, where=where, trial=trial, refit=not as_trained, **options)


def holds(path: Path, trial: str) -> bool:
    """Whether a folder holds results of a trial."""
    return (path / "manifest.json").exists() and trial in set(load(path).trials["trial_id"])


@np.errstate(over="ignore", invalid="ignore")  # what diverges is refused by its end
def best_model(
    results: Results,
    *,
    by: str | None = None,
    where: str | Sequence[str] = (),
    trial: str | None = None,
    refit: bool = False,
    data: Arrays | None = None,
    folds: Sequence[Any] | None = None,
    threads: int | None = None,
    progress: bool = True,
    on_event: OnEvent | None = None,
) -> TrainedModel:
    """Return the model of a study's best trial, or of another one: see `Results.best_model`."""
    if results.on_landscapes:
        raise InputError("trials on landscapes train no model; results.trials has where they end")
    chosen = str(best_of(results, by, where)["trial_id"]) if trial is None else trial
    (row,) = trials_of_one_problem(results, [chosen])
    require_compiler()
    with reported(on_event, progress) as emit, Threads(threads) as pool:
        study, rows = study_of(results, row, data, emit, folds)
        clock, plan = Clock(), make_plan(study, [rows])
        clock.announce = lambda kernels: emit(Compiling(kernels))
        at_best = study.record.parameters == BEST_ITERATE
        if refit and holds_out(study.data_problems[0]):
            unit, steps = unit_of(results, plan, chosen), int(row["best_step" if at_best else "steps"])
            return _on_all_rows(study, unit, steps, data, clock, pool, emit)
        if at_best:
            return _model(study, rows, chosen, results.parameters(chosen))
        (solution,) = solutions_of(results, plan, [row], rows, clock, pool, emit, walks=False)
        return _model(study, rows, chosen, solution.end)


def best_of(results: Results, by: str | None = None, where: str | Sequence[str] = ()) -> "pd.Series[Any]":
    """Return the first row of a ranking, which must be one of one problem."""
    ranking = results.best(by, where=where)
    problems = list(dict.fromkeys(ranking["problem"].astype(str)))
    if len(problems) > 1:
        raise InputError(
            f"the study has {len(problems)} problems, and each has a best trial: where = 'problem={problems[0]}' "
            f"(--where), for example; the others are {', '.join(problems[1:])}"
        )
    return ranking.iloc[0]


def holds_out(problem: Problem) -> bool:
    """Whether a problem holds rows out that its trials could have been trained on: those of a second file are not."""
    return not isinstance(problem.validation, str) and problem.validation != 0.0


def _model(study: Study, data: Data, trial: str, parameters: Any) -> TrainedModel:
    if not np.isfinite(parameters).all():
        raise InputError(f"trial {trial!r} diverged on all {data.n:,} rows; {AS_TRAINED}")
    return model_from(study, data, trial, parameters)


# --- on all rows ------------------------------------------------------------------------------------------------------


def _on_all_rows(
    study: Study,
    trial: CohortUnit,
    steps: int,
    data: Arrays | None,
    clock: Clock,
    threads: Threads,
    emit: Callable[[Event], None],
) -> TrainedModel:
    """Return the model of a trial that is trained on all rows, for as many epochs as it took, or steps."""
    name = trial.ids[0][0]
    alone = _study_of_trial(study, trial)
    rows = load_all_rows(study, data, emit)
    (unit,) = make_plan(alone, [rows]).units
    assert isinstance(unit, CohortUnit)
    taken = steps if study.epochs is None else round(steps / trial.batches * unit.batches)
    memory.room().require(memory.of_cohort(unit, saved=False), f"training {name!r} on all rows", AS_TRAINED)
    report_steps(clock, emit, name, taken)
    return _model(alone, rows, name, retrace(unit, rows, np.array([taken]), clock, threads)[0])


def _study_of_trial(study: Study, unit: CohortUnit) -> Study:
    """Return the study of one trial alone, with nothing held out."""
    size = unit.spec.batch_size
    problem = study.data_problems[0]
    changes: dict[str, Any] = {
        "problem": [problem.model_copy(update={"validation": 0.0, "split_seed": [0], "l2": [float(unit.spec.l2[0])]})],
        "optimizer": [_block_of(unit)],
        "schedule": [unit.schedules[unit.which[0]]],
        "batch_size": [size if size in study.batch_size else "full"],
        "seed": unit.seeds[0][:1],
        "stop": Stop(),
        "record": Record(),
        **dict.fromkeys(("search", "reference", "surface", "max_seconds")),
    }
    try:
        return Study(**study.model_copy(update=changes).model_dump(exclude_none=True))
    except InputError as error:
        raise InputError(f"trial {unit.ids[0][0]!r} cannot be trained on all rows: {error}; {AS_TRAINED}") from None


def _block_of(unit: CohortUnit) -> OptimizerBlock:
    """Return the table of the optimizer of a unit of one trial."""
    rule = unit.spec.rule
    values = {name: [float(value)] for name, value in zip(rule.fields, unit.spec.hyper[0], strict=True)}
    around = [
        Around(
            table=option.table,
            kind=option.kind,
            numbers={key: values[name] for key, name in zip(option.hyper, option.keys, strict=True)},
        )
        for option in map(OPTIONS.find, rule.options)
    ]
    return OptimizerBlock(
        name=rule.optimizer.name,
        hyper={name: values[name] for name in rule.optimizer.hyper},
        options={name: [value] for name, value in rule.choices},
        around=around,
        estimator=[unit.spec.estimator],
        line_search=unit.search,
    )
