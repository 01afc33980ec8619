"""A cohort of the plan: its trials, and what they cost."""

import hashlib
import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from fastgd.engine.rows.spec import CohortSpec, cohort_bytes
from fastgd.optimizers.coasting import EVERY_STEP
from fastgd.plan import memory
from fastgd.plan.costs import NOTHING_BESIDE, Workload
from fastgd.plan.summary import CohortSummary
from fastgd.study.config import Schedule
from fastgd.study.sub_tables import Search

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class CohortPlan:
    """A cohort of the plan.

    Attributes
    ----------
    index : int
        Its place in the plan.
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
    seeds : tuple of int
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
        What is measured and kept, as far as its costs hang on it.
    """

    index: int
    problem: int
    label: str
    spec: CohortSpec
    schedules: tuple[Schedule, ...]
    which: Array
    configurations: list[str]
    ids: list[list[str]]
    seeds: tuple[int, ...]
    dtype: str
    n: int
    d: int
    steps: int
    checkpoints: Array
    search: Search | None = None
    entries: float = 0.0
    sparse: str | None = None
    workload: Workload = NOTHING_BESIDE

    @property
    def lanes(self) -> int:
        """The number of lanes."""
        return len(self.ids)

    @property
    def batches(self) -> int:
        """Steps of an epoch."""
        return -(-self.n // self.spec.batch_size)

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
        """The lanes that are computed and used for nothing; of a baseline, points fill them."""
        return 0 if self.baseline else self.spec.kernel.padding(self.lanes)

    @property
    def cohort_id(self) -> str:
        """A stable name: of its trials."""
        return hashlib.blake2b("".join(itertools.chain(*self.ids)).encode(), digest_size=6).hexdigest()

    @property
    def method(self) -> str:
        """What decides which kernels it calls."""
        spec, measured = self.spec, (self.workload.gradient_norm, self.workload.measures)
        rows = (repr(spec.untouched), spec.batch_size == 1) if spec.kernel.sparse else ()
        method = (spec.estimator, type(spec.line_search).__name__, rows, measured)
        return f"{spec.rule!r} {spec.kernel!r} {self.dtype} {spec.loss!r} {method}"

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
        return np.dtype(self.dtype).itemsize

    @property
    def bytes(self) -> int:
        """Memory of the lanes: parameters, slots and what the kernel works in."""
        return cohort_bytes(self.spec, self.n, self.d, self.lanes, self.itemsize)

    @property
    def flops(self) -> float:
        """Floating-point operations of training and of the exact loss at checkpoints."""
        steps = 2.0 if self.baseline else 4.0 + 4.0 * (self.search is not None)  # both sets of margins of a search
        rows = steps * self.epochs + 4.0 * self.snapshots(self.steps) + 2.0 * self.evaluated
        dense = self.steps * self.d if self.spec.kernel.sparse and self.spec.untouched == EVERY_STEP else 0.0
        return (rows * self.n * max(1.0, self.entries) + 8.0 * dense) * self.lanes

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
        estimator = "" if self.spec.estimator == "none" else self.spec.estimator
        return ", ".join(filter(None, (self.spec.rule.variant, estimator, self.search.label if self.search else "")))

    @property
    def numbers(self) -> dict[str, Array]:
        """The numeric hyper-parameters (G,) of the lanes, by their columns."""
        values = dict(zip(self.spec.rule.fields, self.spec.hyper.T, strict=True))
        fixed = self.search.numbers if self.search else {}
        return values | {name: np.full(self.lanes, value) for name, value in fixed.items()}

    def snapshots(self, steps: int) -> int:
        """Return how often an estimator has visited all rows beside the batches, after so many steps."""
        epochs = -(-steps // self.batches)
        return {"none": 0, "svrg": epochs, "saga": min(epochs, 1)}[self.spec.estimator]

    def select(self, keep: Array) -> "CohortPlan":
        """Return the cohort with some of its lanes, in the same kernel."""
        spec = replace(self.spec, hyper=self.spec.hyper[keep], l2=self.spec.l2[keep])
        lanes = np.flatnonzero(keep)
        configurations, ids = [self.configurations[lane] for lane in lanes], [self.ids[lane] for lane in lanes]
        return replace(self, spec=spec, which=self.which[keep], configurations=configurations, ids=ids)

    def summary(self) -> CohortSummary:
        """Return the cohort in numbers."""
        name, padding = self.spec.rule.optimizer.name, self.padding
        return CohortSummary(
            problem=self.label,
            optimizer=f"{name} ({self.variant})" if self.variant else name,
            batch_size=self.spec.batch_size,
            seed=", ".join(map(str, self.seeds)),
            lanes=self.lanes,
            padding=padding / (padding + self.lanes),
            kernel=self.spec.kernel.name,
            bytes=round(memory.of_cohort(self)),
            passes=self.passes,
            flops=self.flops,
        )


def without(cohorts: Sequence[CohortPlan], stored: Collection[str]) -> list[CohortPlan]:
    """Return what is left of each cohort beside the trials that are stored."""
    left = []
    for cohort in cohorts:
        keep = np.array([not stored or any(trial not in stored for trial in ids) for ids in cohort.ids])
        if keep.any():
            rest = cohort.select(keep)
            left.append(replace(rest, ids=[[trial for trial in ids if trial not in stored] for ids in rest.ids]))
    return left
