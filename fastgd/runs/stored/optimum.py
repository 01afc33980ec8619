"""`fastgd.optimum`: loads a study's data again, and stores the minima of its convex objectives beside its results."""

import pandas as pd

from fastgd.analysis import Results
from fastgd.common.errors import InputError
from fastgd.datasets.arrays import Arrays
from fastgd.optima import CONVEX
from fastgd.plan.cohorts import split_labels
from fastgd.runs.data.loading import load_data
from fastgd.runs.optima import is_convex, store_optima
from fastgd.runs.reporting.reports import OnEvent, reported
from fastgd.store.folder import extending
from fastgd.study.config import Study


def optimum(
    results: Results,
    data: Arrays | None = None,
    *,
    progress: bool = True,
    on_event: OnEvent | None = None,
) -> pd.DataFrame:
    """Find the minimum of each convex objective of a study, with a bound of its error, and store it with the results.

    An objective is a problem with one of its `l2`. What the folder holds already is not solved again. Everything is
    computed in float64, on the rows as the study prepares them, by methods that need no rate; `docs/optimum.md` says
    how, and what the bound rests on. Afterwards `Results.minima` has it, and `Results.curves` a column `gap`.

    Parameters
    ----------
    results : Results
        Of a study over data.
    data : (X, y) or (X, y, weights), optional
        The arrays or tables that the study was run on, if it was.
    progress : bool
        Show on standard error how far it is, where that is a terminal, or in a notebook.
    on_event : callable, optional
        Receives what `fastgd.runs.reporting.events` describes.

    Returns
    -------
    pandas.DataFrame
        `Results.optima`. Objectives that are not convex are not among them.

    Raises
    ------
    InputError
        The study is one on landscapes, or has no convex problem; the data have changed.
    """
    if results.on_landscapes:
        raise InputError(
            f"{results.path} holds trials on landscapes, which are not convex: results.minima has the least value seen"
        )
    with reported(on_event, progress) as emit:
        study = Study(**results.study)
        if not any(map(is_convex, study.data_problems)):
            raise InputError(
                f"no problem of {results.path} is convex, so that nothing bounds its minimum: results.minima has the "
                f"least value seen. Convex are linear models with {', '.join(CONVEX)}"
            )
        named = any(problem.dataset or problem.path or problem.synthetic for problem in study.data_problems)
        if not named and data is None:
            raise InputError(
                f"{results.path} was computed on arrays, which results do not hold: give the same ones, from Python, "
                "as data=(X, y)"
            )
        loaded = load_data(study, data, emit)
        names = split_labels(study, loaded)
        for label, rows in zip(names, loaded, strict=True):
            if rows.fingerprint != results.manifest.fingerprints.get(label):
                raise InputError(
                    f"the data of {label!r} are not those that {results.path} was computed with: they have changed"
                )
        with extending(results.path):
            store_optima(results.path, study, loaded, emit)
    results.forget("stored_optima", "minima", "optima", "curves")
    return results.optima
