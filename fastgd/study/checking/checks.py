"""The checks of a study as a whole: what must hold between its parts, each of which is valid by itself."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from fastgd.common.errors import nearest
from fastgd.optimizers import find
from fastgd.optimizers.options import kinds
from fastgd.problems import CLASS_LOSSES, LOSSES, find_loss
from fastgd.schedules import chained
from fastgd.study.blocks import OptimizerBlock, Schedule
from fastgd.study.checking.landscape_checks import check_landscapes
from fastgd.study.checking.network_checks import check_layer_metrics, check_networks
from fastgd.study.draws import AXIS, Drawn, combinations
from fastgd.study.fields import MOST_CHECKPOINTS
from fastgd.study.landscapes import start_count
from fastgd.study.models import Stop, StudyFields
from fastgd.study.surface_block import check_ends
from fastgd.study.values import failure

if TYPE_CHECKING:
    from fastgd.optimizers.rule import Rule

NEEDS_TARGETS = {
    "accuracy": ("binary", "unit", "classes"),
    "top_5": ("classes",),
    "r2": ("real", "unit", "count"),
}
MOST_CHECKED_INDICES = 1000  # of a schedule, whose values must be valid
MOST_TRIALS, MOST_COHORTS = 200_000, 20_000  # of a study over data; on landscapes MOST_TRIALS bounds configurations
MOST_LANES = 1 << 28  # of a study on landscapes: each configuration from each start is a trial
Path = tuple[str | int, ...]


def check(study: StudyFields) -> None:
    """Raise a validation error if parts of a study contradict each other."""
    if study.landscapes:
        check_landscapes(study)
    elif (study.epochs is None) == (study.steps is None):
        raise failure(
            "epochs or steps: " + ("one of the two is missing" if study.epochs is None else "give one of the two")
        )
    elif study.starts is not None:
        raise failure("goes with landscapes; problems over data start from 'init'", "starts")
    elif study.record.trajectories != "auto":
        raise failure("goes with landscapes", "record", "trajectories", found=study.record.trajectories)
    _check_search(study)
    _check_size(study)
    _check_checkpoints(study)
    _check_surface(study)
    _check_labels(study)
    _check_metrics(study)
    _check_patience(study)
    _check_halving(study)
    check_networks(study)
    for index, block in enumerate(study.optimizer):
        _check_method(study, block, index)
        if block.record.baseline and study.data_problems and not block.hyper:
            raise failure("is missing: where the points of the box begin", "optimizer", index, "low")
        for schedule in block.schedules(study.schedule):
            _check_schedule(study, schedule, block, index)


def _check_size(study: StudyFields) -> None:
    """Refuse more trials than can be planned, before anything of that size is made."""
    drawn = [axis for axis in _axes_beside(study) if isinstance(axis, Drawn)]
    methods: dict[str, int] = {}
    configurations = 0
    for block in study.optimizer:
        options: list[list[Any]] = [*block.options.values(), block.estimator]
        methods[repr((block.name, block.kinds, block.line_search))] = prod(len(set(values)) for values in options)
        schedules = len(block.schedules(study.schedule))
        configurations += combinations([*options, *block.grids.values(), *drawn]) * schedules
    seeds = len(study.seed)
    if study.landscapes:
        starts = sum(start_count(study.starts, problem) for problem in study.landscapes)
        _refuse_more(MOST_TRIALS, "configurations", configurations, ("seeds", seeds), ("problems", len(study.problem)))
        _refuse_more(MOST_LANES, "trials", configurations, ("seeds", seeds), ("starts", starts))
        return
    # what is drawn is drawn together with the optimizers' numbers, and is counted there
    penalties = sum(1 if isinstance(problem.l2, Drawn) else len(problem.l2) for _, problem in study.splits)
    batches = 1 if isinstance(study.batch_size, Drawn) else len(study.batch_size)
    more, splits = ("seeds", seeds), ("problems and splits", len(study.splits))
    crossed = ("problems, splits and l2", penalties), ("batch sizes", batches)
    _refuse_more(MOST_TRIALS, "trials", configurations, *crossed, more)
    sizes = ("batch sizes", len(set(study.batch_size)))
    _refuse_more(MOST_COHORTS, "cohorts", sum(methods.values()), splits, sizes, more)


def _axes_beside(study: StudyFields) -> list[list[Any]]:
    """Return the axes beside those of optimizers that may be random."""
    penalties: list[list[Any]] = [problem.l2 for problem in study.data_problems]
    return [study.batch_size, *penalties]


def _check_search(study: StudyFields) -> None:
    """Refuse a number of draws where nothing is drawn together."""
    if study.search is None or study.search.draws is None:
        return
    axes = _axes_beside(study)
    for block in study.optimizer:
        axes += [*block.options.values(), block.estimator, *block.grids.values()]
    if not any(isinstance(axis, Drawn) for axis in axes):
        raise failure(f"needs {AXIS}; there is none", "search", "draws", found=study.search.draws)


def _refuse_more(most: int, what: str, optimizers: int, *factors: tuple[str, int]) -> None:
    if (found := optimizers * prod(count for _, count in factors)) > most:
        crossed = " x ".join(f"{count:,} ({name})" for name, count in (("optimizers, schedules", optimizers), *factors))
        raise failure(f"the lists of the study make {found:,} {what}, {crossed}; the most are {most:,}")


def _check_checkpoints(study: StudyFields) -> None:
    """Refuse more checkpoints than a trial may have, if their number is known without the data."""
    key = "steps" if study.landscapes else "epochs"
    if study.record.every == "epoch" and (length := getattr(study, key) or 0) >= MOST_CHECKPOINTS:
        found = f"'epoch' makes a checkpoint of each of the {length:,} {key}; the most are {MOST_CHECKPOINTS:,}"
        raise failure(f"= {found}; {{ log = 1000 }} makes fewer", "record", "every")


def _check_surface(study: StudyFields) -> None:
    """Refuse a surface that does not fit the problems, as far as that is known without the data."""
    surface = study.surface
    if surface is None:
        return
    for key in ("low", "high") if study.data_problems else ():
        if getattr(surface, key) is None:
            raise failure("is missing: where the axes of the error surface begin and end", "surface", key)
    for problem in study.landscapes:
        if fault := surface.fault(problem.dimension):
            raise failure(f": {problem.label!r}: {fault}", "surface")
        box = problem.box()[surface.axes(problem.dimension)]
        low, high = (np.resize(ends, len(box)) for ends in (surface.low or box[:, 0], surface.high or box[:, 1]))
        check_ends(low, high, "surface")


def same_name(names: Sequence[str | None]) -> str:
    """Return which problem has the name of another one; empty if all names differ."""
    for index, name in enumerate(names):
        if name is not None and name in names[:index]:
            first = f"problem.{index} is called {name!r}, as problem.{names.index(name)} is"
            return f'{first}; give each a name of its own: name = "..."'
    return ""


def _check_labels(study: StudyFields) -> None:
    """Refuse two problems with the same name, as far as names do not depend on the data."""
    landscapes = [problem.label for problem in study.landscapes]
    if fault := same_name(landscapes or [problem.name for problem in study.data_problems]):
        raise failure(fault)


def _check_metrics(study: StudyFields) -> None:
    """Refuse a metric that no problem of the study can have; one that some have is null for the others."""
    if "effective_lr" in study.record.metrics:
        names = list(dict.fromkeys(block.name for block in study.optimizer))
        if not any(find(name).has_effective_rate for name in names):
            text = f": no optimizer of the study has 'effective_lr': {', '.join(names)}"
            raise failure(text, "record", "metrics")
        if study.data_problems and all(problem.layered for problem in study.data_problems):
            raise failure(": 'effective_lr' is of features' weights, and a network has no such", "record", "metrics")
    check_layer_metrics(study)
    for metric in study.record.metrics:
        quantity = metric.removeprefix("validation_")
        targets = NEEDS_TARGETS.get(quantity)
        problems = [
            problem for problem in study.data_problems if targets is None or find_loss(problem.loss).targets in targets
        ]
        if not problems and not study.landscapes:
            known = {**LOSSES, **CLASS_LOSSES}
            losses = ", ".join(name for name, loss in known.items() if loss.targets in (targets or ()))
            raise failure(f": no problem has '{metric}', which needs a loss of {losses}", "record", "metrics")
        if metric == f"validation_{quantity}" and targets and all(problem.validation == 0 for problem in problems):
            raise failure(f": '{metric}' needs validation data; set problem.validation", "record", "metrics")


def _check_schedule(study: StudyFields, schedule: Schedule, block: OptimizerBlock, index: int) -> None:
    """Refuse a schedule of a number that its optimizer lacks, or whose values leave the bounds of that number."""
    path = ("schedule",) if block.schedule is None else ("optimizer", index, "schedule")
    driven = [driver.of for driver in schedule.drivers]
    if len(set(driven)) < len(driven):
        raise failure(f"drives '{driven[-1]}' twice; 'also' is for another hyper-parameter", *path)
    for driver in schedule.drivers:
        if driver.of not in block.grids:
            text = f"has of = '{driver.of}', which the optimizer '{block.name}' does not have; "
            raise failure(text + nearest(driver.of, block.grids), *path)
        _check_feedback(study, driver, path)
        if driver.of != "lr":
            _check_values(study, driver, block, path)
        elif block.line_search:
            raise failure(f"drives lr, which the line search of the optimizer '{block.name}' chooses", *path)


def _check_feedback(study: StudyFields, schedule: Schedule, path: Path) -> None:
    """Refuse a schedule that judges the validation loss, if the study has none."""
    judged = next((part.name for part in schedule.parts if part.record.feedback), None)
    if judged is not None and study.landscapes:
        raise failure(f": '{judged}' judges the validation loss, and landscapes have none", *path)
    if judged is not None and (key := _nothing_held_out(study)):
        raise failure(f": '{judged}' judges the validation loss, and nothing is held out; set {key}", *path)


def _nothing_held_out(study: StudyFields) -> str:
    """Return the key by which the first problem without validation data would have some; "": all have."""
    bare = [number for number, problem in enumerate(study.data_problems) if problem.validation == 0]
    several = len(study.problem) > 1
    return (f"problem.{bare[0]}.validation" if several else "problem.validation") if bare else ""


def _check_patience(study: StudyFields) -> None:
    """Refuse what says how patience is counted where there is none, or where there is nothing to watch."""
    stop = study.stop
    if stop.relative and stop.tolerance >= 1:
        raise failure("must be less than 1", "stop", "tolerance", found=stop.tolerance)
    for key in ("watch", "tolerance", "relative"):
        if stop.patience is None and getattr(stop, key) != Stop.model_fields[key].default:
            raise failure("goes with stop.patience, which is missing", "stop", key, found=getattr(stop, key))
    if stop.patience is not None and study.record.every == "end":
        raise failure("goes with losses on the way, and record.every = 'end' has none", "stop", "patience")
    if stop.watch == "validation_loss" and (key := _nothing_held_out(study)):
        raise failure(f"= 'validation_loss', and nothing is held out; set {key}", "stop", "watch")


def _check_halving(study: StudyFields) -> None:
    """Refuse a race without anything to compare its configurations by, or without stages at which they are."""
    path = ("search", "halving")
    halving = study.halving
    if halving is None:
        return
    if study.landscapes:
        raise failure("goes with problems over data, whose held-out rows it judges by", *path)
    if study.epochs is None:
        raise failure("goes with epochs, at which it compares, and the study has steps", *path)
    if halving.start >= study.epochs:
        raise failure(f"must be below the {study.epochs:,} epochs", *path, "start", found=halving.start)
    if key := _nothing_held_out(study):
        raise failure(f"compares validation losses, and nothing is held out; set {key}", *path)
    if study.record.every != "epoch":
        raise failure("goes with record.every = 'epoch': it compares at ends of epochs", *path)
    if study.record.rows is not None:
        raise failure("goes without record.rows: the last values of a retired trial are those of all rows", *path)


def _check_values(study: StudyFields, schedule: Schedule, block: OptimizerBlock, path: Path) -> None:
    """Refuse values that the hyper-parameter may not have, as far as the values are known without the data."""
    steps = schedule.per == "step" or study.landscapes
    total = (study.steps if steps else study.epochs) or MOST_CHECKED_INDICES
    indices = np.unique(np.linspace(0, total - 1, min(total, MOST_CHECKED_INDICES)).astype(np.int64))
    values = chained(schedule.parts, schedule.horizon, indices, total)
    bounds: TypeAdapter[float] = TypeAdapter(_annotation(block, schedule.of))
    for k, value in zip(indices.tolist(), values.tolist(), strict=True):
        try:
            bounds.validate_python(value)
        except ValidationError as error:
            must = error.errors()[0]["msg"].replace("Input should", "it must")
            text = f"'{schedule.name}' gives {schedule.of} the value {value:g} at index {k}; {must}"
            raise failure(text, *path) from None


def _annotation(block: OptimizerBlock, name: str) -> Any:
    """Return the type, with its bounds, of a hyper-parameter of the optimizer or of an option around it."""
    table, _, key = name.partition(".")
    return kinds(table)[block.kinds[table]].annotations[key] if key else find(block.name).annotations[name]


def _check_method(study: StudyFields, block: OptimizerBlock, index: int) -> None:
    """Refuse options, estimators and line searches that do not go with the rule or the batch size."""
    estimators = [name for name in block.estimator if name != "none"]
    if not (block.around or estimators or block.line_search):
        return
    from fastgd.optimizers.rule import Rule  # imports Numba, which few studies need before they run

    record, path = find(block.name), ("optimizer", index)
    drivers = [driver.of for schedule in block.schedules(study.schedule) for driver in schedule.drivers]
    scheduled = dict.fromkeys(name for name in drivers if name != "lr")  # that of lr is a share of the rate
    for choices in itertools.product(*map(dict.fromkeys, block.options.values())):
        rule = Rule.of(record, dict(zip(block.options, choices, strict=True)))
        for option in block.around:
            needs = kinds(option.table)[option.kind].needs
            if why := rule.refuses(needs, block.hyper, scheduled):
                raise failure(f": does not go with '{block.name}': {why}", *path, option.table)
        if block.line_search and (why := _refused_search(study, rule, block)):
            raise failure(f": {why}", *path, "line_search")
    if estimators and record.batch_loss:
        text = f": '{block.name}' needs the loss of each batch, of which '{estimators[0]}' makes no estimate"
        raise failure(text, *path, "estimator")
    if estimators and "full" in study.batch_size:
        text = f": '{estimators[0]}' is for mini-batches, and batch_size has 'full', whose gradient is exact"
        raise failure(text, *path, "estimator")


def _refused_search(study: StudyFields, rule: Rule, block: OptimizerBlock) -> str:
    if study.batch_size != ["full"]:
        sizes = ", ".join(str(size) for size in study.batch_size if size != "full")
        return f"is for full batches, on which the objective is exact; batch_size has {sizes}"
    if not rule.linear_in_rate:
        known = ", as far as its text proves" if rule.optimizer.foreign else ""
        return f"needs a step that is 'lr' times a direction, and that of '{block.name}' is not{known}"
    if other := [option.table for option in block.around if option.table not in ("clip", "averaging")]:
        return f"does not go with '{other[0]}', which moves the iterate after the step"
    if block.estimator != ["none"]:
        return "does not go with an estimator"
    return ""
