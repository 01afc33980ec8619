"""From a study on landscapes to its swarms: configurations of one rule, schedule and seed, from all starts."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from fastgd.common.errors import InputError, nearest
from fastgd.engine.swarm.swarm import SwarmSpec
from fastgd.optimizers import find
from fastgd.optimizers.rule import Rule
from fastgd.plan import memory
from fastgd.plan.cohorts import repeated
from fastgd.plan.compiled import is_compiled
from fastgd.plan.costs import Pace, surface_cost, swarm_cost, total
from fastgd.plan.grids import make_grid
from fastgd.plan.ids import names, rows_of, rule_of
from fastgd.plan.notes import distinct, in_short, minima_notes, recording_notes, schedule_notes
from fastgd.plan.recording import TAIL, checkpoints_of
from fastgd.plan.starts import fingerprint, make_starts
from fastgd.plan.summary import CohortSummary, Cost, PlanSummary
from fastgd.store.contents import Contents
from fastgd.study.config import LandscapeProblem, OptimizerBlock, Schedule, Study
from fastgd.study.sub_tables import Search
from fastgd.study.surface_block import SurfaceBlock
from fastgd.user_code.modules import check_unchanged

Array = npt.NDArray[Any]
PART = 1 << 17  # lanes in memory at a time, at most
MEMORY_BUDGET = 1 << 30  # bytes of those lanes
JUDGING = 30  # numbers of a lane by which it is placed and judged
MOST_ROWS = 20_000_000  # of trajectories
AUTO_ROWS = 1_000_000  # of trajectories that are recorded unasked


@dataclass(frozen=True)
class SwarmPlan:
    """The configurations of a rule with one schedule and seed, from all starts of a problem.

    Attributes
    ----------
    problem : int
        The problem's place in the study.
    label : str
    spec : SwarmSpec
    schedule : Schedule
    seed : int
    hyper : ndarray (C, hyper)
        The configurations.
    configurations, ids : list of str (C,)
        Their names, without and with the seed.
    starts : ndarray (S, d)
    lanes : ndarray of int
        Those that are to run: lane `c * S + s` is configuration c from start s.
    steps : int
    checkpoints : ndarray of int
    followed : ndarray of int
        The lanes of which every step is recorded.
    search : Search, optional
        What chooses the rate of each step.
    most : float
        How many lanes may be in memory at a time, at most.
    """

    problem: int
    label: str
    spec: SwarmSpec
    schedule: Schedule
    seed: int
    hyper: Array
    configurations: list[str]
    ids: list[str]
    starts: Array
    lanes: Array
    steps: int
    checkpoints: Array
    followed: Array
    search: Search | None = None
    most: float = np.inf

    @property
    def variant(self) -> str:
        """How the method differs from the optimizer's defaults."""
        return ", ".join(filter(None, (self.spec.rule.variant, self.search.label if self.search else "")))

    @property
    def numbers(self) -> dict[str, Array]:
        """The numeric hyper-parameters (C,) of the configurations, by their columns."""
        values = dict(zip(self.spec.rule.fields, self.hyper.T, strict=True))
        fixed = self.search.numbers if self.search else {}
        return values | {name: np.full(len(self.hyper), value) for name, value in fixed.items()}

    @property
    def method(self) -> str:
        """What decides which kernels it calls."""
        spec = self.spec
        land = f"{spec.landscape.name} {spec.landscape.source} {spec.d if spec.d <= 4 else 'many'}"
        search = type(spec.line_search).__name__
        counted = (bool(spec.noise), spec.threshold is not None, bool(spec.scheduled), len(self.followed) > 0)
        return f"{spec.rule!r} on {land}, {spec.kernel}, {spec.dtype}, {search}, {counted}"

    @property
    def bytes_a_lane(self) -> int:
        """Bytes of a lane: its block, what is read of it and when it is made, and what it is judged by."""
        spec, ends = self.spec, 2 + sum(ago <= self.steps for ago in TAIL)
        block = spec.numbers * np.dtype(spec.dtype).itemsize + 8 * (spec.rule.numbers + spec.rule.hyper)
        return int(self._filled * (block + 8 * (ends * (spec.d + 2) + 2 * spec.d + JUDGING)))

    @property
    def _filled(self) -> float:
        """How many places in groups a lane takes: a configuration has groups of its own, if it fills one."""
        starts, width = len(self.starts), self.spec.width
        return -(-starts // width) * width / starts if starts >= width else 1.0

    @property
    def together(self) -> int:
        """How many lanes are in memory at a time: whole groups."""
        most = int(min(PART, self.most, MEMORY_BUDGET // self.bytes_a_lane))
        return max(1, most // self.spec.width) * self.spec.width

    def without(self, stored: Mapping[str, Array]) -> "SwarmPlan":
        """Return what is left of it, from the starts of each configuration that are stored."""
        done = np.zeros((len(self.ids), len(self.starts)), bool)
        for own, name in zip(done, self.ids, strict=True):
            starts = stored.get(name, np.arange(0))
            own[starts[starts < len(own)]] = True  # the study may have had more of them
        return replace(self, lanes=self.lanes[~done.ravel()[self.lanes]])

    def table(self) -> pd.DataFrame:
        """Return a row for each configuration."""
        return pd.DataFrame(
            {
                "trial_id": self.ids,
                "configuration": self.configurations,
                "problem": self.label,
                "optimizer": self.spec.rule.optimizer.name,
                "variant": self.variant,
                **self.numbers,
                "schedule": self.schedule.label,
                **{f"schedule.{key}": value for key, value in self.schedule.numbers.items()},
                "seed": self.seed,
                "starts": np.bincount(self.lanes // len(self.starts), minlength=len(self.ids)),
            }
        )

    def summary(self) -> CohortSummary:
        """Return it in numbers."""
        name, W = self.spec.rule.optimizer.name, self.spec.width
        padding = -len(self.lanes) % W
        return CohortSummary(
            problem=self.label,
            optimizer=f"{name} ({self.variant})" if self.variant else name,
            batch_size=0,
            seed=str(self.seed),
            lanes=len(self.lanes),
            padding=padding / max(1, padding + len(self.lanes)),
            kernel=self.spec.kernel,
            bytes=round(memory.of_swarm(self)),
            passes=0.0,
            flops=float(len(self.lanes)) * self.steps * self.spec.d * (10 + 8 * self.spec.rule.slots),
        )


@dataclass(frozen=True)
class StudyPlan:
    """All swarms of a study, and what its user should know of them (see `fastgd.plan.notes`)."""

    swarms: list[SwarmPlan]
    notes: tuple[str, ...] = ()
    surfaces: tuple[int, ...] = ()  # how many points each landscape's error surface has

    @property
    def trials(self) -> int:
        """How many trials there are."""
        return sum(len(swarm.lanes) for swarm in self.swarms)

    def table(self) -> pd.DataFrame:
        """Return a row for each configuration, with the number of its starts."""
        return pd.concat([swarm.table() for swarm in self.swarms], ignore_index=True)

    def ids(self) -> list[str]:
        """The names of the configurations."""
        return list(itertools.chain(*(swarm.ids for swarm in self.swarms)))

    def starts(self) -> dict[str, int]:
        """The number of starts of each configuration."""
        return {name: len(swarm.starts) for swarm in self.swarms for name in swarm.ids}

    def left(self, contents: Contents) -> "StudyPlan":
        """Return the plan of what a folder does not hold."""
        stored = contents.starts()
        swarms = [swarm.without(stored) for swarm in self.swarms]
        return replace(self, swarms=[swarm for swarm in swarms if len(swarm.lanes)])

    def cost(self, threads: int | None = None) -> Cost:
        """Return what it is expected to cost, with so many threads on this machine."""
        pace = Pace.of(threads)
        parts = [swarm_cost(swarm, pace) for swarm in self.swarms]
        return total([*parts, *map(surface_cost, self.surfaces)], self._end_bytes, self._methods)

    @property
    def _end_bytes(self) -> float:
        """What the end takes: the ranking, beside what the system has not got back of the largest swarm's memory."""
        kept = memory.KEPT * max((memory.of_swarm(swarm) for swarm in self.swarms), default=0.0)
        return kept + memory.RANKED * self.trials

    @property
    def _methods(self) -> dict[str, str]:
        return {swarm.method: "swarm" for swarm in self.swarms}

    def within_limits(self, threads: int | None = None) -> "StudyPlan":
        """Return the plan with so many lanes together as this process has the memory for; it changes no bits.

        Raises
        ------
        InputError
            Not even the fewest fit.
        """
        room, swarms = memory.room(self._methods.values(), threads), []
        for swarm in self.swarms:
            apart = 8.0 * len(swarm.lanes) + memory.of_trajectories(swarm)
            most = (room.left - apart) / memory.of_lane(swarm)
            swarms.append(replace(swarm, most=max(1.0, most)))
            name = f"a group of lanes of {swarm.label}, {swarm.spec.rule.optimizer.name},"
            room.require(memory.of_swarm(swarms[-1]), name, "fewer starts, dimensions or trajectories take less")
        plan = replace(self, swarms=swarms)
        room.require(plan._end_bytes, f"the ranking of {self.trials:,} trials", "fewer starts take less")
        return plan

    def summary(self, threads: int | None = None, cost: Cost | None = None) -> PlanSummary:
        """Return the plan in numbers; costs are those with so many threads, or those of what is left to run of it."""
        rows, cost = [swarm.summary() for swarm in self.swarms], cost or self.cost(threads)
        padded = sum(row.lanes / (1 - row.padding) - row.lanes for row in rows)
        return PlanSummary(
            trials=self.trials,
            cohorts=rows,
            lanes=self.trials,
            padding=padded / max(1, self.trials + padded),
            bytes=max((row.bytes for row in rows), default=0),
            budget=0,
            passes=0.0,
            flops=sum(row.flops for row in rows),
            methods=len(self._methods),
            to_compile=sum(not is_compiled(method) for method in self._methods),
            cost=cost,
            notes=(*in_short(self.notes), *recording_notes(cost)),
        )

    def only(self, trial: str) -> "StudyPlan":
        """Return the plan of one trial: "configuration:start", or all starts of a configuration."""
        name, _, start = trial.partition(":")
        for swarm in self.swarms:
            if name in swarm.ids:
                c, S = swarm.ids.index(name), len(swarm.starts)
                if start and not (start.isdigit() and int(start) < S):
                    raise InputError(f"trial {trial!r}: the starts are 0 to {S - 1}, found {start!r}")
                lanes = np.array([c * S + int(start)]) if start else np.arange(c * S, (c + 1) * S)
                alone = replace(swarm, lanes=lanes, followed=np.intersect1d(swarm.followed, lanes))
                return replace(self, swarms=[alone])
        raise InputError(f"the study has no trial {trial!r}; {nearest(name, self.ids()[:1000])}")


def make_swarm_plan(study: Study) -> StudyPlan:
    """Return the swarms of a study on landscapes; a pure function of the study.

    Raises
    ------
    InputError
        The starts cannot be made, or more trajectories are asked for than can be kept.
    """
    swarms: list[SwarmPlan] = []
    seen: dict[str, int] = {}
    for index, problem in enumerate(study.landscapes):
        starts = make_starts(study.starts, problem)
        origin = fingerprint(study.starts, problem, starts)
        for block, rule, schedule in _methods(study):
            for seed in study.seed if problem.noise or rule.optimizer.drawn else study.seed[:1]:
                swarm = _swarm(study, index, starts, origin, block, rule, schedule, seed)
                new = []
                for name in swarm.ids:  # one by one: a list may hold a number twice, but for its last digits
                    new.append(name not in seen)
                    if (other := seen.setdefault(name, index)) != index:
                        raise InputError(repeated(other, index, swarm.label))
                if any(new):
                    swarms.append(_select(swarm, np.array(new)))
    notes = distinct(minima_notes(study.landscapes), *(schedule_notes(swarm.schedule, swarm.steps) for swarm in swarms))
    surfaces = tuple(_surface_points(study, problem) for problem in study.landscapes)
    return StudyPlan(_following(study, swarms), notes, surfaces)


def _surface_points(study: Study, problem: LandscapeProblem) -> int:
    """The points of a landscape's error surface."""
    return make_grid(study.surface or SurfaceBlock(), problem.box(), np.zeros(problem.dimension)).count


def _methods(study: Study) -> Iterator[tuple[OptimizerBlock, Rule, Schedule]]:
    for block in study.optimizer:
        for choices in itertools.product(*block.options.values()):
            rule = Rule.of(find(block.name), dict(zip(block.options, choices, strict=True)), block.kinds)
            for schedule in block.schedules(study.schedule):
                yield block, rule, schedule


def _swarm(
    study: Study,
    index: int,
    starts: Array,
    origin: str,
    block: OptimizerBlock,
    rule: Rule,
    schedule: Schedule,
    seed: int,
) -> SwarmPlan:
    problem, steps = study.landscapes[index], study.steps or 0
    driven = {driver.of for driver in schedule.drivers}
    minima = problem.known_minima()
    p = problem.instance()
    lowest = float(problem.record.values(p, minima[:1].T)[0]) if len(minima) else None
    spec = SwarmSpec(
        rule=rule,
        landscape=problem.record,
        p=p,
        box=problem.box(),
        dtype=study.dtype,
        noise=problem.noise,
        threshold=None if lowest is None else lowest + problem.tolerance,
        scheduled=tuple(name for name in rule.fields if name in driven),
        line_search=block.line_search.instance if block.line_search else None,
    )
    domain = {name: [np.nan] for name in rule.fields}  # where a baseline's points lie if the study does not say
    axes = [np.asarray(values, np.float64) for values in (block.grids or domain).values()]
    hyper = np.stack([axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")], axis=1)
    shared, rows = _shared(study, problem, origin, spec, schedule, block.line_search), rows_of(hyper)
    drawn = [seed] if problem.noise or rule.optimizer.drawn else []
    return SwarmPlan(
        problem=index,
        label=problem.label,
        spec=spec,
        schedule=schedule,
        seed=seed,
        hyper=hyper,
        configurations=names(rows, shared),
        ids=names(rows, shared, drawn),
        starts=starts,
        lanes=np.arange(len(hyper) * len(starts)),
        steps=steps,
        checkpoints=checkpoints_of(study, steps, 1),
        followed=np.arange(0),
        search=block.line_search,
    )


def _shared(
    study: Study,
    problem: LandscapeProblem,
    origin: str,
    spec: SwarmSpec,
    schedule: Schedule,
    search: Search | None,
) -> dict[str, Any]:
    """Return all that decides the numbers of configurations, beside their hyper-parameters and the seed."""
    landscape = spec.landscape
    if landscape.foreign:
        check_unchanged(landscape.helpers)
    return {
        "landscape": [landscape.name, landscape.source if landscape.foreign else None, problem.params],
        "gradient": problem.gradient,
        "domain": spec.box,
        "noise": problem.noise,
        "tolerance": problem.tolerance,
        "minima": problem.minima,
        "starts": origin,
        "rule": rule_of(spec.rule),
        "schedule": schedule.model_dump(),
        "search": None if search is None else [type(search.instance).__name__, search.instance._asdict()],
        "dtype": study.dtype,
        "steps": study.steps,
        "diverge": study.stop.diverge,
        "record": [study.record.every, study.record.trajectories],
    }


def _select(swarm: SwarmPlan, keep: Array) -> SwarmPlan:
    if keep.all():
        return swarm
    kept = np.flatnonzero(keep)
    configurations, ids = [swarm.configurations[c] for c in kept], [swarm.ids[c] for c in kept]
    lanes = np.arange(len(ids) * len(swarm.starts))
    return replace(swarm, hyper=swarm.hyper[keep], configurations=configurations, ids=ids, lanes=lanes)


def _following(study: Study, swarms: Sequence[SwarmPlan]) -> list[SwarmPlan]:
    """Choose the lanes of which every step is recorded."""
    wanted = study.record.trajectories
    total = sum(len(swarm.lanes) * swarm.spec.d for swarm in swarms) * ((study.steps or 0) + 1)
    if wanted == "auto":
        wanted = "all" if total <= AUTO_ROWS else 0
    chosen = []
    for swarm in swarms:
        S = len(swarm.starts)
        which = np.arange(S) if wanted == "all" else np.arange(min(wanted, S)) if isinstance(wanted, int) else wanted
        which = np.asarray(which, np.int64)
        if len(which) and which.max() >= S:
            raise InputError(f"record.trajectories: there is no start {which.max()}; they are 0 to {S - 1}")
        lanes = (np.arange(len(swarm.hyper))[:, None] * S + which).ravel()
        chosen.append(replace(swarm, followed=lanes))
    rows = sum(len(swarm.followed) * swarm.spec.d for swarm in chosen) * ((study.steps or 0) + 1)
    if rows > MOST_ROWS:
        raise InputError(
            f"record.trajectories would keep {rows:,} rows (trials x steps x coordinates), at most {MOST_ROWS:,}; "
            "name a few starts"
        )
    return chosen
