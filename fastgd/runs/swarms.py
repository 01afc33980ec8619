"""The lanes of a plan as swarms of the engine: made, compiled, with the values of their schedules."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from fastgd.core.random import stream_keys
from fastgd.core.threads import Threads
from fastgd.engine.swarm.guesses import SwarmGuesses
from fastgd.engine.swarm.lanes import Lanes
from fastgd.engine.swarm.swarm import Swarm
from fastgd.plan.compiled import compiling, note_compiled
from fastgd.plan.swarms import StudyPlan, SwarmPlan
from fastgd.schedules import chained

Array = npt.NDArray[Any]


def make_swarm(plan: SwarmPlan, lanes: Array, threads: Threads) -> Lanes:
    """Return some lanes at their start."""
    which, start = np.divmod(lanes, len(plan.starts))
    used, which = np.unique(which, return_inverse=True)
    keys = stream_keys(plan.seed, start)
    lanes_of = (plan.spec, plan.hyper[used], which, plan.starts[start], keys, threads)
    if plan.spec.rule.optimizer.baseline:
        return SwarmGuesses(*lanes_of, plan.steps)
    return Swarm(*lanes_of, schedule_of(plan))


def compile_swarm(swarm: Lanes, method: str) -> None:
    """Compile what a swarm calls, under the cache's lock; a user's function that does not compile is named."""
    with compiling(swarm.spec.landscape, swarm.spec.rule.optimizer):
        swarm.compile()
    note_compiled(method)


def compile_swarms(plan: StudyPlan, note: Callable[[str], None]) -> int:
    """Compile what the swarms of a plan call; return how many distinct kernels there were.

    Parameters
    ----------
    plan : StudyPlan
    note : callable
        Receives the name of each before it is compiled.
    """
    done = set()
    with Threads(1) as threads:
        for swarm in plan.swarms:
            if swarm.method not in done:
                note(kernel_of(swarm))
                compile_swarm(make_swarm(swarm, swarm.lanes[:1], threads), swarm.method)
                done.add(swarm.method)
    return len(done)


def kernel_of(plan: SwarmPlan) -> str:
    """Return the name of what is compiled for a plan's lanes."""
    spec = plan.spec
    name = spec.rule.optimizer.name + (f" ({spec.rule.variant})" if spec.rule.variant else "")
    return f"{name} on {spec.landscape.name}, {spec.kernel}, {spec.dtype}"


def schedule_of(plan: SwarmPlan) -> Callable[[int, int], Array] | None:
    """Return the scheduled values (steps, m) from a step on: of the rate a factor, of others the value."""
    names = plan.spec.scheduled
    if not names:
        return None
    drivers = {driver.of: driver for driver in plan.schedule.drivers}

    def values(first: int, steps: int) -> Array:
        index = np.arange(first, first + steps)
        rows = np.ones((steps, len(names)))
        for column, name in enumerate(names):
            if name in drivers:
                driver = drivers[name]
                rows[:, column] = chained(driver.parts, driver.horizon, index, plan.steps)
        return rows

    return values


def rates_of(plan: SwarmPlan) -> Callable[[int], Array]:
    """Return the rates (C,) that produced the iterate after a step; after none, the first ones."""
    names = list(plan.spec.rule.fields)
    if "lr" not in names:
        return lambda _: np.full(len(plan.hyper), np.nan)
    base = plan.hyper[:, names.index("lr")]
    schedule = schedule_of(plan)
    if schedule is None or "lr" not in plan.spec.scheduled:
        return lambda _: base
    column = plan.spec.scheduled.index("lr")
    return lambda step: np.asarray(base * schedule(max(0, step - 1), 1)[0, column])
