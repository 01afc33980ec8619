"""A unit of work over data: a cohort, the trials that share one pass over the rows."""

import hashlib
import itertools
from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from fastgd.engine.rows.spec import CohortSpec, cohort_bytes
from fastgd.optimizers.coasting import EVERY_STEP
from fastgd.plan.units.methods import numbers_of, variant_of
from fastgd.plan.units.workload import NOTHING_BESIDE, Workload
from fastgd.study.config import Record, Schedule, Stop
from fastgd.study.sub_tables import Search

Array = npt.NDArray[Any]
MOST_COHORT_BYTES = 2 << 30  # of its lanes: a cohort that needs more is split, which changes no bits


@dataclass(frozen=True)
class Origin:
    """Where the lanes of a cohort go on from: the states of shorter trials, or of the same that were to wait.

    Attributes
    ----------
    name : str
        The file of states.
    lanes : tuple of int
        Which lane of it each one is.
    trials : tuple of str
        Under whose names their rows are stored.
    """

    name: str
    lanes: tuple[int, ...]
    trials: tuple[str, ...]

    def select(self, lanes: Array) -> "Origin":
        """Return that of some lanes."""
        return replace(
            self, lanes=tuple(self.lanes[lane] for lane in lanes), trials=tuple(self.trials[lane] for lane in lanes)
        )


@dataclass(frozen=True)
class CohortUnit:
    """A cohort.

    Attributes
    ----------
    problem : int
        The problem's place in the study.
    label : str
        The problem's name in the results.
    spec : CohortSpec
        What the engine computes.
    schedules : tuple of Schedule
        The schedules of its lanes.
    which : ndarray (G,)
        Each lane's schedule.
    configurations : list of str
        The name of each lane's configuration, which trials of other seeds share.
    ids : list of list of str
        Each lane's trials: one, or one for each seed where nothing is random.
    seeds : list of list of int
        The seeds of those trials.
    dtype : str
    n, d : int
        The problem's training rows and features.
    steps : int
        The budget.
    checkpoints : ndarray of int
        The steps at which metrics are recorded, the first 0.
    search : Search, optional
        What chooses the rate of each step.
    entries : float
        Entries of a row, on average; d for dense rows.
    sparse : str, optional
        What stands in the column `sparse`.
    workload : Workload, optional
        What is measured and kept, as far as its costs depend on it.
    columns : mapping of str to str or number
        What else is the same for all its trials, by the columns of the results.
    record, stop : Record, Stop
        What the study says of recording and of ending.
    scale : float
        The loss's own scale on these data: see `fastgd.plan.units.workload.loss_scale`.
    saved_after : float
        Seconds of a run after which its state is saved for the first time, to go on from.
    courses : list of str
        Each lane's course (see `fastgd.plan.budgets.courses`), "" where its state is not kept at the end; or none.
    origin : Origin, optional
        Where its lanes go on from.
    until : int, optional
        The step at which its lanes wait, to go on later; by default they take all of their steps.
    taken : int
        The steps that earlier runs took of it: it goes on behind them. Only estimates depend on it.
    parameters_only : bool
        Whether all but the final parameters of its trials is stored already. Then it has no results where the time is
        over before its end.
    """

    problem: int
    label: str
    spec: CohortSpec
    schedules: tuple[Schedule, ...]
    which: Array
    configurations: list[str]
    ids: list[list[str]]
    seeds: list[list[int]]
    dtype: str
    n: int
    d: int
    steps: int
    checkpoints: Array
    search: Search | None = None
    entries: float = 0.0
    sparse: str | None = None
    workload: Workload = NOTHING_BESIDE
    columns: Mapping[str, Any] = field(default_factory=dict)
    record: Record = field(default_factory=Record)
    stop: Stop = field(default_factory=Stop)
    scale: float = 1.0
    saved_after: float = np.inf
    courses: list[str] = field(default_factory=list)
    origin: Origin | None = None
    until: int | None = None
    taken: int = 0
    parameters_only: bool = False

    @property
    def kind(self) -> str:
        """What its kernels are made for."""
        return "sparse" if self.spec.kernel.sparse else "dense"

    @property
    def count(self) -> int:
        """The number of its trials."""
        return sum(map(len, self.ids))

    @property
    def trial_ids(self) -> list[str]:
        """Its trials."""
        return list(itertools.chain(*self.ids))

    @property
    def owner(self) -> Hashable:
        """Who takes a turn with it: units of different problems and optimizers run alternately."""
        return self.problem, self.spec.rule.optimizer.name

    @property
    def lanes(self) -> int:
        """The number of lanes."""
        return len(self.ids)

    @property
    def width(self) -> int:
        """The number of lanes."""
        return self.lanes

    @property
    def kernel(self) -> str:
        """The name of its kernel, in the results."""
        return self.spec.kernel.name

    @property
    def kernels(self) -> str:
        """What is compiled for it, in words."""
        return f"{self.spec.rule.optimizer.name}, {self.kernel}, {self.dtype}"

    @property
    def all_seeds(self) -> list[int]:
        """The seeds of its trials, each once."""
        return list(dict.fromkeys(itertools.chain(*self.seeds)))

    @property
    def batches(self) -> int:
        """Steps of an epoch."""
        return -(-self.n // self.spec.batch_size)

    @property
    def end(self) -> int:
        """The step to which its lanes run."""
        return self.steps if self.until is None else min(self.until, self.steps)

    @property
    def left(self) -> "CohortUnit":
        """The cohort as if it began where it goes on: for estimates."""
        if not self.taken:
            return self
        ahead = self.checkpoints[self.checkpoints > self.taken]
        return replace(self, taken=0, steps=self.end - self.taken, checkpoints=ahead, until=None)

    @property
    def epochs(self) -> float:
        """Passes over the training rows."""
        return self.steps / self.batches

    @property
    def baseline(self) -> bool:
        """Whether its trials look at points in place of following gradients: a step is an evaluation."""
        return self.spec.rule.optimizer.baseline

    @property
    def padding(self) -> int:
        """The lanes of its tiles that hold no trial; a baseline fills them with further points."""
        return 0 if self.baseline else self.spec.kernel.padding(self.lanes)

    @property
    def name(self) -> str:
        """A stable name, of its trials: what stands in the column `cohort_id`."""
        return hashlib.blake2b("".join(self.trial_ids).encode(), digest_size=6).hexdigest()

    @property
    def method(self) -> str:
        """What decides which kernels it calls."""
        spec, work = self.spec, self.workload
        measured = (work.gradient_norm, work.measures, work.units > 0)
        rows = (repr(spec.untouched), spec.batch_size == 1, spec.adds_rows) if spec.kernel.sparse else ()
        drivers = (*spec.drivers(self.d, self.itemsize), spec.batch_size >= self.n)
        method = (spec.estimator, type(spec.line_search).__name__, rows, drivers, measured)
        return f"{spec.rule!r} {spec.kernel!r} {spec.model.compiled} {self.dtype} {spec.loss!r} {method}"

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
        return np.dtype(self.dtype).itemsize

    @property
    def bytes(self) -> int:
        """Memory of the lanes: parameters, slots and what the kernel works in."""
        return cohort_bytes(self.spec, self.n, self.d, self.lanes, self.itemsize)

    @property
    def work(self) -> float:
        """Multiply-adds that a pass over a row takes for a lane, on average."""
        return self.spec.model.multiply_adds(self.d, self.entries)

    @property
    def flops(self) -> float:
        """Floating-point operations of training and of the exact loss at checkpoints."""
        steps = 2.0 if self.baseline else 4.0 + 4.0 * (self.search is not None)  # both sets of margins of a search
        rows = steps * self.epochs + 4.0 * self.snapshots(self.steps) + 2.0 * self.evaluated
        dense = self.steps * self.d if self.spec.kernel.sparse and self.spec.untouched == EVERY_STEP else 0.0
        return (rows * self.n * max(1.0, self.work) + 8.0 * dense) * self.lanes * self.end / self.steps

    @property
    def passes(self) -> float:
        """Passes over the training rows, checkpoints included."""
        return self.epochs * (2 if self.search else 1) + self.snapshots(self.steps) + self.evaluated

    @property
    def evaluated(self) -> float:
        """Passes over the training rows at checkpoints: between the first and the last, over a subsample of them."""
        exact = min(2, len(self.checkpoints))
        return exact + (len(self.checkpoints) - exact) * self.sampled / self.n

    @property
    def sampled(self) -> int:
        """The training rows that are evaluated between the first and the last checkpoint."""
        return min(self.n, self.workload.rows or self.n)

    @property
    def variant(self) -> str:
        """How the method differs from the optimizer's defaults."""
        return variant_of(self.spec.rule, self.spec.estimator, self.search)

    @property
    def numbers(self) -> dict[str, Array]:
        """The numeric hyper-parameters (G,) of the lanes, by their columns."""
        return numbers_of(self.spec.rule, self.spec.hyper, self.search)

    def snapshots(self, steps: int) -> int:
        """Return how often an estimator has visited all rows beside the batches, after so many steps."""
        epochs = -(-steps // self.batches)
        return {"none": 0, "svrg": epochs, "saga": min(epochs, 1)}[self.spec.estimator]

    def samples(self, step: int) -> int:
        """Return how many rows a lane has seen after so many steps."""
        epochs, batches = divmod(step, self.batches)
        return (epochs + self.snapshots(step)) * self.n + min(batches * self.spec.batch_size, self.n)

    def select(self, keep: Array) -> "CohortUnit":
        """Return the cohort with some of its lanes, in the same kernel."""
        spec = replace(self.spec, hyper=self.spec.hyper[keep], l2=self.spec.l2[keep])
        lanes = np.flatnonzero(keep)
        names = [self.configurations[lane] for lane in lanes]
        ids, seeds = [self.ids[lane] for lane in lanes], [self.seeds[lane] for lane in lanes]
        courses = [self.courses[lane] for lane in lanes] if self.courses else []
        rest = replace(self, courses=courses, origin=self.origin and self.origin.select(lanes))
        return replace(rest, spec=spec, which=self.which[keep], configurations=names, ids=ids, seeds=seeds)

    def without(self, done: Collection[str]) -> "CohortUnit | None":
        """Return what is left of it beside some trials; None: nothing."""
        keep = np.array([any(trial not in done for trial in trials) for trials in self.ids], bool)
        if not keep.any():
            return None
        rest = self.select(keep)
        left = [[trial not in done for trial in trials] for trials in rest.ids]
        ids = [list(itertools.compress(*own)) for own in zip(rest.ids, left, strict=True)]
        seeds = [list(itertools.compress(*own)) for own in zip(rest.seeds, left, strict=True)]
        return replace(rest, ids=ids, seeds=seeds)

    def only(self, trial: str) -> "CohortUnit | None":
        """Return it with one trial, in the kernel that this has in the whole study; None: it has no such trial."""
        lane = next((lane for lane, trials in enumerate(self.ids) if trial in trials), None)
        if lane is None:
            return None
        seed = self.seeds[lane][self.ids[lane].index(trial)]
        return replace(self.select(np.arange(self.lanes) == lane), ids=[[trial]], seeds=[[seed]])

    def trial_columns(self) -> dict[str, Any]:
        """Return the columns of its trials, as far as the plan knows them: arrays (trials,), or values of all."""
        lanes = np.repeat(np.arange(self.lanes), [len(trials) for trials in self.ids])
        numbers = [schedule.numbers for schedule in self.schedules]
        schedule = {
            f"schedule.{key}": np.array([own.get(key, np.nan) for own in numbers])[self.which][lanes]
            for key in sorted(set().union(*numbers))
        }
        return {
            "trial_id": self.trial_ids,
            "configuration": np.array(self.configurations, object)[lanes],
            "problem": self.label,
            **self.columns,
            "n": self.n,
            "d": self.d,
            "l2": self.spec.l2[lanes],
            "optimizer": self.spec.rule.optimizer.name,
            "variant": self.variant,
            **{name: values[lanes] for name, values in self.numbers.items()},
            "schedule": np.array([schedule.label for schedule in self.schedules], object)[self.which][lanes],
            **schedule,
            "batch_size": self.spec.batch_size,
            "seed": list(itertools.chain(*self.seeds)),
            "dtype": self.dtype,
            "layout": "sparse" if self.spec.kernel.sparse else "dense",
            "sparse": self.sparse,
            "kernel": self.spec.kernel.name,
        }
