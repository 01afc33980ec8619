"""A plan in numbers: what `fastgd run --dry-run` prints."""

from dataclasses import dataclass

from fastgd.plan import memory
from fastgd.plan.cohort import CohortUnit
from fastgd.plan.costs import NOTHING, Cost
from fastgd.plan.swarm import SwarmUnit


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

    `cost` is what all of it is expected to take, and `notes` say in words what costs more than one might expect. Of
    `methods` with kernels of their own, those of `to_compile` are not in the cache.
    """

    trials: int
    cohorts: list[UnitSummary]
    lanes: int
    padding: float
    bytes: int
    budget: int
    passes: float
    flops: float
    cost: Cost = NOTHING
    methods: int = 0
    to_compile: int = 0
    notes: tuple[str, ...] = ()


def summary_of(unit: CohortUnit | SwarmUnit) -> UnitSummary:
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
