"""A swarm in memory: lanes of one rule on one landscape, laid out in groups, and their steps."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from fastgd.core.static import Static
from fastgd.core.threads import CALL_SECONDS, Threads, call
from fastgd.core.vectors import aligned
from fastgd.engine.swarm.driver import advance_groups
from fastgd.engine.swarm.groups import (
    GROUPS_PER_TABLE,
    STEPS_PER_TABLE,
    GroupRange,
    Groups,
    ScheduledValues,
    Workspace,
)
from fastgd.engine.swarm.lanes import Captured, LaneState, arrays_like
from fastgd.engine.swarm.layout import GroupLayout
from fastgd.engine.swarm.line_search import SwarmLine
from fastgd.engine.swarm.reading import LanesView, Moment, PointReader, Reading
from fastgd.engine.swarm.spec import SwarmSpec
from fastgd.engine.swarm.steps import SwarmCalls, SwarmTask, swarm_calls_of
from fastgd.engine.tiles import in_double

Array = npt.NDArray[Any]
LEAST_GROUPS_OF_A_WORKER = 4


class Swarm:
    """Lanes of one rule on one landscape.

    Parameters
    ----------
    spec : SwarmSpec
    hyper : ndarray (C, hyper)
        The configurations' hyper-parameters.
    which : ndarray (lanes,) int
        Each lane's configuration, in ascending order.
    starts : ndarray (lanes, d)
    keys : ndarray (lanes,) uint64
        What the lanes' noise is keyed by.
    threads : Threads
    schedule : callable, optional
        `schedule(first, steps)` gives the scheduled values (steps, m) from step `first` (from 0) on: of the rate a
        factor, of others the value.

    Attributes
    ----------
    t : int
        Steps taken.
    line : SwarmLine, optional
        What chooses the rates, of a swarm with a line search.
    """

    def __init__(
        self,
        spec: SwarmSpec,
        hyper: Array,
        which: Array,
        starts: Array,
        keys: Array,
        threads: Threads,
        schedule: Callable[[int, int], Array] | None = None,
    ) -> None:
        self.spec, self.threads, self.schedule = spec, threads, schedule
        self.hyper, self.which, self.t = hyper, which, 0
        self._dtype = np.dtype(spec.dtype)
        self._shape, self._land = Static(spec.shape.of_lanes), spec.land
        names = list(spec.rule.fields)
        self._scheduled = np.array([names.index(name) for name in spec.scheduled], np.int64)
        self._scheduled_rate = spec.scheduled.index("lr") if "lr" in spec.scheduled else -1
        self._layout = GroupLayout(which, spec.width, own_hyper=spec.line_search is not None)
        self._groups = self._make_groups(starts, keys)
        flat = {name: getattr(self._groups, name).reshape(-1) for name in ("state", "memory", "hyper")}
        self._flat = self._groups._replace(**flat)
        workers = min(threads.count, max(1, self._layout.groups // LEAST_GROUPS_OF_A_WORKER))
        self._workspaces = [self._make_workspace() for _ in range(workers)]
        self._reader = PointReader(spec, threads, workers)
        self._lane_steps_a_second = 3e7  # until a call is timed
        self._calls: SwarmCalls | None = None  # until they are compiled
        self._advance: Callable[..., Any] = advance_groups
        self.line = self._make_line(names.index("lr"), starts, keys) if spec.line_search else None

    # --- arrays -------------------------------------------------------------------------------------------------------

    def _make_groups(self, starts: Array, keys: Array) -> Groups:
        spec, layout, W = self.spec, self._layout, self.spec.width
        hyper = spec.rule.usable(self.hyper, self._dtype)
        own = self.which[layout.lane_at].reshape(layout.groups, W)
        if layout.by_configuration:
            owner, rows = own[:, 0].astype(np.int64), np.repeat(hyper[:, :, None], W, axis=2)
        else:
            owner, rows = np.arange(layout.groups), hyper[own].transpose(0, 2, 1)
        start = starts[layout.lane_at].T
        slots = spec.rule.start(self.hyper[own.ravel()], start)
        marks = np.array([[1.0], [0.0]]) + np.zeros(start.shape[1])
        blocks = np.concatenate([start, *(np.asarray(slot, np.float64) for slot in slots), marks])
        state = aligned((layout.groups, spec.numbers * W), self._dtype)
        state[:] = layout.spread_filled(blocks)
        return Groups(
            state=state,
            memory=np.repeat(np.tile(np.array(spec.rule.memory, np.float64), (layout.groups, 1)), W, axis=1),
            hyper=np.ascontiguousarray(rows.reshape(len(rows), -1), np.float64),
            owner=owner,
            keys=keys[layout.lane_at],
            died=np.zeros(layout.groups * W, np.int64),
        )

    def _make_workspace(self) -> Workspace:
        W, rule = self.spec.width, self.spec.rule
        stride = (rule.hyper + max(rule.counts.quantities)) * W
        table = aligned((STEPS_PER_TABLE * stride,), self._dtype)
        return Workspace(
            table=table,
            exact=in_double(table),
            stride=stride,
            saved=aligned((self.spec.numbers * W,), self._dtype),
            scratch=aligned((self.spec.d * W,), self._dtype),
            memory=aligned((rule.numbers * W,), np.float64),
            alive=np.zeros(1, np.bool_),
        )

    def _make_line(self, rate: int, starts: Array, keys: Array) -> SwarmLine:
        """Return the line search; `rate` is the rate's place among the hyper-parameters."""
        hyper = self.hyper[self.which]
        at_rate_1 = hyper.copy()
        at_rate_1[:, rate] = 1.0
        spec = replace(self.spec, dtype="float64", threshold=None, line_search=None)
        unit = Swarm(spec, at_rate_1, np.arange(len(hyper)), starts, keys, self.threads, self.schedule)
        return SwarmLine(self.spec, hyper[:, rate], unit)

    def _set_rates(self, rates: Array) -> None:
        """Give each lane the rate of its next step (lanes,)."""
        W, rate = self.spec.width, list(self.spec.rule.fields).index("lr")
        self._groups.hyper[:, rate * W : (rate + 1) * W] = self._layout.spread(rates[None])

    # --- steps --------------------------------------------------------------------------------------------------------

    def compile(self) -> None:
        """Compile, or load from the cache, the kernels."""
        self.compile_steps()
        if self.line:
            self.line.unit.compile_steps()
        self._reader.compile()

    def compile_steps(self) -> None:
        """Compile, or load from the cache, the kernel that takes steps."""
        task, values = SwarmTask(self.spec.rule, self.spec.landscape), self._values(1)
        given = (self._land, self._flat, values, self._workspaces[0])
        self._calls = swarm_calls_of(task, self.spec.shape, *given)
        # To find the kernel by the types of its arguments takes longer than a step of a few lanes: it is found once.
        arguments = self._arguments(0, 0, values)
        self._advance = advance_groups.compile(tuple(numba.typeof(argument) for argument in arguments))

    def advance(self, steps: int, poll: Callable[[], None] = lambda: None) -> None:
        """Take steps, in calls of some 50 ms; `poll` is called after each."""
        lanes, end = len(self._groups.died), self.t + steps
        while self.t < end:
            most = max(1, int(CALL_SECONDS * self._lane_steps_a_second / lanes))
            count = min(end - self.t, most // STEPS_PER_TABLE * STEPS_PER_TABLE or most)
            if self.line:
                self.line.choose(self.state())
                self._set_rates(self.line.rates)
                count = 1
            self.step(count)
            poll()

    def step(self, count: int) -> None:
        """Take steps in one call of each worker."""
        if self._calls is None:
            self.compile_steps()
        values, began = self._values(count), time.perf_counter()
        workers = range(len(self._workspaces))
        self.threads.run([call(self._advance, self._arguments(worker, count, values)) for worker in workers])
        self._lane_steps_a_second = len(self._groups.died) * count / max(time.perf_counter() - began, 1e-6)
        self.t += count

    def _values(self, steps: int) -> ScheduledValues:
        if self.schedule is None or not self.spec.scheduled:
            return ScheduledValues(np.zeros((0, 0)), self._scheduled[:0], -1)
        values = self.spec.rule.usable(self.schedule(self.t, steps), self._dtype, self.spec.scheduled)
        return ScheduledValues(np.ascontiguousarray(values), self._scheduled, self._scheduled_rate)

    def _share(self, worker: int) -> GroupRange:
        """The groups of a worker: as many as a table is made for, or a multiple of that, where there are many."""
        groups, workers = self._layout.groups, len(self._workspaces)
        tables = -(-groups // GROUPS_PER_TABLE)
        if tables < 2 * workers:
            return GroupRange(groups * worker // workers, groups * (worker + 1) // workers)
        cuts = [min(tables * each // workers * GROUPS_PER_TABLE, groups) for each in (worker, worker + 1)]
        return GroupRange(*cuts)

    def _arguments(self, worker: int, steps: int, values: ScheduledValues) -> tuple[Any, ...]:
        return (
            self._calls, self._shape, self._land, self._flat, values, self._workspaces[worker], self.t, steps,
            self._share(worker),
        )  # fmt: skip

    # --- reading ------------------------------------------------------------------------------------------------------

    def now(self) -> LanesView:
        """Return what reads the lanes as they are, until the next step; hyper-parameters only where a readout asks."""
        hyper = self._hyper_now() if self.spec.rule.has_readout else np.zeros((0, 0, 0))
        return self.view([Moment(self._groups.state, self._groups.memory, hyper)])

    def moment(self) -> Moment:
        """Return what is needed to read the lanes as they are now: copies."""
        return Moment(self._groups.state.copy(), self._groups.memory.copy(), self._hyper_now())

    def view(self, moments: Sequence[Moment]) -> LanesView:
        """Return what reads the lanes as they were at several moments, one after another."""
        return LanesView(self._reader, self._layout, moments)

    def _hyper_now(self) -> Array:
        """The hyper-parameters of the last step (groups, hyper, width)."""
        groups = self._groups
        rows = groups.hyper[groups.owner].reshape(len(groups.owner), -1, self.spec.width)
        if self.schedule is not None and self.spec.scheduled:
            for m, number in enumerate(self.schedule(max(0, self.t - 1), 1)[0]):
                row = self._scheduled[m]
                rows[:, row] = number * rows[:, row] if m == self._scheduled_rate else number
        return rows

    def read(self) -> Reading:
        """Return where the lanes are; changes no state."""
        return self.now().read()

    def positions(self) -> Array:
        """Return the points at which the next gradients are taken (d, lanes)."""
        return self.now().positions()

    def died(self) -> Array:
        """Return the first step after which a lane was not finite (lanes,), or 0."""
        return self._groups.died[self._layout.places]

    def steps_to_tolerance(self, loss: Array) -> Array:
        """Return the steps after which the tolerance was first reached (lanes,) int64, or -1.

        loss : ndarray (lanes,)
            The values where the lanes are now.
        """
        if self.spec.threshold is None:
            return np.full(len(self.which), -1)
        waits, count = self.now().rows(self.spec.numbers - 2, 2)
        died = self.died()
        reached = (waits == 0) | (loss <= self.spec.threshold)
        reached &= (died == 0) | (count < died)
        return np.where(reached, count, -1).astype(np.int64)

    # --- going on -----------------------------------------------------------------------------------------------------

    def state(self) -> LaneState:
        """Return where the lanes are, and what their rule keeps, in float64."""
        now = self.now()
        return LaneState(self.t, now.positions(), now.slots(), now.memory())

    def stand_at(self, lanes: LaneState) -> None:
        """Take over where lanes are, and what their rule keeps."""
        rows = self._layout.spread(np.concatenate([lanes.x, lanes.slots.reshape(-1, len(self.which))]))
        self._groups.state[:, : rows.shape[1]] = rows
        self._groups.memory[:] = self._layout.spread(lanes.memory)
        self.t = lanes.t

    def capture(self) -> Captured:
        """Return all that is needed to go on from here with the same bits: numbers, and arrays of lanes."""
        groups, layout = self._groups, self._layout
        captured: Captured = {
            "t": self.t,
            "state": layout.gather(groups.state),
            "memory": layout.gather(groups.memory),
            "died": self.died(),
        }
        line = {"rates": self.line.rates.copy(), "evaluations": self.line.evaluations.copy()} if self.line else {}
        return captured | line

    def restore(self, captured: Mapping[str, Array | int]) -> None:
        """Go on from where lanes of the same specification, starts and keys were captured.

        Raises
        ------
        ValueError
            The arrays are not those of such lanes.
        """
        found = arrays_like(self.capture(), captured)
        self.t = int(captured["t"])
        self._groups.state[:] = self._layout.spread(found["state"])
        self._groups.memory[:] = self._layout.spread(found["memory"])
        self._groups.died[:] = found["died"][self._layout.lane_at]
        if self.line:
            self.line.rates, self.line.evaluations = found["rates"], found["evaluations"]
            self._set_rates(self.line.rates)
