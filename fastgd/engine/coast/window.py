"""The window of steps in which the parameters of sparse cohorts coast, and what is done with all parameters at once.

The kernels here are compiled once for all rules: what depends on the rule is called by its address.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastgd.common.properties import cached_property
from fastgd.core.address_calls import call_at
from fastgd.core.compile import jit
from fastgd.core.static import Static, static
from fastgd.core.threads import Threads
from fastgd.core.vectors import aligned
from fastgd.engine.arrays import FIRST, HALF, ROWS
from fastgd.engine.calls import KernelCall
from fastgd.engine.coast.powers import table_size
from fastgd.engine.coast.tree import CoastCalls, coast_calls_of
from fastgd.engine.lanes import SAME, Captured, LaneState
from fastgd.engine.tiles import in_double
from fastgd.optimizers.coasting import Coast
from fastgd.optimizers.rule import Rule

Array = npt.NDArray[Any]
PARAMETERS_AT_ONCE = 64  # parameters that are copied and brought up to date together, to be read
SHARED_ARRAYS = ("nodes", "rights", "memory", "c", "exact_c", "hyper", "exact")  # where all lanes share the matrices


class WindowArrays(NamedTuple):
    """The window of steps of each tile, where its parameters coast; all are empty elsewhere.

    last : (tiles, d) int32, the steps of the window that a parameter has taken
    nodes : (tiles, 2 * size * numbers * L): node 1 is the root, the children of i are 2 i and 2 i + 1, the leaves stand
        last; where all steps have the same matrix, the table of its powers; where all lanes share the matrices, one
        number stands for L
    rights : (tiles, levels * numbers * L): the products of nodes that every range up to now ends with, by level; none
        where all steps have the same matrix
    ratio : (tiles, L), each lane's rate where the matrices are for a rate of 1
    hyper, exact, memory, c, exact_c : (tiles, ...), the hyper-parameters, memory and quantities of a lane with a rate
        of 1, L times, as `Lanes` and `Scratch` have them
    scheduled : (1 or steps, tiles, m * L), its scheduled values
    kept_c : (tiles, size * coefficients * L), the quantities of all steps, where some may have to be taken one by one
    kept_h : (tiles, size * fields * L), the hyper-parameters of weights then, where they are scheduled
    horizon : the steps after which a state that is taken step by step no longer depends on where it began
    """

    last: Any
    nodes: Any
    rights: Any
    ratio: Any
    hyper: Any
    exact: Any
    memory: Any
    c: Any
    exact_c: Any
    scheduled: Any
    kept_c: Any
    kept_h: Any
    horizon: Any


class WindowCalls(NamedTuple):
    """What the kernels call by address, and the rule's slots."""

    slots: Any
    catch_up: Any
    read_block: Any


class WindowShare(NamedTuple):
    """The tiles worker, worker + workers, ..., after `now` of the window's `size` steps."""

    worker: Any
    workers: Any
    now: Any
    size: Any


@jit
def catch_up_all(calls, shape, lanes, window, features, share):
    """Bring all parameters of a worker's tiles up to date, and begin a new window; features : (d,) int32, all."""
    state, half, now, size = lanes.state, lanes.hyper.shape[1] // 2, share.now, share.size
    stride = state.shape[1] // (1 + calls.slots)
    for tile in range(share.worker, state.shape[0], share.workers):
        steps = (window.last[tile], window.nodes[tile], window.rights[tile], window.ratio[tile])
        kept = (window.kept_c[tile], window.kept_h[tile], window.horizon, now, size)
        given = (state[tile], lanes.hyper[tile, :half], lanes.mean[tile], features, 0, features.shape[0], stride)
        call_at(calls.catch_up, shape, *(given + steps + kept))
        window.last[tile] = 0


@jit(inner=True)
def copy_numbers(source, first, count, target, at):
    """Copy source[first : first + count] to target[at:]: an assignment of arrays would make a copy in between."""
    own, there = source[first : first + count], target[at : at + count]
    for k in range(count):
        there[k] = own[k]


@jit
def read_coasted(calls, shape, lanes, window, features, out, block, last, share):
    """Put the iterates that are reported into out (tiles, parameters * L), brought up to date; no state changes.

    Some parameters at a time are copied to `block`, with the steps in which they were touched in `last`, and brought up
    to date there.
    """
    state, hyper, mean, groups, slots = lanes.state, lanes.hyper, lanes.mean, lanes.groups, calls.slots
    L, half, d = static(shape, "lanes"), hyper.shape[1] // 2, features.shape[0]
    stride, room = out.shape[1], block.shape[0] // (1 + slots)
    for tile in range(share.worker, state.shape[0], share.workers):
        steps = (last, window.nodes[tile], window.rights[tile], window.ratio[tile])
        kept = (window.kept_c[tile], window.kept_h[tile], window.horizon, share.now, share.size)
        for j in range(0, d, room // L):
            count = min(room // L, d - j)
            for part in range(1 + slots):
                copy_numbers(state[tile], part * stride + j * L, count * L, block, part * room)
            copy_numbers(window.last[tile], j, count, last, 0)
            means = mean[tile, j * L : (j + count) * L] if mean.shape[1] > 0 else mean[tile]
            given = (block, hyper[tile, :half], means, features, 0, count, room)
            call_at(calls.catch_up, shape, *(given + steps + kept))
            call_at(calls.read_block, shape, block, hyper[tile, :half], count, room, out[tile], j * L)
        for k in range(1, groups.shape[0]):  # only the first group's parameters belong to features, and coast
            own = hyper[tile, groups[k, HALF] * half : (groups[k, HALF] + 1) * half]
            for j in range(groups[k, FIRST], groups[k, FIRST] + groups[k, ROWS]):
                for part in range(1 + slots):
                    copy_numbers(state[tile], part * stride + j * L, L, block, part * room)
                call_at(calls.read_block, shape, block, own, 1, room, out[tile], j * L)


class Coasting(NamedTuple):
    """How the parameters of a cohort coast.

    coast : Coast, or None where parameters that a batch does not touch rest
    rule : Rule
    size : the steps of a window, a power of two
    scheduled : the hyper-parameters that a schedule drives
    rates : (G,), each lane's rate
    one : (2, hyper + 1), the hyper-parameters of a lane with a rate of 1, as `Lanes.exact` has them
    """

    coast: Coast | None
    rule: Rule
    size: int
    scheduled: tuple[str, ...]
    rates: Array
    one: Array


class CoastingWindow:
    """The window of steps of a cohort's lanes; where nothing coasts, it is empty and never full.

    Parameters
    ----------
    how : Coasting
    d : int
        The features.
    threads : Threads

    Attributes
    ----------
    arrays : WindowArrays
    begun : int
        The step after which the window began.
    """

    arrays: WindowArrays

    def __init__(self, how: Coasting, d: int, threads: Threads) -> None:
        self.how, self.coast, self.d, self.threads = how, how.coast, d, threads
        self.begun = 0
        self._features = np.arange(d if self.coast else 0, dtype=np.int32)

    def allocate(self, state: LaneState) -> None:
        """Make room for the lanes in the tiles."""
        coast, rule, size = self.how.coast, self.how.rule, self.how.size
        tiles, L, dtype = state.tiles, state.layout.shape.lanes, state.arrays.state.dtype
        self._dtype, self._shape = dtype, state.layout.shape
        used, numbers, width, fields = 0, 0, L, 0
        if coast is not None:
            used, numbers = 1, len(coast.entries)
            width, fields = (1, rule.hyper + 1) if coast.shared else (L, 0)
        levels, steps = (size.bit_length() + 1) * used, size if coast is not None and coast.replays else 0
        nodes = 2 * size * used
        if coast is not None and coast.steady:
            levels, nodes = 0, table_size(size)
        hyper = aligned((tiles, 2 * fields * L), dtype)
        c = aligned((tiles, max(rule.counts.quantities) * L * bool(fields)), dtype)
        self.arrays = WindowArrays(
            last=np.zeros((tiles, self.d * used), np.int32),
            nodes=aligned((tiles, nodes * numbers * width), dtype),
            rights=aligned((tiles, levels * numbers * width), dtype),
            ratio=aligned((tiles, L * used), dtype),
            hyper=hyper,
            exact=in_double(hyper),
            memory=aligned((tiles, rule.numbers * L * bool(fields)), np.float64),
            c=c,
            exact_c=in_double(c),
            scheduled=np.zeros((1, tiles, len(self.how.scheduled) * L * bool(fields))),
            kept_c=aligned((tiles, steps * rule.coefficients * L), dtype),
            kept_h=aligned((tiles, steps * (rule.hyper + 1) * L * bool(self.how.scheduled)), dtype),
            horizon=coast.horizon if coast is not None else 0,
        )
        if coast is not None and coast.shared:
            self.arrays.ratio[:] = state.layout.spread(self.how.rates[state.members][None], dtype)
            self.arrays.hyper[:] = self.arrays.exact[:] = np.repeat(self.how.one.reshape(-1), L)
            self.arrays.memory[:] = np.repeat(np.array(rule.memory, np.float64), L)

    @cached_property
    def calls(self) -> CoastCalls:
        """What is called where parameters coast."""
        return coast_calls_of(self.coast, self._shape, self._dtype) if self.coast else CoastCalls()

    def taken(self, t: int) -> int:
        """Return the steps of the window after step t."""
        return t - self.begun

    def room(self, t: int) -> int:
        """Return the steps that the window has room for after step t."""
        return self.how.size - self.taken(t) if self.coast else 1 << 40

    @property
    def shares_schedule(self) -> bool:
        """Whether the scheduled values of a lane with a rate of 1 are needed."""
        return self.coast is not None and self.coast.shared and bool(self.how.scheduled)

    def schedule(self, values: Array) -> None:
        """Take in the scheduled values (steps, m) of a lane with a rate of 1."""
        rows = np.repeat(self.how.rule.usable(values, self._dtype, self.how.scheduled), self._shape.lanes, axis=1)
        tiles = len(self.arrays.last)
        self.arrays = self.arrays._replace(scheduled=np.ascontiguousarray(np.repeat(rows[:, None], tiles, axis=1)))

    def flush(self, state: LaneState) -> None:
        """Bring all parameters up to date, and begin a new window."""
        if self.coast is not None:
            self._catch_up_all(state, state.arrays.state, self.arrays)
            self.begun = state.t

    def up_to_date(self, state: LaneState) -> Array:
        """Return a copy of the parameters and slots, brought up to date; no state changes."""
        copy = state.arrays.state.copy()
        if self.coast is not None:
            self._catch_up_all(state, copy, self.arrays._replace(last=self.arrays.last.copy()))
        return copy

    def read(self, state: LaneState, out: Array) -> None:
        """Put the reported iterates, brought up to date, into out (tiles, parameters * L); no state changes."""
        workers = min(self.threads.count, state.tiles)
        self.threads.run([self._read_call(worker, workers, state, out) for worker in range(workers)])

    def compile(self, state: LaneState) -> None:
        """Compile what is called when parameters coast."""
        if self.coast is not None:
            self._catch_up_call(0, 1, state, state.arrays.state, self.arrays).compile()
            self._read_call(0, 1, state, np.zeros((1, 1), self._dtype)).compile()

    def _catch_up_all(self, state: LaneState, values: Array, window: WindowArrays) -> None:
        workers = min(self.threads.count, state.tiles)
        self.threads.run([self._catch_up_call(worker, workers, state, values, window) for worker in range(workers)])

    def _catch_up_call(
        self, worker: int, workers: int, state: LaneState, values: Array, window: WindowArrays
    ) -> KernelCall:
        lanes, share = state.arrays._replace(state=values), self._share(worker, workers, state)
        return KernelCall(catch_up_all, (self._calls, Static(self._shape), lanes, window, self._features, share))

    def _read_call(self, worker: int, workers: int, state: LaneState, out: Array) -> KernelCall:
        block = aligned((PARAMETERS_AT_ONCE * (1 + self.how.rule.slots) * self._shape.lanes,), self._dtype)
        last = np.zeros(PARAMETERS_AT_ONCE, np.int32)
        given = (state.arrays, self.arrays, self._features, out, block, last, self._share(worker, workers, state))
        return KernelCall(read_coasted, (self._calls, Static(self._shape), *given))

    @property
    def _calls(self) -> WindowCalls:
        return WindowCalls(self.how.rule.slots, self.calls.catch_up, self.calls.read_block)

    def _share(self, worker: int, workers: int, state: LaneState) -> WindowShare:
        return WindowShare(worker, workers, self.taken(state.t), self.how.size)

    def capture(self, state: LaneState) -> Captured:
        """Return what the rest of the window depends on."""
        if self.coast is None:
            return {}
        same = {f"{SAME}{name}": getattr(self.arrays, name)[0].copy() for name in self._same}
        return {"begun": self.begun, **same, **{name: state.gather(getattr(self.arrays, name)) for name in self._own}}

    def restore(self, state: LaneState, captured: Mapping[str, Any]) -> None:
        """Take over what `capture` returned, in arrays that were made for these lanes."""
        if self.coast is None:
            return
        self.begun = int(captured["begun"])
        for name in self._same:
            getattr(self.arrays, name)[:] = captured[f"{SAME}{name}"]
        for name in self._own:
            getattr(self.arrays, name)[:] = state.layout.spread(captured[name], self._dtype)

    @property
    def _same(self) -> tuple[str, ...]:
        """The arrays that are the same in all tiles."""
        return ("last", *SHARED_ARRAYS) if self.coast and self.coast.shared else ("last",)

    @property
    def _own(self) -> tuple[str, ...]:
        """The arrays that differ from lane to lane."""
        shared = self.coast is not None and self.coast.shared
        return ("kept_c", "kept_h") if shared else ("kept_c", "kept_h", "nodes", "rights")
