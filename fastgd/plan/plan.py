"""A plan: all units of work of a study, and what its user should know of them: numbers, costs and notes."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from fastgd.common.errors import InputError, nearest
from fastgd.common.numbers import count, seconds
from fastgd.common.properties import cached_property
from fastgd.core.threads import available_threads
from fastgd.plan.estimates import costs, memory
from fastgd.plan.estimates.compiled import is_compiled
from fastgd.plan.estimates.costs import NOTHING, Cost, Pace
from fastgd.plan.estimates.scaling import Extrapolation, Workers, extrapolated, of_rows
from fastgd.plan.notes import cost_notes, in_short
from fastgd.plan.shards import Shard, share_of
from fastgd.plan.units.cohort import CohortUnit
from fastgd.plan.units.rounds import Round, in_rounds
from fastgd.plan.units.surfaces import SurfaceUnit
from fastgd.plan.units.swarm import SwarmUnit

Unit: TypeAlias = CohortUnit | SwarmUnit
NAMES = ["trial_id", "problem", "configuration"]  # columns of every plan's table


@dataclass(frozen=True)
class UnitSummary:
    """A unit of work in a plan's printed summary."""

    problem: str
    optimizer: str
    batch_size: int
    seed: str
    lanes: int
    padding: float
    kernel: str
    bytes: int
    passes: float
    flops: float


@dataclass(frozen=True)
class PlanSummary:
    """A plan in numbers; `bytes` is the largest cohort's, of which only one is in memory at a time.

    `left` says how many trials in how many cohorts are to run, where a folder holds the others. `cost` is what these
    are expected to take, and `notes` say in words what costs more than one might expect. Of
    `methods` with kernels of their own, those of `to_compile` are not in the cache: `compiling` is by how many seconds
    they prolong the run.
    """

    trials: int
    cohorts: list[UnitSummary]
    lanes: int
    padding: float
    bytes: int
    passes: float
    flops: float
    left: tuple[int, int]
    cost: Cost = NOTHING
    methods: int = 0
    to_compile: int = 0
    compiling: float = 0.0
    notes: tuple[str, ...] = ()

    @property
    def takes(self) -> str:
        """What it is expected to take, in words."""
        if not self.to_compile:
            return self.cost.in_words()
        kernels = f"compiling the kernels of {self.to_compile} of {count(self.methods, 'method')}"
        return f"{self.cost.in_words()}; {kernels} comes on top, some {seconds(self.compiling)}"


def summary_of(unit: Unit) -> UnitSummary:
    """Return a unit in numbers; on landscapes there are neither batches nor passes."""
    name, lanes = unit.spec.rule.optimizer.name, unit.width
    return UnitSummary(
        problem=unit.label,
        optimizer=f"{name} ({unit.variant})" if unit.variant else name,
        batch_size=unit.spec.batch_size if isinstance(unit, CohortUnit) else 0,
        seed=", ".join(map(str, unit.all_seeds)),
        lanes=lanes,
        padding=unit.padding / max(1, unit.padding + lanes),
        kernel=unit.kernel,
        bytes=round(memory.of(unit)),
        passes=unit.passes if isinstance(unit, CohortUnit) else 0.0,
        flops=unit.flops,
    )


@dataclass(frozen=True)
class Plan:
    """All units of work of a study.

    Attributes
    ----------
    units : sequence of CohortUnit, or of SwarmUnit
    surfaces : tuple of SurfaceUnit
        The error surfaces that are computed when the units have ended.
    notes : tuple of str
        What its user may not expect (see `fastgd.plan.notes`).
    rounds : tuple of Round
        Those of its race, if it has one.
    """

    units: Sequence[Unit]
    surfaces: tuple[SurfaceUnit, ...] = ()
    notes: tuple[str, ...] = ()
    rounds: tuple[Round, ...] = ()

    @property
    def on_landscapes(self) -> bool:
        """Whether the units are swarms."""
        return any(unit.kind == "swarm" for unit in self.units)

    @property
    def count(self) -> int:
        """The number of trials."""
        return sum(unit.count for unit in self.units)

    @property
    def trial_ids(self) -> list[str]:
        """The trials, or on landscapes the configurations."""
        return [trial for unit in self.units for trial in unit.trial_ids]

    @cached_property
    def table(self) -> pd.DataFrame:
        """A row for each trial, or on landscapes for each configuration with the number of its starts."""
        if not self.units:
            return pd.DataFrame(columns=NAMES, dtype=object)
        table = _stacked([unit.trial_columns() for unit in self.units])
        return table.astype({"fold": "Int64"}) if "fold" in table else table  # whole numbers, if there are any

    @property
    def methods(self) -> dict[str, str]:
        """What has kernels of its own, and of which kind."""
        return {unit.method: unit.kind for unit in self.units}

    @property
    def expected(self) -> Iterator[Unit]:
        """The units as they are expected to run: those of a race round by round, each with fewer trials."""
        for unit in self.units:
            if self.rounds and isinstance(unit, CohortUnit):
                yield from in_rounds(unit, self.rounds)
            else:
                yield unit

    def only(self, trial: str) -> "Plan":
        """Return the plan of one trial: its lane of its unit, in the kernel that it has in the whole study."""
        for unit in self.units:
            if alone := unit.only(trial):
                surfaces = self.surfaces if alone.kind == "swarm" else ()
                return replace(self, units=[alone], surfaces=surfaces, rounds=())
        raise InputError(f"the study has no trial {trial!r}; {nearest(trial, self.trial_ids[:1000])}")

    def shard(self, shard: Shard, *, whole_problems: bool = False) -> "Plan":
        """Return the plan of a shard, which computes no surfaces: see `fastgd.plan.shards`."""
        return replace(self, units=share_of(self.units, shard, whole_problems=whole_problems), surfaces=())

    def cost(self, threads: int | None = None) -> Cost:
        """Return what it is expected to cost, with so many threads on this machine."""
        pace = Pace.of(threads)
        parts = [costs.cost_of(unit, pace) for unit in self.expected]
        parts += [costs.surface_cost(unit, pace) for unit in self.surfaces]
        return costs.total(parts, memory.end_of(self.units), self.methods)

    def on(self, workers: Workers, here: Pace | None = None) -> Extrapolation:
        """Return what it is expected to cost on other machines, whose threads are like those of this one.

        Parameters
        ----------
        workers : Workers
        here : Pace, optional
            That of the threads here, by default as it is measured.
        """
        return extrapolated([*self.expected, *self.surfaces], workers, self.cost(), self.methods, here)

    def of_rows(self, n: int) -> "Plan":
        """Return the plan as it would be if each problem had n training rows: as many epochs, checkpoints and kernels.

        It is for estimates: its units run nowhere.
        """
        return replace(self, units=[of_rows(unit, n) if isinstance(unit, CohortUnit) else unit for unit in self.units])

    def within_limits(self, threads: int | None = None) -> "Plan":
        """Return the plan in units that fit into the memory that this process may use; it changes no bits.

        Raises
        ------
        TooLargeError
            The smallest ones do not.
        """
        room = memory.room(self.methods.values(), threads)
        units = [part for unit in self.units for part in memory.fitting(unit, room)]
        for surface in (unit for unit in self.surfaces if unit.landscape is None):
            room.require(memory.of_surface(surface), "the error surface", "a coarser grid takes less")
        less = "fewer starts" if self.on_landscapes else 'fewer trials, or record.parameters = "none",'
        room.require(memory.end_of(units), f"the ranking of {self.count:,} trials", f"{less} would take less")
        return replace(self, units=units)

    def summary(self, threads: int | None = None, left: "Plan | None" = None) -> PlanSummary:
        """Return the plan in numbers; its cost is that of what is left to run, by default all, with so many threads."""
        left = left or self
        rows, cost = [summary_of(unit) for unit in self.units], left.cost(threads)
        new = {method: kind for method, kind in left.methods.items() if not is_compiled(method)}
        lanes, padded = sum(row.lanes for row in rows), sum(unit.padding for unit in self.units)
        return PlanSummary(
            trials=self.count,
            cohorts=rows,
            lanes=lanes,
            padding=padded / max(1, lanes + padded),
            bytes=max((row.bytes for row in rows), default=0),
            passes=sum(row.passes for row in rows),
            flops=sum(row.flops for row in rows),
            left=(left.count, len(left.units)),
            methods=len(left.methods),
            to_compile=len(new),
            compiling=costs.compiling(new, threads or available_threads()),
            cost=cost,
            notes=(*in_short(self.notes), *cost_notes(cost, on_landscapes=self.on_landscapes)),
        )


def _stacked(parts: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return the rows of several tables, given by their columns, as one; to make each of them takes pandas long.

    Columns are arrays, or values of all rows of a part; what a part lacks is NaN.
    """
    counts = [len(part["trial_id"]) for part in parts]

    def column(name: str) -> npt.NDArray[Any]:
        arrays = [np.asarray(part.get(name, np.nan)) for part in parts]
        arrays = [array.astype(object) if array.dtype.kind == "U" else array for array in arrays]
        return np.concatenate([np.broadcast_to(array, count) for array, count in zip(arrays, counts, strict=True)])

    return pd.DataFrame({name: column(name) for name in dict.fromkeys(itertools.chain(*parts))})
