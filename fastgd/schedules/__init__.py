"""Schedules: the value of a hyper-parameter at each epoch or step, as a pure function of its index.

Keys and indices come in, factors of a hyper-parameter go out. Schedules with feedback see the validation losses of
their lane as well; no schedule sees gradients or parameters.
"""

# They register their schedules, in the order of the lists.
from fastgd.schedules import monotone, inverse, cosines, cycles, feedback  # isort: skip # noqa: F401
from fastgd.schedules.chain import Horizon, Part, chained, describe, numbers, parts_of, starts, unreached
from fastgd.schedules.record import SCHEDULES, ScheduleRecord, Unit, schedule

__all__ = [
    "SCHEDULES",
    "Horizon",
    "Part",
    "ScheduleRecord",
    "Unit",
    "chained",
    "describe",
    "numbers",
    "parts_of",
    "schedule",
    "starts",
    "unreached",
]
