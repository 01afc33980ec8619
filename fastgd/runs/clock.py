"""The clock of a run: where its wall time goes, when it is over, and when it reports how far it is."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf

from fastgd.runs.interruption import Interruption

STAGES = ("load", "plan", "compile", "train", "evaluate", "store")
PROGRESS_SECONDS = 0.2  # between two reports
STEP_GRACE_SECONDS = 2.0  # seconds that a step may go on after the deadline


class TimeIsOver(Exception):  # noqa: N818
    """`max_seconds` is over."""


class Clock:
    """Attributes every second to exactly one stage, so that the stages add up to the wall time, but for pauses.

    Parameters
    ----------
    stage : str
        The first stage.

    Attributes
    ----------
    seconds : dict
        Seconds by stage, up to the last change of stage.
    limit, deadline : float
        `max_seconds`, and when it is over on the clock of `time.perf_counter`.
    waits : bool
        Whether the deadline does not count yet.
    report : callable, optional
        Called a few times a second with the step and the number of lanes of the unit that runs.
    announce : callable, optional
        Called with the name of kernels before they are compiled.
    resumed : int
        The step that the unit at work went on from.
    done, diverged : int
        The trials that have ended, and those of them that diverged.
    lowest : dict of str to float
        By problem: the lowest value that was found on a landscape, if it is below those of all known minima.
    interruption : Interruption
        Whether a signal came that ends the run.
    snapshot_seconds : float
        How long a unit runs until its state is saved.
    """

    def __init__(self, stage: str = "train") -> None:
        self.seconds = dict.fromkeys(STAGES, 0.0)
        self.limit = self.deadline = inf
        self.waits = False
        self.report: Callable[[int, int], None] | None = None
        self.announce: Callable[[str], None] | None = None
        self.resumed = self.done = self.diverged = 0
        self.lowest: dict[str, float] = {}
        self.interruption = Interruption()
        self.snapshot_seconds = inf
        self._saved = time.perf_counter()
        self._stage, self._since = stage, time.perf_counter()
        self._reported, self._step = 0.0, -1

    def enter(self, stage: str) -> str:
        """Begin a stage and return the one before."""
        now = time.perf_counter()
        self.seconds[self._stage] += now - self._since
        before, self._stage, self._since = self._stage, stage, now
        return before

    def read(self) -> dict[str, float]:
        """Return the seconds of each stage up to now."""
        self.enter(self._stage)
        return dict(self.seconds)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Spend a block's time on a stage."""
        before = self.enter(name)
        try:
            yield
        finally:
            self.enter(before)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Attribute a block's time to no stage."""
        self.enter(self._stage)
        try:
            yield
        finally:
            self._since = time.perf_counter()

    @contextmanager
    def compiling(self, name: str) -> Iterator[None]:
        """Spend a block's time on compiling kernels, and say which."""
        with self.stage("compile"):
            if self.announce is not None:
                self.announce(name)
            yield

    @property
    def computed(self) -> float:
        """Seconds of training and evaluation so far."""
        return self.seconds["train"] + self.seconds["evaluate"]

    def start(self, limit: float | None) -> None:
        """Begin to count `max_seconds`, if there is such a limit, and it does not count already."""
        if limit and self.deadline == inf:
            self.limit, self.deadline = limit, time.perf_counter() + limit

    @property
    def left(self) -> float:
        """Seconds until the deadline."""
        return self.deadline - time.perf_counter()

    @property
    def over(self) -> bool:
        """Whether `max_seconds` is over."""
        return not self.waits and self.left < 0

    @property
    def reason(self) -> str:
        """What is said of trials that the deadline ends."""
        return f"max_seconds = {self.limit:g} was over"

    def saved(self) -> None:
        """Count `snapshot_seconds` from here on: a snapshot was taken, or a unit begins."""
        self._saved = time.perf_counter()

    @property
    def snapshot_due(self) -> bool:
        """Whether a unit is to save its state."""
        return time.perf_counter() - self._saved >= self.snapshot_seconds

    def ended(self, trials: int, diverged: int) -> None:
        """Count trials that have ended."""
        self.done += trials
        self.diverged += diverged

    def found_below(self, label: str, value: float) -> None:
        """Note a value that is below those of all known minima of a landscape."""
        self.lowest[label] = min(self.lowest.get(label, inf), value)

    def poll(self, step: int, alive: int) -> None:
        """Report how far a unit is, if the last report is some time ago."""
        now = time.perf_counter()
        if self.report is not None and now - self._reported >= PROGRESS_SECONDS:
            self._reported = now
            self.report(step, alive)

    def check(self, step: int, alive: int) -> None:
        """Report how far a unit is; TimeIsOver where it has to end here.

        A unit ends between two steps, where its state can be saved. A step of several kernel calls may take long:
        after `STEP_GRACE_SECONDS` the unit ends within it, with the state of the step before.
        """
        self.poll(step, alive)
        ends, self._step = step != self._step, step
        if self.over and (ends or self.left < -STEP_GRACE_SECONDS):
            raise TimeIsOver
