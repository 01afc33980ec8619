"""A swarm in memory: lanes of one rule on one landscape, laid out in groups, their steps and what is read of them."""

import copy
import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from fastgd.core.static import Static
from fastgd.core.threads import CALL_SECONDS, Threads, call
from fastgd.core.vectors import aligned, register_bits
from fastgd.engine.swarm.groups import BLOCK, CHUNK, SMALL, Groups, SwarmShape, Terrain, Values, Work
from fastgd.engine.swarm.line_search import SwarmLine
from fastgd.engine.swarm.steps import advance_groups, measure_groups
from fastgd.engine.tiles import in_double
from fastgd.optimizers.rule import Round, Rule
from fastgd.problems import Landscape

Array = npt.NDArray[Any]
# Registers of a group: steps of several lanes overlap, where one would wait for its own results. Rules that keep little
# are done sooner than their results are there; others keep the divider busy, and would only spill. Those gain a tenth
# from hyper-parameters that are read once, of which more follows than can stay in registers.
VECTORS, OF_LIGHT_RULES = 4, 8


@dataclass(frozen=True)
class SwarmSpec:
    """What a swarm computes.

    Attributes
    ----------
    rule : Rule
    landscape : Landscape
    p : NamedTuple
        The landscape's parameters.
    box : ndarray (d, 2)
        The domain.
    dtype : str
    noise : float
        The standard deviation of what is added to each partial derivative.
    threshold : float, optional
        The value at which the tolerance is reached; None: steps to it are not counted.
    scheduled : tuple of str
        The hyper-parameters that a schedule drives.
    line_search : NamedTuple, optional
        A line search of `optimizers._line_search`: what chooses the rate of each step and lane.
    """

    rule: Rule
    landscape: Landscape
    p: Any
    box: Array
    dtype: str = "float64"
    noise: float = 0.0
    threshold: float | None = None
    scheduled: tuple[str, ...] = ()
    line_search: Any = None

    @property
    def d(self) -> int:
        """The dimension."""
        return len(self.box)

    @property
    def light(self) -> bool:
        """Whether the rule keeps little; it has no registers left for hyper-parameters, and reads them in each step."""
        return self.rule.slots <= 1

    @property
    def width(self) -> int:
        """Lanes of a group."""
        vectors = OF_LIGHT_RULES if self.light else VECTORS
        return vectors * register_bits()[0] // 8 // np.dtype(self.dtype).itemsize

    @property
    def numbers(self) -> int:
        """What a lane keeps in its group's block: coordinates, slots, the marks of the tolerance."""
        return (1 + self.rule.slots) * self.d + 2

    @property
    def kernel(self) -> str:
        """What stands in the column `kernel`."""
        return f"swarm-{self.width}"


@dataclass(frozen=True)
class Reading:
    """What is read of the lanes, each in float64.

    Attributes
    ----------
    positions : ndarray (d, lanes)
        The reported iterates.
    loss, grad_norm : ndarray (lanes,)
        The landscape's value, and the norm of its gradient without noise.
    """

    positions: Array
    loss: Array
    grad_norm: Array


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
        self.dtype = np.dtype(spec.dtype)
        small, noisy = spec.d if spec.d <= SMALL else 0, spec.noise > 0
        marks = noisy, spec.threshold is not None, spec.landscape.projected, bool(spec.scheduled) or spec.light
        self._shape = Static(SwarmShape(spec.width, spec.width, small, spec.rule.slots, *marks))
        self._rule, self._landscape = Static(spec.rule), Static(spec.landscape)
        rounds = [Static(Round(spec.rule, index)) for index in range(len(spec.rule.functions.rounds))]
        self._rounds = (*rounds, None, None)[:2]
        self.terrain = Terrain(spec.p, np.ascontiguousarray(spec.box, np.float64), spec.noise, spec.threshold or 0.0)
        names = list(spec.rule.fields)
        self._which = np.array([names.index(name) for name in spec.scheduled], np.int64)
        self._rate = spec.scheduled.index("lr") if "lr" in spec.scheduled else -1
        self._lay_out(starts, keys)
        self.workers = min(threads.count, max(1, len(self.groups.state) // 4))
        self._work = [self._make_work() for _ in range(self.workers)]
        self._rate_of_steps = 3e7  # lane-steps a second, until a call is timed
        self._advance: Callable[..., Any] = advance_groups
        self.line = SwarmLine(self) if spec.line_search else None

    # --- layout -------------------------------------------------------------------------------------------------------

    def _lay_out(self, starts: Array, keys: Array) -> None:
        """Place the lanes in groups: a configuration with many of them has groups of its own."""
        spec, W, lanes = self.spec, self.spec.width, len(self.which)
        counts, hyper = np.bincount(self.which, minlength=len(self.hyper)), spec.rule.usable(self.hyper, self.dtype)
        apart = counts.min() >= W and spec.line_search is None
        if apart:
            begins = np.concatenate([[0], np.cumsum(-(-counts // W) * W)])
            within = np.arange(lanes) - np.repeat(np.cumsum(counts) - counts, counts)
            self.places = begins[self.which] + within
            groups = int(begins[-1]) // W
        else:
            self.places, groups = np.arange(lanes), -(-lanes // W)
        # What fills a group is a copy of the lane before it.
        filled = self._filled = np.searchsorted(self.places, np.arange(groups * W), side="right") - 1
        own = self.which[filled].reshape(groups, W)
        if apart:
            owner, rows = own[:, 0].astype(np.int64), np.repeat(hyper[:, :, None], W, axis=2)
        else:
            owner, rows = np.arange(groups), hyper[own].transpose(0, 2, 1)
        self.groups = Groups(
            state=aligned((groups, spec.numbers * W), self.dtype),
            memory=np.repeat(np.tile(np.array(spec.rule.memory, np.float64), (groups, 1)), W, axis=1),
            hyper=np.ascontiguousarray(rows.reshape(len(rows), -1), np.float64),
            owner=owner,
            keys=keys[filled],
            died=np.zeros(groups * W, np.int64),
        )
        flat = {name: getattr(self.groups, name).reshape(-1) for name in ("state", "memory", "hyper")}
        self._flat = self.groups._replace(**flat)
        start = starts[filled].T
        slots = spec.rule.start(self.hyper[own.ravel()], start)
        marks = np.array([[1.0], [0.0]]) + np.zeros(groups * W)
        blocks = np.concatenate([start, *(np.asarray(slot, np.float64) for slot in slots), marks])
        self.groups.state[:] = blocks.reshape(-1, groups, W).transpose(1, 0, 2).reshape(groups, -1)

    def _make_work(self) -> Work:
        W, rule = self.spec.width, self.spec.rule
        stride = (rule.hyper + max(rule.counts.quantities)) * W
        table = aligned((CHUNK * stride,), self.dtype)
        return Work(
            table=table,
            exact=in_double(table),
            stride=stride,
            saved=aligned((self.spec.numbers * W,), self.dtype),
            scratch=aligned((self.spec.d * W,), self.dtype),
            memory=aligned((rule.numbers * W,), np.float64),
        )

    def _rows(self, first: int, count: int) -> Array:
        """Rows of the groups' blocks (count, lanes) in float64, in the order of the lanes."""
        W = self.spec.width
        block = self.groups.state[:, first * W : (first + count) * W].reshape(len(self.groups.state), count, W)
        return block.transpose(1, 0, 2).reshape(count, len(self.groups.died))[:, self.places].astype(np.float64)

    # --- steps --------------------------------------------------------------------------------------------------------

    def compile(self) -> None:
        """Compile, or load from the cache, the kernels."""
        # To find the kernel by the types of its arguments takes longer than a step of a few lanes: it is found once.
        self._advance = self._compile(advance_groups, self._advance_call(0, 0, self._values(1))[1])
        if self.line:
            self._compile(*self.line.double._advance_call(0, 0, self.line.double._values(1)))
        self._compile(*self._measure_call(self.groups.state, np.empty((1, 1)), (0, 0), 0))

    @staticmethod
    def _compile(kernel: Any, arguments: tuple[Any, ...]) -> Any:
        return kernel.compile(tuple(numba.typeof(argument) for argument in arguments))

    def advance(self, steps: int, poll: Callable[[], None] = lambda: None) -> None:
        """Take steps, in calls of some 50 ms; `poll` is called after each."""
        lanes, end = len(self.groups.died), self.t + steps
        while self.t < end:
            most = max(1, int(CALL_SECONDS * self._rate_of_steps / lanes))
            count = min(end - self.t, most // CHUNK * CHUNK or most)
            if self.line:
                self.line.choose()
                count = 1
            self.step(count)
            poll()

    def step(self, count: int) -> None:
        """Take steps in one call of each worker."""
        values, began = self._values(count), time.perf_counter()
        self.threads.run([call(*self._advance_call(worker, count, values)) for worker in range(self.workers)])
        self._rate_of_steps = len(self.groups.died) * count / max(time.perf_counter() - began, 1e-6)
        self.t += count

    def stand_as(self, other: "Swarm") -> None:
        """Take over where another swarm of the same lanes is, and what its rule keeps."""
        groups, slots = len(self.groups.state), other.slots().reshape(-1, len(self.which))
        rows = np.concatenate([other.positions(), slots])[:, self._filled]
        blocks = self.groups.state.reshape(groups, -1, self.spec.width)
        blocks[:, : len(rows)] = rows.reshape(len(rows), -1, self.spec.width).swapaxes(0, 1)
        memory = other.memory()[:, self._filled].reshape(self.spec.rule.numbers, groups, self.spec.width)
        self.groups.memory[:] = memory.swapaxes(0, 1).reshape(self.groups.memory.shape)
        self.t = other.t

    def set_hyper(self, row: int, values: Array) -> None:
        """Give a hyper-parameter other values (lanes,), where each lane has its own."""
        W = self.spec.width
        self.groups.hyper[:, row * W : (row + 1) * W] = values[self._filled].reshape(-1, W)

    def _values(self, steps: int) -> Values:
        if self.schedule is None or not self.spec.scheduled:
            return Values(np.zeros((0, 0)), self._which[:0], -1)
        values = self.spec.rule.usable(self.schedule(self.t, steps), self.dtype, self.spec.scheduled)
        return Values(np.ascontiguousarray(values), self._which, self._rate)

    def _share(self, worker: int) -> tuple[int, int]:
        """The groups of a worker: whole blocks."""
        groups = len(self.groups.state)
        blocks = -(-groups // BLOCK)
        if blocks < 2 * self.workers:
            return groups * worker // self.workers, groups * (worker + 1) // self.workers
        cuts = [min(blocks * each // self.workers * BLOCK, groups) for each in (worker, worker + 1)]
        return cuts[0], cuts[1]

    def _advance_call(self, worker: int, steps: int, values: Values) -> tuple[Any, tuple[Any, ...]]:
        return self._advance, (
            self._rule, self._landscape, self._rounds, self._shape, self.terrain, self._flat, values,
            self._work[worker], self.t, steps, *self._share(worker),
        )  # fmt: skip

    # --- reading ------------------------------------------------------------------------------------------------------

    def _measure_call(self, positions: Array, out: Array, span: tuple[int, int], worker: int) -> tuple[Any, Any]:
        return measure_groups, (
            self._landscape, self._shape, self.terrain, positions.reshape(-1), positions.shape[1],
            self._work[worker].scratch, out.reshape(-1), *span,
        )  # fmt: skip

    def measure(self, positions: Array) -> Array:
        """Return points, values and norms of gradients (d + 2, groups * width) in float64.

        positions : ndarray (groups, >= d * width)
        """
        groups = len(positions)
        out = np.empty((self.spec.d + 2, groups * self.spec.width))
        cuts = [groups * worker // self.workers for worker in range(self.workers + 1)]
        spans = enumerate(itertools.pairwise(cuts))
        self.threads.run([call(*self._measure_call(positions, out, span, worker)) for worker, span in spans])
        return out

    def read(self) -> Reading:
        """Return where the lanes are; changes no state."""
        rows = self.measure(self._reported() if self.spec.rule.has_readout else self.groups.state)
        if len(self.places) < rows.shape[1]:
            rows = rows[:, self.places]
        return Reading(rows[:-2], rows[-2], rows[-1])

    def _reported(self) -> Array:
        """The reported iterates (groups, d * width)."""
        W, d, rule = self.spec.width, self.spec.d, self.spec.rule
        blocks = self.groups.state[:, : (1 + rule.slots) * d * W].reshape(-1, 1 + rule.slots, d, W)
        h = rule.instance(dict(zip(rule.fields, self._now().transpose(1, 0, 2), strict=True)))
        slots = tuple(blocks[:, 1 + slot].transpose(1, 0, 2) for slot in range(rule.slots))
        out = rule.functions.readout(h, blocks[:, 0].transpose(1, 0, 2), slots)
        return np.ascontiguousarray(np.asarray(out).transpose(1, 0, 2).reshape(len(blocks), -1), self.dtype)

    def _now(self) -> Array:
        """The hyper-parameters of the last step (groups, hyper, width)."""
        rows = self.groups.hyper[self.groups.owner].reshape(len(self.groups.owner), -1, self.spec.width).copy()
        if self.schedule is not None and self.spec.scheduled:
            for m, number in enumerate(self.schedule(max(0, self.t - 1), 1)[0]):
                row = self._which[m]
                rows[:, row] = number * rows[:, row] if m == self._rate else number
        return rows

    def moment(self) -> tuple[Array, Array, Array]:
        """Return what `moments` needs to read the lanes as they are now: copies."""
        return self.groups.state.copy(), self.groups.memory.copy(), self._now()

    def moments(self, taken: Sequence[tuple[Array, Array, Array]]) -> "Swarm":
        """Return a swarm whose lanes are this one's at several moments, one after another: to be read, not advanced.

        Reading takes as long for many moments as for one, where lanes are few.
        """
        states, memory, hyper = (np.concatenate(parts) for parts in zip(*taken, strict=True))
        seen, groups, times = copy.copy(self), self.groups, len(taken)
        own = {
            "state": states,
            "memory": memory,
            "hyper": hyper.reshape(len(hyper), -1),
            "owner": np.arange(len(states)),
        }
        seen.groups = groups._replace(**own, keys=np.tile(groups.keys, times), died=np.tile(groups.died, times))
        seen.places = (len(groups.died) * np.arange(times)[:, None] + self.places).ravel()
        seen.which, seen.schedule = np.tile(self.which, times), None  # its values stand in the hyper-parameters
        return seen

    def positions(self) -> Array:
        """Return the points at which the next gradients are taken (d, lanes)."""
        return self._rows(0, self.spec.d)

    def slots(self) -> Array:
        """Return what the rule keeps for each coordinate (slots, d, lanes)."""
        count = self.spec.rule.slots
        return self._rows(self.spec.d, count * self.spec.d).reshape(count, self.spec.d, len(self.which))

    def memory(self) -> Array:
        """Return what the rule keeps for each trial (numbers, lanes)."""
        rows = self.groups.memory.reshape(len(self.groups.state), self.spec.rule.numbers, self.spec.width)
        return rows.transpose(1, 0, 2).reshape(self.spec.rule.numbers, len(self.groups.died))[:, self.places]

    def died(self) -> Array:
        """Return the first step after which a lane was not finite (lanes,), or 0."""
        return self.groups.died[self.places]

    def steps_to_tolerance(self, loss: Array) -> Array:
        """Return the steps after which the tolerance was first reached (lanes,) int64, or -1.

        loss : ndarray (lanes,)
            The values where the lanes are now.
        """
        if self.spec.threshold is None:
            return np.full(len(self.which), -1)
        waits, count = self._rows(self.spec.numbers - 2, 2)
        died = self.died()
        reached = (waits == 0) | (loss <= self.spec.threshold)
        reached &= (died == 0) | (count < died)
        return np.where(reached, count, -1).astype(np.int64)

    def hyper_now(self) -> Array:
        """Return the hyper-parameters of the last step (lanes, hyper)."""
        return self._now().transpose(0, 2, 1).reshape(-1, self.hyper.shape[1])[self.places].astype(np.float64)
