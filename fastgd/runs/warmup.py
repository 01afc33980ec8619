"""Compiles the kernels of a plan ahead of a run, so that other processes find them in the cache."""

from collections.abc import Callable
from typing import Any

import numpy as np

from fastgd.core.threads import Threads
from fastgd.plan.plan import Plan, Unit
from fastgd.plan.units.swarm import SwarmUnit
from fastgd.runs.units.cohort_run import compile_cohort, make_cohort
from fastgd.runs.units.swarm_run import compile_swarm, make_swarm


def compile_units(plan: Plan, note: Callable[[str], None]) -> int:
    """Compile what the units of a plan call; return how many distinct methods there were.

    Parameters
    ----------
    plan : Plan
    note : callable
        Receives the name of each before it is compiled.
    """
    first = {unit.method: unit for unit in reversed(plan.units)}
    with Threads(1) as threads:
        for unit in first.values():
            note(unit.kernels)
            compile_unit(unit, threads)
    return len(first)


def compile_unit(unit: Unit, threads: Threads) -> None:
    """Compile what a unit calls, over few rows in place of its own, which are one batch where its own are."""
    if isinstance(unit, SwarmUnit):
        compile_swarm(make_swarm(unit, unit.lanes[:1], threads), unit)
        return
    X: Any = np.zeros((2 if unit.spec.batch_size >= unit.n else unit.spec.batch_size + 1, 2), unit.dtype)
    y = np.zeros(len(X), unit.dtype)
    if unit.spec.kernel.sparse:
        from scipy.sparse import csr_array

        X = csr_array(X)
    compile_cohort(make_cohort(unit, X, y, threads), unit)
