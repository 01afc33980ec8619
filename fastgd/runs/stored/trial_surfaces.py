"""Surfaces of trials: the exact objective of trained models about their end points, every point of a grid a lane."""

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from numbers import Integral, Real
from typing import Any

import numpy as np
import numpy.typing as npt

from fastgd.analysis import Results
from fastgd.common.errors import InputError, nearest
from fastgd.common.watched import require_unchanged
from fastgd.core.compile import require_compiler
from fastgd.core.threads import Threads
from fastgd.datasets import Data
from fastgd.datasets.arrays import Arrays
from fastgd.engine.rows.objective import Objective
from fastgd.plan.estimates import memory
from fastgd.plan.estimates.compiled import compiling
from fastgd.plan.planes import (
    DIRECTIONS,
    FEWEST_POINTS,
    LARGEST_SPAN,
    MOST_POINTS,
    SMALLEST_SPAN,
    SPANS,
    Plane,
    axis_through_ends,
    axis_through_zero,
    main_directions,
    plane_of_three,
    random_directions,
    range_of,
)
from fastgd.plan.planner import make_plan
from fastgd.runs.clock import Clock
from fastgd.runs.reporting.events import Compiling, Event, Surveying
from fastgd.runs.reporting.reports import OnEvent, reported
from fastgd.runs.stored.solutions import Solution, other_end, solutions_of, trials_of_one_problem
from fastgd.runs.stored.trained_models import study_of
from fastgd.store.folder import extending
from fastgd.store.trial_surfaces import (
    TrialPath,
    TrialSurface,
    TrialSurfaceInfo,
    stored_surface,
    write_trial_surface,
)

Array = npt.NDArray[Any]
MOST_POINT_BYTES = 64 << 20  # of points that are made together: they are copied on their way to the kernel


@np.errstate(over="ignore", invalid="ignore")  # far from an end point the objective may overflow, which is data
def surface(
    results: Results,
    trial: str | None = None,
    *,
    directions: str = "random",
    others: Sequence[str] = (),
    points: int = 51,
    span: float | None = None,
    seed: int = 0,
    trajectory: bool = True,
    data: Arrays | None = None,
    threads: int | None = None,
    progress: bool = True,
    on_event: OnEvent | None = None,
) -> TrialSurface:
    """Compute the exact loss of a trained network or linear model on a grid about its end point, and store it.

    What the results folder holds already is read from there. Every point of the grid is a lane, so that thousands of
    networks pass over the training rows together. Final parameters that were not recorded, and trajectories, come from
    running the trial again, alone, which gives the same bits; a trial that does not end where it did is refused.

    Parameters
    ----------
    results : Results
        Of a study over data.
    trial : str, optional
        By default the best of the study's first problem, by `Results.best`.
    directions : {"random", "pca", "between"}
        Two random directions, normalised filter by filter as by Li et al. (2018); the two main directions of the
        trial's trajectory; or the line between two solutions, or the plane of three.
    others : sequence of str
        Of `between`, the one or two other trials, of the same problem.
    points : int
        How many points an axis has, or a few more: the end point is one of the grid's.
    span : float, optional
        How far the grid goes. Of random directions, in lengths of the weights, by default 1; else how far beyond the
        trajectory (by default 0.25) or the solutions (0.5), as a share of their extent.
    seed : int
        Of random directions.
    trajectory : bool
        Whether the trajectories of the trials are projected on the plane, too; those of `pca` always are, and on the
        line between two solutions none is.
    data : (X, y) or (X, y, weights), optional
        The arrays or tables that the study was run on, if it was.
    threads : int, optional
        By default all processors that the process may use. The number changes no bits.
    progress : bool
        Show on standard error how far it is, where that is a terminal, or in a notebook.
    on_event : callable, optional
        Receives what `fastgd.runs.reporting.events` describes.

    Returns
    -------
    TrialSurface
        `Results.trial_surfaces` has all that are stored.

    Raises
    ------
    InputError
        There is no such trial in the study, or it has no end point; the trials of `between` are of different problems
        or end at the same point; the data have changed; running the trial again does not end where it did.
    """
    if results.on_landscapes:
        raise InputError(
            f"{results.path} holds trials on landscapes, whose surfaces are stored with them: results.surfaces has "
            "them, and `fastgd plot` draws them (--kind contour, surface)"
        )
    found = [trial] if trial is not None else results.best()["trial_id"].tolist()[:1]
    grid = _Grid(tuple(map(str, (*found, *others))), directions, points, span, seed, trajectory).checked()
    rows = trials_of_one_problem(results, grid.trials)
    specification = json.dumps([asdict(grid), [float(row["final_loss"]) for row in rows]])
    name = hashlib.blake2b(specification.encode(), digest_size=6).hexdigest()
    if (stored := stored_surface(results.path, name, specification)) is not None:
        return stored
    require_compiler()
    memory.require(threads)
    with extending(results.path):
        with reported(on_event, progress) as emit, Threads(threads) as pool:
            study, prepared = study_of(results, rows[0], data, emit)
            clock = Clock()
            clock.announce = lambda kernels: emit(Compiling(kernels))
            solutions = solutions_of(
                results, make_plan(study, [prepared]), rows, prepared, clock, pool, emit, walks=grid.walks
            )
            made = _Survey(grid, solutions, prepared, pool, clock, emit).surface(results)
        write_trial_surface(results.path, name, made, specification)
    return made


@dataclass(frozen=True)
class _Grid:
    """What is asked for: options of `surface`."""

    trials: tuple[str, ...]
    directions: str
    points: int
    span: float | None
    seed: int
    trajectory: bool

    def checked(self) -> "_Grid":
        """Return it with its defaults, and with one value of what makes no difference; InputError if it is wrong."""
        if self.directions not in DIRECTIONS:
            raise InputError(f"there are no directions {self.directions!r}; {nearest(self.directions, DIRECTIONS)}")
        others, wanted = len(self.trials) - 1, (1, 2) if self.directions == "between" else (0,)
        if others not in wanted or len(set(self.trials)) <= others:
            needs = "one or two others, all different" if self.directions == "between" else "no other one"
            raise InputError(f"directions {self.directions!r} take a trial and {needs}, found {list(self.trials)}")
        if not (_is_whole(self.points) and FEWEST_POINTS <= self.points <= MOST_POINTS):
            raise InputError(
                f"points must be a whole number from {FEWEST_POINTS} to {MOST_POINTS:,}, found {self.points!r}"
            )
        span = SPANS[self.directions] if self.span is None else self.span
        if isinstance(span, bool) or not isinstance(span, Real) or not SMALLEST_SPAN <= span <= LARGEST_SPAN:
            valid = f"{SMALLEST_SPAN:g} to {LARGEST_SPAN:g}"
            raise InputError(f"span must be a number from {valid}, found {self.span!r}")
        if not (_is_whole(self.seed) and self.seed >= 0):
            raise InputError(f"seed must be a whole number from 0 on, found {self.seed!r}")
        seed = int(self.seed) if self.directions == "random" else 0
        return replace(self, points=int(self.points), span=float(span), seed=seed, trajectory=self.walks)

    @property
    def is_line(self) -> bool:
        """Whether it is the line between two solutions."""
        return self.directions == "between" and len(self.trials) == 2

    @property
    def walks(self) -> bool:
        """Whether trajectories are drawn, or needed."""
        return self.directions == "pca" or (self.trajectory and not self.is_line)


def _is_whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


class _Survey:
    """The objective of some solutions' problem, in a plane through them.

    Parameters
    ----------
    grid : _Grid
    solutions : sequence of Solution
        The end of the first is the plane's origin.
    data : Data
    threads : Threads
    clock : Clock
    emit : callable
        Receives how far it is.
    """

    def __init__(
        self,
        grid: _Grid,
        solutions: Sequence[Solution],
        data: Data,
        threads: Threads,
        clock: Clock,
        emit: Callable[[Event], None],
    ) -> None:
        self._grid, self._solutions, self._clock = grid, solutions, clock
        self._spec, self._scale = solutions[0].unit.spec, solutions[0].unit.scale
        self._require_memory(data)
        self._files = data.files
        self._objective = Objective(self._spec.loss, data.X, data.y_and_weights, self._spec.model, threads, data.rows)
        self._groups, self._epsilon = self._spec.model.groups(data.X.shape[1]), float(np.finfo(data.X.dtype).eps)
        self._emit, clock.report = emit, None

    def _require_memory(self, data: Data) -> None:
        """Raise InputError where the memory does not suffice."""
        unit = self._solutions[0].unit
        parameters, iterates = unit.spec.parameters(unit.d), sum(len(each.iterates) for each in self._solutions)
        kept = 8.0 * parameters * (iterates * (1 + (self._grid.directions == "pca")) + 4)  # and the plane
        together = memory.of_objective(unit.spec.model, unit.d, unit.itemsize, unit.entries, sparse=data.sparse)
        needed = kept + together + 3.0 * max(MOST_POINT_BYTES, 8 * parameters)
        what = f"the surface of trial {self._grid.trials[0]!r}"
        memory.room().require(needed, what, "without the trajectory it takes less")

    def surface(self, results: Results) -> TrialSurface:
        """Return it."""
        with (
            self._clock.compiling(f"{self._spec.loss.name}, {self._objective.kernel.name}"),
            compiling(self._spec.loss),
        ):
            self._objective.compile()
        losses = self._check_ends(results)
        plane, shares = self._plane()
        ends = np.stack([solution.end for solution in self._solutions])
        places = np.transpose(plane.projected(ends)[0])
        if self._grid.is_line:
            places[1] = 1.0, 0.0  # but for rounding, it is there
        paths, captured = self._paths(plane)
        x, y = self._axes(plane, places, paths)
        loss = self._over(plane, x, y)
        require_unchanged(self._files)
        grid, first = self._grid, self._solutions[0]
        info = TrialSurfaceInfo(
            problem=str(first.row["problem"]),
            trials=list(grid.trials),
            directions=grid.directions,
            seed=grid.seed,
            l2=float(self._spec.l2[0]),
            ends=places.tolist(),
            losses=losses,
            shares=shares,
            captured=captured,
        )
        return TrialSurface(info, x, y, loss, paths)

    def _check_ends(self, results: Results) -> list[float]:
        """Return the objective at the ends, each of which must have the loss that is stored, with its own penalty."""
        losses, squares = self._at(np.stack([solution.end for solution in self._solutions]))
        for loss, square, solution in zip(losses, squares, self._solutions, strict=True):
            found, stored = loss + 0.5 * solution.unit.spec.l2[0] * square, float(solution.row["final_loss"])
            tolerance = math.sqrt(self._epsilon)
            if not math.isclose(found, stored, rel_tol=tolerance, abs_tol=tolerance * self._scale):
                raise other_end(results, solution)
        return [float(value) for value in losses + self._penalty(squares)]

    def _plane(self) -> tuple[Plane, list[float]]:
        """Return the plane, and which share of the trajectory each main direction explains."""
        first, *others = (solution.end for solution in self._solutions)
        shares: list[float] = []
        if self._grid.directions == "random":
            directions = random_directions(self._groups, first, self._grid.seed)
        elif self._grid.directions == "pca":
            directions, shares = main_directions(self._solutions[0].iterates, first)
        else:
            directions = [others[0] - first] if self._grid.is_line else plane_of_three(first, *others)
        if not directions or not directions[0].any():
            why = {
                "random": "its weights are all 0, and random directions are as long as the weights",
                "pca": "it has not moved from its start",
                "between": "both end at the same point",
            }[self._grid.directions]
            raise InputError(f"trial {self._grid.trials[0]!r} has no surface in these directions: {why}")
        return Plane.through(first, directions), shares

    def _paths(self, plane: Plane) -> tuple[list[TrialPath], float | None]:
        """Return the trajectories on the plane, and the share of the first one that lies in it."""
        if not self._grid.trajectory:
            return [], None
        paths = []
        for solution in self._solutions:
            (x, y), distances = plane.projected(solution.iterates)
            losses, squares = self._at(solution.iterates)
            found = losses + self._penalty(squares)
            paths.append(TrialPath(solution.trial_id, solution.steps, x, y, found, distances))
        total = sum(float(np.square(point - plane.origin).sum()) for point in self._solutions[0].iterates)
        outside = float(np.square(paths[0].distance).sum())
        return paths, max(0.0, 1 - outside / total) if total > 0 else None

    def _axes(self, plane: Plane, ends: Array, paths: Sequence[TrialPath]) -> tuple[Array, Array]:
        """Return the axes of the grid, of which the end point is a point."""
        grid, span = self._grid, float(self._grid.span or 0.0)
        if grid.is_line:
            return axis_through_ends(span, grid.points), np.zeros(1)
        shown = ends if grid.directions == "between" else np.column_stack([paths[0].x, paths[0].y]) if paths else ends
        ranges = [(-span, span)] * 2 if grid.directions == "random" else [range_of(each, span) for each in shown.T]
        axes = [axis_through_zero(low, high, grid.points) for low, high in ranges]
        return axes[0], axes[1] if len(plane.directions) == 2 else np.zeros(1)

    def _over(self, plane: Plane, x: Array, y: Array) -> Array:
        """Return the objective over the grid (nx, ny)."""
        places = np.stack(np.meshgrid(x, y, indexing="ij"), axis=-1).reshape(-1, 2)[:, : len(plane.directions)]
        parts, each, done = [], self._at_once, 0
        self._clock.report = self._report
        self._report(0, len(places))

        def report() -> None:
            self._clock.check(done, len(places))

        for done in range(0, len(places), each):
            losses, squares = self._objective.at(plane.points(places[done : done + each]), report)
            parts.append(losses + self._penalty(squares))
        return np.concatenate(parts).reshape(len(x), len(y))

    def _report(self, done: int, points: int) -> None:
        self._emit(Surveying(f"trial {self._grid.trials[0]}", done, points))

    @property
    def _at_once(self) -> int:
        """How many points are evaluated together."""
        lanes, size = self._objective.kernel.lanes, 8 * self._solutions[0].end.size
        return min(self._objective.room, max(lanes, MOST_POINT_BYTES // size // lanes * lanes))

    def _at(self, points: Array) -> tuple[Array, Array]:
        """Return the mean losses, and |w|^2 of what is penalised, of points (k, parameters)."""
        cuts = range(0, len(points), self._at_once)
        parts = [self._objective.at(points[first : first + self._at_once]) for first in cuts]
        losses, squares = (np.concatenate(each) for each in zip(*parts, strict=True))
        return losses, squares

    def _penalty(self, squares: Array) -> Array:
        l2 = float(self._spec.l2[0])
        return np.asarray(0.5 * l2 * squares if l2 else np.zeros(len(squares)))  # 0 x infinity is 0 here
