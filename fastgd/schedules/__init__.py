"""Schedules: what a hyper-parameter is worth at an epoch or a step, as pure functions of its index."""

from fastgd.schedules import monotone
from fastgd.schedules._record import SCHEDULES, Horizon, ScheduleRecord, factors, schedule

__all__ = ["SCHEDULES", "Horizon", "ScheduleRecord", "factors", "monotone", "schedule"]
