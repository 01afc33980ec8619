"""From a study to its cohorts: which trials share a pass over the data, in which kernel, in how much memory.

The plan is a pure function of the study and the shape of its data: not of threads, of what is stored already, or of the
machine's load. What it decides about a trial's kernel therefore holds whenever and wherever the trial runs.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from fastgd.common.errors import InputError, nearest
from fastgd.datasets import Data
from fastgd.datasets.record import check_memory
from fastgd.engine.arrays import PARTIAL_SUM_ROWS
from fastgd.engine.linear.model import LinearModel
from fastgd.engine.rows.spec import CohortSpec, cohort_bytes
from fastgd.engine.shapes import Kernel, choose_kernel, point_kernel
from fastgd.optimizers import find
from fastgd.optimizers.rule import Rule
from fastgd.plan import memory
from fastgd.plan.cohort import CohortPlan, without
from fastgd.plan.compiled import is_compiled
from fastgd.plan.costs import Pace, Survey, cohort_cost, survey_cost, total, workload
from fastgd.plan.grids import make_grid
from fastgd.plan.ids import trial_ids
from fastgd.plan.notes import cohort_notes, data_notes, distinct, evaluation_notes, in_short, metric_notes
from fastgd.plan.recording import checkpoints_of
from fastgd.plan.sparsity import MASKED, sparse_column, with_untouched
from fastgd.plan.summary import Cost, PlanSummary
from fastgd.problems import find_loss
from fastgd.store.contents import Snapshot
from fastgd.study.checks import same_name
from fastgd.study.config import OptimizerBlock, Problem, Schedule, Study
from fastgd.study.sub_tables import Search

Array = npt.NDArray[Any]

MEMORY_BUDGET = 2 << 30  # bytes of a cohort's lanes: a plan that needs more is split, which changes no bits
PARAMETER = 64  # bytes, at least, of a parameter in the smallest tile, and of what is known of its column
MOST_LANES = 4096  # of a cohort: what an interruption can lose
MOST_WORK = 4e9  # multiply-adds of a step over all lanes: a kernel call takes a whole one, and must stay short


@dataclass(frozen=True)
class Plan:
    """All cohorts of a study, its trials' table, and what its user should know of them (see `fastgd.plan.notes`)."""

    cohorts: list[CohortPlan]
    trials: pd.DataFrame
    notes: tuple[str, ...] = ()
    surveys: tuple[Survey, ...] = ()

    def table(self) -> pd.DataFrame:
        """Return a row for each trial."""
        return self.trials

    def left(self, snapshot: Snapshot) -> "Plan":
        """Return the plan of what a folder does not hold."""
        return replace(self, cohorts=without(self.cohorts, snapshot.trial_ids() - snapshot.trial_ids("timeout")))

    def only(self, trial: str) -> "Plan":
        """Return the plan of one trial: its lane of its cohort, in the kernel that it has in the whole study."""
        for cohort in self.cohorts:
            for lane, ids in enumerate(cohort.ids):
                if trial in ids:
                    seed = cohort.seeds[ids.index(trial)]
                    alone = cohort.select(np.arange(cohort.lanes) == lane)
                    alone = replace(alone, ids=[[trial]], seeds=(seed,), index=0)
                    row = self.trials[self.trials["trial_id"] == trial].reset_index(drop=True)
                    return replace(self, cohorts=[alone], trials=row, surveys=())
        raise InputError(f"the study has no trial {trial!r}; {nearest(trial, self.trials['trial_id'].head(1000))}")

    def cost(self, threads: int | None = None) -> Cost:
        """Return what it is expected to cost, with so many threads on this machine."""
        pace = Pace.of(threads)
        parts = [cohort_cost(cohort, pace) for cohort in self.cohorts]
        parts += [survey_cost(survey, pace) for survey in self.surveys]
        return total(parts, memory.at_end(self.cohorts, len(self.trials)), self._methods)

    @property
    def _methods(self) -> dict[str, str]:
        return {cohort.method: "sparse" if cohort.spec.kernel.sparse else "dense" for cohort in self.cohorts}

    def within_limits(self, threads: int | None = None) -> "Plan":
        """Return the plan in cohorts that fit into the memory that this process may use; it changes no bits.

        Raises
        ------
        InputError
            The smallest ones do not.
        """
        room = memory.room(self._methods.values(), threads)
        cohorts = [piece for cohort in self.cohorts for piece in _fitting_pieces(cohort, room.left)]
        advice = 'fewer features, dtype = "float32" or record.parameters = "none" take less'
        for cohort in cohorts:
            name = f"a cohort of {cohort.label}, {cohort.spec.rule.optimizer.name},"
            room.require(memory.of_cohort(cohort), name, advice)
        for survey in self.surveys:
            room.require(memory.of_survey(survey), "the error surface", "a coarser grid takes less")
        ranking = f"the ranking of {len(self.trials):,} trials"
        end = memory.at_end(self.cohorts, len(self.trials))
        room.require(end, ranking, 'fewer trials, or record.parameters = "none", take less')
        return replace(self, cohorts=[replace(cohort, index=number) for number, cohort in enumerate(cohorts)])

    def summary(self, threads: int | None = None, cost: Cost | None = None) -> PlanSummary:
        """Return the plan in numbers; costs are those with so many threads, or those of what is left to run of it."""
        rows, cost = [cohort.summary() for cohort in self.cohorts], cost or self.cost(threads)
        lanes = sum(row.lanes for row in rows)
        padded = sum(cohort.padding for cohort in self.cohorts)
        return PlanSummary(
            trials=len(self.trials),
            cohorts=rows,
            lanes=lanes,
            padding=padded / max(1, lanes + padded),
            bytes=max((row.bytes for row in rows), default=0),
            budget=MEMORY_BUDGET,
            passes=sum(row.passes for row in rows),
            flops=sum(row.flops for row in rows),
            methods=len(self._methods),
            to_compile=sum(not is_compiled(method) for method in self._methods),
            cost=cost,
            notes=(*in_short(self.notes), *evaluation_notes(cost)),
        )


# --- making it --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Lanes:
    """The lanes of a rule: every combination of its blocks' grids, their schedules and the problem's penalties."""

    hyper: Array
    l2: Array
    schedules: tuple[Schedule, ...]
    which: Array


def make_plan(study: Study, data: Sequence[Data]) -> Plan:
    """Return the cohorts of a study.

    Parameters
    ----------
    study : Study
    data : sequence of Data
        The prepared data of each problem.

    Raises
    ------
    InputError
        A batch is larger than the training rows, the start has not a problem's number of parameters, or a problem asks
        for what the engine cannot do.
    """
    cohorts: list[CohortPlan] = []
    tables: list[pd.DataFrame] = []
    seen: dict[str, int] = {}
    for index, (problem, rows, label) in enumerate(zip(study.data_problems, data, labels(study, data), strict=True)):
        n = len(rows.y)
        _check_parameters(study, problem, rows, label)
        for method, lanes in _groups(study, problem, rows):
            for batch_size in [n] if method.baseline else _batch_sizes(study, label, n):
                for seeds in _seed_groups(study, batch_size == n and not method.rule.optimizer.drawn):
                    cohort = _cohort(study, index, rows, label, method, lanes, batch_size, seeds)
                    cohort = cohort.select(_first_seen(cohort, seen))
                    if cohort.lanes:
                        cohorts += _split(cohort)
                        tables.append(_table(problem, rows, cohort))
    numbered = [replace(cohort, index=number) for number, cohort in enumerate(cohorts)]
    surveys = _surveys(study, data)
    notes = distinct(data_notes(data), metric_notes(study, data), cohort_notes(numbered))
    return Plan(numbered, pd.concat(tables, ignore_index=True), notes, surveys)


def _surveys(study: Study, data: Sequence[Data]) -> tuple[Survey, ...]:
    """The error surfaces that a study asks for."""
    if study.surface is None:
        return ()
    surveys = []
    for problem, rows in zip(study.data_problems, data, strict=True):
        parameters = rows.X.shape[1] + problem.intercept
        grid = make_grid(study.surface, np.zeros((parameters, 2)), np.zeros(parameters))
        entries = _entries(rows)
        surveys.append(
            Survey(grid.count, len(rows.y), parameters, entries, study.dtype, find_loss(problem.loss), rows.sparse)
        )
    return tuple(surveys)


def _entries(data: Data) -> float:
    """Entries of a row, on average; of dense rows all."""
    return (data.nonzeros or 0) / len(data.y) if data.sparse else float(data.X.shape[1])


def labels(study: Study, data: Sequence[Data]) -> list[str]:
    """Return the problems' names in the results: their own, or dataset and loss.

    Raises
    ------
    InputError
        Two would have the same: a number would not tell them apart once the study is extended.
    """
    names = [
        problem.name or f"{rows.dataset}/{problem.loss}"
        for problem, rows in zip(study.data_problems, data, strict=True)
    ]
    if fault := same_name(names):
        raise InputError(fault)
    return names


@dataclass(frozen=True)
class _Method:
    """What trials of a cohort have in common beside data and batches, and the blocks that ask for it."""

    rule: Rule
    estimator: str
    search: Search | None
    blocks: list[OptimizerBlock]

    @property
    def baseline(self) -> bool:
        """Whether it looks at points: each step at all rows, and by no rate that a schedule could drive."""
        return self.rule.optimizer.baseline


def _methods(study: Study, masked: bool) -> list[_Method]:
    """The methods of the study; categorical choices, options and estimators make methods of their own."""
    methods: dict[str, _Method] = {}
    for block in study.optimizer:
        record = find(block.name)
        for *choices, estimator in itertools.product(*block.options.values(), block.estimator):
            chosen = dict(zip(block.options, choices, strict=True))
            if masked and "eps_hat" in chosen:
                chosen["eps_hat"] = True  # the form of the witness of masked steps, PyTorch's SparseAdam
            rule = Rule.of(record, chosen, block.kinds)
            method = _Method(rule, estimator, block.line_search, [])
            methods.setdefault(f"{rule!r} {estimator} {block.line_search!r}", method).blocks.append(block)
    return list(methods.values())


def _groups(study: Study, problem: Problem, data: Data) -> Iterator[tuple[_Method, _Lanes]]:
    """The methods of the study with their lanes; on sparse data, those with a penalty and those without."""
    if problem.sparse == MASKED and not data.sparse:
        raise InputError(
            'problem.sparse = "masked" is for sparse data, and these are dense; layout = "sparse" makes them so'
        )
    for method in _methods(study, masked=problem.sparse == MASKED):
        lanes = _lanes(study, problem, method.blocks)
        if not data.sparse or method.baseline:
            yield method, lanes
            continue
        for keep in (lanes.l2 == 0, lanes.l2 > 0):
            if keep.any():
                used, which = np.unique(lanes.which[keep], return_inverse=True)
                schedules = tuple(lanes.schedules[number] for number in used)
                yield method, _Lanes(lanes.hyper[keep], lanes.l2[keep], schedules, which)


def _batch_sizes(study: Study, label: str, n: int) -> list[int]:
    sizes = [n if size == "full" else int(size) for size in study.batch_size]
    if max(sizes) > n:
        raise InputError(f"batch_size: {max(sizes):,} is larger than the {n:,} training rows of {label!r}")
    return list(dict.fromkeys(sizes))


def _check_parameters(study: Study, problem: Problem, data: Data, label: str) -> None:
    """Refuse a start and a surface that do not have the number of a problem's parameters."""
    start, d = _start(study), data.X.shape[1]
    count = d + problem.intercept
    check_memory(PARAMETER * count, f"{label}: the parameters of a few trials, {count:,} each,", "float64")
    features = f"{d:,} feature{'s' * (d > 1)}" + (", and the intercept comes last" if problem.intercept else "")
    if isinstance(start, tuple) and len(start) != count:
        raise InputError(f"init.point has {len(start):,} numbers, and {label!r} needs {count:,}: {features}")
    if study.surface is not None and (fault := study.surface.fault(count)):
        raise InputError(f"{fault} of {label!r}: {features}")


def _start(study: Study) -> str | float | tuple[float, ...]:
    """Where every trial begins, as the engine takes it."""
    if isinstance(study.init, dict):
        return tuple(study.init["point"]) if "point" in study.init else float(study.init["normal"])
    return study.init


def _seed_groups(study: Study, nothing_drawn: bool) -> list[tuple[int, ...]]:
    """Seeds that make one pass: a full batch from a start that is not drawn runs once for all of them."""
    if nothing_drawn and not isinstance(_start(study), float):
        return [tuple(study.seed)]
    return [(seed,) for seed in study.seed]


def _lanes(study: Study, problem: Problem, blocks: Sequence[OptimizerBlock]) -> _Lanes:
    schedules: list[Schedule] = []
    places: dict[str, int] = {}
    grids: list[Array] = []
    for block in blocks:
        for schedule in block.schedules(study.schedule):
            place = places.setdefault(repr(schedule), len(schedules))
            if place == len(schedules):
                schedules.append(schedule)
            axes = [np.asarray(values, np.float64) for values in (*block.grids.values(), problem.l2)]
            mesh = np.stack([axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")], axis=1)
            grids.append(np.column_stack([mesh, np.full(len(mesh), place)]))
    grid = np.concatenate(grids)
    return _Lanes(grid[:, :-2], grid[:, -2], tuple(schedules), grid[:, -1].astype(np.int64))


def _cohort(
    study: Study,
    index: int,
    data: Data,
    label: str,
    method: _Method,
    lanes: _Lanes,
    batch_size: int,
    seeds: tuple[int, ...],
) -> CohortPlan:
    problem, n, rule = study.data_problems[index], len(data.y), method.rule
    driven = {driver.of for schedule in lanes.schedules for driver in schedule.drivers}
    if method.search:
        driven.add("lr")
    itemsize = np.dtype(study.dtype).itemsize
    spec = CohortSpec(
        rule=rule,
        hyper=lanes.hyper,
        l2=lanes.l2,
        scheduled=tuple(name for name in rule.fields if name in driven),
        loss=find_loss(problem.loss),
        batch_size=batch_size,
        shuffled=study.order == "shuffle" and batch_size < n,
        model=LinearModel(problem.intercept),
        init=_start(study),
        seed=seeds[0],
        kernel=_kernel(method, len(lanes.hyper), batch_size, data, itemsize, problem.intercept),
        estimator=method.estimator,
        line_search=method.search.instance if method.search else None,
    )
    if data.sparse and not method.baseline:
        spec = _fitting(spec, problem, data, lanes.schedules)
    batches = -(-n // batch_size)
    steps = study.steps or (study.epochs or 1) * batches
    checkpoints = checkpoints_of(study, steps, batches)
    schedules = [lanes.schedules[which] for which in lanes.which]
    configurations, ids = trial_ids(study, problem, data.fingerprint, n, spec, schedules, seeds, steps, checkpoints)
    return CohortPlan(
        index=0,
        problem=index,
        label=label,
        spec=spec,
        schedules=lanes.schedules,
        which=lanes.which,
        configurations=configurations,
        ids=ids,
        seeds=seeds,
        dtype=study.dtype,
        n=n,
        d=data.X.shape[1],
        steps=steps,
        checkpoints=checkpoints,
        search=method.search,
        entries=_entries(data),
        sparse=sparse_column(spec, problem),
        workload=workload(study, data, batch_size, _has_feedback(lanes.schedules)),
    )


def _kernel(method: _Method, lanes: int, batch_size: int, data: Data, itemsize: int, intercept: bool) -> Kernel:
    if method.baseline:
        return point_kernel(data.X.shape[1] + intercept, itemsize, sparse=data.sparse)
    tiles, parts = method.estimator != "none", method.search is not None
    return choose_kernel(lanes, batch_size, itemsize, tiles=tiles, parts=parts, sparse=data.sparse)


def _fitting(spec: CohortSpec, problem: Problem, data: Data, schedules: Sequence[Schedule]) -> CohortSpec:
    """What a cohort of sparse rows computes, in tiles that are narrow enough for the memory budget."""
    n, d = data.X.shape
    itemsize = np.dtype(data.X.dtype).itemsize
    while True:
        whole = with_untouched(spec, problem, data, schedules)
        lanes = spec.kernel.lanes
        if lanes <= 32 // itemsize or cohort_bytes(whole, n, d, lanes, itemsize) <= MEMORY_BUDGET:
            return whole
        spec = replace(spec, kernel=replace(spec.kernel, lanes=lanes // 2))


def _has_feedback(schedules: Sequence[Schedule]) -> bool:
    """Whether one of them waits for the validation loss at each epoch's end."""
    drivers = (driver for schedule in schedules for driver in schedule.drivers)
    return any(part.record.feedback for driver in drivers for part in driver.parts)


def _first_seen(cohort: CohortPlan, seen: dict[str, int]) -> Array:
    """Which lanes are new: grids may overlap, and a trial runs once; `seen` are the problems of those before."""
    keep = np.ones(cohort.lanes, bool)
    for lane, trials in enumerate(cohort.ids):
        keep[lane] = trials[0] not in seen
        if (other := seen.setdefault(trials[0], cohort.problem)) != cohort.problem:
            raise InputError(repeated(other, cohort.problem, cohort.label))
        seen.update(dict.fromkeys(trials, cohort.problem))
    return keep


def repeated(first: int, second: int, label: str) -> str:
    """Say that a problem has trials of another one: under two names they would be two results that are one."""
    return (
        f"problem.{second} ({label!r}) repeats trials of problem.{first}: the same data, objective and l2 under "
        "another name; leave one of them out"
    )


def _split(cohort: CohortPlan) -> Iterator[CohortPlan]:
    """Cut a cohort into pieces of whole tiles, within the memory budget and short calls; the kernel stays the same."""
    tile = cohort.spec.kernel.lanes
    each = cohort_bytes(cohort.spec, cohort.n, cohort.d, tile, cohort.itemsize)
    rows = max(PARTIAL_SUM_ROWS, 0 if cohort.spec.kernel.parts else cohort.spec.batch_size)
    by_work = int(MOST_WORK / (2 * rows * max(1.0, cohort.entries))) // tile
    tiles = max(1, min(MOST_LANES // tile, MEMORY_BUDGET // each, max(2, by_work)))
    for start in range(0, cohort.lanes, tiles * tile):
        keep = np.zeros(cohort.lanes, bool)
        keep[start : start + tiles * tile] = True
        yield cohort.select(keep)


def _fitting_pieces(cohort: CohortPlan, room: float) -> list[CohortPlan]:
    """Cut a cohort into pieces of whole tiles that take no more memory than there is, if they are small enough then."""
    if memory.of_cohort(cohort) <= room:
        return [cohort]
    tile = cohort.spec.kernel.lanes
    lanes = -(-cohort.lanes // tile) * tile
    places = np.arange(cohort.lanes)
    while lanes > tile and memory.of_cohort(cohort.select(places < lanes)) > room:
        lanes = -(-lanes // tile // 2) * tile
    return [cohort.select(places // lanes == piece) for piece in range(-(-cohort.lanes // lanes))]


def _table(problem: Problem, data: Data, cohort: CohortPlan) -> pd.DataFrame:
    """The rows of a cohort's trials, as far as the plan knows them."""
    rule, seeds = cohort.spec.rule, len(cohort.seeds)
    lanes = np.repeat(np.arange(cohort.lanes), seeds)
    numbers = [schedule.numbers for schedule in cohort.schedules]
    schedule = {
        f"schedule.{key}": np.array([own.get(key, np.nan) for own in numbers])[cohort.which][lanes]
        for key in sorted(set().union(*numbers))
    }
    return pd.DataFrame(
        {
            "trial_id": list(itertools.chain(*cohort.ids)),
            "configuration": np.array(cohort.configurations, object)[lanes],
            "problem": cohort.label,
            "dataset": data.dataset,
            "loss": problem.loss,
            "n": cohort.n,
            "d": cohort.d,
            "l2": cohort.spec.l2[lanes],
            "optimizer": rule.optimizer.name,
            "variant": cohort.variant,
            **{name: values[lanes] for name, values in cohort.numbers.items()},
            "schedule": np.array([s.label for s in cohort.schedules], object)[cohort.which][lanes],
            **schedule,
            "batch_size": cohort.spec.batch_size,
            "seed": np.tile(cohort.seeds, cohort.lanes),
            "dtype": cohort.dtype,
            "layout": "sparse" if data.sparse else "dense",
            "sparse": cohort.sparse,
            "kernel": cohort.spec.kernel.name,
        }
    )
