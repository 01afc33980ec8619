"""Trials of a baseline on a landscape: each step looks at one more point, and the best one is kept."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from fastgd.core.threads import Threads
from fastgd.core.vectors import aligned
from fastgd.engine.swarm.swarm import Swarm, SwarmSpec

Array = npt.NDArray[Any]
AT_ONCE = 1 << 20  # coordinates of points that are evaluated together: what bounds the memory


class SwarmGuesses(Swarm):
    """Lanes of a baseline on one landscape: where a lane is, is the best point that it has seen, its start among them.

    Parameters
    ----------
    spec : SwarmSpec
        Its rule is a baseline's.
    hyper : ndarray (C, 2)
        The boxes' ends of the configurations; not a number: the landscape's domain.
    which, starts, keys, threads
        As of `Swarm`; the keys are those of the lanes' streams of points.
    budget : int
        The steps of a trial.
    """

    def __init__(
        self, spec: SwarmSpec, hyper: Array, which: Array, starts: Array, keys: Array, threads: Threads, budget: int
    ) -> None:
        super().__init__(spec, hyper, which, starts, keys, threads)
        self.workers = threads.count
        self._work = [self._make_work() for _ in range(self.workers)]
        self._baseline: Any = spec.rule.optimizer.cls
        self._keys, self._budget = keys, budget
        self._best = np.full(len(which), np.inf)
        self._reached = np.full(len(which), -1, np.int64)

    def compile(self) -> None:
        """Compile, or load from the cache, what evaluates."""
        self._compile(*self._measure_call(self.groups.state, np.empty((1, 1)), (0, 0), 0))

    def advance(self, steps: int, poll: Callable[[], None] = lambda: None) -> None:
        """Look at a point a step; `poll` is called every some of them."""
        if self.t == 0 and steps:
            self._best = self._numbers(self.read().loss)
            self._note(np.arange(len(self._best)), self._best[:, None], 0)
        super().advance(steps, poll)

    def step(self, count: int) -> None:
        """Look at some points of each lane."""
        most = max(1, AT_ONCE // (self.spec.d * len(self.which)))
        end = self.t + count
        while self.t < end:
            some = min(most, end - self.t)
            for c in range(len(self.hyper)):
                self._look(c, np.flatnonzero(self.which == c), some)
            self.t += some

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
        better = found < self._best[lanes]
        self._best[lanes[better]] = found[better]
        self._move(lanes[better], points[stream[better], at[better]])

    def _box(self, c: int) -> Array:
        return np.where(np.isnan(self.hyper[c]), self.spec.box, self.hyper[c])

    def _values_at(self, points: Array) -> Array:
        """Return the landscape's values at points (k, d), in the kernel that reads lanes."""
        W, d = self.spec.width, self.spec.d
        groups = -(-len(points) // W)
        positions = aligned((groups, d * W), self.dtype)
        filled = np.pad(points, ((0, groups * W - len(points)), (0, 0)), mode="edge")
        positions[:] = filled.reshape(groups, W, d).swapaxes(1, 2).reshape(groups, -1)
        return self._numbers(self.measure(positions)[-2, : len(points)])

    @staticmethod
    def _numbers(values: Array) -> Array:
        """Return values; where one is no number, infinity."""
        return np.where(np.isnan(values), np.inf, values)

    def _note(self, lanes: Array, values: Array, first: int) -> None:
        """Note when lanes first reached the tolerance, from values (lanes or 1, steps) after step `first` and on."""
        if self.spec.threshold is None:
            return
        there = values <= self.spec.threshold
        step = np.where(there.any(axis=1), first + np.argmax(there, axis=1), -1)
        self._reached[lanes] = np.where(self._reached[lanes] < 0, step, self._reached[lanes])

    def _move(self, lanes: Array, points: Array) -> None:
        group, column = np.divmod(self.places[lanes], self.spec.width)
        blocks = self.groups.state.reshape(len(self.groups.state), -1, self.spec.width)
        blocks[group, : self.spec.d, column] = points

    def steps_to_tolerance(self, loss: Array) -> Array:  # noqa: ARG002 (it is the swarm's)
        """Return the steps after which the tolerance was first reached (lanes,) int64, or -1."""
        return self._reached
