"""What a run reports while it works: the command line renders these, and any callable may receive them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from fastgd.analysis import Results
    from fastgd.plan.estimates.costs import Cost
    from fastgd.plan.plan import PlanSummary


@dataclass(frozen=True)
class Waiting:
    """Another process writes to the folder of the results, and is waited for; every few seconds.

    Attributes
    ----------
    folder : str
    writer : str
        Which process it is, where its lock says it.
    killed : str
        What is to be known, or done, where it was killed; empty: nothing.
    seconds : float
        For how long it has been waited for.
    trials : int or None
        How many the folder holds, some seconds ago; None: not known, as in an object store, where looking costs.
    """

    folder: str
    writer: str
    killed: str
    seconds: float
    trials: int | None


@dataclass(frozen=True)
class Loading:
    """A problem's data is being loaded and prepared."""

    dataset: str


@dataclass(frozen=True)
class Planned:
    """The plan is made: how much there is to do."""

    summary: PlanSummary


@dataclass(frozen=True)
class Searching:
    """The first round of a search of rates is planned: what all rounds are expected to cost, if they go as most do."""

    cost: Cost


@dataclass(frozen=True)
class Compiling:
    """Kernels are being compiled: `what` says which. The next run takes them from the cache."""

    what: str


@dataclass(frozen=True)
class CohortStarted:
    """A cohort begins; `index` counts from 0."""

    index: int
    total: int
    lanes: int
    kernel: str


@dataclass(frozen=True)
class Progress:
    """How far the run is, a few times a second.

    Attributes
    ----------
    cohort, cohorts : int
        The cohort that runs, from 0, and how many there are.
    epoch, epochs : float
        How far that cohort is, in `unit`s.
    alive, diverged : int
        Its lanes that still run, and the trials that diverged so far in the whole study.
    done, trials : int
        The trials that ended so far, for whatever reason, and all trials.
    rate : float
        Samples times lanes per second.
    seconds_left : float or None
        An estimate for all that is left; None: not known yet.
    unit : {"epoch", "step"}
    share : float
        How much of all the study's work is done, from 0 to 1.
    """

    cohort: int
    cohorts: int
    epoch: float
    epochs: float
    alive: int
    diverged: int
    done: int
    trials: int
    rate: float
    seconds_left: float | None
    unit: str = "epoch"
    share: float = 0.0


@dataclass(frozen=True)
class Surveying:
    """An error surface is being computed: so many of its points are done."""

    problem: str
    done: int
    points: int


@dataclass(frozen=True)
class Retracing:
    """A trial that is stored runs again, to see where it was on its way: so many of its steps are done."""

    trial: str
    step: int
    steps: int


@dataclass(frozen=True)
class Solving:
    """The minimum of a convex objective is being found: of a problem, a penalty and, of several, a split or fold."""

    problem: str
    l2: float
    split_seed: int | None = None
    of_folds: bool = False


@dataclass(frozen=True)
class CohortFinished:
    """A cohort's curves and trials are on disk, after `seconds` of wall time."""

    index: int
    total: int
    lanes: int
    diverged: int
    seconds: float


@dataclass(frozen=True)
class Warning_:  # noqa: N801 (Warning is Python's)
    """Something that the user should know, and that does not stop the run."""

    message: str


@dataclass(frozen=True)
class Finished:
    """The run is over and its results are on disk."""

    results: Results


Event: TypeAlias = (
    Waiting
    | Loading
    | Planned
    | Searching
    | Compiling
    | CohortStarted
    | Progress
    | Surveying
    | Retracing
    | Solving
    | CohortFinished
    | Warning_
    | Finished
)
