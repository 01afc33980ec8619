"""The error surfaces of problems over data: the exact training objective at every point of a grid."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fastgd.core.threads import Threads
from fastgd.datasets import Data
from fastgd.engine.linear.model import LinearModel
from fastgd.engine.rows.objective import Objective
from fastgd.plan.cohorts import labels
from fastgd.plan.compiled import compiling
from fastgd.plan.grids import Grid, make_grid
from fastgd.problems import find_loss
from fastgd.runs.clock import Stopwatch
from fastgd.runs.reporting.events import Compiling, Event, Surveying, Warning_
from fastgd.runs.surfaces import specification
from fastgd.store.surfaces import Surface, SurfaceInfo, holds_surface, keep_surfaces, write_surface
from fastgd.study.config import Problem, Study

Array = npt.NDArray[np.float64]
PROGRESS_SECONDS = 0.2


class DataSurfaces:
    """The surfaces of a study's problems over data.

    Parameters
    ----------
    study : Study
    data : sequence of Data
        Of each problem.
    threads : Threads
    watch : Stopwatch
    emit : callable
        Receives the events.
    deadline : float
        When `max_seconds` is over, on the clock of `time.perf_counter`.
    """

    def __init__(
        self,
        study: Study,
        data: Sequence[Data],
        threads: Threads,
        watch: Stopwatch,
        emit: Callable[[Event], None],
        deadline: float,
    ) -> None:
        self.study, self.data, self.threads = study, data, threads
        self.watch, self.emit, self.deadline = watch, emit, deadline
        self._shown = 0.0

    def write(self, folder: Path) -> None:
        """Compute and write those that the folder lacks, if the study asks for any."""
        if self.study.surface is None:
            return
        names = labels(self.study, self.data)
        try:
            for number, name in enumerate(names):
                self._write(folder, number, self.study.data_problems[number], self.data[number], name)
        except _TimeIsOver:
            self.emit(Warning_("max_seconds was over: the error surface is left for the next run of the study"))
        keep_surfaces(folder, len(names))

    def _write(self, folder: Path, number: int, problem: Problem, data: Data, name: str) -> None:
        parameters = data.X.shape[1] + problem.intercept
        assert self.study.surface is not None
        grid = make_grid(self.study.surface, np.zeros((parameters, 2)), np.zeros(parameters))
        info = SurfaceInfo(problem=name, parameters=grid.axes, at=grid.at.tolist(), minima=[], values=[])
        loss = repr(find_loss(problem.loss)).removeprefix("loss ")  # a user's with the hash of its source
        text = specification(
            grid, info, data=data.fingerprint, loss=loss, l2=problem.l2[0], intercept=problem.intercept,
            dtype=self.study.dtype, sparse=data.sparse,
        )  # fmt: skip
        if not holds_surface(folder, number, text):
            values = self._values(grid, problem, data, name)
            with self.watch.stage("store"):
                write_surface(folder, number, Surface(info, grid.x, grid.y, values), text)

    def _values(self, grid: Grid, problem: Problem, data: Data, name: str) -> Array:
        """Return the objective (nx, ny), with the first of the problem's penalties."""
        objective = Objective(find_loss(problem.loss), data.X, data.y, LinearModel(problem.intercept), self.threads)
        with self.watch.stage("compile"), compiling(objective.loss):
            self.emit(Compiling(f"{problem.loss}, {objective.kernel.name}, {self.study.dtype}"))
            objective.compile()
        done = 0

        def values(points: Array) -> Array:
            nonlocal done
            losses, squares = objective.at(points, lambda: self._poll(name, done, grid.count))
            done += len(points)
            return np.asarray(losses + 0.5 * problem.l2[0] * squares)

        with self.watch.stage("evaluate"):
            return grid.over(values, objective.room)

    def _poll(self, name: str, done: int, points: int) -> None:
        now = time.perf_counter()
        if now > self.deadline:
            raise _TimeIsOver
        if now - self._shown >= PROGRESS_SECONDS:
            self._shown = now
            self.emit(Surveying(name, done, points))


class _TimeIsOver(Exception):  # noqa: N818
    """`max_seconds` is over."""
