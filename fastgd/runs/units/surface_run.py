"""An error surface at work: the exact objective at every point of a grid."""

import numpy as np
import numpy.typing as npt

from fastgd.core.threads import Threads
from fastgd.datasets import Data
from fastgd.engine.linear.model import LinearModel
from fastgd.engine.rows.objective import Objective
from fastgd.plan.estimates.compiled import compiling
from fastgd.plan.units.surfaces import SurfaceUnit
from fastgd.runs.clock import Clock
from fastgd.store.surface_files import Surface

Array = npt.NDArray[np.float64]
MOST_NUMBERS_AT_ONCE = 1 << 20  # coordinates of the points of a landscape that are evaluated together


def surface_of(unit: SurfaceUnit, data: Data | None, clock: Clock, threads: Threads) -> Surface:
    """Return a problem's objective over its grid; of one over data, with the first of its penalties."""
    loss = landscape_values(unit) if data is None else _over_data(unit, data, clock, threads)
    return Surface(unit.info, unit.grid.x, unit.grid.y, loss)


def landscape_values(unit: SurfaceUnit) -> Array:
    """Return the values of a landscape (nx, ny)."""
    assert unit.landscape is not None
    p, record = unit.landscape.instance(), unit.landscape.record
    return unit.grid.over(lambda points: record.values(p, points.T), max(1, MOST_NUMBERS_AT_ONCE // unit.parameters))


def _over_data(unit: SurfaceUnit, data: Data, clock: Clock, threads: Threads) -> Array:
    assert unit.loss is not None
    model, done = LinearModel(unit.intercept), 0
    objective = Objective(unit.loss, data.X, data.y_and_weights, model, threads, data.rows)
    with clock.compiling(f"{unit.loss.name}, {objective.kernel.name}, {unit.dtype}"), compiling(unit.loss):
        objective.compile()

    def values(points: Array) -> Array:
        nonlocal done
        losses, squares = objective.at(points, lambda: clock.check(done, unit.points))
        done += len(points)
        return np.asarray(losses + 0.5 * unit.l2 * squares)

    with clock.stage("evaluate"):
        return unit.grid.over(values, objective.room)
