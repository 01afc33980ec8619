"""A sparse cohort's own part: the features of its batches, and the window of steps in which parameters coast."""

import weakref
from typing import TYPE_CHECKING, Any

import numba
import numpy as np
import numpy.typing as npt

from fastgd.common.properties import cached_property
from fastgd.core.static import Static
from fastgd.core.threads import call
from fastgd.core.vectors import aligned
from fastgd.engine.coast.window import Past, catch_up_all, read_coasted
from fastgd.engine.linear import sparse_steps
from fastgd.engine.linear.sparse_steps import STEPS, Touched
from fastgd.engine.rows.spec import most_entries
from fastgd.engine.rule_kernels import SparseCalls, sparse_calls_of
from fastgd.engine.tiles import in_double
from fastgd.optimizers.coasting import Coast

if TYPE_CHECKING:
    from fastgd.engine.rows.cohort import Cohort

Array = npt.NDArray[Any]
BLOCK = 64  # parameters that are brought up to date at a time where that must change no state
LISTED = 1 << 15  # entries whose features are listed at a time, if no batch has more


class Touching:
    """What sparse mini-batches need beside a cohort's lanes.

    Parameters
    ----------
    cohort : Cohort

    Attributes
    ----------
    past : Past
        The window of steps, where parameters coast.
    begun : int
        The step after which the window began.
    """

    def __init__(self, cohort: "Cohort") -> None:
        self.cohort: Cohort = weakref.proxy(cohort)  # which owns this: no cycle keeps its memory
        untouched = cohort.spec.untouched
        self.coast = untouched if isinstance(untouched, Coast) else None
        self.begun = 0
        self._every = np.arange(cohort.d if self.coast else 0, dtype=np.int32)
        indptr = cohort.rows.indptr  # type: ignore[union-attr]
        self._entries = most_entries(indptr, cohort.spec.batch_size)

    def allocate(self) -> None:
        """Make room for the cohort's tiles."""
        cohort, L, dtype = self.cohort, self.cohort.layout.shape.lanes, self.cohort.dtype
        listed = cohort.spec.batch_size > 1 or cohort.spec.estimator != "none"
        most, d = (max(self._entries, LISTED) if listed else 1), cohort.d
        places = d if listed else 0
        self.touched = [
            Touched(
                np.full(places, -1, np.int32),
                np.zeros(most, np.int32),
                np.zeros(most, np.int32),
                np.zeros((STEPS + 1, 2), np.int64),
                aligned((min(self._entries, d) * L if listed else 0,), dtype),
            )
            for _ in range(cohort.workers)
        ]
        self.past = self._make_past()

    def _make_past(self) -> Past:
        cohort, coast, dtype = self.cohort, self.coast, self.cohort.dtype
        tiles, L, rule = len(cohort.lanes.state), cohort.layout.shape.lanes, cohort.spec.rule
        used, numbers, width, fields = 0, 0, L, 0
        if coast is not None:
            used, numbers = 1, len(coast.entries)
            width, fields = (1, rule.hyper + 1) if coast.shared else (L, 0)
        size, levels = cohort.spec.window * used, (cohort.spec.window.bit_length() + 1) * used
        steps = size if coast is not None and coast.replays else 0
        hyper = aligned((tiles, 2 * fields * L), dtype)
        c = aligned((tiles, max(rule.counts.quantities) * L * bool(fields)), dtype)
        past = Past(
            last=np.zeros((tiles, cohort.d * used), np.int32),
            nodes=aligned((tiles, 2 * size * numbers * width), dtype),
            rights=aligned((tiles, levels * numbers * width), dtype),
            ratio=aligned((tiles, L * used), dtype),
            hyper=hyper,
            exact=in_double(hyper),
            memory=aligned((tiles, rule.numbers * L * bool(fields)), np.float64),
            c=c,
            exact_c=in_double(c),
            scheduled=np.zeros((1, tiles, len(cohort.spec.scheduled) * L * bool(fields))),
            kept_c=aligned((tiles, steps * rule.coefficients * L), dtype),
            kept_h=aligned((tiles, steps * (rule.hyper + 1) * L * bool(cohort.spec.scheduled)), dtype),
            horizon=coast.horizon if coast is not None else 0,
        )
        if coast is not None and coast.shared:
            rate = list(rule.fields).index("lr")
            past.ratio[:] = cohort.layout.spread(cohort.spec.hyper[cohort.alive, rate][None], dtype)
            one = cohort.spec.hyper_rows(dtype)[:, :, :1].copy()
            one[:, rate] = 1.0
            past.hyper[:] = past.exact[:] = np.repeat(one.reshape(-1), L)
            past.memory[:] = np.repeat(np.array(rule.memory, np.float64), L)
        return past

    @cached_property
    def calls(self) -> SparseCalls:
        """What the kernels call."""
        spec, layout = self.cohort.spec, self.cohort.layout
        rows = spec.batch_size == 1 and spec.estimator == "none"
        scheduled, dtype = bool(spec.scheduled), self.cohort.dtype
        return sparse_calls_of(spec.rule, layout.shape, dtype, scheduled=scheduled, rows=rows, coast=self.coast)

    @property
    def now(self) -> int:
        """The steps of the window."""
        return self.cohort.t - self.begun

    @property
    def room(self) -> int:
        """The steps that the window has room for."""
        return self.cohort.spec.window - self.now if self.coast else 1 << 40

    def schedule(self, steps: int) -> None:
        """Look up the scheduled values of a lane whose rate is 1."""
        if self.coast is None or not self.coast.shared or not self.cohort.spec.scheduled:
            return
        values, spec = self.cohort.schedule.reference(self.cohort.t, steps), self.cohort.spec  # type: ignore[union-attr]
        values = spec.rule.usable(values, self.cohort.dtype, spec.scheduled)
        L, tiles = self.cohort.layout.shape.lanes, len(self.cohort.lanes.state)
        rows = np.repeat(values, L, axis=1)
        self.past = self.past._replace(scheduled=np.ascontiguousarray(np.repeat(rows[:, None], tiles, axis=1)))

    def advance_call(self, worker: int, span: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
        """Return a worker's kernel with its arguments."""
        cohort = self.cohort
        return sparse_steps.advance, (
            self.calls, Static(cohort.layout.shape), cohort.rows, cohort.lanes, self.past, self.touched[worker],
            cohort.scratch[worker], (*span, self.now, cohort.spec.window), cohort.spec.intercept,
        )  # fmt: skip

    def flush(self) -> None:
        """Bring all parameters up to date, and begin a new window."""
        if self.coast is not None:
            self._catch_up_all(self.cohort.lanes.state, self.past)
            self.begun = self.cohort.t

    def up_to_date(self) -> Array:
        """Return a copy of the parameters and slots, brought up to date; no state changes."""
        state = self.cohort.lanes.state.copy()
        if self.coast is not None:
            self._catch_up_all(state, self.past._replace(last=self.past.last.copy()))
        return state

    def _catch_up_all(self, state: Array, past: Past) -> None:
        workers = self.cohort.workers
        calls = [self._catch_up_call(worker, workers, state, past) for worker in range(workers)]
        self.cohort.threads.run([call(kernel, arguments) for kernel, arguments in calls])

    def _catch_up_call(self, worker: int, workers: int, state: Array, past: Past) -> tuple[Any, tuple[Any, ...]]:
        cohort, lanes = self.cohort, self.cohort.lanes
        return catch_up_all, (
            self._addresses, Static(cohort.layout.shape), state, lanes.hyper, lanes.mean, past, self._every,
            self.now, cohort.spec.window, worker, workers,
        )  # fmt: skip

    @property
    def _addresses(self) -> tuple[int, int, int]:
        return self.cohort.spec.rule.slots, self.calls.catch_up, self.calls.read

    def read(self, out: Array) -> None:
        """Put the reported iterates, brought up to date, into out (tiles, parameters * L); no state changes."""
        workers = self.cohort.workers
        self.cohort.threads.run([call(*self._read_call(worker, workers, out)) for worker in range(workers)])

    def _read_call(self, worker: int, workers: int, out: Array) -> tuple[Any, tuple[Any, ...]]:
        cohort, lanes = self.cohort, self.cohort.lanes
        block = aligned((BLOCK * (1 + cohort.spec.rule.slots) * cohort.layout.shape.lanes,), cohort.dtype)
        return read_coasted, (
            self._addresses, Static(cohort.layout.shape), lanes.state, lanes.hyper, lanes.mean, self.past, self._every,
            self.now, cohort.spec.window, out, block, worker, workers,
        )  # fmt: skip

    def compile(self) -> None:
        """Compile what is called when parameters coast."""
        if self.coast is not None:
            out = np.zeros((1, 1), self.cohort.dtype)
            state = self.cohort.lanes.state
            for kernel, arguments in (self._catch_up_call(0, 1, state, self.past), self._read_call(0, 1, out)):
                kernel.compile(tuple(numba.typeof(argument) for argument in arguments))

    def retire(self, old: Past, places: Array) -> None:
        """Take over the window of the lanes that go on; `places` are their old ones."""
        layout, dtype, new = self.cohort.layout, self.cohort.dtype, self.past
        if self.coast is None:
            return
        new.last[:] = old.last[0]  # the same in all tiles
        for kept, before in ((new.kept_c, old.kept_c), (new.kept_h, old.kept_h)):
            kept[:] = layout.spread(layout.gather(before)[:, places], dtype)
        if self.coast.shared:
            for name in ("nodes", "rights", "memory", "c", "exact_c", "hyper", "exact"):
                getattr(new, name)[:] = getattr(old, name)[0]
            return
        for name in ("nodes", "rights"):
            getattr(new, name)[:] = layout.spread(layout.gather(getattr(old, name))[:, places], dtype)
