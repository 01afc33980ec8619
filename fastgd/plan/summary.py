"""A plan in numbers: what `fastgd run --dry-run` prints."""

from dataclasses import dataclass

from fastgd.common.numbers import amount, seconds


@dataclass(frozen=True)
class Cost:
    """What a study, or a part of it, is expected to take.

    Attributes
    ----------
    training, evaluation, storing : float
        Seconds. Compiling kernels that are not in the cache comes on top.
    disk, memory : float
        Bytes: of the results' files, and in memory at the peak.
    """

    training: float = 0.0
    evaluation: float = 0.0
    storing: float = 0.0
    disk: float = 0.0
    memory: float = 0.0

    @property
    def seconds(self) -> float:
        """Seconds of all of it."""
        return self.training + self.evaluation + self.storing

    def in_words(self) -> str:
        """Return it as a line of text."""
        parts = (("training", self.training), ("evaluation", self.evaluation), ("storing", self.storing))
        spent = ", ".join(f"{name} {seconds(value)}" for name, value in parts)
        disk, memory = (amount(size, "B") for size in (self.disk, self.memory))
        return f"about {seconds(self.seconds)} ({spent}), {disk} on disk, {memory} of memory"

    def times(self, factor: float) -> "Cost":
        """Return the cost of so many times as much, one after the other."""
        return Cost(
            factor * self.training, factor * self.evaluation, factor * self.storing, factor * self.disk, self.memory
        )

    def __add__(self, other: "Cost") -> "Cost":
        """Return what both cost, one after the other: the memory is that of the larger one."""
        return Cost(
            self.training + other.training,
            self.evaluation + other.evaluation,
            self.storing + other.storing,
            self.disk + other.disk,
            max(self.memory, other.memory),
        )


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

    `cost` is what all of it is expected to take, and `notes` say in words what costs more than one might expect. Of
    `methods` with kernels of their own, those of `to_compile` are not in the cache.
    """

    trials: int
    cohorts: list[CohortSummary]
    lanes: int
    padding: float
    bytes: int
    budget: int
    passes: float
    flops: float
    cost: Cost = Cost()
    methods: int = 0
    to_compile: int = 0
    notes: tuple[str, ...] = ()
