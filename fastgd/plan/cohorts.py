"""From a study and the shape of its data to cohorts: which trials share a pass, in which kernel, in how much memory.

What is decided about a trial's kernel depends on neither threads, nor what is stored already, nor the machine's load:
it holds whenever and wherever the trial runs.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from fastgd.common.errors import InputError
from fastgd.datasets import Data
from fastgd.datasets.record import check_memory
from fastgd.engine.arrays import PARTIAL_SUM_ROWS
from fastgd.engine.linear.model import LinearModel
from fastgd.engine.network.model import Network
from fastgd.engine.rows.model import Model
from fastgd.engine.rows.spec import CohortSpec, cohort_bytes
from fastgd.engine.shapes import Kernel, choose_kernel, gram_pays
from fastgd.plan.budgets.courses import courses_of
from fastgd.plan.ids import cohort_ids, first_seen, shuffled_as
from fastgd.plan.sparsity import MASKED, sparse_column, with_untouched
from fastgd.plan.units.cohort import MOST_COHORT_BYTES, CohortUnit
from fastgd.plan.units.methods import Method, methods_of
from fastgd.plan.units.recording import checkpoints_of, saved_after
from fastgd.plan.units.workload import entries_of, loss_scale, workload
from fastgd.problems import Loss, find_loss, of_weighted_rows, with_outputs
from fastgd.problems.activations import ACTIVATIONS
from fastgd.study.checking.checks import same_name
from fastgd.study.config import Problem, Schedule, Study
from fastgd.study.draws import Drawn
from fastgd.study.networks import NetworkBlock

Array = npt.NDArray[Any]

LEAST_BYTES_PER_PARAMETER = 64  # in the smallest tile, with what is kept of its feature
MOST_LANES_PER_COHORT = 4096  # a cohort is committed as a whole: an interruption loses no more than these
MOST_MULTIPLY_ADDS_PER_STEP = 4e9  # over all lanes: a kernel call takes a whole step, and must stay short


@dataclass(frozen=True)
class _Lanes:
    """The lanes of a rule: every combination of its blocks' grids, their schedules, penalties and batch sizes."""

    hyper: Array
    l2: Array
    batch_size: Array
    schedules: tuple[Schedule, ...]
    which: Array

    def select(self, keep: Array) -> "_Lanes":
        """Return some of the lanes, with the schedules that these have."""
        used, which = np.unique(self.which[keep], return_inverse=True)
        schedules = tuple(self.schedules[number] for number in used)
        return _Lanes(self.hyper[keep], self.l2[keep], self.batch_size[keep], schedules, which)

    def of_each_size(self) -> Iterator[tuple[int, "_Lanes"]]:
        """Yield the lanes of each batch size."""
        for size in dict.fromkeys(self.batch_size.tolist()):
            yield int(size), self.select(self.batch_size == size)


Penalties = Sequence[Sequence[float]]  # the values of l2 that go with each optimizer block, in place of the problem's


def cohorts_of(study: Study, data: Sequence[Data], penalties: Penalties | None = None) -> list[CohortUnit]:
    """Return the cohorts of a study over the prepared data of each split of each problem.

    `penalties`: the values of l2 that go with each optimizer block; by default the problem's go with all of them.

    Raises
    ------
    InputError
        A batch is larger than the training rows, the start has not a problem's number of parameters, or a problem asks
        for what the engine cannot do.
    """
    cohorts: list[CohortUnit] = []
    seen: dict[str, int] = {}
    for index, ((place, problem), rows, label) in enumerate(zip(study.splits, data, labels(study, data), strict=True)):
        n = rows.n
        if index == 0 or study.splits[index - 1][0] != place:
            first = rows
        _check_parameters(study, problem, rows, label)
        scale = loss_scale(rows, loss_of(problem, rows))
        sizes = _batch_sizes(study, label, n)
        for method, whole in _groups(study, problem, rows, sizes, penalties):
            for batch_size, lanes in whole.of_each_size():
                for seeds in _seed_groups(study, problem, batch_size == n and not method.rule.optimizer.drawn):
                    cohort = _cohort(study, index, rows, first, label, method, lanes, batch_size, seeds)
                    new = first_seen([trials[0] for trials in cohort.ids], place, label, seen)
                    cohort = replace(cohort.select(new), scale=scale)
                    if cohort.lanes:
                        cohorts += _split(cohort)
    return cohorts


def labels(study: Study, data: Sequence[Data]) -> list[str]:
    """Return the name of each split's problem in the results: its own, or dataset and loss.

    Raises
    ------
    InputError
        Two would have the same: a number would not tell them apart once the study is extended.
    """
    places = [place for place, _ in study.splits]
    names = [
        problem.name or f"{rows.dataset}/{problem.loss}" for (_, problem), rows in zip(study.splits, data, strict=True)
    ]
    if fault := same_name(list(dict(zip(places, names, strict=True)).values())):
        raise InputError(fault)
    return names


def split_labels(study: Study, data: Sequence[Data]) -> list[str]:
    """Return a name for each split's data: that of its problem, with its `split_seed` or fold where it has several."""
    several = [len(study.data_problems[place].split_numbers) > 1 for place, _ in study.splits]
    splits = zip(study.splits, labels(study, data), several, strict=True)
    return [fingerprint_names(label, problem)[many] for (_, problem), label, many in splits]


def fingerprint_names(label: str, problem: Problem) -> tuple[str, str]:
    """Return the names that the data of a problem's split may have: as its only one, and as one of several."""
    return label, f"{label}, {'fold' if problem.folds else 'split_seed'} {problem.split_seed[0]}"


def _methods(study: Study, masked: bool) -> Iterator[list[Method]]:
    """Yield the methods of the study, each as all blocks ask for it that do: their lanes share a pass."""
    by_key: dict[str, list[Method]] = {}
    for method in methods_of(study, masked=masked):
        by_key.setdefault(method.key, []).append(method)
    yield from by_key.values()


def _groups(
    study: Study, problem: Problem, data: Data, sizes: Sequence[int], penalties: Penalties | None
) -> Iterator[tuple[Method, _Lanes]]:
    """The methods of the study with their lanes; on sparse data, those with a penalty and those without."""
    if problem.sparse == MASKED and not data.sparse:
        raise InputError(
            'problem.sparse = "masked" is for sparse data, and these are dense; layout = "sparse" makes them so'
        )
    for same in _methods(study, masked=problem.sparse == MASKED):
        method = same[0]
        lanes = _lanes(study, problem, same, [data.n] if method.baseline else sizes, penalties)
        if not data.sparse or method.baseline or problem.layered:
            yield method, lanes
            continue
        for keep in (lanes.l2 == 0, lanes.l2 > 0):
            if keep.any():
                yield method, lanes.select(keep)


def _batch_sizes(study: Study, label: str, n: int) -> list[int]:
    """Return the batch sizes of n rows, each once, or one for each draw."""
    sizes = [n if size == "full" else int(size) for size in study.batch_size]
    if max(sizes) > n:
        raise InputError(f"batch_size: {max(sizes):,} is larger than the {n:,} training rows of {label!r}")
    return Drawn(sizes, study.batch_size.law) if isinstance(study.batch_size, Drawn) else list(dict.fromkeys(sizes))


def _check_parameters(study: Study, problem: Problem, data: Data, label: str) -> None:
    """Refuse a start and a surface that do not have the number of a problem's parameters."""
    start, d = _start(study, problem), data.X.shape[1]
    count = sum(group.size for group in model_of(problem, data).groups(d))
    needed = LEAST_BYTES_PER_PARAMETER * count
    less = "a smaller network takes less" if problem.network else "fewer features take less"
    check_memory(needed, f"{label}: the parameters of a few trials, {count:,} each,", "float64", less)
    features = f"{d:,} feature{'s' * (d > 1)}" + (", and the intercept comes last" if problem.intercept else "")
    if isinstance(start, tuple) and len(start) != count:
        raise InputError(f"init.point has {len(start):,} numbers, and {label!r} needs {count:,}: {features}")
    if study.surface is not None and (fault := study.surface.fault(count)):
        raise InputError(f"{fault} of {label!r}: {features}")


def loss_of(problem: Problem, data: Data) -> Loss:
    """Return the loss of a problem over data: of its classes or its targets, and of weighted rows where they are."""
    return of_weighted_rows(with_outputs(find_loss(problem.loss), outputs_of(data)), data.weights is not None)


def outputs_of(data: Data) -> int:
    """Return how many margins a row has: one of each class, or of each target."""
    return len(data.classes) or len(data.targets) or 1


def model_of(problem: Problem, data: Data) -> Model:
    """Return the model of a problem over data."""
    if not problem.layered:
        return LinearModel(problem.intercept)
    network = problem.network or NetworkBlock(hidden=[])
    return Network(tuple(network.hidden), ACTIVATIONS[network.activation], outputs_of(data), bias=problem.intercept)


def _start(study: Study, problem: Problem) -> str | float | tuple[float, ...]:
    """Where every trial begins, as the engine takes it."""
    init: str | dict[str, Any] = problem.init or study.init
    if problem.init is None and problem.network is not None and problem.network.hidden:
        init = ACTIVATIONS[problem.network.activation].start
    if isinstance(init, dict):
        point: tuple[float, ...] = tuple(init.get("point", ()))
        return point or float(init["normal"])
    return init


def _seed_groups(study: Study, problem: Problem, nothing_drawn: bool) -> list[tuple[int, ...]]:
    """Seeds that make one pass: a full batch from a start that is not drawn runs once for all of them."""
    start = _start(study, problem)
    if nothing_drawn and (start == "zeros" or isinstance(start, tuple)):
        return [tuple(study.seed)]
    return [(seed,) for seed in study.seed]


def _lanes(
    study: Study, problem: Problem, methods: Sequence[Method], sizes: Sequence[int], penalties: Penalties | None
) -> _Lanes:
    own = {} if penalties is None else {id(block): l2 for block, l2 in zip(study.optimizer, penalties, strict=True)}
    schedules: list[Schedule] = []
    places: dict[str, int] = {}
    grids: list[Array] = []
    for method in methods:
        mesh = method.grid(own.get(id(method.block), problem.l2), sizes)
        for schedule in method.block.schedules(study.schedule):
            place = places.setdefault(repr(schedule), len(schedules))
            if place == len(schedules):
                schedules.append(schedule)
            grids.append(np.column_stack([mesh, np.full(len(mesh), place)]))
    grid = np.concatenate(grids)
    hyper, (l2, batch_sizes, places_of) = grid[:, :-3], grid[:, -3:].T
    return _Lanes(hyper, l2, batch_sizes, tuple(schedules), places_of.astype(np.int64))


def _cohort(
    study: Study,
    index: int,
    data: Data,
    first: Data,
    label: str,
    method: Method,
    lanes: _Lanes,
    batch_size: int,
    seeds: tuple[int, ...],
) -> CohortUnit:
    problem, n, rule = study.splits[index][1], data.n, method.rule
    driven = {driver.of for schedule in lanes.schedules for driver in schedule.drivers}
    if method.search:
        driven.add("lr")
    itemsize, batches = np.dtype(study.dtype).itemsize, -(-n // batch_size)
    steps, order = study.steps or (study.epochs or 1) * batches, order_of(study, data, batch_size)
    spec = CohortSpec(
        rule=rule,
        hyper=lanes.hyper,
        l2=lanes.l2,
        scheduled=tuple(name for name in rule.fields if name in driven),
        loss=loss_of(problem, data),
        batch_size=batch_size,
        order=order,
        model=model_of(problem, data),
        init=_start(study, problem),
        seed=seeds[0],
        kernel=_kernel(method, len(lanes.hyper), batch_size, data, itemsize, problem, steps, order != "sequential"),
        estimator=method.estimator,
        line_search=method.search.instance if method.search else None,
    )
    if data.sparse and not (method.baseline or problem.layered):
        spec = _fitting(spec, problem, data, lanes.schedules)
    checkpoints = checkpoints_of(study, steps, batches)
    schedules = [lanes.schedules[which] for which in lanes.which]
    of_first = _of_first(study, first, n, batch_size)
    configurations, ids = cohort_ids(
        study, problem, data.fingerprint, n, spec, schedules, seeds, steps, checkpoints, of_first
    )
    courses = courses_of(study, problem, data.fingerprint, n, spec, schedules, seeds[0])
    return CohortUnit(
        problem=index,
        label=label,
        spec=spec,
        schedules=lanes.schedules,
        which=lanes.which,
        configurations=configurations,
        ids=ids,
        seeds=[list(seeds)] * len(ids),
        dtype=study.dtype,
        n=n,
        d=data.X.shape[1],
        steps=steps,
        checkpoints=checkpoints,
        search=method.search,
        entries=entries_of(data),
        sparse=sparse_column(spec, problem),
        workload=workload(study, data, spec, _has_feedback(lanes.schedules)),
        columns=_columns(problem, data),
        record=study.record,
        stop=study.stop,
        courses=courses,
        saved_after=saved_after(study),
    )


def order_of(study: Study, data: Data, batch_size: int) -> str:
    """Return the order in which epochs visit the rows.

    Of full batches it does not matter; of rows that stream, a shuffle is one of blocks.
    """
    if batch_size >= data.n:
        return "sequential"
    return "blocks" if study.order == "shuffle" and data.origin == "stream" else study.order


def _of_first(study: Study, first: Data, n: int, batch_size: int) -> dict[str, Any]:
    """Return what names a configuration by the first split of its rows: folds may differ in how many rows train."""
    size = first.n if batch_size == n and "full" in study.batch_size else batch_size
    batches, rows = -(-first.n // size), study.record.rows
    steps = study.steps or (study.epochs or 1) * batches
    return {
        "data": first.fingerprint,
        "batch_size": size,
        "shuffled": shuffled_as(order_of(study, first, size)),
        "rows": rows if rows is not None and rows < first.n else None,
        "steps": steps,
        "checkpoints": checkpoints_of(study, steps, batches),
    }


def _columns(problem: Problem, data: Data) -> dict[str, Any]:
    """Return what is the same for all trials of a cohort, by the columns of the results."""
    split = problem.split_seed[0]
    fold = split if problem.folds else None
    return {"dataset": data.dataset, "loss": problem.loss, "split_seed": split, "fold": fold}


MOST_FOR_SQUARES = 1e100  # of features and targets, whose squares are summed over rows


def _kernel(
    method: Method,
    lanes: int,
    batch_size: int,
    data: Data,
    itemsize: int,
    problem: Problem,
    steps: int,
    shuffled: bool,
) -> Kernel:
    n, d = data.n, data.X.shape[1]
    model = model_of(problem, data)
    if method.baseline:
        return model.point_kernel(d, itemsize, sparse=data.sparse)
    if isinstance(model, Network):
        needs = {"tiles": bool(method.rule.functions.rounds), "parts": method.search is not None}
        return model.kernel(d, lanes, batch_size, itemsize, **needs, sparse=data.sparse)
    tiles, parts = method.estimator != "none", method.search is not None
    plain = not (tiles or data.sparse or method.rule.batch_loss)
    gram = plain and problem.loss == "squared" and gram_pays(lanes, batch_size, n, d, steps)
    gram = gram and 1 / MOST_FOR_SQUARES < data.largest < MOST_FOR_SQUARES
    needs = {"tiles": tiles, "parts": parts, "sparse": data.sparse, "gram": gram, "shuffled": shuffled}
    sizes = {"parameters": d + problem.intercept, "slots": method.rule.slots}
    return choose_kernel(lanes, batch_size, itemsize, **needs, **sizes)


def _fitting(spec: CohortSpec, problem: Problem, data: Data, schedules: Sequence[Schedule]) -> CohortSpec:
    """What a cohort of sparse rows computes, in tiles that are narrow enough for the memory budget."""
    n, d, itemsize = data.n, data.X.shape[1], data.y.dtype.itemsize
    while True:
        whole = with_untouched(spec, problem, data, schedules)
        lanes = spec.kernel.lanes
        if lanes <= 32 // itemsize or cohort_bytes(whole, n, d, lanes, itemsize) <= MOST_COHORT_BYTES:
            return whole
        spec = replace(spec, kernel=replace(spec.kernel, lanes=lanes // 2))


def _has_feedback(schedules: Sequence[Schedule]) -> bool:
    """Whether one of them waits for the validation loss at each epoch's end."""
    drivers = (driver for schedule in schedules for driver in schedule.drivers)
    return any(part.record.feedback for driver in drivers for part in driver.parts)


def _split(cohort: CohortUnit) -> Iterator[CohortUnit]:
    """Cut a cohort into pieces of whole tiles, within the memory budget and short calls; the kernel stays the same."""
    tile = cohort.spec.kernel.lanes
    each = cohort_bytes(cohort.spec, cohort.n, cohort.d, tile, cohort.itemsize)
    summed = cohort.spec.kernel.parts or cohort.spec.kernel.gram  # in calls of their own
    rows = max(PARTIAL_SUM_ROWS, 0 if summed else cohort.spec.batch_size)
    by_work = int(MOST_MULTIPLY_ADDS_PER_STEP / (2 * rows * max(1.0, cohort.work))) // tile
    tiles = max(1, min(MOST_LANES_PER_COHORT // tile, MOST_COHORT_BYTES // each, max(2, by_work)))
    for start in range(0, cohort.lanes, tiles * tile):
        keep = np.zeros(cohort.lanes, bool)
        keep[start : start + tiles * tile] = True
        yield cohort.select(keep)
