"""A plan in numbers: what `fastgd run --dry-run` prints."""

from dataclasses import dataclass


@dataclass(frozen=True)
class CohortSummary:
    """A cohort in a plan's printed summary."""

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

    `notes` say, in words, what costs more than one might expect.
    """

    trials: int
    cohorts: list[CohortSummary]
    lanes: int
    padding: float
    bytes: int
    budget: int
    passes: float
    flops: float
    notes: tuple[str, ...] = ()
