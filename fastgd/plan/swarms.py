"""From a study on landscapes to its swarms: configurations of one rule, schedule and seed, from all starts."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from fastgd.common.errors import InputError
from fastgd.engine.swarm.spec import SwarmSpec
from fastgd.plan.ids import first_seen, swarm_ids
from fastgd.plan.starts import fingerprint, make_starts
from fastgd.plan.units.methods import Method, grid_of, methods_of
from fastgd.plan.units.recording import checkpoints_of, saved_after
from fastgd.plan.units.swarm import SwarmUnit
from fastgd.study.config import Schedule, Study

Array = npt.NDArray[Any]
MOST_TRAJECTORY_ROWS = 20_000_000
MOST_UNASKED_TRAJECTORY_ROWS = 1_000_000  # trajectories of so many rows are recorded unasked


def swarms_of(study: Study) -> list[SwarmUnit]:
    """Return the swarms of a study on landscapes.

    Raises
    ------
    InputError
        The starts cannot be made, or more trajectories are asked for than can be kept.
    """
    swarms: list[SwarmUnit] = []
    seen: dict[str, int] = {}
    for index, problem in enumerate(study.landscapes):
        starts = make_starts(study.starts, problem)
        origin = fingerprint(study.starts, problem, starts)
        for method in methods_of(study):
            for schedule in method.block.schedules(study.schedule):
                for seed in study.seed if problem.noise or method.rule.optimizer.drawn else study.seed[:1]:
                    swarm = _swarm(study, index, starts, origin, method, schedule, seed)
                    new = first_seen(swarm.ids, index, swarm.label, seen)
                    if new.any():
                        swarms.append(swarm.select(new))
    return _following(study, swarms)


def _swarm(
    study: Study, index: int, starts: Array, origin: str, method: Method, schedule: Schedule, seed: int
) -> SwarmUnit:
    problem, steps, rule, search = study.landscapes[index], study.steps or 0, method.rule, method.search
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
        line_search=search.instance if search else None,
    )
    domain = {name: [np.nan] for name in rule.fields}  # where a baseline's points lie if the study does not say
    hyper = method.grid() if method.block.grids else grid_of(list(domain.values()))
    configurations, ids = swarm_ids(study, problem, origin, spec, schedule, hyper, seed)
    return SwarmUnit(
        problem=index,
        landscape=problem,
        spec=spec,
        schedule=schedule,
        seed=seed,
        hyper=hyper,
        configurations=configurations,
        ids=ids,
        starts=starts,
        lanes=np.arange(len(hyper) * len(starts)),
        steps=steps,
        checkpoints=checkpoints_of(study, steps, 1),
        followed=np.arange(0),
        search=search,
        stop=study.stop,
        saved_after=saved_after(study),
    )


def _following(study: Study, swarms: Sequence[SwarmUnit]) -> list[SwarmUnit]:
    """Choose the lanes of which every step is recorded."""
    wanted = study.record.trajectories
    total = sum(len(swarm.lanes) * swarm.spec.d for swarm in swarms) * ((study.steps or 0) + 1)
    if wanted == "auto":
        wanted = "all" if total <= MOST_UNASKED_TRAJECTORY_ROWS else 0
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
    if rows > MOST_TRAJECTORY_ROWS:
        raise InputError(
            f"record.trajectories would keep {rows:,} rows (trials x steps x coordinates), "
            f"at most {MOST_TRAJECTORY_ROWS:,}; name a few starts"
        )
    return chosen
