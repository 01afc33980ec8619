"""Trials of a baseline on a landscape: each step looks at one more point, and the best one is kept."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastgd.core.threads import CALL_SECONDS, Threads
from fastgd.core.vectors import aligned
from fastgd.engine.swarm.lanes import Captured, arrays_like
from fastgd.engine.swarm.layout import GroupLayout
from fastgd.engine.swarm.reading import LanesView, Moment, PointReader, Reading
from fastgd.engine.swarm.spec import SwarmSpec

Array = npt.NDArray[Any]
MOST_COORDINATES_AT_ONCE = 1 << 20  # of points that are measured together: what bounds the memory


class SwarmGuesses:
    """Lanes of a baseline on one landscape: where a lane is, is the best point that it has seen, its start among them.

    Parameters
    ----------
    spec : SwarmSpec
        Its rule is a baseline's.
    hyper : ndarray (C, 2)
        The boxes' ends of the configurations; not a number: the landscape's domain.
    which, starts, threads
        As of `Swarm`.
    keys : ndarray (lanes,) uint64
        Those of the lanes' streams of points.
    budget : int
        The steps of a trial.

    Attributes
    ----------
    t : int
        Steps taken: points that each lane has looked at.
    """

    line = None  # there is no line search

    def __init__(
        self, spec: SwarmSpec, hyper: Array, which: Array, starts: Array, keys: Array, threads: Threads, budget: int
    ) -> None:
        self.spec, self.t = spec, 0
        self._baseline: Any = spec.rule.optimizer.cls
        self._hyper, self._which, self._keys, self._budget = hyper, which, keys, budget
        self._layout = GroupLayout(which, spec.width, own_hyper=True)
        self._points = aligned((self._layout.groups, spec.d * spec.width), np.dtype(spec.dtype))
        self._points[:] = self._layout.spread(starts.T)
        self._reader = PointReader(spec, threads, threads.count)
        self._points_a_second = 3e7  # until a call is timed
        self._lowest = np.full(len(which), np.inf)
        self._reached = np.full(len(which), -1, np.int64)

    def compile(self) -> None:
        """Compile, or load from the cache, the kernel."""
        self._reader.compile()

    def advance(self, steps: int, poll: Callable[[], None] = lambda: None) -> None:
        """Look at a point a step, in calls of some 50 ms; `poll` is called after each."""
        if self.t == 0 and steps:
            self._lowest = _numbers(self.read().loss)
            self._note(np.arange(len(self._lowest)), self._lowest[:, None], 0)
        lanes, end = len(self._which), self.t + steps
        most = MOST_COORDINATES_AT_ONCE // self.spec.d
        while self.t < end:
            points, began = min(most, int(CALL_SECONDS * self._points_a_second)), time.perf_counter()
            count = min(end - self.t, max(1, points // lanes))
            self._step(count)
            self._points_a_second = lanes * count / max(time.perf_counter() - began, 1e-6)
            poll()

    def _step(self, count: int) -> None:
        """Look at some points of each lane."""
        for c in range(len(self._hyper)):
            self._look(c, np.flatnonzero(self._which == c), count)
        self.t += count

    def _look(self, c: int, lanes: Array, count: int) -> None:
        """Move the lanes of a configuration to the best of their next points, where it is better."""
        if not len(lanes):
            return
        points = self._baseline.points(self._box(c), self._budget, self._keys[lanes], self.t, count)
        if not points.shape[1]:
            return
        if self.spec.landscape.projected:
            points = np.clip(points, self.spec.box[:, 0], self.spec.box[:, 1])
        values = self._values_at(points.reshape(-1, self.spec.d)).reshape(points.shape[:2])
        self._note(lanes, values, self.t + 1)
        at = np.broadcast_to(np.argmin(values, axis=1), len(lanes))
        stream = np.broadcast_to(np.arange(len(values)), len(lanes)) if len(values) > 1 else np.zeros(len(lanes), int)
        found = values[stream, at]
        better = found < self._lowest[lanes]
        self._lowest[lanes[better]] = found[better]
        self._move(lanes[better], points[stream[better], at[better]])

    def _box(self, c: int) -> Array:
        return np.where(np.isnan(self._hyper[c]), self.spec.box, self._hyper[c])

    def _values_at(self, points: Array) -> Array:
        """Return the landscape's values at points (k, d), in the kernel that reads lanes."""
        W, d = self.spec.width, self.spec.d
        groups = -(-len(points) // W)
        positions = aligned((groups, d * W), self._points.dtype)
        filled = np.pad(points, ((0, groups * W - len(points)), (0, 0)), mode="edge")
        positions[:] = filled.reshape(groups, W, d).swapaxes(1, 2).reshape(groups, -1)
        firsts = np.minimum(np.arange(groups + 1) * W, len(points))
        return _numbers(self._reader.measure(positions, firsts)[-2])

    def _note(self, lanes: Array, values: Array, first: int) -> None:
        """Note when lanes first reached the tolerance, from values (lanes or 1, steps) after step `first` and on."""
        if self.spec.threshold is None:
            return
        there = values <= self.spec.threshold
        step = np.where(there.any(axis=1), first + np.argmax(there, axis=1), -1)
        self._reached[lanes] = np.where(self._reached[lanes] < 0, step, self._reached[lanes])

    def _move(self, lanes: Array, points: Array) -> None:
        group, column = np.divmod(self._layout.places[lanes], self.spec.width)
        self._points.reshape(len(self._points), -1, self.spec.width)[group, :, column] = points

    # --- reading ------------------------------------------------------------------------------------------------------

    def read(self) -> Reading:
        """Return where the lanes are; changes no state."""
        return self.view([self._moment(self._points)]).read()

    def moment(self) -> Moment:
        """Return what is needed to read the lanes as they are now: copies."""
        return self._moment(self._points.copy())

    def _moment(self, points: Array) -> Moment:
        groups = self._layout.groups
        return Moment(points, np.zeros((groups, 0)), np.zeros((groups, 0, self.spec.width)))

    def view(self, moments: Sequence[Moment]) -> LanesView:
        """Return what reads the lanes as they were at several moments, one after another."""
        return LanesView(self._reader, self._layout, moments)

    def died(self) -> Array:
        """Return zeros (lanes,): no lane leaves the finite numbers."""
        return np.zeros(len(self._which), np.int64)

    def steps_to_tolerance(self, loss: Array) -> Array:  # noqa: ARG002 (lanes that take steps need it)
        """Return the steps after which the tolerance was first reached (lanes,) int64, or -1."""
        return self._reached

    # --- going on -----------------------------------------------------------------------------------------------------

    def capture(self) -> Captured:
        """Return all that is needed to go on from here with the same bits: numbers, and arrays of lanes."""
        points = self._layout.gather(self._points)
        return {"t": self.t, "points": points, "lowest": self._lowest.copy(), "reached": self._reached.copy()}

    def restore(self, captured: Mapping[str, Array | int]) -> None:
        """Go on from where lanes of the same specification, starts and keys were captured.

        Raises
        ------
        ValueError
            The arrays are not those of such lanes.
        """
        found = arrays_like(self.capture(), captured)
        self.t = int(captured["t"])
        self._points[:] = self._layout.spread(found["points"])
        self._lowest, self._reached = found["lowest"], found["reached"]


def _numbers(values: Array) -> Array:
    """Return values; where one is no number, infinity."""
    return np.where(np.isnan(values), np.inf, values)
