"""What must hold between the parts of a study, each of which is right by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydantic import TypeAdapter, ValidationError

from fastgd._errors import nearest
from fastgd.optimizers import find
from fastgd.problems import LOSSES
from fastgd.schedules import factors
from fastgd.study._values import failure

if TYPE_CHECKING:
    from fastgd.study.config import OptimizerBlock, Schedule, Study

NEEDS_TARGETS = {"accuracy": ("binary", "unit"), "r2": ("real", "unit", "count")}
LONGEST_LOOK = 1000


def check(study: Study) -> None:
    """Raise a validation error where parts of a study contradict each other."""
    if (study.epochs is None) == (study.steps is None):
        raise failure(
            "epochs or steps: " + ("one of the two is missing" if study.epochs is None else "give one of the two")
        )
    _check_labels(study)
    _check_metrics(study)
    for index, block in enumerate(study.optimizer):
        schedules = study.schedule if block.schedule is None else [block.schedule]
        for schedule in schedules:
            _check_schedule(study, schedule, block, index)


def _check_labels(study: Study) -> None:
    labels = [problem.name for problem in study.problem if problem.name is not None]
    if len(set(labels)) < len(labels):
        raise failure("have the same name twice; a name tells problems apart", "problem", found=labels)


def _check_metrics(study: Study) -> None:
    """Refuse a metric that no problem of the study can have; one that some have is null for the others."""
    for metric in study.record.metrics:
        quantity = metric.removeprefix("validation_")
        targets = NEEDS_TARGETS.get(quantity)
        problems = [problem for problem in study.problem if targets is None or LOSSES[problem.loss].targets in targets]
        if not problems:
            losses = ", ".join(name for name, loss in LOSSES.items() if loss.targets in (targets or ()))
            raise failure(f": no problem has '{metric}', which needs a loss of {losses}", "record", "metrics")
        if metric == f"validation_{quantity}" and targets and all(problem.validation == 0 for problem in problems):
            raise failure(f": '{metric}' needs validation data; set problem.validation", "record", "metrics")


def _check_schedule(study: Study, schedule: Schedule, block: OptimizerBlock, index: int) -> None:
    """Refuse a schedule of what its optimizer does not have, or that leaves the bounds of what it gives a value."""
    if (schedule.name, schedule.of) == ("constant", "lr"):
        return  # nothing is driven, and a rule may have no rate
    path = ("schedule",) if block.schedule is None else ("optimizer", index, "schedule")
    if schedule.of not in block.hyper:
        text = f"has of = '{schedule.of}', which the optimizer '{block.name}' does not have; "
        raise failure(text + nearest(schedule.of, block.hyper), *path)
    if schedule.of == "lr":
        return
    if block.name == "nesterov" and schedule.of == "momentum" and "lecture" in block.options.get("form", ()):
        raise failure("has of = 'momentum', which nesterov has in form = 'torch' only", *path)
    total = min(study.epochs or LONGEST_LOOK, LONGEST_LOOK)
    values = factors(schedule.name, schedule.params, schedule.horizon, np.arange(total), total)
    bounds: TypeAdapter[float] = TypeAdapter(find(block.name).annotations[schedule.of])
    for k, value in enumerate(values.tolist()):
        try:
            bounds.validate_python(value)
        except ValidationError as error:
            must = error.errors()[0]["msg"].replace("Input should", "it must")
            text = f"'{schedule.name}' gives {schedule.of} the value {value:g} at index {k}; {must}"
            raise failure(text, *path) from None
