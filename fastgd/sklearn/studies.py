"""From the parameters of estimators to the tables of a study: each parameter has the key that means the same."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from fastgd.common.errors import InputError
from fastgd.optimizers import find
from fastgd.problems import find_loss
from fastgd.sklearn.rows import Task
from fastgd.study.config import Study

LOSSES = {"log_loss": "logistic", "squared_error": "squared"}  # scikit-learn's names; the others are those of fastgd
PENALTIES = ("l2", "l1", "elasticnet", None)
WITH_ALPHA = ("optimal", "pegasos")  # schedules that know the penalty's strength
AUTO_ROWS = 200  # of a batch, as MLPClassifier's
# What a lane of a study may have of its own: candidates that differ in these alone share passes over the data.
OF_A_LANE = {"alpha", "penalty", "l1_ratio", "optimizer", "eta0", "optimizer_params", "average"}
OF_A_LANE |= {"learning_rate", "schedule_params"}
# How messages of a study call what estimators call otherwise: the beginnings of paths, the longest first.
KEYS = (
    (r"optimizer(\.\d+)?\.lr", "eta0"),
    (r"optimizer(\.\d+)?\.name", "optimizer"),
    (r"optimizer(\.\d+)?\.schedule\.name", "learning_rate"),
    (r"optimizer(\.\d+)?\.schedule", "schedule_params"),
    (r"optimizer(\.\d+)?\.", "optimizer_params."),
    (r"problem(\.\d+)?\.l2", "alpha"),
    (r"problem(\.\d+)?\.network\.", ""),
    (r"problem(\.\d+)?\.validation", "validation_fraction"),
    (r"epochs", "max_iter"),
    (r"search\.halving", "halving"),
    (r"stop\.patience", "n_iter_no_change"),
    (r"stop\.tolerance", "tol"),
)


def loss_of(estimator: Any) -> str:
    """Return fastgd's name of an estimator's loss."""
    name: str = LOSSES.get(estimator.loss, estimator.loss)
    try:
        return find_loss(name).name
    except InputError as error:
        known = "" if ":" in name else "; also 'log_loss', 'squared_error', and your own as \"module:loss\""
        raise InputError(f"{error}{known}") from None


def strength(estimator: Any) -> tuple[float, float]:
    """Return the strengths of an estimator's l2 and l1 penalties.

    Raises
    ------
    InputError
        There is no such penalty, or no such share of it.
    """
    if estimator.penalty not in PENALTIES:
        raise InputError(f"penalty = {estimator.penalty!r}: must be one of {', '.join(map(repr, PENALTIES))}")
    if not 0 <= estimator.l1_ratio <= 1:
        raise InputError(f"l1_ratio = {estimator.l1_ratio!r}: must be from 0 to 1")
    share = {"l2": 0.0, "l1": 1.0, "elasticnet": float(estimator.l1_ratio), None: 0.0}[estimator.penalty]
    alpha = 0.0 if estimator.penalty is None else float(estimator.alpha)
    return alpha * (1 - share), alpha * share


def optimizer_of(estimator: Any) -> dict[str, Any]:
    """Return an estimator's table `[[optimizer]]`, with its schedule and the options around its rule."""
    own = dict(estimator.optimizer_params or {})
    block = {"name": estimator.optimizer}
    if estimator.eta0 is not None and "lr" in find(estimator.optimizer).hyper:
        block["lr"] = estimator.eta0
    if l1 := strength(estimator)[1]:
        block["proximal"] = {"l1": l1}
    if estimator.average:
        block["averaging"] = {"kind": "polyak", "start": 0 if estimator.average is True else int(estimator.average)}
    if estimator.learning_rate != "constant" or estimator.schedule_params:
        block["schedule"] = _schedule_of(estimator)
    return block | own


def _schedule_of(estimator: Any) -> dict[str, Any]:
    own = dict(estimator.schedule_params or {})
    if estimator.learning_rate == "adaptive":
        raise InputError("learning_rate = 'adaptive' is 'plateau' here, with early_stopping = True")
    if estimator.learning_rate in WITH_ALPHA:
        own.setdefault("alpha", estimator.alpha)
    return {"name": estimator.learning_rate, **own}


def batch_size_of(estimator: Any, n: int) -> int | str:
    """Return the rows of a batch, of n: all of them where it would be larger."""
    size = min(AUTO_ROWS, n) if estimator.batch_size == "auto" else estimator.batch_size
    return "full" if size == "full" or (isinstance(size, int) and size >= n) else size


def problem_of(estimator: Any, task: Task) -> dict[str, Any]:
    """Return an estimator's table `[problem]` of a task, but for its penalty and its data."""
    problem: dict[str, Any] = {"name": task.name, "loss": task.loss, "intercept": bool(estimator.fit_intercept)}
    if len(estimator.hidden):
        problem["network"] = {"hidden": list(estimator.hidden), "activation": estimator.activation}
    return problem | ({"target": list(task.targets)} if task.targets else {})


def study_of(
    estimator: Any,
    problems: Sequence[Mapping[str, Any]],
    blocks: Sequence[Mapping[str, Any]],
    n: int,
    seed: int,
    metrics: Sequence[str] = (),
    halving: Mapping[str, Any] | None = None,
    *,
    curves: bool = True,
) -> Study:
    """Return the study of an estimator, or of several that differ in their optimizers and penalties alone.

    Parameters
    ----------
    estimator : GDClassifier or GDRegressor
    problems : sequence of dict
        Their tables, one for each vector of targets.
    blocks : sequence of dict
        The tables of the optimizers.
    n : int
        The training rows.
    seed : int
    metrics : sequence of str
        What is recorded beside the losses.
    halving : mapping, optional
        The keys of a race between the optimizers and penalties.
    curves : bool
        Whether losses are recorded after each epoch, and not at the end alone.

    Raises
    ------
    InputError
        A parameter is wrong; it is called as the estimator calls it.
    """
    watching = {"halving": halving, "tol": estimator.tol, "early_stopping": estimator.early_stopping or None}
    if not curves and (found := [f"{name} = {value!r}" for name, value in watching.items() if value is not None]):
        raise InputError(f"curves = False: {', '.join(found)} watches the losses after each epoch")
    stop: dict[str, Any] = {}
    if estimator.tol is not None:
        watch = "validation_loss" if estimator.early_stopping else "loss"
        stop = {"patience": estimator.n_iter_no_change, "tolerance": estimator.tol, "relative": False, "watch": watch}
    kept = "best_iterate" if estimator.early_stopping else "all"
    try:
        study = Study(
            name="estimator",
            epochs=estimator.max_iter,
            seed=seed,
            batch_size=batch_size_of(estimator, n),
            dtype=estimator.dtype,
            order="shuffle" if estimator.shuffle else "sequential",
            problem=[dict(problem) for problem in problems],
            optimizer=[dict(block) for block in blocks],
            stop=stop,
            search=None if halving is None else {"halving": dict(halving)},
            record={"parameters": kept, "every": "epoch" if curves else "end"}
            | ({"metrics": list(metrics)} if metrics else {}),
        )
    except InputError as error:
        raise InputError(_renamed(str(error))) from None
    _check_single(study, len(blocks))
    return study


def _check_single(study: Study, count: int) -> None:
    """Refuse lists and grids where an estimator has one value."""
    several = [key for block in study.optimizer for key, values in block.grids.items() if len(values) > 1]
    if several or len(study.optimizer) > count:
        key = f"{several[0]!r} has several values" if several else "it has several tables or words"
        raise InputError(f"optimizer_params: {key}; an estimator takes one, and GDSearchCV tries several")


def _renamed(message: str) -> str:
    """Return a study's message with the names that estimators have for its keys."""
    for path, name in KEYS:
        if found := re.match(path, message):
            message = name + message[found.end() :]
            break
    return message.replace("set problem.validation", "set early_stopping = True")
