"""The model of a trial, from its parameters, its study and its data, which are loaded again."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fastgd.analysis import Layer, Results, TrainedModel
from fastgd.analysis.trained_model import functions_of
from fastgd.common.errors import InputError
from fastgd.datasets import Data
from fastgd.datasets.arrays import Arrays
from fastgd.datasets.load import counts_from_0
from fastgd.plan.cohorts import fingerprint_names, labels, model_of
from fastgd.problems import find_loss
from fastgd.runs.data.loading import load_data
from fastgd.runs.reporting.events import Event
from fastgd.study.config import Problem, Study


def trained_model(
    results: Results, trial_id: str, data: Arrays | None, folds: Sequence[Any] | None = None
) -> TrainedModel:
    """Return the model that a trial trained: see `Results.model`."""
    if results.on_landscapes:
        raise InputError("trials on landscapes train no model; results.trials has where they end")
    parameters = results.parameters(trial_id)
    trial = results.trials[results.trials["trial_id"] == trial_id].iloc[0]
    if not trial["in_study"]:
        raise InputError(f"trial {trial_id!r} is of an earlier version of the study, and not of the one that is stored")
    if not np.isfinite(parameters).all():
        raise InputError(f"trial {trial_id!r} ended as {trial['status']!r}: its parameters are not finite")
    study, rows = study_of(results, trial, data, folds=folds)
    return model_from(study, rows, trial_id, parameters)


def model_from(study: Study, data: Data, trial_id: str, parameters: NDArray[np.float64]) -> TrainedModel:
    """Return a model of the only problem of a study, from the data that it was trained on and its parameters."""
    problem = study.data_problems[0]
    binary, network = find_loss(problem.loss).targets == "binary", problem.network
    form: Any = problem.format
    return TrainedModel(
        trial_id=trial_id,
        loss=problem.loss,
        features=data.features,
        classes=data.classes or (data.labels or (0, 1) if binary else ()),
        layers=layers_of(problem, data, parameters),
        scaling=data.scaling,
        sparse=data.sparse,
        targets=data.targets,
        target_scale=data.target_scale,
        **functions_of(problem.loss, network.activation if network else None),
        study=study.name,
        fingerprint=data.fingerprint,
        rows=data.n,
        zero_based=counts_from_0(problem.files, form, problem.zero_based),
        csv=problem.csv or {},
    )


def study_of(
    results: Results,
    trial: "pd.Series[Any]",
    data: Arrays | None,
    emit: Callable[[Event], None] = lambda _: None,
    folds: Sequence[Any] | None = None,
) -> tuple[Study, Data]:
    """Return the study of a trial's problem and split alone, and its data, which must be those of the results.

    Parameters
    ----------
    results : Results
    trial : Series
        The trial's row.
    data : (X, y) or (X, y, weights), optional
        The arrays of a study that was run on such.
    emit : callable
        Receives what is loaded.
    folds : sequence of (train, test), optional
        The folds of a study that was run with such.
    """
    study, label = Study(**results.study), str(trial["problem"])
    own = [problem for problem in study.data_problems if (problem.name or label) == label]
    splits = [problem.split_seed for problem in own]
    split = splits[0][0] if splits and pd.isna(trial["split_seed"]) else int(trial["split_seed"])
    own = [problem if problem.folds else problem.model_copy(update={"split_seed": [split]}) for problem in own]
    named = any(problem.dataset or problem.path or problem.synthetic for problem in own)
    if named and data is not None:
        raise InputError(f"{label!r} names its data, which are loaded again; leave data out")
    if not named and data is None:
        raise InputError(
            f"{label!r} was run on arrays, which results do not hold: give the same ones, from Python, as data=(X, y)"
        )
    study = study.model_copy(update={"problem": own})
    loaded = load_data(study, data, emit, folds)
    named_splits = zip(labels(study, loaded), study.splits, loaded, strict=True)
    for name, (_, problem), rows in named_splits:
        known = map(results.manifest.fingerprints.get, fingerprint_names(label, problem))
        if name == label and problem.split_seed == [split] and rows.fingerprint in known:
            own_split = {"validation": problem.folds.alone(split)} if problem.folds else {}
            return study.model_copy(update={"problem": [problem.model_copy(update=own_split)]}), rows
    raise InputError(f"the data of {label!r} are not those that {results.path} was computed with: they have changed")


def layers_of(problem: Problem, data: Data, parameters: Any) -> list[Layer]:
    """Return the layers of a model, from its parameters as the engine orders them."""
    weights, biases, first = [], [], 0
    for group in model_of(problem, data).groups(data.X.shape[1]):
        values = parameters[first : first + group.size]
        first += group.size
        if group.penalised:
            weights.append(values.reshape(group.shape[0], -1))
        else:
            biases.append(values)
    hidden = len(weights) - 1
    names = [*(f"hidden_{number}" for number in range(1, hidden + 1)), "output"]
    activations = [problem.network.activation if problem.network else None] * hidden + [None]
    return [Layer(*each) for each in zip(names, weights, biases or [None] * (hidden + 1), activations, strict=True)]
