"""Schedules: what a hyper-parameter is worth at an epoch or a step, as pure functions of its index."""

from fastgd.schedules import monotone, inverse, cosines, cycles, feedback  # isort: skip  # in the order of the lists
from fastgd.schedules.chain import Horizon, Part, chained, describe, factors, numbers, parts_of, starts, unreached
from fastgd.schedules.record import SCHEDULES, ScheduleRecord, Unit, schedule

__all__ = [
    "SCHEDULES",
    "Horizon",
    "Part",
    "ScheduleRecord",
    "Unit",
    "chained",
    "cosines",
    "cycles",
    "describe",
    "factors",
    "feedback",
    "inverse",
    "monotone",
    "numbers",
    "parts_of",
    "schedule",
    "starts",
    "unreached",
]
