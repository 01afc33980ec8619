"""Minima of a study's convex objectives: which there are, solved from their data, and stored beside the results."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fastgd.datasets import Data, training_rows
from fastgd.datasets.prepare import FOR_MINIMA
from fastgd.datasets.record import check_memory
from fastgd.optima import CONVEX, solve
from fastgd.optima import Problem as ConvexProblem
from fastgd.plan.cohorts import labels, outputs_of
from fastgd.runs.reporting.events import Solving, Warning_
from fastgd.runs.reporting.reports import OnEvent
from fastgd.store.optima import FOLDER, OptimumInfo, holds_optimum, keep_optima, write_optimum
from fastgd.study.config import Problem, Study

VERSION = 1  # of what is solved, and of how it is certified: another one is solved anew


class Task(NamedTuple):
    """A convex objective of a study: a problem with one of its penalties, and one of its splits.

    Attributes
    ----------
    label : str
        The problem's name in the results.
    problem : Problem
    data : Data
    l2 : float
    """

    label: str
    problem: Problem
    data: Data
    l2: float

    @property
    def split_seed(self) -> int:
        """Which rows were held out."""
        return self.problem.split_seed[0]

    @property
    def specification(self) -> str:
        """All that decides the numbers."""
        loss, intercept = self.problem.loss, self.problem.intercept
        return json.dumps([VERSION, self.data.fingerprint, str(self.data.y.dtype), loss, intercept, self.l2])

    @property
    def name(self) -> str:
        """The name of its file."""
        return hashlib.blake2b(json.dumps([self.label, self.l2, self.split_seed]).encode(), digest_size=6).hexdigest()


def is_convex(problem: Problem) -> bool:
    """Whether a problem is a linear model with a loss that is known to be convex."""
    return problem.loss in CONVEX and not (problem.network and problem.network.hidden)


def store_optima(folder: Path, study: Study, data: Sequence[Data], emit: OnEvent) -> None:
    """Solve the convex objectives of a study whose minima a folder, which is locked, does not hold."""
    for label in dict.fromkeys(label for problem, _, label in _splits(study, data) if not is_convex(problem)):
        emit(Warning_(f"{label}: not convex, as far as is known: of its minimum there is only the best seen"))
    tasks = list(tasks_of(study, data))
    several = len({task.split_seed for task in tasks}) > 1
    for task in tasks:
        if not holds_optimum(folder, task.name, task.specification):
            split = task.split_seed if several else None
            emit(Solving(task.label, task.l2, split, task.problem.folds is not None))
            write_optimum(folder, task.name, *_solved(task), task.specification)


def drop_stale_optima(folder: Path, study: Study, data: Sequence[Data]) -> None:
    """Delete the minima in a folder, which is locked, that are of no objective of the study as it is now."""
    if data and (folder / FOLDER).exists():
        current = [task for task in tasks_of(study, data) if holds_optimum(folder, task.name, task.specification)]
        keep_optima(folder, {task.name for task in current})


def tasks_of(study: Study, data: Sequence[Data]) -> Iterator[Task]:
    """Yield the convex objectives of a study."""
    for problem, rows, label in _splits(study, data):
        if is_convex(problem):
            yield from (Task(label, problem, rows, float(l2)) for l2 in problem.l2)


def _splits(study: Study, data: Sequence[Data]) -> Iterator[tuple[Problem, Data, str]]:
    for (_, problem), rows, label in zip(study.splits, data, labels(study, data), strict=True):
        yield problem, rows, label


def _solved(task: Task) -> tuple[OptimumInfo, Any]:
    """Return what is stored of an objective's minimum, and where it is."""
    X, y, weights = training_rows(task.data)
    if X.dtype != np.float64:
        size = 8 * (X.size if isinstance(X, np.ndarray) else X.nnz)
        check_memory(size, f"{task.label}: its training rows", "float64", FOR_MINIMA)
    found = solve(
        ConvexProblem(
            X=X,
            y=y,
            loss=task.problem.loss,
            l2=task.l2,
            intercept=task.problem.intercept,
            outputs=outputs_of(task.data),
            weights=weights,
        )
    )
    info = OptimumInfo(
        problem=task.label,
        l2=task.l2,
        split_seed=task.split_seed,
        loss=task.problem.loss,
        minimum=found.value,
        bound=found.bound,
        rounding=found.rounding,
        certificate=found.basis,
        method=found.method,
        steps=found.steps,
        seconds=found.seconds,
        **asdict(found.constants),
    )
    return info, found.theta
