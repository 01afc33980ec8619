"""Courses: a trial's way whatever its length, by which a longer trial finds where a shorter one ended.

A longer trial goes on from a shorter one where it has the bits of one long run: its steps do not depend on how many
there are, and its checkpoints begin as those of the shorter one did.
"""

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from fastgd.engine.rows.spec import CohortSpec
from fastgd.plan.ids import course_names
from fastgd.plan.units.cohort import CohortUnit, Origin
from fastgd.store.states import StateInfo
from fastgd.study.config import Problem, Schedule, Study


def why_anew(study: Study, spec: CohortSpec, n: int, schedule: Schedule) -> str:
    """Say why a longer trial cannot go on from where a shorter one ended; "": it can.

    Parameters
    ----------
    study : Study
    spec : CohortSpec
        What the trial's cohort computes.
    n : int
        Its training rows.
    schedule : Schedule
        The trial's.
    """
    if spec.rule.optimizer.baseline:
        return "a baseline chooses its points by the budget"
    if study.record.every != "epoch":
        return "their checkpoints, record.every, depend on the budget"
    if study.record.rows is not None and study.record.rows < n:
        return "record.rows makes their last checkpoint another one than it is on the way"
    if any(part.sees_end for driver in schedule.drivers for part in driver.parts):
        return f"the schedule {schedule.label!r} depends on the budget"
    return ""


def courses_of(
    study: Study, problem: Problem, fingerprint: str, n: int, spec: CohortSpec, schedules: Sequence[Schedule], seed: int
) -> list[str]:
    """Return the course of each lane, "" where a longer trial cannot go on from it; [] where no states are kept.

    Parameters
    ----------
    study, problem
    fingerprint : str
        Of the data, as prepared.
    n : int
        Their training rows.
    spec : CohortSpec
    schedules : sequence of Schedule
        Each lane's.
    seed : int
    """
    if not study.record.state:
        return []
    anew = {id(schedule): why_anew(study, spec, n, schedule) for schedule in schedules}
    found = course_names(study, problem, fingerprint, n, spec, schedules, seed)
    return ["" if anew[id(schedule)] else course for course, schedule in zip(found, schedules, strict=True)]


def state_notes(study: Study, cohorts: Iterable[CohortUnit]) -> Iterator[str]:
    """Yield which trials' states are not kept though the study asks for them, and why."""
    if not study.record.state:
        return
    counts: Counter[str] = Counter()
    for cohort in cohorts:
        within = "they end within an epoch, where longer ones are not seen" if cohort.steps % cohort.batches else ""
        for which, trials in zip(cohort.which.tolist(), cohort.ids, strict=True):
            counts[why_anew(study, cohort.spec, cohort.n, cohort.schedules[which]) or within] += len(trials)
    for why in filter(None, counts):
        yield f"record.state: longer trials cannot go on from {counts[why]:,}, whose state is not kept: {why}"


def continued(unit: CohortUnit, states: Sequence[StateInfo], reached: Mapping[str, float]) -> list[CohortUnit]:
    """Return a unit in parts: each goes on from one file of states, and what is left starts anew.

    Parameters
    ----------
    unit : CohortUnit
    states : sequence of StateInfo
    reached : mapping of str to float
        The steps to which trials are stored, infinity for finished ones: a state is one to go on from where the rows
        before it are stored.
    """
    found: dict[str, tuple[StateInfo, int]] = {}  # by course and by trial, the longest of each
    for info in sorted(states, key=lambda info: info.steps):
        for lane, (course, trial) in enumerate(zip(info.courses, info.trials, strict=True)):
            if info.steps < unit.end and reached.get(trial, -1) >= info.steps:
                found |= dict.fromkeys((course, trial), (info, lane))
    found.pop("", None)
    courses = unit.courses or [""] * unit.lanes
    named = ((ids[0], course) for ids, course in zip(unit.ids, courses, strict=True))
    of_names = ([found[name] for name in names if name in found] for names in named)
    own = [max(several, key=lambda of: of[0].steps, default=None) for several in of_names]
    parts = []
    for name in dict.fromkeys(of[0].name if of else "" for of in own):
        keep = np.array([(of[0].name if of else "") == name for of in own])
        part = unit.select(keep)
        if name:
            places = [(of[1], of[0].trials[of[1]]) for of in itertools.compress(own, keep) if of]
            steps = next(of[0].steps for of in itertools.compress(own, keep) if of)
            part = replace(part, origin=Origin(name, *map(tuple, zip(*places, strict=True))), taken=steps)
        parts.append(part)
    return parts
